"""Losses of a linear model: the value for people, the slope (the derivative by the prediction) for engines.

A target is a number, or for two classes 0 or 1. The third argument is the loss's own number, where it has one: where
the huber loss turns linear, which quantile, or how wide the insensitive band is.
"""

import numpy as np

from surefoot import ops


def squared_slope(prediction, y, parameter=0.0):
    return prediction - y


def logistic_slope(prediction, y, parameter=0.0):
    z = ops.exp(-ops.abs(prediction))  # of a negative number, so that it cannot overflow
    return ops.where(prediction >= 0.0, 1.0, z) / (1.0 + z) - y


def hinge_slope(prediction, y, parameter=0.0):
    sign = 2.0 * y - 1.0
    return ops.where(sign * prediction < 1.0, -sign, 0.0)


def squared_hinge_slope(prediction, y, parameter=0.0):
    sign = 2.0 * y - 1.0
    return -2.0 * sign * ops.maximum(1.0 - sign * prediction, 0.0)


def modified_huber_slope(prediction, y, parameter=0.0):
    sign = 2.0 * y - 1.0
    return -2.0 * sign * ops.minimum(ops.maximum(1.0 - sign * prediction, 0.0), 2.0)


def huber_slope(prediction, y, parameter=1.0):
    return ops.minimum(ops.maximum(prediction - y, -parameter), parameter)


def quantile_slope(prediction, y, parameter=0.5):
    return ops.where(prediction < y, -parameter, ops.where(prediction > y, 1.0 - parameter, 0.0))


def poisson_slope(prediction, y, parameter=0.0):
    return ops.exp(ops.minimum(prediction, 700.0)) - y


def epsilon_insensitive_slope(prediction, y, parameter=0.1):
    residual = prediction - y
    return ops.where(residual > parameter, 1.0, ops.where(residual < -parameter, -1.0, 0.0))


SLOPES = {
    "squared": squared_slope,
    "logistic": logistic_slope,
    "hinge": hinge_slope,
    "squared_hinge": squared_hinge_slope,
    "modified_huber": modified_huber_slope,
    "huber": huber_slope,
    "quantile": quantile_slope,
    "poisson": poisson_slope,
    "epsilon_insensitive": epsilon_insensitive_slope,
    # For each class, of its prediction less the log-sum-exp of all others.
    "softmax": logistic_slope,
}
CODES = {name: code for code, name in enumerate(SLOPES)}
"""How kernels call the losses."""


def values(loss: str, predictions, y, parameter: float = 0.0) -> np.ndarray:
    """The loss of each prediction, in float64; of softmax, (…, classes) against whole numbers (…,).

    Args:
        loss: a key of SLOPES: squared ½(p − y)², logistic log(1 + eᵖ) − y p, hinge max(0, 1 − z p) and its square,
            modified_huber (that square, linear from z p = −1 on), with z = 2y − 1; huber ½r² up to |r| = δ, then
            δ(|r| − δ/2), quantile max(−q r, (1 − q) r), epsilon_insensitive max(0, |r| − ε), with r = p − y;
            poisson eᵖ − y p.
        parameter: δ, q or ε.

    >>> values("hinge", [0.5, 2.0], [1, 1]).tolist()
    [0.5, 0.0]
    """
    p, y = np.asarray(predictions, np.float64), np.asarray(y, np.float64)
    sign = 2.0 * y - 1.0
    match loss:
        case "logistic":
            # Once the prediction's part that can be large is taken out, what is left is small and positive.
            return np.log1p(np.exp(-np.abs(p))) + np.maximum(p, 0.0) - y * p
        case "softmax":
            largest = p.max(axis=-1, keepdims=True)
            total = np.log(np.exp(p - largest).sum(axis=-1)) + largest[..., 0]
            return total - np.take_along_axis(p, y.astype(np.int64)[..., None], -1)[..., 0]
        case "hinge":
            return np.maximum(1.0 - sign * p, 0.0)
        case "squared_hinge":
            return np.maximum(1.0 - sign * p, 0.0) ** 2
        case "modified_huber":
            margin = sign * p
            return np.where(margin < -1.0, -4.0 * margin, np.maximum(1.0 - margin, 0.0) ** 2)
        case "poisson":
            return mean_of(loss, p) - y * p
    residual = p - y
    match loss:
        case "squared":
            return 0.5 * residual**2
        case "huber":
            size = np.abs(residual)
            return np.where(size <= parameter, 0.5 * residual**2, parameter * (size - 0.5 * parameter))
        case "quantile":
            return np.maximum(-parameter * residual, (1.0 - parameter) * residual)
        case "epsilon_insensitive":
            return np.maximum(np.abs(residual) - parameter, 0.0)
    raise ValueError(f"there is no loss {loss!r}; there are {', '.join(SLOPES)}")


def mean_of(loss: str, predictions: np.ndarray) -> np.ndarray:
    """The mean function (inverse link) of a loss for numbers: eᵖ for poisson, of p up to 700; p itself for the others.

    >>> mean_of("poisson", np.array([0.0, 1e4])).tolist()
    [1.0, 1.0142320547350045e+304]
    """
    return np.exp(np.minimum(predictions, 700.0)) if loss == "poisson" else predictions


def predict(examples, x: np.ndarray) -> np.ndarray:
    """examples · weights + bias, (m,), for x = weights then bias."""
    return examples @ x[:-1] + x[-1]


def mean_loss(loss: str, predictions: np.ndarray, y: np.ndarray) -> float:
    """The mean loss in float64, as `values` has it for each example.

    >>> mean_loss("squared", np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    1.0
    """
    return float(np.mean(values(loss, predictions, y)))
