"""Poisson loss of counts: the prediction is the logarithm of their mean.

A mean loss is reported as the mean deviance: twice what it exceeds the least loss of each target by, which is 0 where
the mean predicted is the count itself.
"""

import math

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, loss

LARGEST = 700.0
"""Predictions of which exp is finite."""
SMALLEST_MEAN = 1e-3


def mean(predictions):
    return np.exp(np.minimum(predictions, LARGEST))


def value(predictions, y):
    return mean(predictions) - y * predictions


def least(y):
    """y − y ln y, the loss of ln y."""
    return y - y * np.log(np.where(y > 0.0, y, 1.0))


def initial(y):
    return math.log(max(float(np.mean(y)), SMALLEST_MEAN))


@loss(
    value=value,
    formula="eᵖ − y p",
    source="Nelder & Wedderburn (1972), Generalized linear models, JRSS A 135",
    target="count",
    initial=initial,
    mean=mean,
    metric=Metric("mean Poisson deviance", factor=2.0, least=least),
)
def poisson(prediction, y):
    """Poisson loss: predicts the mean of counts."""
    return ops.exp(ops.minimum(prediction, 700.0)) - y
