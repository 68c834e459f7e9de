"""Hinge loss of support vector machines: no loss where the prediction is on the right side by at least 1."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, loss


def value(predictions, y):
    return np.maximum(1.0 - (2.0 * y - 1.0) * predictions, 0.0)


@loss(
    value=value,
    formula="max(0, 1 − z p),  z = 2y − 1",
    source="Cortes & Vapnik (1995), Support-vector networks, Machine Learning 20",
    target="class",
    metric=Metric("hinge loss"),
)
def hinge(prediction, y):
    """Hinge loss: a support vector machine."""
    sign = 2.0 * y - 1.0
    return ops.where(sign * prediction < 1.0, -sign, 0.0)
