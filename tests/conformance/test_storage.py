"""Parameters stored in 16 bits, computed in float32: the same bits in both engines, rounded to nearest or at random."""

import numpy as np
import pytest
from table import (
    CONCRETE,
    both,
    dense_run,
    examples_of,
    gradients,
    laziness,
    linear_run,
    parameters,
    rows_run,
    touches,
)

from surefoot.engines import NonFiniteError, Step, from_bfloat16

SHAPE = (9, 33)
# Rounded to nearest, rounded at random, and with something around the rule.
SETTINGS = {
    "bfloat16": ({}, {"stochastic_rounding": 7}, {"stochastic_rounding": 0, "l1": 1e-3, "clip_norm": 1.0}),
    "float16": ({}, {"l1": 1e-3, "clip_norm": 1.0}),
}
STORAGE = [(dtype, settings) for dtype, all_of in SETTINGS.items() for settings in all_of]
storage = pytest.mark.parametrize("dtype, settings", STORAGE, ids=lambda value: str(value) if value else "plain")


@storage
@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_dense(name, dtype, settings):
    run = dense_run(gradients(SHAPE, dtype, 4))
    _, state = both(CONCRETE[name], parameters(SHAPE, dtype), run, nonfinite="skip", **settings)
    assert {slot.dtype for slot in state.slots.values()} == {np.dtype(np.float32)}


@storage
def test_one_rate_for_a_row(dtype, settings):
    run = dense_run(gradients(SHAPE, dtype, 4))
    both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, granularity="row", nonfinite="skip", **settings)


@storage
@pytest.mark.parametrize("name", ["adagrad", "momentum"])
def test_rows(name, dtype, settings):
    c = CONCRETE[name]
    lazy = laziness(c, **settings)
    run = rows_run(touches(SHAPE, dtype, 6))
    both(c, parameters(SHAPE, dtype), run, lazy=lazy, nonfinite="skip", **settings)


@storage
def test_linear_models(dtype, settings):
    examples, y = examples_of("csr", 17, 9, "float32")
    run = linear_run(examples, y, [np.arange(17), np.arange(17)[::-1]], "logistic", 3)
    both(CONCRETE["adagrad"], parameters((10,), dtype), run, nonfinite="skip", **settings)


@pytest.mark.parametrize("dtype", SETTINGS)
@pytest.mark.parametrize("state_dtype", ["bfloat16", "float16"])
def test_memory_in_16_bits_too(dtype, state_dtype):
    run = dense_run(gradients(SHAPE, dtype, 4))
    both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, state_dtype=state_dtype, nonfinite="skip")


@pytest.mark.parametrize("dtype", SETTINGS)
def test_an_infinitely_small_epsilon_is_not_rounded_away(dtype):
    """ε = 1e-10 is 0 in float16: were it rounded to the storage type, a zero gradient would divide by zero."""
    zero = parameters((5,), dtype) * 0
    step = Step("adagrad", convention="pytorch", lr=1.0)
    state = step.init(zero)
    # Fed by hand: the memory is float32 and far below what float16 can hold, and ε outweighs its root.
    state.slots["total"][:] = 1e-24
    assert step.rates(zero, state) == pytest.approx(1 / (1e-12 + 1e-10), rel=1e-6)


@pytest.mark.parametrize("dtype", SETTINGS)
def test_a_step_beyond_the_storage_type_is_left_out_and_counted(dtype):
    largest = {"float16": np.float16(65504), "bfloat16": np.uint16(0x7F7F)}[dtype]
    x = np.array([largest, 0], np.uint16 if dtype == "bfloat16" else np.float16)
    g = np.array([-1.0, -1.0], np.float32).view(np.uint16)[1::2] if dtype == "bfloat16" else np.float16([-1, -1])
    for engine in ("reference", "cpu"):
        step, mine = Step("sgd", lr=3e38 if dtype == "bfloat16" else 1e4, engine=engine), x.copy()
        state = step.init(mine)
        with pytest.raises(NonFiniteError, match="1 of 2 coordinates"):
            step.dense(mine, g, state)
        assert mine[0] == largest
        assert state.skipped == 1
        moved = from_bfloat16(mine)[1] if dtype == "bfloat16" else mine[1]
        assert float(moved) == pytest.approx(step.hyper["lr"], rel=2**-8)
