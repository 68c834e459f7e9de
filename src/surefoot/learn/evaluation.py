"""Metrics of predictions in bounded memory: loss, accuracy, ROC curve, calibration."""

from __future__ import annotations

import math

import numpy as np

from surefoot import losses
from surefoot.losses import Loss

SCORES = 4096
"""Bins for the scores of two classes."""
LARGEST = 20.0
"""Scores are clipped to this: probabilities within 2e-9 of 0 or 1."""
GROUPS = 20
"""Points of a calibration curve."""


class Evaluation:
    """Metrics of predictions against their targets.

    Args:
        loss: a Loss or the name of one.
        outputs: numbers predicted for each example.
        parameter: the loss's own number.

    Attributes:
        examples: how many there were.
        skipped: how many others could not be used, for which reason.

    >>> found = Evaluation("logistic")
    >>> found.add(np.array([[3.0], [-2.0], [1.0]]), np.array([1.0, 0.0, 0.0]), np.ones(3))
    >>> found.accuracy, found.area_under_curve
    (0.6666666666666666, 1.0)
    """

    def __init__(self, loss: str | Loss, outputs: int = 1, parameter: float = 0.0):
        self.kind, self.outputs, self.parameter = losses.get(loss), outputs, parameter
        self.examples, self.weight, self.lost, self.right = 0, 0.0, 0.0, 0.0
        self.skipped: dict[str, int] = {}
        self.binary = outputs == 1 and self.kind.target == "class"
        self.histogram = np.zeros((2, SCORES))
        self.edges: np.ndarray | None = None
        self.groups = np.zeros((3, GROUPS))

    def add(self, predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        """Takes predictions, (n, outputs), for targets as the engines have them, with weights, both (n,)."""
        if not len(targets):
            return
        self.examples += len(targets)
        self.weight += float(weights.sum())
        self.lost += float((self.kind.reported(predictions, targets, self.parameter) * weights).sum())
        if self.binary:
            right = (predictions[:, 0] > 0) == (targets > 0)
            share = (np.clip(predictions[:, 0], -LARGEST, LARGEST) + LARGEST) / (2 * LARGEST)
            places = np.minimum((share * SCORES).astype(int), SCORES - 1)
            for target in (0, 1):
                of = targets == target
                self.histogram[target] += np.bincount(places[of], weights[of], SCORES)
        else:
            right = predictions.argmax(axis=1) == targets
        if self.outputs > 1 or self.binary:
            self.right += float(weights[right].sum())
        if self.outputs == 1:
            self._group(predictions[:, 0], targets, weights)

    def _group(self, predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        """Sums predictions and targets over groups of about the same prediction."""
        if not self.binary:
            predictions = self.kind.means(predictions)
        elif self.kind.probability is not None:
            predictions = self.kind.probabilities(predictions[:, None])[:, 1]
        else:
            return
        if self.edges is None:
            self.edges = np.quantile(predictions, np.linspace(0, 1, GROUPS + 1)[1:-1])
        places = np.searchsorted(self.edges, predictions)
        for row, of in enumerate((predictions, targets, np.ones(len(targets)))):
            self.groups[row] += np.bincount(places, of * weights, GROUPS)

    @property
    def loss(self) -> float:
        """The mean loss, as its metric has it."""
        return self.lost / self.weight if self.weight else math.nan

    @property
    def accuracy(self) -> float | None:
        """The share of examples whose class is predicted; None for numbers."""
        return self.right / self.weight if self.weight and (self.outputs > 1 or self.binary) else None

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """The false and the true positive rate for falling thresholds, from (0, 0) to (1, 1)."""
        sums = np.cumsum(np.concatenate([np.zeros((2, 1)), self.histogram[:, ::-1]], axis=1), axis=1)
        return sums[0] / max(sums[0, -1], 1e-300), sums[1] / max(sums[1, -1], 1e-300)

    @property
    def area_under_curve(self) -> float | None:
        """Under the ROC curve; None unless there are examples of two classes."""
        if not self.binary or not self.histogram.any(axis=1).all():
            return None
        false, true = self.roc()
        return float((np.diff(false) * (true[1:] + true[:-1])).sum() / 2)

    def calibration(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of groups of about the same prediction: its mean, the mean target, and the share of the examples."""
        there = self.groups[2] > 0
        predicted, wanted, weight = self.groups[:, there]
        return predicted / weight, wanted / weight, weight / max(self.weight, 1e-300)
