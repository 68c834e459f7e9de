"""surefoot.nn.EmbeddingBag is torch's, but its gradient has no duplicate rows."""

import copy
import itertools
import pickle

import pytest
from support.optimizers import assert_tensors_close as assert_close_within
from support.optimizers import assert_tensors_identical, optim, torch

from surefoot import nn
from surefoot.optim.gradients import merged

ROWS, WIDTH = 40, 6
IDS = torch.tensor([3, 0, 3, 3, 39, 7, 3, 0, 12, 12, 3])
OFFSETS = torch.tensor([0, 4, 4, 9])  # the second bag is empty
WEIGHTS = torch.linspace(-2, 3, len(IDS))

SETTINGS = {
    "sum": {"mode": "sum"},
    "mean": {"mode": "mean"},
    "padding": {"mode": "sum", "padding_idx": 3},
    "mean with padding": {"mode": "mean", "padding_idx": -1},
    "last offset": {"mode": "sum", "include_last_offset": True},
    "float64": {"mode": "mean", "dtype": torch.float64},
    "max norm": {"mode": "sum", "max_norm": 0.5},
    "float16": {"mode": "sum", "dtype": torch.float16},
}


def pair(**settings):
    """Torch's module and ours, with the same weights."""
    modules = [kind(ROWS, WIDTH, sparse=True, **settings) for kind in (torch.nn.EmbeddingBag, nn.EmbeddingBag)]
    modules[1].load_state_dict(modules[0].state_dict())
    return modules


def inputs(module, dtype=torch.int64):
    offsets = torch.cat((OFFSETS, torch.tensor([len(IDS)]))) if module.include_last_offset else OFFSETS
    return IDS.to(dtype), offsets.to(dtype)


def assert_tensors_close(found, expected):
    kind = str(found.dtype) if found.dtype == torch.float16 else f"torch {found.dtype}".replace("torch.", "")
    assert_close_within(found.detach(), expected.detach(), kind)


def slope(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(like.dtype)


def same_gradient(ours, theirs):
    """The bits of torch's rows summed in order of occurrence."""
    theirs = merged(theirs)
    assert_tensors_identical(ours._indices(), theirs._indices())
    assert_tensors_identical(ours._values(), theirs._values())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_sums_means_and_gradients(settings, dtype):
    theirs, ours = pair(**settings)
    results = [module(*inputs(module, dtype)) for module in (theirs, ours)]
    assert_tensors_close(results[1], results[0])
    for result in results:
        result.backward(slope(result))
    elsewhere = "max_norm" in settings or settings.get("dtype") == torch.float16
    same_gradient(merged(ours.weight.grad) if elsewhere else ours.weight.grad, theirs.weight.grad)


def test_rows_are_unique():
    theirs, ours = pair(mode="sum")
    for module in (theirs, ours):
        module(IDS, OFFSETS).sum().backward()
    assert theirs.weight.grad._nnz() == len(IDS)
    assert ours.weight.grad._nnz() == len(IDS.unique())
    assert ours.weight.grad.layout is torch.sparse_coo


@pytest.mark.parametrize("learned", [False, True])
def test_weights_of_samples(learned):
    theirs, ours = pair(mode="sum", padding_idx=0)
    factors = [WEIGHTS.clone().requires_grad_(learned) for _ in range(2)]
    for module, factor in zip((theirs, ours), factors, strict=True):
        result = module(IDS, OFFSETS, factor)
        result.backward(slope(result))
    same_gradient(ours.weight.grad, theirs.weight.grad)
    if learned:
        assert_tensors_close(factors[1].grad, factors[0].grad)


@pytest.mark.parametrize("shape", [(3, 4), (0, 4)], ids=str)
def test_bags_of_one_size(shape):
    theirs, ours = pair(mode="mean")
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) % 5
    results = [module(ids) for module in (theirs, ours)]
    assert_tensors_close(results[1], results[0])
    for result in results:
        result.sum().backward()
    same_gradient(ours.weight.grad, theirs.weight.grad)


@pytest.fixture
def unchecked():
    """torch's own optimizer makes sparse tensors, and warns unless checking them is switched on or off."""
    with torch.sparse.check_sparse_tensor_invariants(False):
        yield


STEPS = {
    "Adagrad": {},
    "Adagrad by row": {"granularity": "row"},
    "Adam": {"lazy": "touched"},
    "FTRL": {"l1": 0.01},
    "SGD": {"momentum": 0.9},
    "torch's": {},
}


@pytest.mark.parametrize("kind", STEPS)
def test_steps(kind, unchecked):
    """The bits of steps along torch's gradient."""
    theirs, ours = pair(mode="sum")
    make = torch.optim.Adagrad if kind == "torch's" else getattr(optim, kind.split()[0])
    for module in (theirs, ours):
        optimizer = make(module.parameters(), lr=0.1, **STEPS[kind])
        for step in range(3):
            optimizer.zero_grad()
            result = module((IDS + step) % ROWS, OFFSETS)
            result.backward(slope(result, step))
            optimizer.step()
    compare = assert_tensors_close if kind == "torch's" else assert_tensors_identical
    compare(ours.weight.detach(), theirs.weight.detach())


def test_accumulation_clipping_and_hooks():
    theirs, ours = pair(mode="sum")
    seen = []
    ours.weight.register_hook(lambda gradient: seen.append(gradient._nnz()))
    for module, step in itertools.product((theirs, ours), range(3)):
        result = module((IDS + step) % ROWS, OFFSETS)
        result.backward(slope(result, step))
    assert_tensors_close(ours.weight.grad.to_dense(), theirs.weight.grad.to_dense())
    assert seen == [5, 5, 5]
    norms = [optim.clip_grad_norm_(module.parameters(), 1.0) for module in (theirs, ours)]
    assert_tensors_close(norms[1], norms[0])
    assert_tensors_close(ours.weight.grad.to_dense(), theirs.weight.grad.to_dense())


def test_copies_checkpoints_and_pretrained_weights():
    theirs, ours = pair(mode="mean", padding_idx=2)
    expected = ours(IDS, OFFSETS)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is nn.EmbeddingBag
        assert_tensors_identical(copied(IDS, OFFSETS), expected)
    theirs.load_state_dict(ours.state_dict())
    pretrained = nn.EmbeddingBag.from_pretrained(ours.weight.detach(), freeze=False, sparse=True, padding_idx=2)
    pretrained(IDS, OFFSETS).sum().backward()
    assert pretrained.weight.grad._nnz() == len(IDS.unique())
    assert repr(ours) == repr(theirs)


def test_dense_gradients_and_the_largest_are_torchs():
    """What cannot be sparse, or is not a sum, takes torch's path."""
    for settings in ({"mode": "sum"}, {"mode": "max"}):
        modules = [kind(ROWS, WIDTH, **settings) for kind in (torch.nn.EmbeddingBag, nn.EmbeddingBag)]
        modules[1].load_state_dict(modules[0].state_dict())
        for module in modules:
            result = module(IDS, OFFSETS)
            result.backward(slope(result))
        assert_tensors_identical(modules[1].weight.grad, modules[0].weight.grad)


def test_a_frozen_table_without_gradient():
    theirs, ours = pair(mode="sum")
    with torch.no_grad():
        assert_tensors_close(ours(IDS, OFFSETS), theirs(IDS, OFFSETS))
    ours.requires_grad_(False)
    assert not ours(IDS, OFFSETS).requires_grad


def test_function_transforms_take_torchs_path():
    theirs, ours = pair(mode="sum")
    weight = {"weight": ours.weight.detach()}
    results = [torch.func.functional_call(module, weight, (IDS, OFFSETS)) for module in (theirs, ours)]
    assert_tensors_identical(results[1], results[0])


def test_a_second_derivative_is_rejected():
    _, ours = pair(mode="sum")
    result = ours(IDS, OFFSETS)
    direction = torch.ones_like(result, requires_grad=True)
    (gradient,) = torch.autograd.grad(result, ours.weight, direction, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.to_dense().sum().backward()


@pytest.mark.parametrize(
    "ids, offsets, error, message",
    [
        ([0, 40], [0], RuntimeError, r"id 40 is out of range; expected 0 … 39"),
        ([-1, 4], [0], RuntimeError, r"id -1 is out of range; expected 0 … 39"),
        ([1, 2], [1], RuntimeError, r"begin with 1, .* ascend from 0 to 2"),
        ([1, 2], [0, 3], RuntimeError, r"go up to 3 .* ascend from 0 to 2"),
        ([1, 2, 3], [0, 2, 1], RuntimeError, r"ascend"),
        ([[], []], None, RuntimeError, "step must be nonzero"),
        ([[1, 2]], [0], ValueError, "offsets"),
    ],
)
def test_bad_input_changes_nothing(ids, offsets, error, message):
    _, ours = pair(mode="sum")
    before = ours.weight.detach().clone()
    with pytest.raises(error, match=message):
        ours(torch.tensor(ids, dtype=torch.int64), None if offsets is None else torch.tensor(offsets))
    assert_tensors_identical(ours.weight.detach(), before)
    assert ours.weight.grad is None


def test_the_address_of_a_fake_table_is_not_read():
    """It has no memory; torch warns of it, and warnings are errors here."""
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        bag = nn.EmbeddingBag(1 << 20, 16, mode="sum", sparse=True)
    assert isinstance(bag.weight, fake.FakeTensor)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_ids_without_a_bag_are_rejected(mode, dtype, last):
    """torch reads beyond the offsets."""
    bag = nn.EmbeddingBag(ROWS, WIDTH, mode=mode, sparse=mode != "max", include_last_offset=last, dtype=dtype)
    for size in range(1 + last):
        with pytest.raises(RuntimeError, match="EmbeddingBag: "):
            bag(IDS, torch.zeros(size, dtype=torch.int64))
        with pytest.raises(RuntimeError, match="EmbeddingBag: "), torch.no_grad():
            bag(IDS, torch.zeros(size, dtype=torch.int64))


@pytest.mark.parametrize("with_offsets", [False, True])
def test_the_default_device_changes_nothing(with_offsets):
    module = nn.EmbeddingBag(ROWS, WIDTH, mode="sum", sparse=True)
    arguments = (IDS, OFFSETS) if with_offsets else (IDS[None],)
    with torch.device("meta"):
        module(*arguments).sum().backward()
    assert module.weight.grad.device.type == "cpu"
    assert_tensors_identical(merged(module.weight.grad)._indices()[0], torch.unique(IDS))
