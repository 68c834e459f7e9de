"""Squared error: the mean is predicted. It is half the square inside, so that the slope is the residual.

A mean loss is reported as the mean squared error, twice as much, and its root.
"""

from surefoot.losses.record import Metric, loss


def value(predictions, y):
    residual = predictions - y
    return 0.5 * residual**2


@loss(
    value=value,
    formula="½ (p − y)²",
    source="Legendre (1805), Nouvelles méthodes pour la détermination des orbites des comètes",
    target="number",
    center="mean",
    degree=2,
    metric=Metric("MSE", factor=2.0, root="RMSE"),
)
def squared(prediction, y):
    """Squared error: predicts the mean."""
    return prediction - y
