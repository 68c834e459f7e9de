"""Rows that wait have caught up wherever a model is evaluated or saved, and nothing is done where none waits."""

import copy
import io

import pytest
from support.optimizers import assert_tensors_identical, optim, torch

nn = torch.nn
ROWS = 6


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.ones(ROWS, 2), freeze=False, sparse=True)
        self.head = nn.Linear(2, 1)

    def forward(self, ids):
        return self.head(self.table(ids))


def optimizer_of(model, kind):
    decay = {"lr": 0.1, "decoupled_weight_decay": 0.5, "engine": "reference"}
    if kind == "Grouped":
        return optim.Grouped(optim.groups(model, {"table.*": {"rule": "adagrad", **decay}, "*": "adamw"}))
    return optim.Adagrad(model.parameters(), **decay)


def trained(kind):
    """A model with rows that wait, its optimizer, and its table as flush() would leave it."""
    torch.manual_seed(0)
    model = Model()
    optimizer = optimizer_of(model, kind)
    for t in range(3):
        optimizer.zero_grad()
        model(torch.tensor([t, 0])).sum().backward()
        optimizer.step()
    other = copy.deepcopy((model, optimizer))
    other[1].flush()
    return model, optimizer, other[0].table.weight.detach()


USES = {
    "evaluation": lambda model: model.eval()(torch.tensor([5])),
    "one module": lambda model: model.table.eval()(torch.tensor([5])),
    "state dict": lambda model: model.state_dict(),
    "saved": lambda model: torch.save(model.table.state_dict(), io.BytesIO()),
}


@pytest.mark.parametrize("kind", ["Adagrad", "Grouped"])
@pytest.mark.parametrize("use", USES)
def test_rows_have_caught_up(use, kind):
    model, optimizer, expected = trained(kind)
    optim.flush_before_use(model, optimizer)
    assert not torch.equal(model.table.weight, expected)
    USES[use](model)
    assert_tensors_identical(model.table.weight, expected)


def test_rows_take_the_steps_that_they_would_have_taken_later():
    """The head is frozen, so that gradients do not depend on the rows."""
    results = []
    for hooked in (False, True):
        model, optimizer, _ = trained("Adagrad")
        model.head.requires_grad_(False)
        if hooked:
            optim.flush_before_use(model, optimizer)
        for t in range(2):
            model.eval()(torch.tensor([1]))
            model.train()
            optimizer.zero_grad()
            model(torch.tensor([t, 4])).sum().backward()
            optimizer.step()
        optimizer.flush()
        results.append(model.table.weight)
    torch.testing.assert_close(*results)


def test_nothing_is_done_in_training_or_after_the_end():
    model, optimizer, expected = trained("Adagrad")
    with optim.flush_before_use(model, optimizer):
        model(torch.tensor([1]))
        assert not torch.equal(model.table.weight, expected)
    model.eval()(torch.tensor([1]))
    model.state_dict()
    assert not torch.equal(model.table.weight, expected)


def test_copies_and_models_without_their_optimizer():
    model, optimizer, expected = trained("Adagrad")
    optim.flush_before_use(model, optimizer)
    copied = copy.deepcopy(model)
    copied.eval()(torch.tensor([1]))
    file = io.BytesIO()
    torch.save(model, file)
    assert not torch.equal(copied.table.weight, expected)
    del optimizer
    model.eval()(torch.tensor([1]))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model():
    model, optimizer, expected = trained("Adagrad")
    optim.flush_before_use(model, optimizer)
    torch.compile(model.eval(), backend="eager")(torch.tensor([5]))
    assert_tensors_identical(model.table.weight, expected)


def test_another_optimizers_model():
    with pytest.raises(ValueError, match="the optimizer has no parameter of the model"):
        optim.flush_before_use(Model(), optimizer_of(Model(), "Adagrad"))


class Listed(torch.nn.Module):
    """Its table is in a module that is never called."""

    def __init__(self):
        super().__init__()
        self.tables = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(4, 1))])

    def forward(self, ids):
        return torch.nn.functional.embedding(ids, self.tables[0], sparse=True)


def test_tables_of_modules_that_are_never_called_catch_up():
    model = Listed()
    optimizer = optim.Adagrad(model.parameters(), lr=0.1, decoupled_weight_decay=1.0)
    optim.flush_before_use(model, optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.tensor([0])).sum().backward()
        optimizer.step()
    assert model.eval()(torch.tensor([2])).item() == pytest.approx(0.81)


def test_another_optimizer_is_rejected():
    model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"optimizer is a Adam; expected an optimizer of surefoot.optim"):
        optim.flush_before_use(model, torch.optim.Adam(model.parameters()))
