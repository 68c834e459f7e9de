"""A table that grows equals one that had its rows from the beginning, without a gradient for them, bit by bit."""

import copy
import pickle

import pytest
from support.optimizers import assert_tensors_identical, coo, optim, parameters, torch

from surefoot import nn, rules

SMALL, LARGE, COLUMNS = 4, 7, 2
ENGINE = {"engine": "reference"}
NEW = torch.arange(6.0).reshape(3, 2)
ROWS = ([0, 2], [2, 3], [1, 2], [0, 1])
LATER = ([5, 0], [6, 4], [2, 5])
BY_ROW = ("adagrad", "rmsprop", "adam")
DECAY = {"decoupled_weight_decay": 0.5}
SETTINGS = {
    **{name: (name, {"lazy": "touched"}) for name in [*rules.REGISTRY, "sm3", "lamb", "novograd"]},
    **{f"{name} by row": (name, {"lazy": "touched", "granularity": "row"}) for name in BY_ROW},
    "adagrad, rows that are behind": ("adagrad", DECAY),
    "adagrad by row, rows that are behind": ("adagrad", DECAY | {"granularity": "row"}),
    "momentum, rows that are behind": ("momentum", {"momentum": 0.9}),
    "sgd with a schedule": ("sgd", {"lr": lambda t: 0.1 / t, "l2": 0.1}),
}


def made(rule, settings, parameter, kind):
    settings = {"lr": 0.1} | settings | ENGINE
    if kind == "Grouped":
        other = torch.nn.Parameter(torch.ones(2))
        groups = [
            {"params": [("other", other)], "rule": torch.optim.AdamW},
            {"params": [("w", parameter)], "rule": rule, **settings},
        ]
        return optim.Grouped(groups)
    return optim.RuleOptimizer([("w", parameter)], rule, **settings)


def tables():
    whole = parameters((LARGE, COLUMNS))[0]
    return torch.nn.Parameter(whole[:SMALL].detach().clone()), whole


def step(optimizer, parameter, rows, t):
    values = parameters((len(rows), COLUMNS), seed=50 + t)[0].detach()
    parameter.grad = coo([rows], values, parameter.shape)
    optimizer.step()


def assert_alike(optimizer, parameter, other, expected):
    assert_tensors_identical(parameter, expected)
    found = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert found[0].keys() == found[1].keys()
    for key, state in found[0].items():
        assert state.keys() == found[1][key].keys()
        for name, value in state.items():
            assert_tensors_identical(value, found[1][key][name], name)


@pytest.mark.parametrize("kind", ["one rule", "Grouped"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_grown_table_is_one_that_had_its_rows_from_the_beginning(name, kind):
    rule, settings = SETTINGS[name]
    small, large = tables()
    optimizer, other = made(rule, settings, small, kind), made(rule, settings, large, kind)
    for t, rows in enumerate(ROWS):
        step(optimizer, small, rows, t)
        step(other, large, rows, t)
    optimizer.grow(small, LARGE, NEW)
    other.reset(large, NEW, slice(SMALL, LARGE))  # which catch up on the decay of rows that were there
    assert_alike(optimizer, small, other, large)
    for t, rows in enumerate(LATER):
        step(optimizer, small, rows, t)
        step(other, large, rows, t)
    optimizer.flush()
    other.flush()
    assert_alike(optimizer, small, other, large)


def dense_steps(optimizer, parameter, steps):
    for t in steps:
        gradient = torch.zeros_like(parameter)
        gradient[:SMALL] = parameters((SMALL, COLUMNS), seed=t)[0].detach()
        parameter.grad = gradient
        optimizer.step()


@pytest.mark.parametrize(
    "name", ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Rprop", "Adafactor"]
)
def test_a_table_of_torchs_classes(name):
    """Stepped by the class of torch itself."""
    small, large = tables()
    results = []
    for parameter in (small, large):
        settings = {"lr": 0.01} | ({"momentum": 0.9} if name == "SGD" else {})
        optimizer = optim.Grouped([{"params": [parameter], "rule": getattr(torch.optim, name), **settings}])
        dense_steps(optimizer, parameter, range(2))
        if parameter is small:
            optimizer.grow(small, LARGE, large[SMALL:].detach().clone())
        else:
            large.data[:SMALL] = small[:SMALL]
        results.append((optimizer, parameter))
    (grown, found), (_, whole) = results
    assert found.shape == whole.shape
    for value in grown.state[found].values():
        assert not (torch.is_tensor(value) and value.ndim == 2 and len(value) == SMALL)
    dense_steps(grown, found, range(2, 4))
    assert torch.isfinite(found).all()


def test_what_holds_the_parameter_still_holds_it():
    """The module, the scheduler, hooks and the other groups; a gradient that waits gets zeros."""
    table, head = torch.nn.Embedding(SMALL, COLUMNS, sparse=True), torch.nn.Linear(COLUMNS, 1)
    optimizer = optim.Adagrad([{"params": table.parameters()}, {"params": head.parameters(), "lr": 0.5}], lr=0.1)
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for grown in (False, True, False):
        if grown:
            optimizer.grow(table.weight, LARGE, torch.nn.init.normal_)
        optimizer.zero_grad()
        head(table(torch.tensor([1, LARGE - 1 if grown else 0]))).sum().backward()
        if grown:
            assert table.weight.grad.shape == (LARGE, COLUMNS)
            optimizer.grow(table.weight, LARGE + 1)
            assert table.weight.grad.shape == (LARGE + 1, COLUMNS)
        optimizer.step()
        schedule.step()
    assert optimizer.state[table.weight]["sum"].shape == (LARGE + 1, COLUMNS)
    assert optimizer.state[table.weight]["sum"][LARGE].tolist() == [0.0, 0.0]
    assert optimizer.state[table.weight]["step"] == 3
    assert [group["lr"] for group in optimizer.param_groups] == [0.0125, 0.0625]


def test_a_dense_gradient_gets_zeros():
    w = torch.nn.Parameter(torch.ones(2, 2))
    w.grad = torch.ones(2, 2)
    optimizer = optim.SGD([w], lr=1.0)
    optimizer.grow(w, 3, 5.0)
    optimizer.step()
    assert w.tolist() == [[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_state_dict_of_a_grown_table_loads(copied):
    small, large = tables()
    optimizer, other = optim.Adagrad([small]), optim.Adagrad([large])
    step(optimizer, small, ROWS[0], 0)
    optimizer.grow(small, LARGE, large[SMALL:].detach())
    other.load_state_dict(optimizer.state_dict())
    large.data.copy_(small)
    twin = copied(optimizer)
    (own,) = twin.param_groups[0]["params"]
    for some, its in ((optimizer, small), (other, large), (twin, own)):
        step(some, its, LATER[0], 1)
    assert_tensors_identical(small, large)
    assert_tensors_identical(small, own)


@pytest.mark.parametrize("module", [nn.EmbeddingBag, torch.nn.EmbeddingBag])
def test_bags_look_up_new_rows(module):
    bag = module(SMALL, COLUMNS, mode="sum", sparse=True)
    optimizer = optim.Adagrad(bag.parameters())
    bag(torch.tensor([[0, 1]])).sum().backward()
    optimizer.step()
    optimizer.grow(bag.weight, LARGE, 1.0)
    assert bag(torch.tensor([[LARGE - 1, LARGE - 2]])).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    "rows, values, message",
    [
        (SMALL - 1, None, f"w: rows is {SMALL - 1}; expected the number of rows to grow to, {SMALL} or more"),
        (True, None, "w: rows is True"),
        (5.0, None, r"w: rows is 5\.0"),
        (LARGE, torch.ones(2), None),
        (LARGE, torch.ones(3), r"w: the values have shape \(3,\); expected \(3, 2\)"),
        (LARGE, "x", "w: the values are of type str"),
    ],
)
def test_what_cannot_grow(rows, values, message):
    (w,) = parameters((SMALL, COLUMNS))
    optimizer = optim.Adagrad([("w", w)])
    if message is None:
        optimizer.grow(w, rows, values)
        assert w.shape == (rows, COLUMNS)
        return
    with pytest.raises(ValueError, match=message):
        optimizer.grow(w, rows, values)
    assert w.shape == (SMALL, COLUMNS)
    with pytest.raises(ValueError, match="the optimizer does not have the parameter"):
        optimizer.grow(torch.zeros(2), 3)


# A rate for each coordinate becomes one for each row


@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam"])
@pytest.mark.parametrize("source", ["ours", "torch's"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_a_coordinate_wise_checkpoint_loads_into_rows_by_their_means(name, source, dtype):
    """Sums and averages of squares are those of a run by rows then, up to rounding."""
    first, second, third = (torch.nn.Parameter(parameters((5, 3))[0].detach().to(dtype)) for _ in range(3))
    library = optim if source == "ours" else torch.optim
    by_coordinate = getattr(library, name)([first], lr=0.01)
    by_row = getattr(optim, name)([second], lr=0.01, granularity="row", **ENGINE)
    fresh = getattr(optim, name)([third], lr=0.01, granularity="row", **ENGINE)
    for t in range(3):
        for optimizer, parameter in ((by_coordinate, first), (by_row, second)):
            parts = [parameters((5, 3), seed=seed + t)[0].detach() for seed in (20, 30)]
            parameter.grad = torch.complex(*parts) if dtype.is_complex else parts[0]
            optimizer.step()
    fresh.load_state_dict(by_coordinate.state_dict())
    assert fresh.param_groups[0]["granularity"] == "row"
    for key, value in by_row.state[second].items():
        assert fresh.state[third][key].shape == value.shape
        torch.testing.assert_close(fresh.state[third][key], value)
    third.grad = torch.ones(5, 3, dtype=dtype)
    fresh.step()


def test_other_shapes_are_still_rejected():
    w, other = parameters((5, 3), (5, 4))
    source = optim.Adagrad([other])
    with pytest.raises(ValueError, match=r"'sum' has shape .5, 4.; expected a tensor of shape .5, 1."):
        optim.Adagrad([w], granularity="row").load_state_dict(source.state_dict())
