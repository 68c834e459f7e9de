"""Examples by how often the rarest of their features occurs: where rules with a rate for each feature differ."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

QUARTERS = (0.25, 0.5, 0.75)
TIMES = 2
"""Examples are grouped if the rarest feature of some occurs this many times as often as that of the first group's."""


@dataclass(frozen=True)
class Groups:
    """About four groups of examples, the one with the rarest features first.

    Attributes:
        limits: in how many training examples the rarest feature of an example occurs at most, for each group.
        train, test: the group of each example; −1 for held-out examples none of whose features occur in training.
    """

    limits: list[int]
    train: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, X: Any, X_test: Any, counts: np.ndarray) -> Groups | None:
        """Quarters of the training examples; None where features occur about equally often."""
        train, test = rarest(X, counts), rarest(X_test, counts)
        known = train[train > 0]
        if not len(known):
            return None
        limits = np.unique([*np.quantile(known, QUARTERS, method="lower"), known.max()])
        if len(limits) < 2 or limits[-1] < TIMES * limits[0]:
            return None
        groups = [np.where(values > 0, np.searchsorted(limits, values), -1) for values in (train, test)]
        return cls([int(limit) for limit in limits], *groups)


def rarest(X: Any, counts: np.ndarray) -> np.ndarray:
    """How often the rarest feature of each example occurs, of those that occur at all; 0 for an example without one."""
    X = csr_array(X != 0)
    often = counts[X.indices].astype(float)
    often[often == 0] = np.inf
    found, filled = np.full(X.shape[0], np.inf), np.diff(X.indptr) > 0
    found[filled] = np.minimum.reduceat(often, X.indptr[:-1][filled]) if filled.any() else 0
    return np.where(np.isinf(found), 0, found).astype(np.int64)


@dataclass(frozen=True)
class LossByRarity:
    """Mean losses of the groups after training; None for a group without held-out examples."""

    limits: list[int]
    train: list[float]
    test: list[float | None]

    @classmethod
    def of(cls, groups: Groups, train: np.ndarray, test: np.ndarray) -> LossByRarity:
        """Of the loss of each example."""
        numbers = range(len(groups.limits))
        unseen = (test[groups.test == k] for k in numbers)
        return cls(
            groups.limits,
            [float(train[groups.train == k].mean()) for k in numbers],
            [float(losses.mean()) if len(losses) else None for losses in unseen],
        )


def named(limits: list[int]) -> list[str]:
    """What the groups are called.

    >>> named([2, 4, 11, 1150])
    ['≤ 2', '3–4', '5–11', '≥ 12']
    """
    between = [f"{low + 1}–{high}" if high > low + 1 else f"{high}" for low, high in itertools.pairwise(limits[:-1])]
    return [f"≤ {limits[0]}", *between, f"≥ {limits[-2] + 1}"]
