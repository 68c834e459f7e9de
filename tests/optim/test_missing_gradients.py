"""Parameters are stepped in one call even if some have no gradient in some steps, each with its own step number, and if
each has a group with a rate of its own."""

import numpy as np
import pytest
from support.optimizers import assert_states_identical, assert_tensors_identical, clones, coo, optim, parameters, torch

from surefoot.engines import NonFiniteError
from surefoot.engines.cpu import MultiTable, MultiTensor

SHAPES = ((3,), (2, 5), (), (150_000,), (0,), (40, 7))
MISSING = ({0, 3}, {1}, set(), {0, 1, 2, 4, 5}, {3, 5}, {2}, {0, 1, 2, 3, 4, 5}, set())
"""Which have none in each step; the first step lacks two."""
CASES = {
    "Adagrad": ("Adagrad", {"lr_decay": 0.5}),
    "Adam": ("Adam", {}),
    "Adam, bfloat16": ("Adam", {"dtype": torch.bfloat16, "stochastic_rounding": 7}),
    "AdamW, float64": ("AdamW", {"dtype": torch.float64, "l1": 1e-3, "maximize": True}),
    "SGD": ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    "Adagrad, rates of their own": ("Adagrad", {"lr_decay": 0.5, "apart": True}),
    "AdamW, float64, rates of their own": (
        "AdamW",
        {"dtype": torch.float64, "l1": 1e-3, "maximize": True, "apart": True},
    ),
}
RATES = [
    {"lr": 0.1},
    {"lr": 0.1, "lr_factor": 0.5},
    {"lr": "polynomial:0.1"},
    {"lr_factor": 3},
    {"lr": 0.2},
    {"lr": 0.1},
]


def trained(own, name, sparse=False, apart=False, **settings):
    settings.pop("dtype", None)
    groups = [{"params": [p]} | rate for p, rate in zip(own, RATES, strict=True)] if apart else own
    optimizer = getattr(optim, name)(groups, lr=0.1, **settings)
    source = torch.Generator().manual_seed(1)
    for missing in MISSING:
        for k, p in enumerate(own):
            gradient = torch.randn(p.shape, generator=source).to(p.dtype)
            if sparse:
                gradient = coo([[0, p.shape[0] - 1, 0]], gradient[[0, 1, 2]], p.shape)
            p.grad = None if k in missing else gradient
        before = [(p.detach().clone(), p._version) for p in own]
        optimizer.step()
        for k in missing:
            assert_tensors_identical(own[k].detach(), before[k][0], f"parameter {k}")
            assert own[k]._version == before[k][1]
        assert all(own[k]._version > before[k][1] for k in range(len(own)) if k not in missing)
    return optimizer


@pytest.fixture
def calls(monkeypatch):
    """How many parameters took a step in each call."""
    seen = []
    for kind in (MultiTensor, MultiTable):

        def counting(many, *arguments, run=kind.run):
            steps = next(each for each in arguments if isinstance(each, np.ndarray) and each.ndim == 1)
            seen.append(int((steps > 0).sum()))
            return run(many, *arguments)

        monkeypatch.setattr(kind, "run", counting)
    return seen


@pytest.mark.parametrize("case", CASES)
def test_dense_ones_are_stepped_in_one_call_with_the_bits_of_the_reference(case, calls):
    name, settings = CASES[case]
    own = parameters(*SHAPES, dtype=settings.get("dtype"))
    others = clones(own)
    found = trained(own, name, **settings).state_dict()
    assert calls == [len(SHAPES) - len(missing) for missing in MISSING if len(missing) < len(SHAPES)]
    expected = trained(others, name, engine="reference", **settings).state_dict()
    for k, (mine, theirs) in enumerate(zip(own, others, strict=True)):
        assert_tensors_identical(mine, theirs, f"parameter {k}")
    found["param_groups"] = expected["param_groups"]
    assert_states_identical(found, expected)


@pytest.mark.parametrize("apart", [False, True], ids=["one group", "rates of their own"])
@pytest.mark.parametrize(
    "name, settings",
    [
        ("Adagrad", {"lr_decay": 0.5}),
        ("Adagrad", {"decoupled_weight_decay": 0.1}),
        ("Adam", {"lazy": "touched"}),
    ],
    ids=["Adagrad", "rows that wait", "Adam"],
)
def test_tables_are_stepped_in_one_call_with_the_bits_of_the_reference(name, settings, apart, calls):
    settings = settings | {"apart": apart}
    own = parameters(*((rows, 4) for rows in (5, 300, 7, 20, 3, 1000)))
    others = clones(own)
    found = trained(own, name, sparse=True, **settings).state_dict()
    assert calls == [len(own) - len(missing) for missing in MISSING if len(missing) < len(own)]
    expected = trained(others, name, sparse=True, engine="reference", **settings).state_dict()
    for k, (mine, theirs) in enumerate(zip(own, others, strict=True)):
        assert_tensors_identical(mine, theirs, f"table {k}")
    found["param_groups"] = expected["param_groups"]
    assert_states_identical(found, expected)


def test_nonfinite_values_are_reported_with_parameter_and_step():
    own = parameters((3,), (4,), (5,))
    optimizer = optim.Adam(own)
    for p in own:
        p.grad = torch.ones_like(p)
    optimizer.step()
    own[0].grad = None
    optimizer.step()
    own[0].grad, own[1].grad, own[2].grad = torch.ones(3), None, torch.tensor([1, 1, float("nan"), 1, 1])
    with pytest.raises(NonFiniteError, match=r"^parameter 2 of group 0: 1 of 5 coordinates .* at step 3;"):
        optimizer.step()
    own[0].grad[1] = float("inf")
    own[2].grad = None
    with pytest.raises(NonFiniteError, match=r"^parameter 0 of group 0: 1 of 3 coordinates .* at step 3;"):
        optimizer.step()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_no_schedule_is_asked_for_the_rate_of_a_step_that_is_not_taken(sparse):
    own, asked = parameters((3, 2), (4, 2)), []
    groups = [{"params": own[:1]}, {"params": own[1:], "lr": lambda t: asked.append(t) or 0.5}]
    optimizer = optim.Adagrad(groups, lr=0.1)
    for missing in (False, True, True, False):
        for p in own:
            p.grad = coo([[0]], torch.ones(1, 2), p.shape) if sparse else torch.ones_like(p)
        own[1].grad = None if missing else own[1].grad
        optimizer.step()
    assert set(asked) == {1, 2}
    assert [int(optimizer.state[p]["step"]) for p in own] == [4, 2]


def test_parameters_that_change_the_group_take_its_rate():
    """Those of all groups stay in the same order, as where one at the edge of two groups changes sides."""
    own = parameters((3,), (3,), (3,))
    others = clones(own)
    for kind, params in ((optim.SGD, own), (torch.optim.SGD, others)):
        optimizer = kind([{"params": params[:2]}, {"params": params[2:], "lr": 1.0}], lr=0.1)
        first, second = (group["params"] for group in optimizer.param_groups)
        for step in range(3):
            for p in params:
                p.grad = torch.ones(3)
            optimizer.step()
            if step == 0:
                second.insert(0, first.pop())
    for k, (mine, theirs) in enumerate(zip(own, others, strict=True)):
        assert_tensors_identical(mine, theirs, f"parameter {k}")


def test_errors_name_parameters_by_the_group_where_they_are_now():
    own = parameters((3,), (3,), (3,))
    optimizer = optim.SGD([{"params": [p], "lr": 0.1 * k} for k, p in enumerate(own, 1)])
    for p in own:
        p.grad = torch.ones(3)
    optimizer.step()
    del optimizer.param_groups[0]
    own[1].grad = torch.tensor([1, float("nan"), 1])
    with pytest.raises(NonFiniteError, match=r"^parameter 0 of group 0: 1 of 3 coordinates"):
        optimizer.step()


def test_earlier_gradients_are_not_used():
    """A gradient of another type takes its place, and then none."""
    own = parameters((3,), (4,))
    optimizer = optim.Adagrad(own, lr=0.1)
    for gradient in (torch.ones(4), coo([[0]], [1.0], (4,)), None, torch.ones(4)):
        own[0].grad, own[1].grad = torch.ones(3), gradient
        optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in own] == [4, 3]
    assert optimizer.state[own[1]]["sum"].tolist() == [3, 2, 2, 2]
