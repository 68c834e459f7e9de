"""Softmax (cross-entropy): logistic loss of several classes, whose outputs are learned together.

The derivative by one output is that of logistic loss at its prediction less the log-sum-exp of the others.
"""

import numpy as np

from surefoot import ops
from surefoot.losses.arrays import TINY, log_sum_exp, softmax_of
from surefoot.losses.logistic import logistic
from surefoot.losses.record import Metric, loss


def value(predictions, y):
    largest = predictions.max(axis=-1, keepdims=True)
    total = np.log(np.exp(predictions - largest).sum(axis=-1)) + largest[..., 0]
    return total - np.take_along_axis(predictions, y.astype(np.int64)[..., None], -1)[..., 0]


def mix(predictions, share):
    """The logarithms of the mixed probabilities."""
    probability = np.exp(predictions - log_sum_exp(predictions, axis=1))
    return np.log(np.maximum((share * probability).sum(axis=2), TINY))


@loss(
    value=value,
    formula="ln Σ exp(p) − p of the class",
    source="Bridle (1990), Training stochastic model recognition algorithms, NIPS 2",
    target="class",
    probability=softmax_of,
    mix=mix,
    joint=True,
    for_two=logistic,
    metric=Metric("log loss"),
)
def softmax(prediction, y):
    """Softmax: predicts probabilities of several classes."""
    z = ops.exp(-ops.abs(prediction))
    return ops.where(prediction >= 0.0, 1.0, z) / (1.0 + z) - y
