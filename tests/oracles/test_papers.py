"""Rules against their papers' pseudocode, transcribed line by line, and against the problems that their steps solve."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from support.numerics import assert_close

from surefoot.engines import Step

STEPS = 40


def gradients(seed: int, size: int = 6):
    rng = np.random.default_rng(seed)
    grads = rng.normal(size=(STEPS, size)) * np.logspace(-2, 1, size)
    return np.where(rng.random(grads.shape) < 0.3, 0.0, grads)


def iterates(rule: str, grads, start=0.0, **settings):
    """x after each step of the reference engine."""
    step, x = Step(rule, engine="reference", **settings), np.full(grads.shape[1], float(start))
    state, result = step.init(x), []
    for g in grads:
        step.dense(x, g, state)
        result.append(x.copy())
    return np.array(result)


def test_yogi():
    """Zaheer et al. (2018), algorithm 2, with the bias corrections of Adam, as in the textbook."""
    eta, beta1, beta2, eps = 0.05, 0.8, 0.95, 1e-3
    grads = gradients(0)
    for i in range(grads.shape[1]):
        x, m, v, expected = 1.0, 0.0, 0.0, []
        for t, g in enumerate(grads[:, i], 1):
            m = beta1 * m + (1 - beta1) * g
            v = v - (1 - beta2) * math.copysign(1.0, v - g**2) * g**2 if v != g**2 else v
            x = x - eta * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
            expected.append(x)
        found = iterates("yogi", grads, start=1.0, lr=eta, beta1=beta1, beta2=beta2, eps=eps)
        assert_close(found[:, i], expected, "float64")


def test_ftrl():
    """McMahan et al. (2013), algorithm 1: per-coordinate FTRL-Proximal with L1 and L2 regularization."""
    alpha, beta, lambda1, lambda2 = 0.3, 0.7, 0.2, 0.4
    grads = gradients(1)
    found = iterates("ftrl", grads, lr=alpha, beta=beta, l1=lambda1, l2=lambda2)
    for i in range(grads.shape[1]):
        z, n, weights = 0.0, 0.0, []
        for g in grads[:, i]:
            w = (
                0.0
                if abs(z) <= lambda1
                else -(z - math.copysign(lambda1, z)) / ((beta + math.sqrt(n)) / alpha + lambda2)
            )
            weights.append(w)
            sigma = (math.sqrt(n + g**2) - math.sqrt(n)) / alpha
            z = z + g - sigma * w
            n = n + g**2
        assert_close(found[:-1, i], weights[1:], "float64")
    assert (found == 0).any()
    assert (found != 0).any()


def minimum(objective) -> float:
    """The minimizer over the real line of a convex function of one variable, which may be kinked at 0."""
    sides = [
        minimize_scalar(objective, bounds=b, method="bounded", options={"xatol": 1e-12}) for b in ((-50, 0), (0, 50))
    ]
    best = min(sides, key=lambda side: side.fun)
    return 0.0 if objective(0.0) <= best.fun else float(best.x)


def test_ftrl_follows_the_regularized_leader():
    """The step minimizes g₁:ₜ·w + ½ Σₛ σₛ (w − wₛ)² + λ₁|w| + ½ (λ₂ + β/α) w²."""
    alpha, beta, lambda1, lambda2 = 0.3, 0.7, 0.2, 0.4
    grads = gradients(2, size=3)[:10]
    found = iterates("ftrl", grads, lr=alpha, beta=beta, l1=lambda1, l2=lambda2)
    played = np.vstack([np.zeros(3), found])
    for i in range(3):
        squares = np.concatenate([[0.0], np.cumsum(grads[:, i] ** 2)])
        sigma = np.diff(np.sqrt(squares)) / alpha
        for t in range(1, 11):

            def objective(w, t=t, i=i, sigma=sigma):
                proximal = 0.5 * np.sum(sigma[:t] * (w - played[:t, i]) ** 2)
                return grads[:t, i].sum() * w + proximal + lambda1 * abs(w) + 0.5 * (lambda2 + beta / alpha) * w * w

            assert_close(found[t - 1, i], minimum(objective), "minimizer")


def test_dual_averaging():
    """Duchi et al. (2011): x = argmin z·x + t λ ‖x‖₁ + ½ x² (δ + √s)/η, in closed form and by minimization."""
    eta, lam, delta = 0.5, 0.3, 0.8
    grads = gradients(3, size=3)[:12]
    found = iterates("dual_averaging", grads, lr=eta, l1=lam, eps=delta, eps_root=0.0)
    for i in range(3):
        for t in range(1, 13):
            z, s = grads[:t, i].sum(), (grads[:t, i] ** 2).sum()
            size = max(abs(z) - t * lam, 0.0) * eta / (delta + math.sqrt(s))
            assert_close(found[t - 1, i], -math.copysign(size, z), "float64")

            def objective(x, z=z, s=s, t=t):
                return z * x + t * lam * abs(x) + 0.5 * x * x * (delta + math.sqrt(s)) / eta

            assert_close(found[t - 1, i], minimum(objective), "minimizer")
    assert (found == 0).any()
    assert (found != 0).any()


@pytest.mark.parametrize("l1, l2", [(0.4, 0.0), (0.0, 0.5), (0.3, 0.2)])
@pytest.mark.parametrize("rule", ["sgd", "adagrad"])
def test_the_composite_step(rule, l1, l2):
    """Duchi et al. (2011), equation 4: x = argmin g·z + (z − x)²/(2 rate) + l1 |z| + ½ l2 z²."""
    grads, eta = gradients(4, size=4)[:12], 0.3
    settings = {"eps_root": 0.0, "eps": 0.5} if rule == "adagrad" else {}
    found = iterates(rule, grads, start=1.0, lr=eta, l1=l1, l2=l2, **settings)
    before = np.vstack([np.ones(4), found])[:-1]
    for t in range(12):
        for i in range(4):
            s = (grads[: t + 1, i] ** 2).sum()
            rate = eta / (math.sqrt(s) + 0.5) if rule == "adagrad" else eta

            def objective(z, t=t, i=i, rate=rate):
                return grads[t, i] * z + (z - before[t, i]) ** 2 / (2 * rate) + l1 * abs(z) + 0.5 * l2 * z * z

            assert_close(found[t, i], minimum(objective), "minimizer")
