"""Predictions of several models mixed: their weights are exp(−η · cumulative loss), so the best soon has them all.

For a loss that is the negative logarithm of a probability, η is 1 and probabilities are mixed: the mixture's total loss
exceeds that of the best of R models by at most ln R, over any examples in any order (Vovk, 1990, Aggregating
strategies). For other losses, which are convex, predictions are averaged, and η is ln R over the sum of the gaps so far
between the average of the losses and their mix −(1/η) ln Σ w exp(−η loss), taken anew now and then: the total exceeds
that of the best by at most `bound()` (De Rooij, Van Erven, Grünwald & Koolen, 2014, Follow the leader if you can, hedge
if you must).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from surefoot.engines import losses

FIRST = 8
"""Examples before models have different weights where the loss is not logarithmic."""
LOGARITHMIC = ("logistic", "softmax")


class Mixture:
    """Weights of R models for each of M mixtures, and what has been lost.

    Several binary problems (one for each class, against the rest) are a mixture each; softmax is a single one.

    Args:
        loss: a key of losses.SLOPES.
        rates: the number R of models.
        outputs: what each model predicts, 1 or one for each class.
        parameter: the loss's own number.
    """

    def __init__(self, loss: str, rates: int, outputs: int = 1, parameter: float = 0.0):
        self.loss, self.outputs, self.parameter = loss, outputs, parameter
        count = 1 if loss == "softmax" else outputs
        # ln of the prior weight is taken off the losses: what is kept is −ln of a weight that is not normalized yet.
        self.cumulative = np.full((count, rates), math.log(rates))
        self.losses = np.zeros((count, rates))
        self.total = 0.0
        self.gaps = np.zeros(count)
        self.seen = 0
        self.frozen = False

    @property
    def logarithmic(self) -> bool:
        return self.loss in LOGARITHMIC

    @property
    def eta(self) -> np.ndarray:
        """The learning rate of each mixture, (M, 1)."""
        if self.logarithmic:
            return np.ones((len(self.gaps), 1))
        rates = max(self.cumulative.shape[1], 2)
        with np.errstate(divide="ignore"):
            eta = np.where(self.gaps > 0, math.log(rates) / self.gaps, np.inf if self.seen else 0.0)
        return np.minimum(eta, 1e12)[:, None]

    def weights(self) -> np.ndarray:
        """The weight of each model in each mixture, (M, R); each row adds up to 1."""
        return softmax(-self.eta * self.cumulative)

    def bound(self) -> float:
        """How much more than the best single model the mixtures have lost at most, as the theory has it."""
        rates = self.cumulative.shape[1]
        if self.logarithmic:
            return len(self.gaps) * math.log(rates)
        return float(np.sum(2.0 * self.gaps))

    def take(self, predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mixes predictions, each with the weights after all examples before it, and learns from the targets.

        Args:
            predictions: (n, outputs, R), what each model predicted before it saw the example.
            targets: (n,), as the engines take them.
            weights: (n,), of the examples.

        Returns:
            The mixed predictions, (n, outputs), and their losses times the examples' weights, (n,).
        """
        pieces = [slice(0, len(targets))] if self.logarithmic or not len(targets) else self._pieces(len(targets))
        parts = [self._take(predictions[piece].astype(np.float64), targets[piece], weights[piece]) for piece in pieces]
        return np.concatenate([mixed for mixed, _ in parts]), np.concatenate([lost for _, lost in parts])

    def _pieces(self, count: int) -> list[slice]:
        """Pieces of so many examples, each at most as many as all before it: so often is η taken anew."""
        edges = [0]
        while edges[-1] < count:
            edges.append(min(count, edges[-1] + max(FIRST, self.seen + edges[-1])))
        return [slice(first, last) for first, last in itertools.pairwise(edges)]

    def _take(self, p: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = self._losses(p, targets) * weights[:, None, None]
        if self.cumulative.shape[1] == 1:
            self.losses += each.sum(axis=0)
            self.total += float(each.sum())
            return p[:, :, 0], each.sum(axis=(1, 2))
        before = np.cumsum(each, axis=0) - each
        scores = self.cumulative + (0.0 if self.frozen else before)
        eta = self.eta
        share = softmax(-eta * scores)
        mixed, lost = self._mix(p, share, targets)
        lost = lost * weights[:, None]
        if not self.frozen:
            if not self.logarithmic:
                self.gaps += self._gap(share, each, eta, lost)
            self.cumulative += each.sum(axis=0)
            self.seen += len(targets)
        self.losses += each.sum(axis=0)
        self.total += float(lost.sum())
        return mixed, lost.sum(axis=1)

    def freeze(self) -> None:
        """Keeps the weights as they are: a second pass through the same examples would favour models that overfit."""
        self.frozen = True

    def choose(self, rates: list[int]) -> None:
        """Goes on with these models; one that is named twice shares its weight between the two."""
        named = np.bincount(rates, minlength=self.cumulative.shape[1])[rates]
        self.cumulative = self.cumulative[:, rates] + np.log(named)
        self.losses = self.losses[:, rates]

    def _losses(self, p: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n, M, R)."""
        if self.loss == "softmax":
            # Classes last.
            return losses.values("softmax", p.transpose(0, 2, 1), np.repeat(targets[:, None], p.shape[2], 1))[:, None]
        return losses.values(self.loss, p, self._wanted(targets)[:, :, None], self.parameter)

    def _wanted(self, targets: np.ndarray) -> np.ndarray:
        """What each output is to predict, (n, outputs)."""
        if self.outputs == 1:
            return targets[:, None]
        return (targets[:, None] == np.arange(self.outputs)).astype(float)

    def _mix(self, p: np.ndarray, share: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mixed predictions, (n, outputs), and the losses of the mixtures, (n, M)."""
        if not self.logarithmic:
            mixed = (share * p).sum(axis=2)
            return mixed, losses.values(self.loss, mixed, self._wanted(targets), self.parameter)
        log_share = np.log(np.maximum(share, 1e-300))
        if self.loss == "softmax":
            log_p = p - log_sum_exp(p, axis=1)
            mixed = log_sum_exp(log_share + log_p, axis=2)[:, :, 0]
            return mixed, losses.values("softmax", mixed, targets)[:, None]
        # log of the mixed probability of 1 and of 0; their difference is the mixed prediction.
        one = log_sum_exp(log_share - np.logaddexp(0.0, -p), axis=2)[:, :, 0]
        zero = log_sum_exp(log_share - np.logaddexp(0.0, p), axis=2)[:, :, 0]
        mixed = one - zero
        return mixed, losses.values("logistic", mixed, self._wanted(targets))

    def _gap(self, share: np.ndarray, each: np.ndarray, eta: np.ndarray, lost: np.ndarray) -> np.ndarray:
        """How much the average loss exceeds the mix of the losses, over all examples, for each mixture."""
        average = (share * each).sum(axis=2)
        if not eta.any():
            best = each.sum(axis=0).min(axis=1)
            return np.maximum(average.sum(axis=0) - best, 0.0)
        smallest = each.min(axis=2, keepdims=True)
        mix = smallest[:, :, 0] - np.log((share * np.exp(-eta * (each - smallest))).sum(axis=2)) / eta[:, 0]
        return np.maximum(average - mix, 0.0).sum(axis=0)


def softmax(scores: np.ndarray) -> np.ndarray:
    """exp of the scores, normalized along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    largest = values.max(axis=axis, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis=axis, keepdims=True))
