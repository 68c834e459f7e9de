"""Schedules: their formulas, that arrays are many scalars, and how they compose."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.numerics import assert_close

from surefoot.engines import Step
from surefoot.schedules import chain, constant, exponential, known_horizon, piecewise_constant, polynomial, warmup

STEPS = np.arange(1, 60)
rate = st.floats(1e-6, 10)
simple = st.one_of(
    st.builds(constant, rate),
    st.builds(exponential, rate, st.floats(0, 0.5)),
    st.builds(polynomial, rate, st.floats(0, 3), st.floats(0, 2)),
    st.builds(lambda lr: piecewise_constant([5, 20], [lr, lr / 2, lr / 10]), rate),
)
schedules = st.one_of(
    simple,
    st.builds(warmup, simple, st.integers(1, 30)),
    st.builds(
        lambda a, n, b, m, c: chain((a, n), (b, m), c), simple, st.integers(1, 20), simple, st.integers(1, 20), simple
    ),
)


@given(schedule=schedules)
def test_an_array_of_steps_is_many_steps(schedule):
    """Without a warning, for Python's numbers and NumPy's."""
    each = [schedule(int(t)) for t in STEPS]
    assert_close(schedule(STEPS) * np.ones(len(STEPS)), each, "float64")
    assert_close(schedule(STEPS.astype(float)) * np.ones(len(STEPS)), each, "float64")
    assert all(np.ndim(value) == 0 and value >= 0 for value in each)


@given(schedule=simple)
def test_rates_that_never_rise(schedule):
    values = schedule(STEPS) * np.ones(len(STEPS))
    assert (np.diff(values) <= 0).all()


@given(lr=rate, decay=st.floats(0, 0.5), power=st.floats(0, 2), t=st.integers(1, 1000))
def test_formulas(lr, decay, power, t):
    assert_close(exponential(lr, decay)(t), lr * math.exp(-decay * t), "float64")
    assert_close(polynomial(lr, decay, power)(t), lr / (decay * t + 1) ** power, "float64")
    assert constant(lr)(t) == lr


def test_pieces_change_at_their_boundaries():
    schedule = piecewise_constant([3, 5], [1.0, 0.5, 0.25])
    assert [float(schedule(t)) for t in range(1, 7)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


@given(schedule=simple, steps=st.integers(1, 40))
def test_warmup_is_a_line_and_then_the_schedule(schedule, steps):
    warm = warmup(schedule, steps)
    for t in (1, steps, steps + 1, 3 * steps):
        assert_close(warm(t), schedule(t) * min(t / steps, 1), "float64")
    assert warm(steps + 1) == schedule(steps + 1)


@given(parts=st.lists(st.tuples(simple, st.integers(1, 9)), min_size=1, max_size=4), last=simple)
def test_a_chain_applies_its_parts_in_order(parts, last):
    expected = [schedule(t) for schedule, steps in parts for t in range(1, steps + 1)]
    expected += [last(t) for t in range(1, 6)]
    chained = chain(*parts, last)
    assert_close([chained(t) for t in range(1, len(expected) + 1)], expected, "float64")


@pytest.mark.parametrize("second", [polynomial(0.1), polynomial(0.1, decay=0.5), exponential(0.1, 3.0)])
def test_a_part_of_a_chain_is_not_evaluated_before_its_first_step(second):
    """Where (1 − t)^−½ has no value and e^{3·10⁴} overflows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = chain((constant(1.0), 10_000), second)
        assert schedule(3) == 1
        assert_close(schedule(10_001), second(1), "float64")
        assert_close(schedule(np.array([1, 10_000, 10_001])), [1, 1, second(1)], "float64")


@given(radius=rate, lipschitz=rate, steps=st.integers(1, 10**6))
def test_known_horizon_minimizes_the_convex_bound(radius, lipschitz, steps):
    """(r² + L² T η²)/(2 T η) is least at η = r/(L √T), where it is r L/√T."""

    def bound(eta):
        return (radius**2 + lipschitz**2 * steps * eta**2) / (2 * steps * eta)

    best = known_horizon(radius, lipschitz, steps)(1)
    assert_close(bound(best), radius * lipschitz / math.sqrt(steps), "float64")
    assert bound(best) <= min(bound(best * 1.01), bound(best / 1.01))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: constant(-1.0), "lr must be a finite number of at least 0, got -1.0"),
        (lambda: constant(math.nan), "lr must be a finite number"),
        (lambda: exponential(0.1, -1.0), "decay must be a finite number of at least 0"),
        (lambda: polynomial(0.1, power=math.inf), "power must be a finite number"),
        (lambda: piecewise_constant([3], [1.0]), "1 boundaries need 2 values, got 1"),
        (lambda: piecewise_constant([5, 3], [1.0, 0.5, 0.1]), r"boundaries must increase, got \[5, 3\]"),
        (lambda: piecewise_constant([5], [1.0, -0.5]), r"values\[1\] must be a finite number"),
        (lambda: known_horizon(1.0, 0.0, 10), "must be above 0, got 1.0, 0.0, 10"),
        (lambda: warmup(0.1, 0), "steps must be at least 1, got 0"),
    ],
)
def test_invalid_schedules(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layout", ["dense", "rows"])
def test_steps_use_the_rate_of_their_step_number(layout):
    """Along a constant gradient of 1, gradient descent moves by the sum of the rates."""
    schedule = warmup(polynomial(0.5, decay=0.3), 4)
    step, x = Step("sgd", engine="reference", lr=schedule, average=True), np.zeros(1)
    state = step.init(x)
    for _ in range(10):
        if layout == "dense":
            step.dense(x, np.ones(1), state)
        else:
            step.rows(x, np.array([0]), np.ones(1), state)
    assert_close(-x[0], sum(schedule(t) for t in range(1, 11)), "float64")
    assert_close(state.weight, sum(schedule(t) for t in range(1, 11)), "float64")
