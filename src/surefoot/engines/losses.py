"""Losses of a linear model: the value for people, the slope (the derivative by the prediction) for engines."""

import numpy as np

from surefoot import ops


def squared_slope(prediction, y):
    return prediction - y


def logistic_slope(prediction, y):
    z = ops.exp(-ops.abs(prediction))  # of a negative number, so that it cannot overflow
    return ops.where(prediction >= 0.0, 1.0, z) / (1.0 + z) - y


SLOPES = {"squared": squared_slope, "logistic": logistic_slope}


def predict(examples, x: np.ndarray) -> np.ndarray:
    """examples · weights + bias, (m,), for x = weights then bias."""
    return examples @ x[:-1] + x[-1]


def mean_loss(loss: str, predictions: np.ndarray, y: np.ndarray) -> float:
    """The mean loss in float64: ½(ŷ − y)² for "squared", log(1 + e^ŷ) − y ŷ for "logistic".

    >>> mean_loss("squared", np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    1.0
    """
    predictions = np.asarray(predictions, np.float64)
    if loss == "squared":
        return float(np.mean(0.5 * (predictions - y) ** 2))
    return float(np.mean(np.logaddexp(0.0, predictions) - y * predictions))
