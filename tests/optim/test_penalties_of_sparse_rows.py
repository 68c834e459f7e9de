"""After flush(), rows without a gradient are where dense steps with zero gradients would have put them."""

import copy

import pytest
import torch

import surefoot.optim
from surefoot.engines import NonFiniteError

STEPS = ([0, 0, 3], [1, 3], [2], [0, 3])


def trained(name: str, sparse: bool, **settings):
    """A table of 6 rows, stepped along gradients that do not depend on it, and its optimizer."""
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).view(6, 2)
    table = torch.nn.Embedding.from_pretrained(start, freeze=False, sparse=sparse)
    optimizer = getattr(surefoot.optim, name)(table.parameters(), lr=0.1, **settings)
    for ids in STEPS:
        optimizer.zero_grad()
        (table(torch.tensor(ids)) * torch.tensor([1.0, -2.0], dtype=torch.float64)).sum().backward()
        optimizer.step()
    return table, optimizer


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "name, settings",
    [
        ("SGD", {"decoupled_weight_decay": 0.5}),
        ("SGD", {"l1": 0.5}),
        ("SGD", {"l2": 0.5}),
        ("SGD", {"momentum": 0.9}),
        ("Adagrad", {"decoupled_weight_decay": 0.5}),
        ("Adagrad", {"l1": 0.5}),
        pytest.param("Adagrad", {"l2": 0.5, "granularity": "row", "lr_decay": 0.1}, marks=pytest.mark.slow),
        pytest.param("RMSprop", {"granularity": "row"}, marks=pytest.mark.slow),
        ("Adadelta", {}),
        ("FTRL", {"l1": 0.5}),
    ],
)
def test_settled_rows_equal_dense_steps(name, settings):
    dense, _ = trained(name, sparse=False, **settings)
    table, optimizer = trained(name, sparse=True, **settings)
    again, other = copy.deepcopy((table, optimizer))
    optimizer.settle()
    torch.testing.assert_close(table.weight, dense.weight, rtol=1e-9, atol=1e-12)
    # What rows have to catch up on survives a checkpoint.
    other.load_state_dict(copy.deepcopy(other.state_dict()))
    other.settle()
    torch.testing.assert_close(again.weight, table.weight, rtol=0, atol=0)


@pytest.mark.parametrize("engine", [None, "reference"])
def test_a_nonfinite_first_gradient_leaves_the_other_rows_to_catch_up(engine):
    dense, table = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    ends = []
    for parameter in (dense, table):
        optimizer = surefoot.optim.SGD([parameter], lr=0.5, l1=0.5, nonfinite="raise", engine=engine)
        first = torch.zeros(3, 2).index_fill(0, torch.tensor([1]), float("nan"))
        parameter.grad = first if parameter is dense else first.to_sparse(1)
        with pytest.raises(NonFiniteError):
            optimizer.step()
        parameter.grad = torch.zeros(3, 2)
        optimizer.step()
        ends.append(parameter.detach())
    # Two steps take ½ · ½ each from every row, except from the row whose first step was skipped.
    torch.testing.assert_close(ends[1], torch.tensor([[0.5], [0.75], [0.5]]).expand(3, 2))
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)
