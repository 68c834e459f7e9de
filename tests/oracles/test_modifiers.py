"""What is common to all rules, against numbers worked out by hand and plain loops."""

import math

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical

from surefoot import losses
from surefoot.engines import NonFiniteError, Step, order

engines = pytest.mark.parametrize("engine", ["reference", "cpu"])


def one_step(x, g, rule="sgd", engine="reference", **settings):
    step, x = Step(rule, engine=engine, **settings), np.array(x, float)
    state = step.init(x)
    step.dense(x, np.array(g, float), state)
    return x


# In the order in which they act


def test_coupled_weight_decay():
    assert_close(one_step([2.0], [3.0], lr=0.1, weight_decay=0.5), [2 - 0.1 * (3 + 1)], "float64")


def test_coupled_weight_decay_enters_the_memory():
    """s = (3 + 0.5 · 2)² = 16."""
    x = one_step([2.0], [3.0], "adagrad", lr=0.1, weight_decay=0.5, eps=1.0, eps_root=0.0)
    assert_close(x, [2 - 0.1 * 4 / 5], "float64")


def test_decoupled_weight_decay():
    """s = 9: the decay is not in it, nor scaled by the rate of the coordinate."""
    x = one_step([2.0], [3.0], "adagrad", lr=0.1, decoupled_weight_decay=0.5, eps=1.0, eps_root=0.0)
    assert_close(x, [2 * 0.95 - 0.1 * 3 / 4], "float64")


def test_penalties_act_in_the_metric_of_the_rule():
    """rate = 0.1/(3 + 1): from 2 − 0.075, threshold rate · l1, then divided by 1 + rate · l2."""
    rate = 0.1 / 4
    x = one_step([2.0, -2.0], [3.0, -3.0], "adagrad", lr=0.1, l1=0.5, l2=0.25, eps=1.0, eps_root=0.0)
    expected = (2 - rate * 3 - rate * 0.5) / (1 + rate * 0.25)
    assert_close(x, [expected, -expected], "float64")


def test_clipping_by_value_alone():
    assert_close(one_step([0.0, 0.0, 0.0], [3.0, -0.2, -9.0], lr=1.0, clip_value=0.5), [-0.5, 0.2, 0.5], "float64")


def test_clipping_by_norm():
    assert_close(one_step([0.0, 0.0], [3.0, -4.0], lr=1.0, clip_norm=2.5), [-1.5, 2.0], "float64")
    assert_close(one_step([0.0, 0.0], [3.0, -4.0], lr=1.0, clip_norm=5.5), [-3.0, 4.0], "float64")


def test_clipping_by_norm_of_a_sparse_gradient_after_duplicates_are_summed():
    """(1 + 2, −4): the norm is 5, not that of the three values."""
    step, x = Step("sgd", engine="reference", lr=1.0, clip_norm=2.5), np.zeros((3, 1))
    step.rows(x, np.array([2, 0, 2]), np.array([[1.0], [-4.0], [2.0]]), step.init(x))
    assert_close(x.ravel(), [2.0, 0.0, -1.5], "float64")


def test_clipping_by_norm_uses_the_finite_part():
    step, x = Step("sgd", engine="reference", lr=1.0, clip_norm=2.5, nonfinite="skip"), np.zeros(3)
    step.dense(x, np.array([3.0, np.inf, -4.0]), step.init(x))
    assert_close(x, [-1.5, 0.0, 2.0], "float64")


def test_everything_in_order():
    """Norm 5 → scale ½, uphill; clipped to ±1.5; plus weight decay; from keep · x; then the penalties."""
    settings = {
        "lr": 0.1,
        "maximize": True,
        "clip_norm": 2.5,
        "clip_value": 1.75,
        "weight_decay": 0.25,
        "decoupled_weight_decay": 0.5,
        "l1": 0.3,
        "l2": 0.2,
    }
    found = one_step([2.0, -1.0], [3.0, -4.0], **settings)
    first = (2 * 0.95 - 0.1 * (-1.5 + 0.25 * 2) - 0.03) / 1.02
    second = (-1 * 0.95 - 0.1 * (1.75 + 0.25 * -1) + 0.03) / 1.02
    assert_close(found, [first, second], "float64")


def test_a_schedule_that_starts_at_zero_does_not_switch_decay_off():
    step, x = Step("sgd", engine="reference", lr=lambda t: 0.1 * (t > 1), decoupled_weight_decay=0.5), np.ones(1)
    state = step.init(x)
    for _ in range(3):
        step.dense(x, np.zeros(1), state)
    assert_close(x, [0.95**2], "float64")


# Values that are not finite


@engines
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_a_nonfinite_gradient_skips_its_coordinate(engine, bad):
    step, x = Step("adam", engine=engine, name="embedding.weight"), np.ones(3)
    state = step.init(x)
    step.dense(x, np.array([1.0, 2.0, 3.0]), state)
    before, memory = x.copy(), {name: slot.copy() for name, slot in state.slots.items()}
    with pytest.raises(NonFiniteError, match=r"embedding\.weight: 1 of 3 coordinates had a gradient.* at step 2"):
        step.dense(x, np.array([1.0, bad, 3.0]), state)
    assert_identical(x[1], before[1])
    assert (x[[0, 2]] != before[[0, 2]]).all()
    for name, slot in state.slots.items():
        assert_identical(slot[1], memory[name][1], name)
        assert (slot[[0, 2]] != memory[name][[0, 2]]).all()
    assert (state.t, state.skipped) == (2, 1)


@engines
def test_the_square_of_a_gradient_can_overflow_in_float32(engine):
    step, x = Step("adagrad", engine=engine, nonfinite="skip"), np.ones(2, np.float32)
    state = step.init(x)
    step.dense(x, np.float32([1e20, 1.0]), state)
    assert state.skipped == 1
    assert x[0] == 1
    assert state.slots["total"].tolist() == [0, 1]


@engines
def test_nonfinite_values_propagate_on_request(engine):
    step, x = Step("adagrad", engine=engine, nonfinite="propagate"), np.ones(2, np.float32)
    state = step.init(x)
    step.dense(x, np.float32([np.nan, 1.0]), state)
    assert np.isnan([x[0], state.slots["total"][0]]).all()
    assert np.isfinite([x[1], state.slots["total"][1]]).all()
    assert state.skipped == 0


@engines
def test_a_row_shares_the_rate_of_its_finite_part(engine):
    """The mean square is over the row's size, without the coordinates left out."""
    step, x = Step("adagrad", engine=engine, granularity="row", nonfinite="skip"), np.ones((2, 2))
    state = step.init(x)
    step.dense(x, np.array([[np.nan, 4.0], [3.0, 4.0]]), state)
    assert_close(state.slots["total"].ravel(), [8.0, 12.5], "float64")
    assert x[0, 0] == 1
    assert state.skipped == 1


@pytest.mark.parametrize("state_dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_memory_too_narrow_for_a_square_stays_finite(engine, state_dtype):
    largest = {"float16": 300.0, "bfloat16": 1.8437e19, "float32": 1.9e19}[state_dtype]
    step, x = Step("adagrad", engine=engine, state_dtype=state_dtype, nonfinite="skip"), np.ones(2, np.float32)
    state = step.init(x)
    step.dense(x, np.float32([largest, 1.0]), state)
    assert np.isfinite(step.rates(x, state)).all()
    assert (step.rates(x, state) > 0).all()
    assert state.skipped == 1
    assert x[0] == 1


def test_an_infinite_rate_under_both_penalties_shrinks_rows_that_are_behind_to_zero():
    """Without ε a row that has seen no gradient has an infinite rate: a proximal step takes it to the origin."""
    for engine in ("reference", "cpu"):
        step, x = Step("adagrad", engine=engine, eps_root=0.0, l1=0.1, l2=0.1), np.ones((2, 1))
        state = step.init(x)
        for _ in range(3):
            step.rows(x, np.array([0]), np.ones((1, 1)), state)
        step.settle(x, state)
        assert_identical(x[1], np.zeros(1))


def mean_loss(loss: str, predictions, y) -> float:
    return float(losses.get(loss).values(predictions, y).mean())


def test_losses():
    predictions, y = np.array([0.0, 800.0, -800.0, math.log(3)]), np.array([1.0, 1.0, 0.0, 0.0])
    assert_close(mean_loss("logistic", predictions, y), (math.log(2) + 0 + 0 + math.log(4)) / 4, "float64")
    assert_close(mean_loss("squared", np.array([1.0, -2.0]), np.array([0.0, 2.0])), (0.5 + 8) / 2, "float64")


# The order of the examples


def test_orders():
    rng = np.random.default_rng(0)
    without, again = order(50, rng), order(50, rng)
    assert sorted(without) == sorted(again) == list(range(50))
    assert (without != again).any()
    drawn = order(5000, rng, replacement=True)
    assert drawn.min() >= 0
    assert drawn.max() < 5000
    # Drawn with replacement, a share of 1 − 1/e of the examples occurs.
    assert len(np.unique(drawn)) / 5000 == pytest.approx(1 - math.exp(-1), abs=0.02)


# Effective rates


def test_effective_rates():
    """η/√(s + ε) of the memory as it is, without taking a step."""
    step, x = Step("adagrad", engine="reference", lr=0.5, eps_root=0.0), np.zeros(2)
    state = step.init(x)
    step.dense(x, np.array([3.0, -4.0]), state)
    before = x.copy()
    assert_close(step.rates(x, state), [0.5 / 3, 0.5 / 4], "float64")
    assert_identical(x, before)
    assert state.slots["total"].tolist() == [9, 16]
