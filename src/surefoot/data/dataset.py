"""A data set: examples, targets and a fixed split into a training and a held-out part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np

from surefoot.data.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array, csr_matrix

    Examples: TypeAlias = np.ndarray | csr_array | csr_matrix

Task: TypeAlias = Literal["classification", "regression"]
Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

FEWEST = 5  # examples: with fewer, a fifth held out is less than one


def _to_be_split() -> Indices:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples with their targets, checked once, and the split that every run on them uses.

    Args:
        name: what people call it; messages and `describe` start with it.
        X: examples by features, float32 or float64: a C-contiguous array, or SciPy CSR with sorted, unique column
            indices (int32 or int64).
        y: one target per example, of the dtype of X: any finite number for regression, 0 or 1 for classification.
        task: "regression" or "classification" (two classes).
        feature_names: one name per feature.
        classes: names of the classes 0 and 1; "0" and "1" unless given.
        train: int64 indices of the training examples. Without `train` and `test`, `split` decides.
        test: int64 indices of the held-out examples, disjoint from `train`.
        noun: what features are called in `describe`.
        missing: entries that X, in CSR, does not store are missing, as in tables, rather than 0; zeros may be stored.

    Raises:
        DataError: something does not fit together, is not finite, or leaves nothing to learn.

    >>> X = np.eye(5, dtype=np.float32)
    >>> data = Dataset("steps", X, np.arange(5, dtype=np.float32), "regression")
    >>> data.describe()
    'steps: 5 examples (1 held out), 5 features, dense; target from 0 to 4'
    >>> data.counts()
    array([1, 0, 1, 1, 1])
    """

    name: str
    X: Examples
    y: np.ndarray
    task: Task
    feature_names: tuple[str, ...] | None = None
    classes: tuple[str, str] | None = None
    train: Indices = field(default_factory=_to_be_split)
    test: Indices = field(default_factory=_to_be_split)
    noun: str = "features"
    missing: bool = False

    def __post_init__(self) -> None:
        _check_examples(self)
        _check_target(self)
        if not len(self.train) and not len(self.test):
            train, test = split(self.y, self.task)
            object.__setattr__(self, "train", train)
            object.__setattr__(self, "test", test)
        _check_split(self)
        if self.task == "classification" and self.classes is None:
            object.__setattr__(self, "classes", ("0", "1"))

    @property
    def n_examples(self) -> int:
        """Number of examples, training and held-out."""
        return _shape(self.X)[0]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return _shape(self.X)[1]

    @property
    def is_sparse(self) -> bool:
        """Whether X is CSR rather than a dense array."""
        return not isinstance(self.X, np.ndarray)

    @property
    def density(self) -> float:
        """Share of the entries of X that are not zero, in [0, 1]."""
        return int(np.count_nonzero(_values(self.X))) / (self.n_examples * self.n_features)

    def part(self, indices: Indices) -> tuple[Examples, np.ndarray]:
        """Examples and targets at `indices`, for instance those of `train`; a copy, in the layout of X."""
        return self.X[indices], self.y[indices]

    def counts(self) -> Indices:
        """In how many training examples each feature is not zero: int64, one count per feature."""
        X = self.X[self.train]
        if isinstance(X, np.ndarray):
            return np.count_nonzero(X, axis=0).astype(np.int64)
        return np.bincount(X.indices[X.data != 0], minlength=self.n_features).astype(np.int64)

    def describe(self) -> str:
        """One line for a person: size, sparsity and target."""
        each = f"{self.density * self.n_features:.3g} nonzeros each" if self.is_sparse else "dense"
        if self.task == "classification":
            negative, positive = self.classes or ("0", "1")
            target = f"classes {negative} / {positive} ({self.y.mean(dtype=float):.1%} are {positive})"
        else:
            target = f"target from {self.y.min():.4g} to {self.y.max():.4g}"
        return (
            f"{self.name}: {self.n_examples:,} examples ({len(self.test):,} held out), "
            f"{self.n_features:,} {self.noun}, {each}; {target}"
        )

    def __repr__(self) -> str:
        return f"<Dataset {self.describe()}>"


def split(y: np.ndarray, task: Task, seed: int = 0) -> tuple[Indices, Indices]:
    """Hold out a fifth of the examples; for classification, a fifth of each class (to within one).

    Args:
        y: one target per example, at least five.
        task: "regression" or "classification".
        seed: of the order that decides who is held out.

    Returns:
        Sorted int64 indices of the training and of the held-out examples. Both classes are in the training part.

    >>> train, test = split(np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "classification")
    >>> len(train), len(test)
    (8, 2)
    """
    rng = np.random.default_rng(seed)
    groups = [np.arange(len(y))]
    if task == "classification":
        groups = [np.flatnonzero(y == label) for label in np.unique(y)]
    # The rarest class comes first: the first four are kept for training, so a class of one example is never held out.
    order = np.concatenate([rng.permutation(group) for group in sorted(groups, key=len)])
    held_out = np.zeros(len(y), bool)
    held_out[order[FEWEST - 1 :: FEWEST]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def targets(labels: np.ndarray, task: Task | None, name: str) -> tuple[np.ndarray, Task, tuple[str, str] | None]:
    """Turn the labels of a file into targets.

    Without a task, two distinct labels are the classes 0 and 1, in ascending order ({-1, 1}, {0, 1}, {1, 2},
    {"ham", "spam"}), and more than two are numbers to predict.

    Args:
        labels: one number or string per example.
        task: "classification" or "regression" to insist, None to decide by the rule above.
        name: of the data set, for messages.

    Returns:
        The targets in float64, the task, and the names of the two classes (None for regression).

    Raises:
        DataError: the labels are constant, more than two classes, or words where numbers are needed.

    >>> targets(np.array([1, -1, 1]), None, "toy")
    (array([1., 0., 1.]), 'classification', ('-1', '1'))
    """
    if labels.dtype.kind not in "biufU":
        raise DataError(f"{name}: found targets of dtype {labels.dtype}, expected numbers or strings")
    _check_finite(name, labels)
    distinct = np.unique(labels)
    if len(distinct) == 1:
        raise DataError(f"{name}: the target is constant (always {_text(distinct[0])}), so there is nothing to learn")
    words = labels.dtype.kind == "U"
    if task is None:
        task = "classification" if words or len(distinct) == 2 else "regression"
    if task == "classification":
        if len(distinct) != 2:
            some = ", ".join(map(_text, distinct[:4])) + (", …" if len(distinct) > 4 else "")
            raise DataError(
                f"{name}: found {len(distinct):,} classes ({some}), but only two are supported: "
                + ("keep the rows of two of them" if words else "keep two of them or use task 'regression'")
            )
        return (labels == distinct[1]).astype(np.float64), task, (_text(distinct[0]), _text(distinct[1]))
    if words:
        raise DataError(f"{name}: task 'regression' needs numbers as targets, found words such as {str(labels[0])!r}")
    return labels.astype(np.float64), task, None


def _text(label: Any) -> str:
    number = label.item()
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _values(X: Examples) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.data


def _shape(X: Examples) -> tuple[int, ...]:
    return cast("tuple[int, ...]", X.shape)


def _check_examples(data: Dataset) -> None:
    name, X = data.name, data.X
    dtype = getattr(X, "dtype", None)
    if dtype not in (np.float32, np.float64):
        raise DataError(f"{name}: X has dtype {dtype or type(X).__name__}, expected float32 or float64")
    shape = _shape(X)
    if len(shape) != 2:
        raise DataError(f"{name}: X has shape {shape}, expected examples by features")
    if shape[0] < FEWEST:
        raise DataError(f"{name}: found {shape[0]} example(s), expected at least {FEWEST} to train and hold out")
    if not isinstance(X, np.ndarray):
        _check_layout(name, X)
    elif not X.flags.c_contiguous:
        raise DataError(f"{name}: X is not C-contiguous; pass np.ascontiguousarray(X)")
    if not np.isfinite(_values(X)).all():
        raise DataError(f"{name}: {_not_finite(X)}, expected finite numbers only")
    if not np.any(_values(X)):
        raise DataError(f"{name}: found no feature that is ever different from 0, so there is nothing to learn from")
    if data.feature_names is not None and len(data.feature_names) != shape[1]:
        raise DataError(f"{name}: found {len(data.feature_names):,} feature names for {shape[1]:,} features")


def _check_layout(name: str, X: csr_array | csr_matrix) -> None:
    if getattr(X, "format", None) != "csr":
        raise DataError(f"{name}: X is {type(X).__name__}, expected a dense array or SciPy CSR; convert with X.tocsr()")
    if X.indices.dtype not in (np.int32, np.int64):
        raise DataError(f"{name}: X has indices of dtype {X.indices.dtype}, expected int32 or int64")
    # Kernels do not check bounds, so a column that does not exist must not get past this line.
    try:
        X.check_format(full_check=True)
    except ValueError as error:
        raise DataError(f"{name}: X is not a valid CSR matrix: {error}") from None
    if not X.has_canonical_format:
        raise DataError(f"{name}: a row of X has unsorted or repeated columns; call X.sum_duplicates() first")


def _not_finite(X: Examples) -> str:
    position = np.flatnonzero(~np.isfinite(_values(X).ravel()))[0]
    if isinstance(X, np.ndarray):
        row, column = divmod(int(position), X.shape[1])
    else:
        row, column = int(np.searchsorted(X.indptr, position, side="right")) - 1, int(X.indices[position])
    return f"feature {column} of example {row} (both counted from 0) is {_values(X).ravel()[position]}"


def _check_target(data: Dataset) -> None:
    name, y = data.name, data.y
    if data.task not in get_args(Task):
        raise DataError(f"{name}: found task {data.task!r}, expected one of {', '.join(get_args(Task))}")
    if y.shape != (data.n_examples,):
        raise DataError(f"{name}: y has shape {y.shape}, expected ({data.n_examples},), one target per example")
    if y.dtype != data.X.dtype:
        raise DataError(f"{name}: y has dtype {y.dtype} but X {data.X.dtype}; pass y.astype(X.dtype)")
    _check_finite(name, y)
    if data.task == "classification" and not np.isin(y, (0, 1)).all():
        found = next(value for value in y if value not in (0, 1))
        raise DataError(f"{name}: found class {found:g}, but only the two classes 0 and 1 are supported")


def _check_finite(name: str, y: np.ndarray) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = np.flatnonzero(~np.isfinite(y))[0]
        raise DataError(f"{name}: the target of example {row} (counted from 0) is {y[row]}, expected a finite number")


def _check_split(data: Dataset) -> None:
    name, rows = data.name, data.n_examples
    for part, indices in (("train", data.train), ("test", data.test)):
        if indices.dtype != np.int64 or indices.ndim != 1 or not len(indices):
            raise DataError(f"{name}: {part} is {indices.dtype} of shape {indices.shape}, expected some int64 indices")
        if indices.min() < 0 or indices.max() >= rows:
            raise DataError(f"{name}: {part} names an example outside 0 to {rows - 1}")
    if len(shared := np.intersect1d(data.train, data.test)):
        raise DataError(f"{name}: example {shared[0]} is in both train and test, so its loss would flatter")
    known = data.y[data.train]
    if (known == known[0]).all():
        raise DataError(f"{name}: the target is constant (always {known[0]:g} in training), nothing to learn")
