"""Section 2: schedules. Each is followed by gradient descent, and what its steps show is held against the formula."""

import math
from collections.abc import Iterable

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step
from surefoot.lab.published.rows import NOTEBOOK, Finding, row

SECTION = "2 schedules"


def steps_taken(schedule, steps: Iterable[int]) -> np.ndarray:
    """The learning rate at each of these steps, as gradient descent with a gradient of one shows it from 0."""
    step, x, seen = Step("sgd", lr=schedule, engine=ORACLE), np.zeros(1), []
    state = step.init(x)
    for t in steps:
        x[0] = 0.0
        if t > 100:
            state.t = t - 1
        step.dense(x, np.ones(1), state)
        seen.append(-x[0])
    return np.array(seen)


def error(schedule, formula) -> Finding:
    """The largest relative difference between steps taken and the formula, which may be as large as rounding."""
    steps = [*range(1, 101), 1_000, 5_000]
    expected = np.array([formula(t) for t in steps])
    worst = float(np.max(np.abs(steps_taken(schedule, steps) / expected - 1)))
    text = f"100 steps, and steps 1,000 and 5,000, within {worst:.0e} of the formula"
    return Finding(text, worst < 1e-9, {"largest_error": worst})


@row(
    "schedule-piecewise",
    SECTION,
    "η(t) = ηᵢ between given steps",
    "constant on each piece",
    texts=NOTEBOOK,
    ours="ηᵢ = 0.5, 0.1, 0.02 from steps 1, 20, 60",
)
def piecewise(values=(0.5, 0.1, 0.02)) -> Finding:
    schedule = schedules.piecewise_constant([20, 60], values)
    return error(schedule, lambda t: 0.5 if t < 20 else 0.1 if t < 60 else 0.02)


@row("schedule-exponential", SECTION, "η(t) = η₀ e^(−λt), η₀ = 0.1, λ = 0.1", "η₀ e^(−λt)", texts=NOTEBOOK)
def exponential(decay=0.1) -> Finding:
    return error(schedules.exponential(0.1, decay), lambda t: 0.1 * math.exp(-0.1 * t))


@row(
    "schedule-polynomial",
    SECTION,
    "η(t) = η₀ (βt + 1)^(−α), η₀ = 0.1, β = 0.1; α = ½ is the default",
    "η₀ (βt + 1)^(−½)",
    texts=NOTEBOOK,
)
def polynomial(**power) -> Finding:
    return error(schedules.polynomial(0.1, decay=0.1, **power), lambda t: 0.1 / math.sqrt(0.1 * t + 1))


@row(
    "schedule-horizon",
    SECTION,
    "η = r/(L√T) for a known horizon makes the convex bound (r² + L²Tη²)/(2Tη) smallest: rL/√T",
    "η = r/(L√T), bound rL/√T",
    texts=NOTEBOOK,
    ours="for r = 2, L = 3, T = 100: η = 0.066667, bound 0.6",
)
def horizon(steps=100) -> Finding:
    radius, lipschitz, horizon = 2.0, 3.0, 100
    eta = float(steps_taken(schedules.known_horizon(radius, lipschitz, steps), [1])[0])
    grid = eta * np.geomspace(0.1, 10, 20001)
    bounds = (radius**2 + lipschitz**2 * horizon * grid**2) / (2 * horizon * grid)
    best, bound = float(grid[bounds.argmin()]), float(bounds.min())
    passed = abs(eta / best - 1) < 1e-3 and abs(eta - 0.066667) < 1e-6 and abs(bound - 0.6) < 1e-6
    text = f"η = {eta:.6f}; of 20,001 rates the best is {best:.6f}, bound {bound:.6f}"
    return Finding(text, passed, {"eta": eta, "best": best, "bound": bound})
