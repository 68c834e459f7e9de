"""surefoot.nn.Embedding is torch's, but its gradient has no duplicate rows."""

import pytest
from support.optimizers import assert_tensors_identical, optim, torch

from surefoot import nn
from surefoot.optim.gradients import merged

ROWS, WIDTH = 40, 6
IDS = torch.tensor([[3, 0, 3], [3, 39, 7], [3, 0, 12], [12, 3, 3]])

SETTINGS = {
    "plain": {},
    "padding": {"padding_idx": 3},
    "padding from the end": {"padding_idx": -1},
    "float64": {"dtype": torch.float64},
    "float16": {"dtype": torch.float16},
    "max norm": {"max_norm": 0.5},
    "dense": {"sparse": False},
    "dense by frequency": {"sparse": False, "scale_grad_by_freq": True},
}


def pair(**settings):
    """Torch's module and ours, with the same weights."""
    modules = [kind(ROWS, WIDTH, **({"sparse": True} | settings)) for kind in (torch.nn.Embedding, nn.Embedding)]
    modules[1].load_state_dict(modules[0].state_dict())
    return modules


def slope(like):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.dtype)


@pytest.mark.parametrize("ids", [IDS, IDS.int(), IDS.T, IDS[0], IDS[:0]], ids=["", "int32", "T", "row", "none"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_rows_and_gradients(settings, ids):
    """The bits of torch's, rows summed in order of occurrence."""
    theirs, ours = pair(**settings)
    results = [module(ids) for module in (theirs, ours)]
    assert_tensors_identical(results[1].detach(), results[0].detach())
    for result in results:
        result.backward(slope(result))
    assert_tensors_identical(ours.weight.detach(), theirs.weight.detach())  # max_norm changes it
    if not ours.sparse:
        assert_tensors_identical(ours.weight.grad, theirs.weight.grad)
        return
    expected = merged(theirs.weight.grad)
    found = (
        merged(ours.weight.grad)
        if settings.keys() & {"max_norm"} or ours.weight.dtype is torch.float16
        else ours.weight.grad
    )
    assert_tensors_identical(found._indices(), expected._indices())
    assert_tensors_identical(found._values(), expected._values())


def test_steps():
    """The bits of steps along torch's gradient."""
    theirs, ours = pair(padding_idx=0)
    for module in (theirs, ours):
        optimizer = optim.Adagrad(module.parameters(), lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            result = module((IDS + step) % ROWS)
            result.backward(slope(result))
            optimizer.step()
    assert_tensors_identical(ours.weight.detach(), theirs.weight.detach())


def test_function_transforms_and_pretrained_weights():
    theirs, ours = pair()
    weight = {"weight": ours.weight.detach()}
    results = [torch.func.functional_call(module, weight, (IDS,)) for module in (theirs, ours)]
    assert_tensors_identical(results[1], results[0])
    pretrained = nn.Embedding.from_pretrained(ours.weight.detach(), freeze=False, sparse=True)
    pretrained(IDS).sum().backward()
    assert pretrained.weight.grad._nnz() == len(IDS.unique())


def test_ids_out_of_range():
    _, ours = pair()
    with pytest.raises(IndexError, match="out of range"):
        ours(torch.tensor([ROWS]))
