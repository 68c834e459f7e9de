"""Logistic loss: the prediction is the logarithm of the odds, and the loss −ln of what was given to the class."""

import numpy as np

from surefoot import ops
from surefoot.losses.arrays import TINY
from surefoot.losses.record import Metric, loss


def value(predictions, y):
    # Once the prediction's part that can be large is taken out, what is left is small and positive.
    return np.log1p(np.exp(-np.abs(predictions))) + np.maximum(predictions, 0.0) - y * predictions


def probability(predictions):
    z = np.exp(-np.abs(predictions))
    return np.where(predictions >= 0, 1.0, z) / (1.0 + z)


def mix(predictions, share):
    """The logarithm of the odds that the mixed probabilities give."""
    z = np.exp(-np.abs(predictions))
    likelier, other = 1.0 / (1.0 + z), z / (1.0 + z)
    positive = predictions >= 0.0
    one, zero = ((share * np.where(which, likelier, other)).sum(axis=2) for which in (positive, ~positive))
    return np.log(np.maximum(one, TINY)) - np.log(np.maximum(zero, TINY))


@loss(
    value=value,
    formula="log(1 + eᵖ) − y p",
    source="Cox (1958), The regression analysis of binary sequences, JRSS B 20",
    target="class",
    probability=probability,
    mix=mix,
    metric=Metric("log loss"),
)
def logistic(prediction, y):
    """Logistic loss: predicts probabilities."""
    z = ops.exp(-ops.abs(prediction))  # of a negative number, so that it cannot overflow
    return ops.where(prediction >= 0.0, 1.0, z) / (1.0 + z) - y
