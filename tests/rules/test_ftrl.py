"""FTRL-Proximal when the learning rate changes, when it is 0, and when weights do not start at 0."""

import math

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical

from surefoot.engines import Step

BETA, L1, L2 = 0.7, 0.2, 0.4
RATES = (0.3, 0.3, 0.03, 0.03, 1.2, 0.01, 0.5, 0.5, 0.4, 0.1)
engines = pytest.mark.parametrize("engine", ["reference", "cpu"])


def gradients(steps: int = len(RATES), size: int = 6) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(steps, size))


def scheduled(t: int) -> float:
    return RATES[t - 1]


def leader(start: float, grads, rates) -> list[float]:
    """McMahan et al. (2013), algorithm 1, with σ_s = 1/η_s − 1/η_{s−1} of theorem 2 and centred at the start."""

    def weight(z: float) -> float:
        return 0.0 if abs(z) <= L1 else -(z - math.copysign(L1, z)) / (inverse + L2)

    n, w, path = 0.0, start, []
    inverse = BETA / rates[0]
    z = -(inverse + L2) * start - (math.copysign(L1, start) if start else 0.0)
    for g, rate in zip(grads, rates, strict=True):
        n += g * g
        sigma = (BETA + math.sqrt(n)) / rate - inverse
        inverse += sigma
        z += g - sigma * w
        w = weight(z)
        path.append(w)
    return path


@engines
@pytest.mark.parametrize("start", [0.0, 2.0, -0.4, 1e-3])
def test_the_leader_under_a_schedule_from_any_start(engine, start):
    grads = gradients()
    step = Step("ftrl", engine=engine, lr=scheduled, beta=BETA, l1=L1, l2=L2)
    x = np.full(grads.shape[1], start)
    state = step.init(x)
    found = []
    for g in grads:
        step.dense(x, g, state)
        found.append(x.copy())
    for i in range(grads.shape[1]):
        assert_close(np.array(found)[:, i], leader(start, grads[:, i], RATES), "lazy")
    assert (np.array(found) == 0).any() == (abs(start) < 0.01)


@engines
@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_a_rate_of_zero_is_a_pause(engine, granularity):
    """Weights and z stay the same, to the bit, also those that are zero under L1 or have never been stepped."""
    grads = gradients().astype(np.float32).reshape(-1, 3, 2)
    step = Step("ftrl", engine=engine, lr=0.3, l1=L1, l2=L2, granularity=granularity)
    x = np.array([[0.5, -0.5], [0.01, 3.0], [0.0, 0.0]], np.float32)
    state = step.init(x)
    for t, g in enumerate(grads):
        step.change_lr(0.0 if t % 3 == 0 else 0.3)
        before, dual = x.copy(), state.slots["dual"].copy()
        step.dense(x, g, state)
        if t % 3 == 0:
            assert_identical(x, before)
            assert_identical(state.slots["dual"], dual)
        else:
            assert (x != before).any()
    assert state.skipped == 0


@engines
def test_a_zero_gradient_keeps_initial_weights(engine):
    """Under L1 and L2, and while the rate changes: up to the rounding of z, which holds λ₁ too."""
    start = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    step = Step("ftrl", engine=engine, lr=scheduled, beta=BETA, l1=L1, l2=L2)
    x = start.copy()
    state = step.init(x)
    for _ in RATES:
        step.dense(x, np.zeros_like(x), state)
    np.testing.assert_allclose(x, start, rtol=len(RATES) * 2**-22, atol=len(RATES) * 2**-24)


def test_rates_too_small_for_the_weights_move_none():
    """Down to the smallest number of all, nothing overflows."""
    for lr in (5e-324, 1e-300, 1e-40, 1e-19, 1e-18, 1e-10):
        step = Step("ftrl", engine="reference", lr=lr, l1=L1)
        x = np.array([1.0, -2.0, 1e-3], np.float32)
        before, state = x.copy(), step.init(x)
        for _ in range(3):
            step.dense(x, np.array([1e15, 1.0, -1.0], np.float32) * np.float32(lr > 1e-30) + 1, state)
        assert state.skipped == 0
        np.testing.assert_allclose(x, before, rtol=1e-6)
