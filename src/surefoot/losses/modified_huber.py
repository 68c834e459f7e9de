"""Modified Huber loss: squared hinge loss that is linear from z p = −1 on, so that outliers pull less."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, loss


def value(predictions, y):
    margin = (2.0 * y - 1.0) * predictions
    return np.where(margin < -1.0, -4.0 * margin, np.maximum(1.0 - margin, 0.0) ** 2)


def probability(predictions):
    """Its minimizer is 2 P(y = 1) − 1, between −1 and 1."""
    return (np.minimum(np.maximum(predictions, -1.0), 1.0) + 1.0) / 2.0


@loss(
    value=value,
    formula="max(0, 1 − z p)² for z p ≥ −1, −4 z p below,  z = 2y − 1",
    source="Zhang & Oles (2001), Text categorization based on regularized linear classification methods",
    target="class",
    probability=probability,
    metric=Metric("modified Huber loss"),
)
def modified_huber(prediction, y):
    """Modified Huber loss: robust, with probabilities."""
    sign = 2.0 * y - 1.0
    return -2.0 * sign * ops.minimum(ops.maximum(1.0 - sign * prediction, 0.0), 2.0)
