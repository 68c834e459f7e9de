"""What is known of the features that have occurred: how often, and how fast their weights still move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surefoot.engines.feature_table import in_order, pieces
from surefoot.learn.stored import narrow

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner


@dataclass(frozen=True)
class FeatureStats:
    """Statistics of the features that have occurred.

    Attributes:
        features: which, rising, (n,).
        counts: examples in which each occurred, (n,), whole numbers.
        rates: effective learning rates of the next step, at the learning rate with the largest weight, of features as
            they are scaled; (n, outputs).
        frozen: a gradient of 1 would change none of its weights, (n,).
    """

    features: np.ndarray
    counts: np.ndarray
    rates: np.ndarray
    frozen: np.ndarray

    @classmethod
    def of(cls, learner: Learner, order: np.ndarray | None = None) -> FeatureStats:
        """Those of a learner.

        Args:
            order: of rows of the table, in which their ids rise; unless given, they are sorted.
        """
        if order is None and (ids := learner.ids()) is not None:
            order = np.argsort(ids)
        bank, best = learner.bank, learner.best
        table, size, part = bank.table, bank.features, learner.settings.architecture.first
        rates, frozen = np.empty((size, bank.outputs), bank.dtype), np.empty(size, bool)
        counts = np.empty(size, np.int64 if learner.examples > np.iinfo(np.int32).max else np.int32)
        for rows in pieces(size):
            rates[rows] = own = bank.effective_rates(part, best, rows)[:, 0]
            x = np.abs(table.numbers(part)[rows, 0, best :: bank.rates])
            frozen[rows] = ((x + own) == x).all(axis=1)
            counts[rows] = table.statistic("count")[rows]
        ids, there = narrow(bank.row_map.ids(0, size)), counts > 0
        seen = np.flatnonzero(there) if order is None else order if there.all() else order[there[order]]
        return cls(*(in_order(array, seen) for array in (ids, counts, rates, frozen)))
