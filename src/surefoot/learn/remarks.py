"""What people should know of the order of their examples, by losses that are known anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surefoot.engines import scaling
from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.outliers import Outliers
from surefoot.learn.settings import Settings
from surefoot.models import STATISTICS

IN_RUNS = 0.8
"""The share of the loss that is left where predictions follow the latest labels, from which on a note says so."""
FIRST = 200
"""Examples at the beginning on which notes have the loss of the model, at most."""
FEWEST = 32
"""Of these, for a note on the past."""
FAR = 10.0
"""How many times the spread of targets predictions may miss by, on average."""
ERRORS, SHARE = 4.0, 1.1
"""By how many standard errors, and how many times, the model has to be worse on the first examples than it was."""


def in_runs(learner: Learner) -> bool:
    """Whether predictions were good because labels are like the latest ones, which no model can learn."""
    return learner.loss < IN_RUNS * learner.loss_of_model


def of_targets(learner: Learner, outliers: Outliers | None, rows: str, is_end: bool) -> str | None:
    """The note on numbers to predict that are not like the others, or not like those by which all are scaled.

    Args:
        learner: after a pass, or some examples.
        outliers: among the targets, where they are looked for.
        rows: what users call the examples.
        is_end: whether all examples have been learned from; else their scale may still be followed.
    """
    if outliers is not None and (remark := outliers.remark()):
        return remark
    settings, mixture, before = learner.settings, learner.mixture, learner.before
    if not settings.centers_targets:
        return None
    advice = f"Shuffle the {rows}, unless their order is that of time."
    far = settings.loss.values(np.array([FAR, -FAR]), np.zeros(2), mixture.parameter).min()
    if (is_end or not learner.follows) and mixture.total > far * (learner.weight - before.weight):
        return (
            f"Predictions miss by more than {FAR:g} times the spread of the targets by which all are scaled: the "
            f"others are not like these. {advice}"
        )
    if before.examples < FIRST:
        return None
    return (
        f"The targets changed in scale or origin: learning began again after {before.examples:,} examples, and the "
        f"model is one of the examples since. {advice}"
    )


def of_units(learner: Learner) -> str | None:
    """The note on features whose unit or origin has changed."""
    begun = learner.changes.begun
    return (
        f"The unit or the origin of features changed before example {begun:,}: the model is one of their values since."
        if begun
        else None
    )


def of_sizes(learner: Learner) -> str | None:
    """The note on features whose values are too small to be learned from."""
    if not learner.bank.normalize:
        return None
    count, mean, deviations = (learner.bank.table.statistic(name)[: learner.bank.features] for name in STATISTICS)
    largest = np.sqrt(scaling.LEAST_SQUARE)
    small = np.flatnonzero((mean != 0) & (abs(mean) < largest))  # of most features there is no more to be read
    found = scaling.tiny(count[small], mean[small], deviations[small])
    if not found.any():
        return None
    return (
        f"{np.sum(found):,} feature{'s have' if found.sum() > 1 else ' has'} no values but 0 and such as are below "
        f"{largest:g}, from which next to nothing is learned: give them in a smaller unit."
    )


def of_runs(loss: float, first: tuple[int, float] | None, rows: str, labels: str = "labels") -> str:
    """The note on labels that come in runs.

    Args:
        loss: the mean progressive loss.
        first: how many examples of the beginning are known, and the mean loss of the model on these.
        rows, labels: what users call the examples, and what is to be predicted.
    """
    own = "" if first is None else f"; that of the model on the first {first[0]} examples is {first[1]:.4g}"
    return (
        f"{labels.capitalize()} come in runs: the progressive loss of {loss:.4g} is of predictions that follow the "
        f"latest {labels}{own}. Shuffle the {rows}, unless their order is that of time."
    )


@dataclass(frozen=True)
class Past:
    """The first examples, as they were predicted before they were learned from.

    Attributes:
        losses: of each, (n,), n at most FIRST.
        weights: of each, (n,).
    """

    losses: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, settings: Settings, predictions: np.ndarray, examples: Examples) -> Past:
        """The first of examples for which these were the predictions."""
        first = slice(min(len(examples), FIRST))
        losses = settings.loss.reported(predictions[first], examples.targets[first], settings.parameter)
        return cls(losses, examples.weights[first])

    def remark(self, losses: np.ndarray, rows: str) -> str | None:
        """The note on a model that is worse for these examples than nothing learned from them was, if it clearly is.

        On examples in random order a model is better: it has learned more, and from these, too.

        Args:
            losses: of the model on these examples, (n,).
            rows: what users call the examples.

        >>> past = Past(np.full(100, 0.5), np.ones(100))
        >>> past.remark(np.full(100, 0.4), "rows"), past.remark(np.full(100, 0.9), "rows")[:42]
        (None, 'The model loses 0.9 on the first 100 examp')
        """
        share = self.weights / self.weights.sum()
        excess = losses - self.losses
        mean = excess @ share
        error = math.sqrt((excess - mean) ** 2 @ share**2)
        before, now = self.losses @ share, losses @ share
        if len(share) < FEWEST or mean <= ERRORS * error or now <= SHARE * before:
            return None
        return (
            f"The model loses {now:.4g} on the first {len(share)} examples, which were predicted with a loss of "
            f"{before:.4g} before it learned from them: the data change from first to last, and the model is for the "
            f"latest. Shuffle the {rows}, unless their order is that of time."
        )


def of_order(
    is_in_runs: bool, progressive: float, past: Past, losses: np.ndarray, names: tuple[str, str]
) -> str | None:
    """The note on the order of examples, if there is something to be known of it.

    Args:
        is_in_runs: whether predictions followed the latest labels in the first pass.
        progressive: the mean loss of these predictions.
        past: the first examples.
        losses: of the model on these, (n,).
        names: what users call the examples, and what is to be predicted.
    """
    if not is_in_runs:
        return past.remark(losses, names[0])
    mean = float(np.average(losses, weights=past.weights))
    # Else the model has learned what predictions followed.
    return of_runs(progressive, (len(losses), mean), *names) if mean > progressive else None
