"""Defaults on small sets: held-out log loss compared with LogisticRegression() behind a StandardScaler."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import Figure, Row
from benchmarks.small_sets import SETS
from surefoot import LinearClassifier

TITLE = "Small sets: held-out log loss of the defaults compared with LogisticRegression() behind a StandardScaler"
FOLDS, REPETITIONS = 5, 10
LARGE = 500
"""Rows from which on a set has a bar of its own."""

Make = Callable[[int], Any]
"""An estimator that is not fitted, of a seed."""


def measure(quick: bool) -> Iterator[Row]:
    """Every set, the geometric mean, and both again with early_stopping=True compared with the defaults."""
    ratios, stopped = [], []
    for name, load in list(SETS.items())[: 3 if quick else None]:
        X, y = load()
        losses = held_out(X, y, contenders(X), 1 if quick else REPETITIONS)
        ratios.append(compared(losses["surefoot"], losses["scikit-learn"]))
        stopped.append(compared(losses["early stopping"], losses["surefoot"]))
        means = {who: f"{each.mean():.4f}" for who, each in losses.items()}
        what, bar = f"{name}, {X.shape[0]:,} × {X.shape[1]:,}", 1.25 if len(y) >= LARGE else None
        yield Row(what, means["surefoot"], means["scikit-learn"], ratios[-1], bar=bar, at_most=True)
        without = f"without: {means['surefoot']}"
        yield Row(f"{name}, early stopping", means["early stopping"], without, stopped[-1], bar=1.02, at_most=True)
    yield geometric_mean("geometric mean", ratios, bar=1.05)
    yield geometric_mean("geometric mean, early stopping", stopped, bar=1.02)


def contenders(X: Any) -> dict[str, Make]:
    centred = not sparse.issparse(X)
    return {
        "surefoot": lambda seed: LinearClassifier(random_state=seed),
        "early stopping": lambda seed: LinearClassifier(early_stopping=True, random_state=seed),
        "scikit-learn": lambda _: make_pipeline(StandardScaler(with_mean=centred), LogisticRegression()),
    }


def held_out(X: Any, y: np.ndarray, makers: dict[str, Make], repetitions: int) -> dict[str, np.ndarray]:
    """The log loss of each contender on each part that was held out, (repetitions, FOLDS)."""
    found = {name: np.empty((repetitions, FOLDS)) for name in makers}
    for repetition in range(repetitions):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=repetition)
        for k, (train, test) in enumerate(folds.split(np.zeros(len(y)), y)):
            for name, make in makers.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model = make(repetition).fit(X[train], y[train])
                found[name][repetition, k] = log_loss(y[test], model.predict_proba(X[test]), labels=model.classes_)
    return found


def compared(ours: np.ndarray, theirs: np.ndarray) -> Figure:
    """The ratio of the mean losses; its spread is that of repetitions."""
    each = ours.mean(axis=1) / theirs.mean(axis=1)
    return Figure(float(ours.mean() / theirs.mean()), float(each.min()), float(each.max()))


def geometric_mean(what: str, ratios: list[Figure], bar: float) -> Row:
    medians = [ratio.median for ratio in ratios]
    mean = math.exp(np.mean(np.log(medians)))
    return Row(what, f"of {len(ratios)} sets", "", Figure(mean, min(medians), max(medians)), bar=bar, at_most=True)
