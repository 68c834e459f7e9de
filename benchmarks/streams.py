"""Streams that are hard for a learner without settings, and the orders in which examples may come.

Every one has labels 0 and 1. None was used to choose anything but the learning rates of "auto".
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import csr_matrix

from surefoot.engines.examples import Examples

ROWS = 20_000
RUN = 500
"""Examples of a class that come one after the other where labels come in runs."""


def dense(X: np.ndarray, y: np.ndarray) -> Examples:
    rows, columns = X.shape
    indices = np.tile(np.arange(columns), rows)
    return Examples(
        np.arange(rows + 1) * columns, indices, X.astype(np.float32).ravel(), y.astype(float), np.ones(rows)
    )


def drawn(seed: int, rows: int, columns: int = 20):
    """A generator, columns N(0, 1), and the weights of a model."""
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(rows, columns)), rng.normal(size=columns)


def labels(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of a logistic model."""
    return (rng.random(len(scores)) < 1.0 / (1.0 + np.exp(-np.clip(scores, -50, 50)))).astype(float)


def offset(rows: int, mean: float = 5.0) -> Examples:
    """Columns whose mean is far from 0."""
    rng, X, w = drawn(2, rows)
    return dense(X + mean, labels(X @ w, rng))


def other_units(rows: int) -> Examples:
    """Every column has another unit after half of the examples."""
    rng, X, w = drawn(3, rows)
    y = labels(X @ w, rng)
    X[rows // 2 :] *= 10.0 ** rng.uniform(-2, 2, X.shape[1])
    return dense(X, y)


def larger(rows: int, factor: float) -> Examples:
    """All columns are that many times larger after half of the examples."""
    rng, X, w = drawn(9, rows)
    y = labels(X @ w, rng)
    X[rows // 2 :] *= factor
    return dense(X, y)


def cauchy(rows: int) -> Examples:
    """Values without a mean."""
    rng, X, w = drawn(4, rows)
    X = rng.standard_cauchy(X.shape)
    return dense(X, labels(np.clip(X, -5, 5) @ w / 2, rng))


def correlated(rows: int) -> Examples:
    """200 columns, each pair of which correlates by 0.95."""
    rng = np.random.default_rng(6)
    X = np.sqrt(0.95) * rng.normal(size=(rows, 1)) + np.sqrt(0.05) * rng.normal(size=(rows, 200))
    return dense(X, labels(X @ rng.normal(size=200) / 2, rng))


def separable(rows: int) -> Examples:
    _, X, w = drawn(7, rows)
    return dense(X, X @ w > 0)


def rare(rows: int) -> Examples:
    """1 % positives, 12 columns of noise and 988 that are seldom there, none of which says anything."""
    rng, X, _ = drawn(1, rows, 1000)
    X *= rng.random(X.shape) < 0.03
    X[:, :12] = rng.normal(size=(rows, 12))
    found = csr_matrix(X)
    y = (rng.random(rows) < 0.01).astype(float)
    return Examples(
        found.indptr.astype(np.int64), found.indices.astype(np.int64), found.data.astype(np.float32), y, np.ones(rows)
    )


def drift(rows: int) -> Examples:
    """A model that turns into its opposite."""
    rng, X, w = drawn(10, rows)
    angle, other = np.linspace(0, np.pi, rows)[:, None], rng.normal(size=X.shape[1])
    return dense(X, labels((X * (np.cos(angle) * w + np.sin(angle) * other)).sum(axis=1), rng))


def plain(rows: int) -> Examples:
    rng, X, w = drawn(5, rows)
    return dense(X, labels(X @ w, rng))


STREAMS: dict[str, Callable[[int], Examples]] = {
    "plain": plain,
    "an offset of 5": offset,
    "other units after half": other_units,
    "10 times larger after half": lambda rows: larger(rows, 10.0),
    "1e6 times larger after half": lambda rows: larger(rows, 1e6),
    "Cauchy values": cauchy,
    "correlated columns": correlated,
    "separable": separable,
    "1 % positives, noise": rare,
    "drift": drift,
}


def as_given(data: Examples) -> Examples:
    return data


def shuffled(data: Examples) -> Examples:
    return reordered(data, np.random.default_rng(77).permutation(len(data)))


def in_runs(data: Examples) -> Examples:
    """RUN examples of one class, then RUN of the other."""
    parts = [np.array_split(np.flatnonzero(data.targets == label), range(RUN, len(data), RUN)) for label in (0, 1)]
    return reordered(data, np.concatenate([part for pair in zip(*parts, strict=False) for part in pair]))


def sorted_by_label(data: Examples) -> Examples:
    return reordered(data, np.argsort(data.targets, kind="stable"))


ORDERS: dict[str, Callable[[Examples], Examples]] = {
    "as given": as_given,
    "shuffled": shuffled,
    "in runs": in_runs,
    "sorted by label": sorted_by_label,
}


def reordered(data: Examples, order: np.ndarray) -> Examples:
    sizes = np.diff(data.indptr)[order]
    indptr = np.append(0, np.cumsum(sizes))
    entries = np.repeat(data.indptr[order] - indptr[:-1], sizes) + np.arange(indptr[-1])
    return Examples(indptr, data.indices[entries], data.values[entries], data.targets[order], data.weights[order])


def all_of(rows: int = ROWS) -> Iterator[tuple[str, Examples]]:
    """Every stream in every order."""
    for name, make in STREAMS.items():
        data = make(rows)
        for order, arranged in ORDERS.items():
            yield f"{name}, {order}", arranged(data)
