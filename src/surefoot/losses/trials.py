"""Trials of what a loss claims: its slope is the derivative of its value, it is convex, and it has a degree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

POINTS = np.concatenate([np.linspace(-4.0, 4.0, 33), np.linspace(-3.7, 3.9, 24)])
"""Predictions that are tried: whole numbers and quarters, where kinks lie, and points between."""
FAR = np.geomspace(5.0, 100.0, 14)
"""Where slopes are compared too: a loss of outliers may turn there."""
STEP = 1e-6
TOLERANCE = 1e-4
"""Of a slope, relative to 1 + its size: rounding and curvature within STEP are a hundredth of that."""
ROUNDING = 1e-9
"""Of slopes and values that are compared without a difference quotient, relative to their size."""
LARGER, SHIFT = 8.0, 3.0
"""How much larger and by how much shifted predictions and targets are tried."""

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(predictions, targets) -> a number for each."""


class Disagreement(NamedTuple):
    """Where a slope lies outside the difference quotients."""

    prediction: float
    target: float
    slope: float
    low: float
    high: float


class Fall(NamedTuple):
    """Where the slope at the larger one of two predictions, `right`, is below the one at `left`."""

    target: float
    left: float
    right: float
    above: float
    below: float


class Misfit(NamedTuple):
    """Where the loss of other predictions and targets is not the one expected."""

    prediction: float
    target: float
    found: float
    expected: float


@dataclass(frozen=True)
class Trial:
    """A loss with its own number, at some predictions for some targets.

    Args:
        slope, value: of arrays.
        targets: that are tried.
        joint: each output has the slope at its prediction less the log-sum-exp of the others.
        unit: of predictions and targets: that of the loss's own number, where this has one.
        size: of slopes in that unit, if these are smaller than 1.
    """

    slope: Function
    value: Function
    targets: tuple[float, ...]
    joint: bool = False
    unit: float = 1.0
    size: float = 1.0

    def disagreement(self) -> Disagreement | None:
        """Where the slope lies outside the difference quotients to the left and to the right of a point.

        At a kink these differ, and the slope may lie anywhere between them: it is a subgradient there. Where the value
        overflows there is nothing to compare.
        """
        points, step = self.unit * POINTS, self.unit * STEP
        for y in self.targets:
            found = self.slopes(points, self.unit * y)
            before, here, after = (self.values(points + k * step, self.unit * y) for k in (-1, 0, 1))
            if here.shape != points.shape:
                raise ValueError(
                    f"it has the shape {here.shape} for {len(points)} predictions; expected one number each"
                )
            with np.errstate(all="ignore"):
                quotients = np.sort(np.stack([(here - before) / step, (after - here) / step]), axis=0)
                margin = TOLERANCE * (self.size + np.abs(found))
                within = (found >= quotients[0] - margin) & (found <= quotients[1] + margin) & np.isfinite(found)
            overflows = np.isposinf([before, here, after]).any(axis=0) | np.isinf(quotients).any(axis=0)
            within |= overflows & ~overflows.all()
            if not within.all():
                k = int(np.argmin(within))
                return Disagreement(*map(float, (points[k], self.unit * y, found[k], *quotients[:, k])))
        return None

    def fall(self) -> Fall | None:
        """Where the slope falls most: it nowhere does for a convex loss."""
        points = self.unit * np.sort(np.concatenate([-FAR, POINTS, FAR]))
        for y in self.targets:
            found = self.slopes(points, self.unit * y)
            with np.errstate(all="ignore"):
                rises = found[1:] - found[:-1]
                falls = rises < -ROUNDING * (self.size + np.abs(found[:-1]))
            if falls.any():
                k = int(np.argmin(np.where(falls, rises, 0.0)))
                return Fall(self.unit * y, *map(float, (points[k], points[k + 1], found[k], found[k + 1])))
        return None

    def slopes(self, p: np.ndarray, y: float) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(self.slope(p, np.full(p.shape, y)), p.shape)

    def values(self, p: np.ndarray, y: float) -> np.ndarray:
        # Of a joint loss two classes: the other one predicts 0, whose log-sum-exp is 0.
        predictions = np.stack([np.zeros_like(p), p], axis=-1) if self.joint else p
        with np.errstate(all="ignore"):
            return np.asarray(self.value(predictions, np.full(p.shape, y)), float)


def shifted(trial: Trial) -> Misfit | None:
    """Where the loss changes if SHIFT units are added to prediction and target."""
    return _misfit(trial, trial, 1.0, SHIFT, 1.0)


def scaled(trial: Trial, larger: Trial, degree: float) -> Misfit | None:
    """Where predictions and targets that are LARGER times as large lose anything but LARGER**degree times as much.

    Args:
        trial: the loss.
        larger: the same with its own number in the other unit.
        degree: that is claimed.
    """
    return _misfit(trial, larger, LARGER, 0.0, LARGER**degree)


def _misfit(trial: Trial, other: Trial, factor: float, shift: float, times: float) -> Misfit | None:
    points = trial.unit * POINTS
    for y in (trial.unit * y for y in trial.targets):
        found = other.values(factor * points + shift * trial.unit, factor * y + shift * trial.unit)
        expected = times * trial.values(points, y)
        wrong = ~np.isclose(found, expected, rtol=ROUNDING, atol=ROUNDING * np.abs(expected).max())
        if wrong.any():
            k = int(np.argmax(wrong))
            return Misfit(*map(float, (points[k], y, found[k], expected[k])))
    return None
