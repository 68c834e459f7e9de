"""Input that does not fit: an error that names what was found and expected, and nothing changed, bit for bit."""

import copy
import re

import numpy as np
import pytest
from support.numerics import assert_identical, assert_same_memory

from surefoot.engines import Step

SHAPE = (5, 3)
IDS = np.array([1, 3])
VALUES = np.ones((2, 3), np.float32)


def g(shape=SHAPE, dtype=np.float32):
    return np.ones(shape, dtype)


# driver: (arguments, what the message must name)
DENSE = {
    "shape": ((g((3, 5)),), [r"\(3, 5\)", r"\(5, 3\)"]),
    "fewer dimensions": ((g((15,)),), [r"\(15,\)", r"\(5, 3\)"]),
    "wider type": ((g(dtype=np.float64),), ["float64", "float32"]),
    "integers": ((g(dtype=np.int64),), ["int64", "float32"]),
    "other byte order": ((g(dtype=">f4"),), [">f4", "float32"]),
    "list": (([[1.0] * 3] * 5,), ["list"]),
}
ROWS = {
    "id too large": ((np.array([1, 5]), VALUES), ["names row 5", "0 … 4"]),
    "negative id": ((np.array([-1, 3]), VALUES), ["names row -1", "0 … 4"]),
    "float ids": ((np.array([1.0, 3.0]), VALUES), ["int32 or int64", "float64"]),
    "bool ids": ((np.array([True, False]), VALUES), ["int32 or int64", "bool"]),
    "unsigned ids": ((np.array([1, 3], np.uint32), VALUES), ["int32 or int64", "uint32"]),
    "ids in a column": ((np.array([[1], [3]]), VALUES), ["1-D", "2-D"]),
    "too few values": ((IDS, VALUES[:1]), [r"\(1, 3\)", r"\(2, 3\)"]),
    "too wide values": ((IDS, g((2, 4))), [r"\(2, 4\)", r"\(2, 3\)"]),
    "wider type": ((IDS, VALUES.astype(np.float64)), ["float64", "float32"]),
    "list of values": ((IDS, [[1.0] * 3] * 2), ["list"]),
}
CASES = [
    pytest.param(driver, arguments, names, id=f"{driver}-{case}")
    for driver, cases in (("dense", DENSE), ("rows", ROWS))
    for case, (arguments, names) in cases.items()
]


def started(engine, shape, **settings):
    """(step, parameters, state) after a first step, so that there is something to spoil."""
    step = Step("adagrad", engine=engine, name="embedding.weight", **settings)
    x = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    state = step.init(x)
    step.dense(x, np.ones_like(x), state)
    return step, x, state


def rejects(call, x, state, *names):
    before, memory = x.copy(), copy.deepcopy(state)
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert message.startswith("embedding.weight: "), message
    for name in names:
        assert re.search(name, message), f"{name!r} is not in {message!r}"
    assert_identical(x, before, "parameters")
    assert_same_memory(state, memory)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("driver, arguments, names", CASES)
def test_arguments(driver, arguments, names, engine):
    step, x, state = started(engine, SHAPE)
    if driver == "rows":
        rejects(lambda: step.rows(x, *arguments, state), x, state, *names)
    else:
        rejects(lambda: step.dense(x, *arguments, state), x, state, *names)


def drivers(step, x, state):
    """A call of every driver that would work."""
    yield lambda: step.dense(x, np.ones_like(x), state)
    yield lambda: step.rows(x, IDS, np.ones((2, *x.shape[1:]), x.dtype), state)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("shape", [SHAPE, (4,)])
def test_parameters_that_cannot_be_written(engine, shape):
    step, x, state = started(engine, shape)
    x.flags.writeable = False
    for call in drivers(step, x, state):
        rejects(call, x, state, "read-only")


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("shape", [SHAPE, (4,)])
def test_memory_that_is_missing(engine, shape):
    step, x, state = started(engine, shape)
    del state.slots["total"]
    for call in drivers(step, x, state):
        rejects(call, x, state, "no slot 'total'", r"init\(x\)")


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("shape", [SHAPE, (4,)])
@pytest.mark.parametrize("other", [(1,), (5, 1), (6, 3), (5,), ()])
def test_memory_of_another_shape(engine, shape, other):
    step, x, state = started(engine, shape)
    state.slots["total"] = np.ones(other, np.float32)
    for call in drivers(step, x, state):
        rejects(call, x, state, "slot 'total'", re.escape(str(other)), re.escape(str(shape)))


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_memory_of_another_granularity(engine):
    _, _, row_state = started(engine, SHAPE, granularity="row")
    step, x, _ = started(engine, SHAPE)
    for call in drivers(step, x, row_state):
        rejects(call, x, row_state, "slot 'total'", r"\(5, 1\)", r"\(5, 3\)")


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_memory_that_cannot_be_written(engine):
    step, x, state = started(engine, SHAPE)
    state.slots["total"].flags.writeable = False
    for call in drivers(step, x, state):
        rejects(call, x, state, "slot 'total'", "read-only")


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_memory_of_an_unsupported_type(engine, dtype):
    step, x, state = started(engine, SHAPE)
    state.slots["total"] = np.ones(SHAPE, dtype)
    for call in drivers(step, x, state):
        rejects(call, x, state, "slot 'total'", np.dtype(dtype).name)


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "complex64", "uint8", ">f4"])
def test_parameters_of_unsupported_types(dtype):
    step = Step("adagrad", engine="reference", name="embedding.weight")
    with pytest.raises(ValueError, match=f"embedding.weight: type {dtype} is not supported; expected float64, float32"):
        step.init(np.ones(3, dtype))


def test_a_single_number_has_no_rows():
    step, x = Step("adagrad", name="embedding.weight"), np.array(1.0)
    state = step.init(x)
    rejects(lambda: step.rows(x, np.array([0]), np.ones(1), state), x, state, "needs parameters with rows")
