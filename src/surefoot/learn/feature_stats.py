"""What is known of the features that have occurred: how often, and how fast their weights still move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureStats:
    """Statistics of the features that have occurred.

    Attributes:
        features: which, rising, (n,).
        counts: examples in which each occurred, (n,), float64.
        means, deviations: the mean x̄ of its values over these and Σ(x − x̄)², (n,), float64.
        rates: effective learning rates of the next step, at the learning rate with the largest weight, of features as
            they are scaled; (n, outputs).
        frozen: a gradient of 1 would change none of its weights, (n,).
    """

    features: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    rates: np.ndarray
    frozen: np.ndarray
