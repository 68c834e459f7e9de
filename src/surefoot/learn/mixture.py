"""Predictions of several models mixed by weights that follow the losses, so that the best soon has them all.

For a loss that is the negative logarithm of a probability, probabilities are mixed, and shares are multiplied by
exp(−η w loss) (Vovk, 1990, Aggregating strategies), where w is the example's weight and η = 1/W of the largest weight W
so far, this one included: weights are known before a prediction. After example t every model gives the part c/(t + 1)
of its share to all models alike, so that another one can take over (Herbster & Warmuth, 1998, Tracking the best expert;
with a part that falls like 1/t, Mourtada & Maillard, 2017, Efficient tracking of a growing number of experts). The
mixture's total loss over n examples, each times its weight, exceeds that of

- any of the R models by at most W (ln R + ln Γ(n + 1) − ln Γ(n + 1 − a) + ln Γ(2 − a)), where a = c (1 − 1/R): about
  W (ln R + a ln n). `bound` gives it.
- any sequence of models that changes m times by at most that, and m W ln(R n/c) more.

Proof. Let s be the share of a model before an example, and D = (1/η) ln(1/s). The mix loses w times its log loss, at
most −(1/η) ln Σ s exp(−η w loss), since x to the power η w ≤ 1 is concave: by as much as that is more than what the
model loses, D falls. Sharing out raises D by at most −(1/η) ln(1 − a/(t + 1)), since the model keeps that part. Where η
falls to f η, shares are raised to the power f and divided by their sum, at most R^(1 − f): D rises by at most
(1/(f η) − 1/η) ln R. D begins at (1/η) ln R and is never negative, and 1/η is W in the end: the sum is the first bound
(for rates that fall, as in Györfi & Ottucsák, 2007, Sequential prediction of unbounded stationary time series, and in
De Rooij and others, below). At a change the next model has a share of at least c/(R n), and so a D of (1/η) ln(R n/c).

Other losses are convex. Predictions are averaged, by weights exp(−η · cumulative loss), where η is ln R over the sum of
the gaps so far between the average of the losses and their mix −(1/η) ln Σ w exp(−η loss), updated at every doubling
(De Rooij, Van Erven, Grünwald & Koolen, 2014, Follow the leader if you can, hedge if you must). Twice the sum of the
gaps is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.engines import restoring
from surefoot.learn.tracking import GIVEN, One, taking
from surefoot.losses import Loss
from surefoot.losses.arrays import log_sum_exp, softmax_of

FIRST = 1
"""Examples before models have different weights where the loss is not logarithmic."""
SWITCHING = 0.1
"""c: what models give up of their weights after example t is this over t + 1."""
LARGEST_ETA = 1e12
LARGEST_LOST = 1e200
"""By a model: predictions are at most 1e30, and weights of examples numbers of float32."""


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
        self.frozen = False
        eta = np.full((count, 1), 1.0 if self.logarithmic else 0.0)
        self._hold(np.full((count, rates), 1.0 / rates), np.zeros((count, rates)), np.zeros(count), eta, np.zeros(3))

    def _hold(self, *parts: np.ndarray) -> None:
        """Takes shares, losses, gaps, η and three numbers into one memory, which is noted and put back as a whole."""
        self.memory = np.concatenate([part.ravel() for part in parts])
        ends = np.cumsum([part.size for part in parts])
        own = [a.reshape(part.shape) for a, part in zip(np.split(self.memory, ends[:-1]), parts, strict=True)]
        self.shares, self.losses, self.gaps, self.eta, self._numbers = own
        self._one: One | None = None

    @property
    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.shares, self.losses, self.gaps, self.eta, self._numbers

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_one": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._hold(*self._parts)

    @property
    def total(self) -> float:
        """What the mixtures have lost so far."""
        return float(self._numbers[0])

    @property
    def seen(self) -> int:
        """How many examples there were."""
        return int(self._numbers[1])

    @property
    def largest(self) -> float:
        """The largest weight of an example, of those that a logarithmic loss's shares have followed."""
        return float(self._numbers[2])

    @property
    def _code(self) -> int | None:
        """The code of the loss, if there is a kernel for what comes next."""
        return None if self.frozen or self.loss.joint else losses.CODES.get(self.loss)

    @property
    def _settings(self) -> tuple[bool, float, float]:
        return self.logarithmic, SWITCHING, LARGEST_ETA

    @property
    def logarithmic(self) -> bool:
        return self.loss.logarithmic

    def weights(self) -> np.ndarray:
        """The weight of each model for the next example in each mixture, (M, R); each row adds up to 1."""
        return self.shares

    def kept(self, among: Sequence[bool] | np.ndarray) -> np.ndarray:
        """Weights for a model that is kept, by what was lost over all examples alike, (M, R).

        They are exp(−η · loss), where η is 1 for a logarithmic loss, as if an example of weight w were w examples.

        Args:
            among: the models that may have a weight, (R,).

        Those that rounding would hide next to the others have none, so that zeros of the others stay zeros.
        """
        if self.frozen:
            return self.shares
        shares = softmax_of(np.where(among, -self.eta * self.losses, -np.inf))
        return np.where(shares < np.finfo(float).eps, 0.0, shares)

    def bound(self) -> float:
        """The most by which the loss of the mixtures can exceed that of the best of the models."""
        if not self.logarithmic:
            return 2.0 * float(np.sum(self.gaps))
        a, n = SWITCHING * (1.0 - 1.0 / self.rates), max(self.seen, 1) + 1.0
        of_one = math.log(self.rates) + math.lgamma(n) - math.lgamma(n - a) + math.lgamma(2.0 - a)
        return len(self.gaps) * self.largest * of_one

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
        p = predictions.astype(np.float64)
        if self._code is not None:
            share, lost = self._followed(self._code, p, targets, weights)
            return p[:, :, 0] if p.shape[2] == 1 else self._mix(p, share), lost
        if self.logarithmic and not self.frozen:
            share, lost = self._followed(GIVEN, self._losses(p, targets), targets, weights)
            return self._mix(p, share), lost
        edges = [0]
        while edges[-1] < len(targets) and not (self.frozen or p.shape[2] == 1):
            edges.append(min(len(targets), edges[-1] + self._until_renewal(self.seen + edges[-1])))
        if len(edges) <= 2:
            return self._take(p, targets, weights)
        parts = [self._take(p[a:b], targets[a:b], weights[a:b]) for a, b in pairwise(edges)]
        return np.concatenate([mixed for mixed, _ in parts]), np.concatenate([lost for _, lost in parts])

    def take_one(self, predictions: np.ndarray, target: float, weight: float) -> None:
        """`take` for one example, in less time: nothing is mixed whose loss is known without.

        Args:
            predictions: (outputs, R).
            target, weight: of the example.
        """
        if self._one is not None:
            self._one.take(predictions, target, weight)
        elif self._code is not None:
            self._one = One(self._code, self.parameter, self._settings, self._parts)
            self._one.take(predictions, target, weight)
        else:
            self._take_one(predictions, np.array([target]), np.array([weight]))

    def _take_one(self, predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        """The same where there is no kernel."""
        if self.logarithmic and not self.frozen:
            self._followed(GIVEN, self._losses(predictions.astype(np.float64)[None], targets), targets, weights)
        else:
            self.take(predictions[None], targets, weights)

    def _followed(
        self, code: int, p: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The weights before each example, which then follow the losses, (n, M, R), and the losses of the mix, (n,)."""
        share, lost, each = np.empty_like(p), np.empty(len(p)), np.empty(p.shape[2])
        taking()(code, self.parameter, p, targets, weights, self._settings, *self._parts, each, share, lost)
        return share, lost

    @staticmethod
    def _until_renewal(seen: int) -> int:
        """Examples until η is updated: at FIRST of them, and at every doubling."""
        due = FIRST
        while due <= seen:
            due *= 2
        return due - seen

    def _take(self, p: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`take` where there is no kernel: of losses of users, and of weights that stay."""
        each = self._losses(p, targets)
        weighted = each * weights[:, None, None]
        if p.shape[2] == 1:
            mixed, lost = p[:, :, 0], each[:, :, 0]
        else:
            mixed = self._mix(p, self._shares_at(weighted))
            lost = self._losses(mixed[:, :, None], targets)[:, :, 0]
        lost = (lost * weights[:, None]).sum(axis=1)
        renewed = not (self.logarithmic or self.frozen) and self._until_renewal(self.seen) == len(targets)
        self.losses[...] = sum_of(self.losses, weighted)
        self._numbers[0] = sum_of(self._numbers[0], lost)
        self._numbers[1] += len(targets)
        if renewed:
            with np.errstate(divide="ignore"):
                self.eta[...] = np.minimum(math.log(max(self.rates, 2)) / self.gaps, LARGEST_ETA)[:, None]
            self.shares[...] = softmax_of(-self.eta * self.losses)
        return mixed, lost

    def _shares_at(self, losses: np.ndarray) -> np.ndarray:
        """The weights at every example, (n, M, R), of losses that are seen after it."""
        if self.frozen:
            return np.broadcast_to(self.shares, losses.shape)
        scores = self.eta * running_sums(self.losses, losses)
        share = softmax_of(-scores)
        self._widen(scores[:-1], share[:-1], losses)
        self.shares[...] = share[-1]
        return share[:-1]

    def _widen(self, scores: np.ndarray, share: np.ndarray, each: np.ndarray) -> None:
        """Adds to the gaps how much the average loss of every example exceeds the mix."""
        average, smallest = (share * each).sum(axis=2), each.min(axis=2)
        mix = smallest
        if self.eta.any():
            # In logarithms: under a large η all shares but one are too small for a number of their own.
            before, after = (log_sum_exp(-s, axis=2)[:, :, 0] for s in (scores, scores + self.eta * each))
            mix = (before - after) / self.eta[:, 0]
        self.gaps[...] = sum_of(self.gaps, np.maximum(average - mix, 0.0))

    def freeze(self, keep: Sequence[int], weights: np.ndarray) -> None:
        """Goes on with these models, whose weights stay as they are: a second pass through the same examples would
        favour models that overfit.

        Args:
            keep: their positions, rising.
            weights: (M, R).
        """
        chosen = weights[:, list(keep)]
        shares = chosen / chosen.sum(axis=1, keepdims=True)
        self._hold(shares, self.losses[:, list(keep)], self.gaps, self.eta, self._numbers)
        self.frozen = True

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that changes: arrays, which are not copies, and numbers."""
        arrays = {name: getattr(self, name) for name in ("shares", "losses", "gaps", "eta")}
        return arrays, {"total": self.total, "seen": self.seen, "largest": self.largest, "frozen": self.frozen}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any], rates: int) -> None:
        """Restores a state of a mixture that began with as many models, and has this number of them now.

        Raises:
            ValueError: it is not one.
        """
        count = len(self.gaps)
        shapes = {"shares": (count, rates), "losses": (count, rates), "gaps": (count,), "eta": (count, 1)}
        total, largest = restoring.real(numbers, "total"), restoring.real(numbers, "largest")
        own = {name: restoring.numbers(arrays, name, np.float64, shape) for name, shape in shapes.items()}
        limits = {"shares": 1.0, "gaps": LARGEST_LOST, "eta": LARGEST_ETA, "largest": math.inf}
        for name, most in limits.items():
            restoring.between(name, own.get(name, np.array([largest])), 0.0, most)
        restoring.between("losses", own["losses"], -LARGEST_LOST, LARGEST_LOST)
        if np.any(np.abs(own["shares"].sum(axis=1) - 1.0) > 1e-6):
            raise ValueError(f"shares: found sums of {own['shares'].sum(axis=1)}, expected 1")
        if not isinstance(numbers["frozen"], bool):
            raise ValueError(f"frozen: found {numbers['frozen']!r}, expected true or false")
        self._hold(*own.values(), np.array([total, restoring.whole(numbers, "seen"), largest]))
        self.frozen = numbers["frozen"]

    def values(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The losses of single predictions, (n, outputs), in all mixtures together, (n,)."""
        return self._losses(predictions[:, :, None], targets).sum(axis=(1, 2))

    def _losses(self, p: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n, M, R)."""
        if self.loss.joint:
            classes_last = p.transpose(0, 2, 1)
            wanted = np.repeat(targets[:, None], p.shape[2], 1)
            return self.loss.values(classes_last, wanted, self.parameter)[:, None]
        return self.loss.values(p, self.loss.wanted(targets, self.outputs)[:, :, None], self.parameter)

    def _mix(self, p: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Mixed predictions, (n, outputs)."""
        with np.errstate(under="ignore"):
            return (share * p).sum(axis=2) if self.loss.mix is None else self.loss.mix(p, share)


def running_sums(start: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """The sums of the terms so far, the start before them, added one by one."""
    return np.cumsum(np.concatenate([np.asarray(start)[None], terms]), axis=0)


def sum_of(start: Any, terms: np.ndarray) -> Any:
    """The last of the running sums."""
    return start + terms[0] if len(terms) == 1 else running_sums(np.asarray(start), terms)[-1]
