"""A model's parameters divided by patterns: the first that matches has each, once, and the table says which."""

import pytest
from support.optimizers import optim, torch

from surefoot.rules import RuleError

nn = torch.nn


class Model(nn.Module):
    """Two tables, a tower with norms, and a head that shares the first table."""

    def __init__(self):
        super().__init__()
        self.user_embedding, self.item_embedding = nn.Embedding(6, 4), nn.EmbeddingBag(5, 4)
        self.tower = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
        self.head = nn.Linear(4, 6)
        self.head.weight = self.user_embedding.weight


WANTED = {
    "*embedding*": {"rule": "adagrad", "granularity": "row", "lr": 0.05},
    "*.weight": {"rule": "muon", "lr": 0.02},
    "*": {"rule": "adamw", "lr": 1e-3},
}


def names(groups):
    return [[name for name, _ in group["params"]] for group in groups]


def test_the_first_match_that_takes_the_shape_has_a_parameter():
    """A norm's weight is a vector, which Muon does not take."""
    groups = optim.groups(Model(), WANTED)
    assert names(groups) == [
        ["user_embedding.weight", "item_embedding.weight"],
        ["tower.0.weight", "tower.2.weight"],
        ["tower.0.bias", "tower.1.weight", "tower.1.bias", "tower.2.bias", "head.bias"],
    ]
    optimizer = optim.Grouped(groups)
    assert [(group["rule"], group["lr"]) for group in optimizer.param_groups] == [
        ("adagrad", 0.05),
        ("muon", 0.02),
        ("adamw", 1e-3),
    ]
    assert optimizer.param_groups[0]["granularity"] == "row"


def test_the_table_says_what_matched():
    model = Model()
    model.item_embedding.weight.requires_grad_(False)
    lines = str(optim.groups(model, WANTED)).splitlines()
    wanted = "'*embedding*' adagrad granularity=row, lr=0.05 2 44 user_embedding.weight, item_embedding.weight (frozen)"
    assert " ".join(lines[0].split()) == "pattern rule settings parameters numbers names"
    assert " ".join(lines[1].split()) == wanted
    assert lines[3].endswith("5       22  tower.0.bias, tower.1.weight, tower.1.bias and 2 more")
    assert lines[4].startswith("tower.1.weight matches '*.weight', but muon does not take it: ")
    assert len(lines) == 5
    assert repr(optim.groups(Model(), {"*": "sgd"})).endswith("and 6 more")


def test_modules_and_shapes():
    model = Model()
    found = names(optim.groups(model, {nn.Embedding: "adagrad", lambda p: p.ndim == 1: "sgd", "*": "adam"}))
    assert found[0] == ["user_embedding.weight"]
    assert found[2] == ["item_embedding.weight", "tower.0.weight", "tower.2.weight"]
    assert all(name.endswith("bias") or name == "tower.1.weight" for name in found[1])
    assert names(optim.groups(model, {nn.Sequential: "sgd", "*": "adam"}))[0][0] == "tower.0.weight"


def test_shared_parameters_are_matched_by_all_their_names():
    found = names(optim.groups(Model(), {"head.weight": "sgd", "*": "adam"}))
    assert found[0] == ["user_embedding.weight"]
    assert "user_embedding.weight" not in found[1]
    assert sum(map(len, found)) == len(list(Model().parameters()))


def test_a_class_as_a_rule_and_a_pattern_for_what_may_be_left():
    class Own(torch.optim.SGD):
        pass

    groups = optim.groups(Model(), {nn.Module: Own, "*": "adam"})
    assert len(groups) == 1
    assert optim.Grouped(groups).param_groups[0]["rule"].endswith("Own")


@pytest.mark.parametrize(
    "wanted, error, message",
    [
        ({"*embeding*": "adagrad", "*": "sgd"}, ValueError, "'.embeding.' matches no parameter; near are user_emb"),
        ({"tover.*": "adagrad", "*": "sgd"}, ValueError, "'tover..' matches no parameter; near are tower.0.weight"),
        ({nn.Conv2d: "adagrad", "*": "sgd"}, ValueError, "Conv2d matches no parameter; there are modules Emb"),
        ({lambda p: p.ndim > 2: "adagrad", "*": "sgd"}, ValueError, "<lambda> matches no parameter"),
        ({"*embedding*": "adagrad"}, ValueError, "no pattern takes tower.0.weight, tower.0.bias, tower.1.weight and 4"),
        ({"*": "sgd", "*embedding*": "adagrad"}, ValueError, "'.embedding.' matches only parameters that earlier"),
        ({"*.bias": "muon", "*": "sgd"}, ValueError, "muon takes no parameter that '..bias' matches; tower.0.bias: "),
        ({"*": {"lr": 0.1}}, ValueError, "'.': has no rule, only lr"),
        ({"*": {"rule": "adagrad", "granularty": "row"}}, TypeError, "'.': rule 'adagrad' got .*'granularity'"),
        ({"*": {"rule": "adagrad", "foo": 1}}, TypeError, "unexpected setting 'foo'"),
        ({"*": {"rule": "adagrad", "lr": -1.0}}, ValueError, "Invalid learning rate: -1.0"),
        ({"*": "adagard"}, RuleError, "did you mean 'adagrad'"),
    ],
    ids=["slip", "part", "module", "function", "left", "shadowed", "unfit", "none", "setting", "label", "rate", "rule"],
)
def test_patterns_that_are_of_no_use(wanted, error, message):
    with pytest.raises(error, match=message):
        optim.groups(Model(), wanted)


def test_parameters_without_a_shape():
    with pytest.raises(ValueError, match="weight: has no shape yet"):
        optim.groups(nn.LazyLinear(3), {"*": "sgd"})


def test_frozen_parameters_are_stepped_once_they_are_unfrozen():
    model = Model()
    model.head.bias.requires_grad_(False)
    optimizer = optim.Grouped(optim.groups(model, {"*": {"rule": "sgd", "engine": "reference"}}))
    before = model.head.bias.detach().clone()
    for frozen in (True, False):
        model.head.bias.requires_grad_(not frozen)
        optimizer.zero_grad()
        model.head(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        assert torch.equal(model.head.bias, before) == frozen
