"""What is known of the features that have occurred: how often, and how fast their weights still move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surefoot.engines.feature_table import pieces

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner


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

    @classmethod
    def of(cls, learner: Learner) -> FeatureStats:
        """Those of a learner, in the order of the features' ids."""
        bank, best = learner.bank, learner.best
        table, size, part = bank.table, bank.features, learner.settings.architecture.first
        rates, frozen = np.empty((size, bank.outputs), bank.dtype), np.empty(size, bool)
        for rows in pieces(size):
            rates[rows] = own = bank.effective_rates(part, best, rows)[:, 0]
            x = np.abs(table.numbers(part)[rows, 0, best :: bank.rates])
            frozen[rows] = ((x + own) == x).all(axis=1)
        ids = bank.row_map.ids(0, size)
        counts = table.statistic("count")
        seen = np.flatnonzero(counts > 0)
        seen = seen[np.argsort(ids[seen], kind="stable")]
        means, deviations = table.statistic("mean")[seen], table.statistic("deviations")[seen]
        return cls(ids[seen], counts[seen], means, deviations, rates[seen], frozen[seen])
