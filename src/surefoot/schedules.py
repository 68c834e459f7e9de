"""Learning rates that change with time: plain functions t → η, wherever a learning rate is taken.

t is the number of the step, 1 for the first; an int, a float or an array of them. A schedule is any function of t;
these make the usual ones, which can be pickled, and `warmup` and `chain` compose them.

    surefoot.engines.Step(rules.sgd, lr=warmup(polynomial(0.1), steps=100))
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

Schedule = Callable[[Any], Any]


def _nonnegative(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def constant(lr: float) -> Schedule:
    """η(t) = lr.

    >>> constant(0.1)(7)
    0.1
    """
    _nonnegative(lr=lr)
    return partial(_constant, lr)


def _constant(lr, t):
    return lr + 0.0 * t


def piecewise_constant(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """η(t) = values[i] for boundaries[i−1] ≤ t < boundaries[i].

    Args:
        boundaries: increasing step numbers at which the rate changes.
        values: the rates, one more than there are boundaries.

    Raises:
        ValueError: if the counts do not fit or the boundaries do not increase.

    >>> piecewise_constant([10, 20], [1.0, 0.1, 0.01])(np.array([9, 10, 25]))
    array([1.  , 0.1 , 0.01])
    """
    edges, rates = np.asarray(boundaries, float), np.asarray(values, float)
    if len(rates) != len(edges) + 1:
        raise ValueError(f"{len(edges)} boundaries need {len(edges) + 1} values, got {len(rates)}")
    if not (np.diff(edges) > 0).all():
        raise ValueError(f"boundaries must increase, got {list(boundaries)}")
    _nonnegative(**{f"values[{i}]": rate for i, rate in enumerate(rates)})
    return partial(_piecewise_constant, edges, rates)


def _piecewise_constant(edges, rates, t):
    return rates[np.searchsorted(edges, t, side="right")]


def exponential(lr: float, decay: float) -> Schedule:
    """η(t) = lr · exp(−decay · t).

    >>> float(exponential(0.1, 0.0)(10))
    0.1
    """
    _nonnegative(lr=lr, decay=decay)
    return partial(_exponential, lr, decay)


def _exponential(lr, decay, t):
    return lr * np.exp(-decay * t)


def polynomial(lr: float, decay: float = 1.0, power: float = 0.5) -> Schedule:
    """η(t) = lr · (decay · t + 1)^(−power); power ½ is the safe choice for convex problems.

    >>> polynomial(0.1, decay=0.1)(30)
    0.05
    """
    _nonnegative(lr=lr, decay=decay, power=power)
    return partial(_polynomial, lr, decay, power)


def _polynomial(lr, decay, power, t):
    return lr * (decay * t + 1) ** -power


def known_horizon(radius: float, lipschitz: float, steps: int) -> Schedule:
    """η = r/(L √T), constant: the rate that minimizes the convex bound when the number of steps is known.

    Args:
        radius: r, the distance from the start to the optimum, at most.
        lipschitz: L, the norm of a gradient, at most.
        steps: T, the number of steps that will be taken.

    >>> known_horizon(1.0, 2.0, 100)(1)
    0.05
    """
    if not (radius > 0 and lipschitz > 0 and steps > 0):
        raise ValueError(f"radius, lipschitz and steps must be above 0, got {radius}, {lipschitz}, {steps}")
    return constant(radius / (lipschitz * math.sqrt(steps)))


def warmup(schedule: Schedule | float, steps: int) -> Schedule:
    """The schedule, or number, times min(t/steps, 1): a linear rise over the first steps.

    >>> float(warmup(0.1, steps=10)(5))
    0.05
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")
    after = schedule if callable(schedule) else constant(schedule)
    return partial(_warmup, after, steps)


def _warmup(after, steps, t):
    return after(t) * np.minimum(t / steps, 1.0)


def chain(*parts: tuple[Schedule, int] | Schedule) -> Schedule:
    """Schedules one after the other: (schedule, steps) pairs, then a last schedule; each starts again at t = 1.

    >>> chain((constant(1.0), 10), exponential(0.5, 0.0))(np.array([10, 11]))
    array([1. , 0.5])
    """
    *timed, last = parts
    starts = np.cumsum([0, *(steps for _, steps in timed)])  # type: ignore[misc]
    schedules = [schedule for schedule, _ in timed] + [last]  # type: ignore[misc]

    return partial(_chain, starts, schedules)


def _chain(starts, schedules, t):
    which = np.searchsorted(starts, t, side="left") - 1
    return np.select(
        [which == i for i in range(len(schedules))],
        [schedule(np.maximum(t - start, 1)) for schedule, start in zip(schedules, starts, strict=True)],
    )[()]
