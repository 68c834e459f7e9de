"""Whether a slope is the derivative of a value, by difference quotients."""

from collections.abc import Callable

import numpy as np

POINTS = np.concatenate([np.linspace(-4.0, 4.0, 33), np.linspace(-3.7, 3.9, 24)])
"""Predictions that are tried: whole numbers and quarters, where kinks lie, and points between."""
STEP = 1e-6
TOLERANCE = 1e-4
"""Of a slope, relative to 1 + its size: rounding and curvature within STEP are a hundredth of that."""


def disagreement(
    slope: Callable, values: Callable, targets: tuple[float, ...], parameter: float, own: tuple, joint: bool
) -> tuple[float, float, float, float, float] | None:
    """Where a slope lies outside the difference quotients to the left and to the right of a point.

    At a kink these differ, and the slope may lie anywhere between them: it is a subgradient there.

    Args:
        slope: of arrays.
        values: (predictions, targets, parameter) -> the loss of each.
        targets: that are tried.
        parameter, own: the loss's own number, and the same as slopes take it.
        joint: each output has the slope at its prediction less the log-sum-exp of the others.

    Returns:
        (prediction, target, slope, lower quotient, upper quotient) of the first place; None where there is none.
    """

    def at(p: np.ndarray, y: float) -> np.ndarray:
        # Of a joint loss two classes: the other one predicts 0, whose log-sum-exp is 0.
        predictions = np.stack([np.zeros_like(p), p], axis=-1) if joint else p
        return np.asarray(values(predictions, np.full(p.shape, y), parameter), float)

    for y in targets:
        with np.errstate(all="ignore"):
            found = np.broadcast_to(slope(POINTS, np.full(POINTS.shape, y), *own), POINTS.shape)
            before, here, after = (at(POINTS + k * STEP, y) for k in (-1, 0, 1))
        if here.shape != POINTS.shape:
            raise ValueError(f"it has the shape {here.shape} for {len(POINTS)} predictions; expected one number each")
        quotients = np.sort(np.stack([(here - before) / STEP, (after - here) / STEP]), axis=0)
        margin = TOLERANCE * (1.0 + np.abs(found))
        within = (found >= quotients[0] - margin) & (found <= quotients[1] + margin)
        if not within.all():
            first = int(np.argmin(within))
            low, high = quotients[:, first].tolist()
            return float(POINTS[first]), y, float(found[first]), low, high
    return None
