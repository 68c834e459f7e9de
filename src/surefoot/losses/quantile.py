"""Quantile (pinball) loss: predicts the number that a share q of the targets lie below."""

import numpy as np

from surefoot import ops
from surefoot.losses.record import Metric, Parameter, loss
from surefoot.records.hyper import Hyper


def value(predictions, y, quantile):
    residual = predictions - y
    return np.maximum(-quantile * residual, (1.0 - quantile) * residual)


@loss(
    value=value,
    formula="max(−q r, (1 − q) r),  r = p − y",
    source="Koenker & Bassett (1978), Regression quantiles, Econometrica 46",
    target="number",
    parameter=Parameter("quantile", Hyper(0.5, (0.0, 1.0), "q", open_low=True, open_high=True)),
    center="median",
    metric=Metric("pinball loss"),
)
def quantile(prediction, y, quantile):
    """Quantile loss: predicts a quantile."""
    return ops.where(prediction < y, -quantile, ops.where(prediction > y, 1.0 - quantile, 0.0))
