"""Sums of exponentials of NumPy arrays that neither overflow nor underflow."""

import numpy as np

TINY = 1e-300
"""What probabilities are at least before their logarithms are taken."""
LEAST = -690.0
"""Below this an exponential is taken as 0, since a share of it would be subnormal."""


def softmax_of(scores: np.ndarray) -> np.ndarray:
    """exp of the scores, normalized along the last axis."""
    powers = _powers(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """ln Σ exp along an axis, which is kept with length 1."""
    largest = values.max(axis=axis, keepdims=True)
    return largest + np.log(_powers(values - largest).sum(axis=axis, keepdims=True))


def _powers(logarithms: np.ndarray) -> np.ndarray:
    """exp of numbers of at most 0, or 0 where that is negligible."""
    return np.where(logarithms < LEAST, 0.0, np.exp(np.maximum(logarithms, LEAST)))
