"""Squared hinge loss: a support vector machine whose loss has no kink."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, loss


def value(predictions, y):
    return np.maximum(1.0 - (2.0 * y - 1.0) * predictions, 0.0) ** 2


@loss(
    value=value,
    formula="max(0, 1 − z p)²,  z = 2y − 1",
    source="Lee & Mangasarian (2001), SSVM, Computational Optimization and Applications 20",
    target="class",
    metric=Metric("squared hinge loss"),
)
def squared_hinge(prediction, y):
    """Squared hinge loss: a smooth support vector machine."""
    sign = 2.0 * y - 1.0
    return -2.0 * sign * ops.maximum(1.0 - sign * prediction, 0.0)
