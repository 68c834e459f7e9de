"""Predictions of several models mixed by weights prior · exp(−η · cumulative loss), so the best soon has them all.

For a loss that is the negative logarithm of a probability, η is 1 and probabilities are mixed: the mixture's total loss
exceeds that of any model by at most −ln of its prior share, over any examples in any order (Vovk, 1990, Aggregating
strategies). For other losses, which are convex, predictions are averaged, and η is ln R over the sum of the gaps so far
between the average of the losses and their mix −(1/η) ln Σ w exp(−η loss), updated at every doubling (De Rooij, Van
Erven, Grünwald & Koolen, 2014, Follow the leader if you can, hedge if you must). `bound` is the largest excess.

A small share is reserved for models that are added later. Until then it belongs to one that predicts what
the mixture does, and so neither gains nor loses (Freund, Schapire, Singer & Warmuth, 1997, Using and combining
predictors that specialize): the guarantee for the first models holds when others are added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.engines import restoring
from surefoot.losses import Loss
from surefoot.losses.arrays import log_sum_exp, softmax_of

FIRST = 1
"""Examples before models have different weights where the loss is not logarithmic."""
RESERVE = 1.0 / 128.0
"""The share that is reserved."""
LARGEST_ETA = 1e12


class Mixture:
    """The weights of R models in each of M mixtures, and the losses so far.

    Several binary problems (one for each class, against the rest) are a mixture each; a joint loss has a single one.

    Args:
        loss: a Loss or the name of one.
        rates: the number R of models.
        outputs: what each model predicts, 1 or one for each class.
        parameter: the loss's own number.
    """

    def __init__(self, loss: str | Loss, rates: int, outputs: int = 1, parameter: float = 0.0):
        self.loss, self.rates, self.outputs, self.parameter = losses.get(loss), rates, outputs, parameter
        count = 1 if self.loss.joint else outputs
        self.reserve = np.full(count, RESERVE if rates > 1 else 0.0)
        # −ln of each model's share before the first example; the reserve is a share of all.
        self.prior = np.full((count, rates), math.log(rates) - math.log1p(-self.reserve[0]))
        self.losses = np.zeros((count, rates))
        self.total = 0.0
        self.gaps = np.zeros(count)
        self.seen = 0
        self.frozen: np.ndarray | None = None
        self.eta = np.full((count, 1), 1.0 if self.logarithmic else 0.0)

    @property
    def logarithmic(self) -> bool:
        return self.loss.logarithmic

    @property
    def scores(self) -> np.ndarray:
        """−ln of the models' weights before they are normalized, (M, R)."""
        return self.prior + self.eta * self.losses if self.frozen is None else self.frozen

    def weights(self) -> np.ndarray:
        """The weight of each model in each mixture, (M, R); each row adds up to 1."""
        return softmax_of(-self.scores)

    def bound(self) -> float:
        """The most by which the loss of the mixtures can exceed that of the best of the first models."""
        first = math.log(self.rates) - math.log1p(-RESERVE) if self.rates > 1 else 0.0
        if self.logarithmic:
            return len(self.gaps) * first
        return float(np.sum(self.gaps)) * (1.0 + first / math.log(max(self.rates, 2)))

    def take(self, predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mixes predictions, each with the weights after all examples before it, and learns from the targets.

        The numbers are the same however many examples are given at once.

        Args:
            predictions: (n, outputs, R), what each model predicted before it saw the example.
            targets: (n,), as the engines take them.
            weights: (n,), of the examples.

        Returns:
            The mixed predictions, (n, outputs), and their losses times the examples' weights, (n,).
        """
        predictions = predictions.astype(np.float64)
        at_once = self.logarithmic or self.frozen is not None or predictions.shape[2] == 1
        edges = [0]
        while edges[-1] < len(targets) and not at_once:
            edges.append(min(len(targets), edges[-1] + self._until_renewal(self.seen + edges[-1])))
        if len(edges) <= 2:
            return self._take(predictions, targets, weights)
        parts = [self._take(predictions[a:b], targets[a:b], weights[a:b]) for a, b in pairwise(edges)]
        return np.concatenate([mixed for mixed, _ in parts]), np.concatenate([lost for _, lost in parts])

    @staticmethod
    def _until_renewal(seen: int) -> int:
        """Examples until η is updated: at FIRST of them, and at every doubling."""
        due = FIRST
        while due <= seen:
            due *= 2
        return due - seen

    def _take(self, p: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = self._losses(p, targets) * weights[:, None, None]
        sums = running_sums(self.losses, each)
        if p.shape[2] == 1:
            mixed, lost = p[:, :, 0], each[:, :, 0]
        else:
            scores = self.prior + self.eta * sums[:-1] if self.frozen is None else self.frozen[None]
            share = softmax_of(-scores)
            mixed, lost = self._mix(p, share, targets)
            lost = lost * weights[:, None]
            if not self.logarithmic and self.frozen is None:
                self._widen(scores, share, each)
        self.losses = sums[-1]
        self.total = float(running_sums(np.array(self.total), lost.sum(axis=1))[-1])
        self.seen += len(targets)
        return mixed, lost.sum(axis=1)

    def _widen(self, scores: np.ndarray, share: np.ndarray, each: np.ndarray) -> None:
        """Adds to the gaps how much the average loss of every example exceeds the mix, and updates η when due."""
        average, smallest = (share * each).sum(axis=2), each.min(axis=2)
        mix = smallest
        if self.eta.any():
            # In logarithms: under a large η all shares but one are too small for a number of their own.
            before, after = (log_sum_exp(-s, axis=2)[:, :, 0] for s in (scores, scores + self.eta * each))
            mix = (before - after) / self.eta[:, 0]
        self.gaps = running_sums(self.gaps, np.maximum(average - mix, 0.0))[-1]
        if self._until_renewal(self.seen) == len(each):
            with np.errstate(divide="ignore"):
                self.eta = np.minimum(math.log(self.rates) / self.gaps, LARGEST_ETA)[:, None]

    def freeze(self) -> None:
        """Keeps the weights as they are: a second pass through the same examples would favour models that overfit."""
        self.frozen = self.scores

    def choose(self, keep: list[int], parent: int, children: int = 0) -> None:
        """Continues with these models, and with copies of the parent, which share half of the reserve."""
        chosen = keep + [parent] * children
        total = -log_sum_exp(-self.scores, axis=1)[:, 0]
        self.prior, self.losses = self.prior[:, chosen], self.losses[:, chosen]
        if children:
            part = self.reserve / (2 * children) / (1.0 - self.reserve)
            self.prior[:, len(keep) :] = (total - np.log(part))[:, None] - (self.eta * self.losses)[:, len(keep) :]
            self.reserve = self.reserve / 2

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """All that changes: arrays, which are not copies, and numbers."""
        arrays = {name: getattr(self, name) for name in ("reserve", "prior", "losses", "gaps", "eta")}
        if self.frozen is not None:
            arrays["frozen"] = self.frozen
        return arrays, {"total": self.total, "seen": self.seen}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any], rates: int) -> None:
        """Restores a state of a mixture that began with as many models, and has this number of them now.

        Raises:
            ValueError: it is not one.
        """
        count = len(self.gaps)
        shapes = {"reserve": (count,), "prior": (count, rates), "losses": (count, rates)}
        for name, shape in (shapes | {"gaps": (count,), "eta": (count, 1)}).items():
            setattr(self, name, restoring.array(arrays, name, np.float64, shape).copy())
        if "frozen" in arrays:
            self.frozen = restoring.array(arrays, "frozen", np.float64, (count, rates)).copy()
        self.total, self.seen = restoring.real(numbers, "total"), restoring.whole(numbers, "seen")

    def _losses(self, p: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n, M, R)."""
        if self.loss.joint:
            classes_last = p.transpose(0, 2, 1)
            wanted = np.repeat(targets[:, None], p.shape[2], 1)
            return self.loss.values(classes_last, wanted, self.parameter)[:, None]
        return self.loss.values(p, self.loss.wanted(targets, self.outputs)[:, :, None], self.parameter)

    def _mix(self, p: np.ndarray, share: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mixed predictions, (n, outputs), and the losses of the mixtures, (n, M)."""
        if self.loss.mix is None:
            mixed = (share * p).sum(axis=2)
        else:
            mixed = self.loss.mix(p, np.log(np.maximum(share, 1e-300)))
        return mixed, self._losses(mixed[:, :, None], targets)[:, :, 0]


def running_sums(start: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """The sums of the terms so far, the start before them, added one by one."""
    return np.cumsum(np.concatenate([np.asarray(start)[None], terms]), axis=0)
