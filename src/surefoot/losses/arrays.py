"""Sums of exponentials of NumPy arrays that cannot overflow."""

import numpy as np

TINY = 1e-300
"""What probabilities are at least before their logarithms are taken."""


def softmax_of(scores: np.ndarray) -> np.ndarray:
    """exp of the scores, normalized along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """ln Σ exp along an axis, which is kept with length 1."""
    largest = values.max(axis=axis, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis=axis, keepdims=True))
