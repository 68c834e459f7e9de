"""surefoot.optim in lockstep with torch.optim: parameters and state dicts; checkpoints move both ways."""

import copy
import functools
import io

import pytest
from support.optimizers import (
    ENGINES,
    SHARED,
    all_on,
    assert_states_close,
    assert_tensors_close,
    assert_tensors_identical,
    clones,
    combinations,
    described,
    optim,
    parameters,
    torch,
)

STEPS = 100
SHAPES = ((3, 5), (), (2, 3, 4))
EVERY = [
    pytest.param(name, options, id=f"{name} {described(options)}") for name in SHARED for options in combinations(name)
]
SOME = [
    pytest.param(name, options, id=f"{name} {described(options)}") for name in SHARED for options in ({}, all_on(name))
]
EACH = pytest.mark.parametrize("name", SHARED)


@pytest.fixture
def float64_by_default():
    """torch's NAdam keeps its product of momenta in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@functools.cache
def gradients(dtype):
    """Of all sizes, some coordinates exactly zero."""
    source = torch.Generator().manual_seed(1)
    result = []
    for _ in range(STEPS):
        size = [10.0 ** (4 * torch.rand(shape, generator=source) - 3) for shape in SHAPES]
        kept = [torch.rand(shape, generator=source) > 0.2 for shape in SHAPES]
        sign = [torch.randn(shape, dtype=dtype, generator=source) for shape in SHAPES]
        result.append([(a * b * c).to(dtype) for a, b, c in zip(size, kept, sign, strict=True)])
    return result


def pair(name, options, dtype):
    """(our optimizer, its parameters, torch's, its parameters)."""
    ours = parameters(*SHAPES, dtype=dtype)
    theirs = clones(ours)
    engine = None if dtype == torch.float64 else ENGINES[name]
    one, other = getattr(optim, name)(ours, engine=engine, **options), getattr(torch.optim, name)(theirs, **options)
    return one, ours, other, theirs


def step(optimizer, parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def through_a_file(state_dict):
    """A checkpoint saved, and loaded by torch's safe loader."""
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_together(found, expected, tolerance, what):
    for ours, theirs in zip(found, expected, strict=True):
        assert_tensors_close(ours, theirs, tolerance, what)


def lockstep(name, options, dtype, tolerance):
    """Halfway, each continues from the other's checkpoint."""
    a, ours, b, theirs = pair(name, options, dtype)
    for t, grads in enumerate(gradients(dtype), 1):
        step(a, ours, grads)
        step(b, theirs, grads)
        if t in (1, 2, 10, STEPS // 2, STEPS):
            assert_together(ours, theirs, tolerance, f"step {t}")
        if t == STEPS // 2:
            mine = copy.deepcopy(a.state_dict())
            a.load_state_dict(b.state_dict())
            b.load_state_dict(mine)
    assert_states_close(a.state_dict(), b.state_dict(), tolerance)
    known = {key for group in b.state_dict()["param_groups"] for key in group}
    assert known <= {key for group in a.state_dict()["param_groups"] for key in group}


@pytest.mark.sampled(24)
@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize("name, options", EVERY)
def test_float64(name, options):
    lockstep(name, options, torch.float64, "torch float64")


@pytest.mark.sampled(12)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("name, options", SOME)
def test_float32(name, options, dtype):
    lockstep(name, options, dtype, "torch float32")


@pytest.mark.parametrize("hint", ["foreach", "fused", "capturable"])
@EACH
def test_hints_change_nothing(name, hint):
    results = []
    for value in (None, True):
        mine = parameters(*SHAPES)
        optimizer = getattr(optim, name)(mine, engine=ENGINES[name], **{hint: value})
        for grads in gradients(torch.float32)[:3]:
            step(optimizer, mine, grads)
        results.append(mine)
    for found, expected in zip(*results, strict=True):
        assert_tensors_identical(found, expected)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, options", SOME)
def test_half_precision(name, options, dtype):
    """As torch would in float32, from the same parameters: memory in float32, one rounding of each new parameter."""
    ours = parameters(*SHAPES, dtype=dtype)
    exact = [torch.nn.Parameter(parameter.detach().float()) for parameter in ours]
    optimizer = getattr(optim, name)(ours, engine=ENGINES[name], **options)
    oracle = getattr(torch.optim, name)(exact, **options)
    for grads in gradients(torch.float32):
        grads = [gradient.to(dtype) for gradient in grads]
        for parameter, wide in zip(ours, exact, strict=True):
            wide.data.copy_(parameter.detach())
        step(optimizer, ours, grads)
        step(oracle, exact, [gradient.float() for gradient in grads])
    assert_together([p.float() for p in ours], [p.to(dtype).float() for p in exact], str(dtype), "parameters")
    assert_states_close(optimizer.state_dict(), oracle.state_dict(), "torch float32")


def steps(optimizer, parameters, some):
    for grads in some:
        step(optimizer, parameters, grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("direction", ["to torch", "from torch"])
@EACH
def test_checkpoints_move(name, direction, dtype):
    """A run that changes the library halfway, through a file, equals one that does not."""
    options, grads = all_on(name), gradients(dtype)
    first, then = (optim, torch.optim) if direction == "to torch" else (torch.optim, optim)
    whole, run, resumed = parameters(*SHAPES, dtype=dtype), parameters(*SHAPES, dtype=dtype), None
    steps(getattr(torch.optim, name)(whole, **options), whole, grads)
    engine = {"engine": ENGINES[name]}
    before = getattr(first, name)(run, **options, **(engine if first is optim else {}))
    steps(before, run, grads[: STEPS // 2])
    resumed = clones(run)
    after = getattr(then, name)(resumed, lr=123.0, **(engine if then is optim else {}))
    after.load_state_dict(through_a_file(before.state_dict()))
    steps(after, resumed, grads[STEPS // 2 :])
    assert_together(resumed, whole, "torch float32", direction)


@EACH
def test_a_checkpoint_is_its_own_round_trip(name):
    """Bit for bit, the types of the memory included."""
    mine, grads = parameters(*SHAPES, dtype=torch.bfloat16), gradients(torch.float32)
    grads = [[gradient.bfloat16() for gradient in some] for some in grads]
    optimizer = getattr(optim, name)(mine, engine=ENGINES[name], **all_on(name))
    steps(optimizer, mine, grads[:5])
    other = clones(mine)
    loaded = getattr(optim, name)(other)
    loaded.load_state_dict(through_a_file(optimizer.state_dict()))
    assert loaded.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    for index, tensors in optimizer.state_dict()["state"].items():
        for key, value in tensors.items():
            assert_tensors_identical(loaded.state_dict()["state"][index][key], value, key)
    for one, some in ((optimizer, mine), (loaded, other)):
        steps(one, some, grads[5:10])
    for found, expected in zip(other, mine, strict=True):
        assert_tensors_identical(found, expected)


@EACH
def test_before_the_first_step(name):
    """torch's Adagrad has its memory from the start, all others have none."""
    a, _, b, _ = pair(name, {}, torch.float32)
    assert_states_close(a.state_dict(), b.state_dict(), "torch float32")
    a.load_state_dict(b.state_dict())
    b.load_state_dict(a.state_dict())
