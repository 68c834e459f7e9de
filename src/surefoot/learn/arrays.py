"""Data sets in memory, dense or CSR, as blocks of examples that a learner takes, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from surefoot.engines.examples import Examples
from surefoot.engines.feature_table import RowMap
from surefoot.engines.hashed_rows import HashedRows

ROWS = 1 << 15
"""Rows of a block, at most."""
NUMBERS = 1 << 22
"""Numbers of a dense block, at most, unless a mini-batch has more."""
FLOATS = (np.float64, np.float32)
WIDE = 1 << 20
"""Columns up to which each has a row in the table in any case: about 100 MB at most, of which a part is touched."""


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Examples in memory; what a learner needs in another form is made a block at a time.

    Attributes:
        X: (n, features), float32 or float64: an array, or CSR as `checked` returns it.
        targets: (n,), float64, as the engines take them.
        weights: (n,), float64, at least 0.

    >>> data = ArrayDataset(np.array([[0.0, 2.0], [3.0, 0.0]]), np.array([1.0, 0.0]), np.ones(2))
    >>> [block] = data.blocks(order=np.array([1, 0]))
    >>> block.indices.tolist(), block.values.tolist(), block.targets.tolist()
    ([0, 1], [3.0, 2.0], [0.0, 1.0])
    """

    X: Any
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return self.X.shape[0]

    @property
    def features(self) -> int:
        return self.X.shape[1]

    @property
    def ids(self) -> np.ndarray:
        """The features that occur, some perhaps several times; of an array all."""
        if not sparse.issparse(self.X):
            return np.arange(self.features)
        if self.X.nnz < self.features:
            return self.X.indices.astype(np.int64)
        return np.flatnonzero(np.bincount(self.X.indices[: self.X.nnz], minlength=self.features))

    def row_map(self) -> RowMap | None:
        """See `row_map_for`."""
        return row_map_for(self.features, self.X.nnz) if sparse.issparse(self.X) else None

    @property
    def numbers(self) -> int:
        """How many are not 0."""
        return self.X.nnz if sparse.issparse(self.X) else int(np.count_nonzero(self.X != 0))

    def part(self, rows: np.ndarray) -> ArrayDataset:
        """The rows with these numbers, a copy."""
        return ArrayDataset(self.X[rows], self.targets[rows], self.weights[rows])

    def weighted(self) -> ArrayDataset:
        """Without the rows of weight 0, which must not count, in averages and scales either."""
        kept = self.weights > 0
        return self if kept.all() else self.part(np.flatnonzero(kept))

    def blocks(self, order: np.ndarray | None = None, batch_size: int = 1) -> Iterator[Examples]:
        """The rows of an order, which may name some twice or not at all, or else all; in whole mini-batches."""
        rows = ROWS if sparse.issparse(self.X) else min(ROWS, max(NUMBERS // max(self.features, 1), 1))
        rows = -(-rows // batch_size) * batch_size
        count = len(self) if order is None else len(order)
        for first in range(0, count, rows):
            chosen: Any = slice(first, min(first + rows, count))
            if order is not None:
                chosen = order[chosen]
            yield Examples(*csr(self.X, chosen), self.targets[chosen], self.weights[chosen])


def row_map_for(features: int, numbers: int) -> RowMap | None:
    """A map to rows for features as they occur, where these are few among all; None, for a row for each, elsewhere, as
    ids that are rows take less time.

    Args:
        features: that there are.
        numbers: entries of the first data.
    """
    return HashedRows() if features > max(WIDE, numbers) else None


def check_unmasked(**arrays: Any) -> None:
    """Raises ValueError for an array with a mask, under which there are numbers that do not count."""
    for name, array in arrays.items():
        if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
            raise ValueError(f"{name}: found a masked array, expected no missing values; give {name}.filled(value)")


def validated(estimator: Any, X: Any, **how: Any) -> Any:
    """X, and y if it is given, as scikit-learn's `validate_data` returns them for an estimator.

    Raises:
        ValueError: they cannot be used.
    """
    from sklearn.utils.validation import validate_data

    check_unmasked(X=X, y=how.get("y"))
    return validate_data(estimator, X, accept_sparse="csr", dtype=FLOATS, **how)


def checked(X: Any) -> Any:
    """What kernels may read: an array, or CSR with indices in range, no feature twice in a row, and no zeros.

    Kernels do not check bounds. A matrix that fits already is not copied; duplicates are summed, as SciPy does.

    Raises:
        ValueError: a CSR matrix names rows or features that it does not have.
    """
    if not sparse.issparse(X):
        return X
    indices, indptr = X.indices[: X.nnz], X.indptr
    if indptr[0] != 0 or np.any(np.diff(indptr) < 0) or indptr[-1] > min(len(X.indices), len(X.data)):
        raise ValueError("X: found a CSR matrix whose indptr does not rise from 0 to the number of its entries")
    if len(indices) and not (indices.min() >= 0 and indices.max() < X.shape[1]):
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"X: found feature {wrong} in a CSR matrix, expected 0 … {X.shape[1] - 1}")
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
        _check_finite(X.data)
    if not X.data[: X.nnz].all():
        X = X.copy()
        X.eliminate_zeros()
    return X


def csr(X: Any, rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indptr, indices, values) of some rows, a slice or their numbers; of a slice of CSR a view where it can be."""
    if not sparse.issparse(X):
        block = X[rows]
        if block.all():
            indptr = np.arange(len(block) + 1, dtype=np.int32) * np.int32(block.shape[1])
            indices = np.tile(np.arange(block.shape[1], dtype=np.int32), len(block))
            return indptr, indices, _values(block.ravel())
        row, indices = np.nonzero(block)
        indptr = np.append(0, np.cumsum(np.bincount(row, minlength=len(block))))
        # The types that SciPy's matrices have, for which kernels are compiled anyway.
        return indptr.astype(np.int32), indices.astype(np.int32), _values(block[row, indices])
    if isinstance(rows, slice):
        first, last = X.indptr[rows.start], X.indptr[rows.stop]
        indptr, indices, data = X.indptr[rows.start : rows.stop + 1] - first, X.indices[first:last], X.data[first:last]
    else:
        block = X[rows]
        indptr, indices, data = block.indptr, block.indices, block.data
    # Kernels would be compiled again for arrays that are read-only, which takes longer than to copy them.
    return indptr, np.require(indices, requirements=["C", "W"]), np.require(_values(data), requirements=["C", "W"])


def _values(values: np.ndarray) -> np.ndarray:
    """Values in float64 or float32, of which none is beyond the range of float32: its square would not be finite."""
    if values.dtype != np.float32 and values.size and max(values.max(), -values.min()) > np.finfo(np.float32).max:
        _check_finite(np.array([np.inf]))
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
