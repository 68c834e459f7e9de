"""Parameters are stepped in one call even if some have no gradient in some steps, each with its own step number."""

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
}


def trained(own, name, sparse=False, **settings):
    settings.pop("dtype", None)
    optimizer = getattr(optim, name)(own, lr=0.1, **settings)
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
            seen.append(int((arguments[-1] > 0).sum()))
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


@pytest.mark.parametrize("name", ["Adagrad", "Adam"])
def test_tables_are_stepped_in_one_call_with_the_bits_of_the_reference(name, calls):
    settings = {"lr_decay": 0.5} if name == "Adagrad" else {"lazy": "touched"}
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


def test_earlier_gradients_are_not_used():
    """A gradient of another type takes its place, and then none."""
    own = parameters((3,), (4,))
    optimizer = optim.Adagrad(own, lr=0.1)
    for gradient in (torch.ones(4), coo([[0]], [1.0], (4,)), None, torch.ones(4)):
        own[0].grad, own[1].grad = torch.ones(3), gradient
        optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in own] == [4, 3]
    assert optimizer.state[own[1]]["sum"].tolist() == [3, 2, 2, 2]
