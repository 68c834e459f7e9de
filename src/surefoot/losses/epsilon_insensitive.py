"""Epsilon-insensitive loss of support vector regression: residuals up to ε cost nothing."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, Parameter, loss
from surefoot.records.hyper import nonnegative


def value(predictions, y, epsilon):
    return np.maximum(np.abs(predictions - y) - epsilon, 0.0)


@loss(
    value=value,
    formula="max(0, |r| − ε),  r = p − y",
    source="Drucker, Burges, Kaufman, Smola & Vapnik (1997), Support vector regression machines, NIPS 9",
    target="number",
    parameter=Parameter("epsilon", nonnegative(0.1, "ε, in the unit of the targets"), scales=True),
    center="median",
    metric=Metric("epsilon-insensitive loss"),
)
def epsilon_insensitive(prediction, y, epsilon):
    """Epsilon-insensitive loss: support vector regression."""
    residual = prediction - y
    return ops.where(residual > epsilon, 1.0, ops.where(residual < -epsilon, -1.0, 0.0))
