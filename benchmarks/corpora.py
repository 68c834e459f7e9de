"""Data for learners: real sets from the folder SUREFOOT_DATA, sets that libraries carry, and generated ones."""

import csv
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.engines.examples import Examples

Rows = Iterable[tuple[float, dict[int, float]]]


def examples(rows: Rows) -> Examples:
    """Rows of a label, 0 or 1, and values by feature."""
    labels, indices, values, indptr = [], [], [], [0]
    for label, row in rows:
        labels.append(label)
        for j in sorted(row):
            indices.append(j)
            values.append(row[j])
        indptr.append(len(indices))
    weights = np.ones(len(labels))
    return Examples(np.array(indptr), np.array(indices), np.array(values, np.float32), np.array(labels), weights)


def folder() -> Path:
    return Path(os.environ.get("SUREFOOT_DATA", "shared/data"))


def svmlight(name: str) -> Rows:
    for line in (folder() / name).read_text().splitlines():
        label, *pairs = line.split()
        yield float(float(label) > 0), {int(j): float(v) for j, v in (pair.split(":") for pair in pairs)}


def vowpal_wabbit(name: str) -> Rows:
    for line in (folder() / name).read_text().splitlines():
        label, _, rest = line.partition("|")
        pairs = (pair.partition(":") for pair in rest.split()[1:])
        yield float(float(label) > 0), {int(j): float(v or 1) for j, _, v in pairs}


def messages() -> Rows:
    """Counts of the words and marks in every text message."""
    words: dict[str, int] = {}
    for line in (folder() / "SMSSpamCollection").read_text(encoding="utf-8").splitlines():
        label, _, text = line.partition("\t")
        row: dict[int, float] = {}
        for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
            j = words.setdefault(word, len(words))
            row[j] = row.get(j, 0.0) + 1.0
        yield float(label == "spam"), row


def advertising(name: str, target: str, left_out: tuple[str, ...] = ()) -> Rows:
    """Every column but the target as a category, or as a number where its name begins with I."""
    known: dict[tuple[str, str], int] = {}
    with (folder() / name).open(newline="") as file:
        for line in csv.DictReader(file):
            row = {}
            for column, text in line.items():
                if column not in (target, *left_out) and text:
                    number = re.fullmatch(r"I\d+", column) is not None
                    row[known.setdefault((column, "" if number else text), len(known))] = float(text) if number else 1.0
            yield float(line[target]), row


def toy(name: str) -> Rows:
    """One of the small sets that scikit-learn carries, in a random order."""
    from sklearn import datasets

    X, y = getattr(datasets, name)(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    for x, label in zip(X[order], y[order] % 2, strict=True):
        yield float(label), {int(j): float(x[j]) for j in np.flatnonzero(x)}


def docstrings() -> Rows:
    from scipy.sparse import csr_array

    from surefoot import data

    loaded = data.load("docstrings")
    X: Any = csr_array(loaded.X)
    for i in np.random.default_rng(0).permutation(X.shape[0]):
        part = slice(X.indptr[i], X.indptr[i + 1])
        yield float(loaded.y[i]), dict(zip(X.indices[part].tolist(), X.data[part].tolist(), strict=True))


def zipf(
    rows: int = 30_000,
    nonzeros: int = 30,
    features: int = 20_000,
    scales: float = 0.0,
    seed: int = 1,
    shift: bool = False,
) -> Examples:
    """Features that occur as words do, their values log-normal, labels of a logistic model.

    Args:
        scales: features' units lie between 10 to the minus this and 10 to this.
        shift: another model after half of the rows.
    """
    rng = np.random.default_rng(seed)
    share = np.cumsum(1.0 / np.arange(1, features + 1) ** 1.1)
    drawn = np.sort(np.searchsorted(share / share[-1], rng.random((rows, nonzeros))), axis=1)
    new = np.diff(drawn, axis=1, prepend=-1) > 0
    indptr, indices = np.append(0, np.cumsum(new.sum(axis=1))), drawn[new]
    values = rng.lognormal(0.0, 0.3, len(indices))
    weights = rng.normal(0.0, 0.7, (2, features))
    row = np.repeat(np.arange(rows), np.diff(indptr))
    model = np.where(row < rows // 2, 0, 1) if shift else 0
    score = np.bincount(row, weights[model, indices] * values, rows)
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-score))).astype(float)
    values *= 10.0 ** rng.uniform(-scales, scales, features)[indices]
    return Examples(indptr, indices, values.astype(np.float32), labels, np.ones(rows))


def heavy_tails(rows: int = 20_000, features: int = 40) -> Examples:
    """Dense features with heavy tails in units from 1e-3 to 1e3."""
    rng = np.random.default_rng(5)
    units, weights = 10.0 ** rng.uniform(-3, 3, features), rng.normal(size=features)
    X = rng.standard_t(2, (rows, features))
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-np.clip(X, -3, 3) @ weights / 3))).astype(float)
    indices = np.tile(np.arange(features), rows)
    indptr = np.arange(rows + 1) * features
    return Examples(indptr, indices, (X * units).astype(np.float32).ravel(), labels, np.ones(rows))


NAMED: dict[str, Callable[[], Examples]] = {
    "a9a": lambda: examples(svmlight("a9a")),
    "rcv1_small": lambda: examples(vowpal_wabbit("rcv1_small.dat")),
    "SMS corpus": lambda: examples(messages()),
    "Zipf": zipf,
    "Zipf, units 1e-3 … 1e3": lambda: zipf(scales=3.0),
}
"""Those that the bar was set on."""
OTHERS: dict[str, Callable[[], Examples]] = {
    "avazu sample": lambda: examples(advertising("avazu_sample.txt", "click", ("id",))),
    "criteo sample": lambda: examples(advertising("criteo_sample.txt", "label")),
    "docstrings": lambda: examples(docstrings()),
    "breast cancer": lambda: examples(toy("load_breast_cancer")),
    "digits, odd or even": lambda: examples(toy("load_digits")),
    "heavy tails, units 1e-3 … 1e3": heavy_tails,
    "Zipf, another model after half": lambda: zipf(60_000, shift=True),
}
"""Others, on which nothing was tuned."""


def write_vowpal_wabbit(data: Examples, path: Path, classes: bool = True) -> None:
    """Writes examples in Vowpal Wabbit's format, of two classes or of numbers."""
    with path.open("w") as file:
        for i, target in enumerate(data.targets):
            label = (1 if target else -1) if classes else f"{target:.9g}"
            part = slice(data.indptr[i], data.indptr[i + 1])
            pairs = zip(data.indices[part].tolist(), data.values[part].tolist(), strict=True)
            file.write(f"{label} | {' '.join(f'{j}:{value:.9g}' for j, value in pairs)}\n")
