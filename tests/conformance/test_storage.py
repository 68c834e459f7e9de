"""Parameters stored in 16 bits, computed in float32: the same bits in both engines, rounded to nearest or at random."""

import numpy as np
import pytest
from support.table import (
    CONCRETE,
    both,
    dense_run,
    gradients,
    parameters,
    rows_run,
    touches,
)

from surefoot.engines import NonFiniteError, Step, from_bfloat16

SHAPE = (9, 33)
BFLOAT16 = {
    "to nearest": {},
    "at random": {"stochastic_rounding": 7},
    "penalties": {"l1": 1e-3, "clip_norm": 1.0},
    "penalties, at random": {"stochastic_rounding": 0, "l1": 1e-3, "clip_norm": 1.0},
}
FLOAT16 = {"to nearest": {}}
STORAGE = [
    pytest.param(dtype, settings, id=f"{dtype}-{name}")
    for dtype, all_of in (("bfloat16", BFLOAT16), ("float16", FLOAT16))
    for name, settings in all_of.items()
]
storage = pytest.mark.parametrize("dtype, settings", STORAGE)
rounding = pytest.mark.parametrize("dtype, settings", [case for case in STORAGE if "penalties" not in case.id])


@pytest.mark.sampled(3)
@storage
def test_dense(dtype, settings):
    run = dense_run(gradients(SHAPE, dtype, 4))
    _, state = both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, nonfinite="skip", **settings)
    assert state.slots["total"].dtype == np.float32


@pytest.mark.sampled(1)
@rounding
def test_a_rule_with_two_slots(dtype, settings):
    run = dense_run(gradients(SHAPE, dtype, 4))
    both(CONCRETE["adam"], parameters(SHAPE, dtype), run, nonfinite="skip", **settings)


@pytest.mark.sampled(2)
@rounding
@pytest.mark.parametrize("granularity", ["row", "tensor"])
def test_shared_rates(dtype, settings, granularity):
    run = dense_run(gradients(SHAPE, dtype, 4))
    both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, granularity=granularity, nonfinite="skip", **settings)


@pytest.mark.sampled(2)
@storage
def test_rows(dtype, settings):
    run = rows_run(touches(SHAPE, dtype, 6))
    both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, nonfinite="skip", **settings)


def test_rows_that_catch_up_by_the_rules_own_closed_form():
    run = rows_run(touches(SHAPE, "bfloat16", 6))
    both(CONCRETE["momentum"], parameters(SHAPE, "bfloat16"), run, nonfinite="skip")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "name, dtype, settings",
    [
        ("adagrad", "float16", {"l1": 1e-2}),
        ("momentum", "bfloat16", {"state_dtype": "bfloat16"}),
        pytest.param("rmsprop", "float32", {"state_dtype": "float64", "granularity": "row"}, marks=pytest.mark.slow),
        pytest.param("rmsprop", "float64", {"state_dtype": "float32"}, marks=pytest.mark.slow),
    ],
)
def test_rows_that_catch_up_with_many_learning_rates_are_rounded_once(name, dtype, settings):
    run = rows_run(touches(SHAPE, dtype, 12))
    both(CONCRETE[name], parameters(SHAPE, dtype), run, lr=lambda t: 0.1 / t, nonfinite="skip", **settings)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "dtype, state_dtype", [("bfloat16", "bfloat16"), ("float16", "float16"), ("bfloat16", "float16")]
)
def test_memory_in_16_bits_too(dtype, state_dtype):
    run = dense_run(gradients(SHAPE, dtype, 4))
    both(CONCRETE["adagrad"], parameters(SHAPE, dtype), run, state_dtype=state_dtype, nonfinite="skip")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_infinitely_small_epsilon_is_not_rounded_away(dtype):
    """ε = 1e-10 is 0 in float16: were it rounded to the storage type, a zero gradient would divide by zero."""
    zero = parameters((5,), dtype) * 0
    step = Step("adagrad", convention="pytorch", lr=1.0)
    state = step.init(zero)
    # Fed by hand: the memory is float32 and far below what float16 can hold, and ε outweighs its root.
    state.slots["total"][:] = 1e-24
    assert step.rates(zero, state) == pytest.approx(1 / (1e-12 + 1e-10), rel=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_step_beyond_the_storage_type_is_skipped_and_counted(dtype):
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
