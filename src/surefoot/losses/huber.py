"""Huber loss: squared error for residuals up to δ, and linear from there on, so that outliers pull less."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, Parameter, loss
from surefoot.records.hyper import positive


def value(predictions, y, delta):
    residual = predictions - y
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


@loss(
    value=value,
    formula="½ r² for |r| ≤ δ, δ (|r| − ½ δ) above,  r = p − y",
    source="Huber (1964), Robust estimation of a location parameter, Annals of Mathematical Statistics 35",
    target="number",
    parameter=Parameter("delta", positive(1.0, "δ, in the unit of the targets"), scales=True),
    center="median",
    degree=2,
    metric=Metric("Huber loss"),
)
def huber(prediction, y, delta):
    """Huber loss: close to the mean, but robust."""
    return ops.minimum(ops.maximum(prediction - y, -delta), delta)
