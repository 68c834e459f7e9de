"""Examples as engines take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows in CSR form, their targets and weights; a row has each pair of feature and field at most once.

    Attributes:
        indptr: (n + 1,), int32 or int64.
        indices: ids of features from 0 on, int32 or int64.
        values: float64 (float32 is taken too).
        targets: (n,), float64; 0 or 1, the number of the class, or what is to be predicted.
        weights: (n,), float64, at least 0.
        bases: (n,), what is added to each example's prediction; None for nothing.
        fields: the field or column of each entry, int64; None where there is none.
        groups: (n,), int64, the group (query) of each example; None where there is none.
        features: more than the largest id; None where that has to be looked for.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    bases: np.ndarray | None = None
    fields: np.ndarray | None = None
    groups: np.ndarray | None = None
    features: int | None = None

    @classmethod
    def one(cls, ids: np.ndarray, values: np.ndarray, target: float, weight: float) -> Examples:
        """A single example, with these features."""
        return cls(np.array([0, len(ids)]), ids, values, np.array([target]), np.array([weight]))

    @property
    def features_needed(self) -> int:
        """The features that a model needs to have, where ids are numbers of features."""
        return int(self.indices.max(initial=-1)) + 1 if self.features is None else self.features

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def part(self, first: int, last: int) -> Examples:
        """The rows first … last − 1, without copies."""
        if first == 0 and last == len(self):
            return self
        rows, begin, end = slice(first, last), self.indptr[first], self.indptr[last]
        entries = slice(begin, end)
        return Examples(
            self.indptr[first : last + 1] - begin,
            self.indices[entries],
            self.values[entries],
            self.targets[rows],
            self.weights[rows],
            None if self.bases is None else self.bases[rows],
            None if self.fields is None else self.fields[entries],
            None if self.groups is None else self.groups[rows],
        )
