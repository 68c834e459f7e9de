"""Which learning rates are trained at once: the first ones, when they are reviewed, which are dropped and tried.

All of it is decided by the scores of a mixture, −ln of each rate's weight, and by the number of examples so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from surefoot.engines import restoring
from surefoot.losses.arrays import softmax_of

EXPLICIT = (2.0**-5, 2.0**-2)
IMPLICIT = (2.0**-5, 2.0**-4, 2.0**-3, 2.0**-2, 2.0**-1, 2.0**1)
"""The learning rates that "auto" begins with. Implicit steps work with larger rates than explicit ones."""
EXPLICIT_ONLY = tuple(2.0**power for power in range(-6, 2))
"""Those it begins with where steps cannot be implicit."""
FACTOR = 2.0
"""Between a rate and its neighbours, which are tried where it wins."""
WIDTHS = (1, 2, 4, 8)
"""How many rates there may be at once: numbers that kernels are compiled for."""
MOST = WIDTHS[-1]
TRIALS = 3
"""Neighbours of the best rate that are tried at once."""
FIRST_REVIEW = 32
"""Examples before the first review; then at every doubling, and when the trials begun there are over."""
REVIEWS = 8
"""Reviews from one doubling to the next, where that takes longer than this many trials."""
TRIAL = 8192
"""Examples that a trial takes: a quarter of those so far, but no more than this."""
GAIN = 1.0
"""Nats that a rate on trial has to gain on the best one to stay."""
VANISHED = 10.0
"""A rate may be dropped once its weight is e to the minus this of the best one's."""
CATCHING_UP = 0.95
"""It stays if it lost less than this share of what it lost before for each example."""
NEGLIGIBLE = 1e-3
"""The weights of rates that may be dropped before further passes."""


@dataclass(frozen=True)
class Rate:
    """A learning rate, and whether steps are implicit: by the slope that the loss has where the step leads."""

    lr: Any
    implicit: bool = False


def first_rates(implicit: bool) -> list[Rate]:
    """The rates that "auto" begins with; `implicit`: whether steps may be."""
    if not implicit:
        return [Rate(lr) for lr in EXPLICIT_ONLY]
    return [Rate(lr) for lr in EXPLICIT] + [Rate(lr, implicit=True) for lr in IMPLICIT]


class Due(NamedTuple):
    """What is due once a part of the examples has been learned from.

    Attributes:
        review: a review of the rates.
        doubled: the number of examples has doubled since the last entry of the history.
    """

    review: bool
    doubled: bool


def due(before: int, examples: int) -> Due:
    """What is due after this many examples, of which the last part began after `before`.

    >>> due(30, 32), due(32, 40), due(40, 50)
    (Due(review=True, doubled=True), Due(review=True, doubled=False), Due(review=False, doubled=False))
    """
    doubling, *others = _reviews(examples)
    doubled = before < doubling <= examples
    return Due(doubled or any(before < review <= examples for review in others), doubled)


def until_review(examples: int) -> int:
    """Examples until the next review, after this many.

    >>> until_review(0), until_review(32), until_review(41)
    (32, 8, 23)
    """
    reviews = _reviews(examples)
    return next(review for review in (*reviews, 2 * reviews[0]) if review > examples) - examples


def _reviews(examples: int) -> list[int]:
    """The last doubling of examples, and all further reviews before the next one."""
    power = max(examples // FIRST_REVIEW, 1).bit_length() - 1
    doubling = FIRST_REVIEW << power
    between = range(doubling, 2 * doubling, doubling // REVIEWS) if doubling >= REVIEWS * TRIAL else ()
    return sorted({doubling, doubling + min(doubling // 4, TRIAL), *between})


class Choice(NamedTuple):
    """The rates to go on with.

    Attributes:
        keep: positions of the rates that stay, rising.
        best: the position of the rate with the largest weight.
        added: rates to try; each goes on from where the best one has come.
    """

    keep: tuple[int, ...]
    best: int
    added: tuple[Rate, ...] = ()

    @property
    def parents(self) -> list[int]:
        """For each rate from now on, the position of the one that it goes on from."""
        return [*self.keep, *[self.best] * len(self.added)]


@dataclass(frozen=True, eq=False)
class RateGrid:
    """The rates that are trained, and how they stood at the last review.

    Attributes:
        rates: there are always 1, 2, 4 or 8.
        both: whether explicit and implicit steps may be tried.
        behind: of each rate at the last review, −ln of its weight as a share of the best one's.
        on_trial: of rates added at the last review, the same number, which they have to improve on; NaN for others.
        reviewed: examples at the last review.
    """

    rates: tuple[Rate, ...]
    both: bool
    behind: np.ndarray
    on_trial: np.ndarray
    reviewed: int = 0

    @classmethod
    def begin(cls, rates: Sequence[Rate]) -> RateGrid:
        """A grid of these rates, before the first example."""
        count = len(rates)
        both = len({rate.implicit for rate in rates}) > 1
        return cls(tuple(rates), both, np.zeros(count), np.full(count, np.nan))

    def review(self, scores: np.ndarray, examples: int, explore: bool) -> Choice:
        """Which rates to keep, and which to try.

        A neighbour of the best goes on from where that has come: which rate is best changes as features become better
        known. What is to be dropped last is kept where there is room.

        Args:
            scores: −ln of the weights of the rates in each mixture, before they are normalized, (mixtures, rates).
            examples: how many there were so far.
            explore: try neighbours of the best rate.
        """
        behind, best = lag(scores), winner(scores)
        useful = [k for k in range(len(self.rates)) if k == best or self._is_useful(k, behind[k], examples)]
        near = self._neighbours(self.rates[best], useful) if explore else []
        least = max(len(useful) + 1, 1 + TRIALS) if near else len(useful)
        room = _width(least)
        added = near[: min(TRIALS, room - len(useful))]
        others = [k for k in np.argsort(behind).tolist() if k not in useful and self.rates[k] not in near]
        keep = sorted([*useful, *others[: room - len(useful) - len(added)]])
        return Choice(tuple(keep), best, tuple(near[: room - len(keep)]))

    def without_negligible(self, scores: np.ndarray) -> Choice:
        """The rates to keep for further passes; see `review` for the scores."""
        largest = softmax_of(-scores).max(axis=0)
        room = _width(max(int(np.sum(largest >= NEGLIGIBLE)), 1))
        return Choice(tuple(sorted(np.argsort(-largest, kind="stable")[:room].tolist())), winner(scores))

    def after(self, choice: Choice, scores: np.ndarray, examples: int) -> RateGrid:
        """The grid that goes on with a choice, of which `scores` are those of the mixture from now on."""
        rates = (*(self.rates[k] for k in choice.keep), *choice.added)
        behind = lag(scores)
        on_trial = np.append(np.full(len(choice.keep), np.nan), behind[len(choice.keep) :])
        return replace(self, rates=rates, behind=behind, on_trial=on_trial, reviewed=examples)

    def is_changed_by(self, choice: Choice) -> bool:
        return len(choice.keep) < len(self.rates) or bool(choice.added)

    def _is_useful(self, k: int, behind: float, examples: int) -> bool:
        """Whether a rate behind the best has not vanished, or catches up; one on trial has to have caught up."""
        if not np.isnan(self.on_trial[k]):
            return behind < self.on_trial[k] - GAIN
        before = self.behind[k] * examples / max(self.reviewed, 1)
        return behind < VANISHED or behind < CATCHING_UP * before

    def _neighbours(self, best: Rate, useful: list[int]) -> list[Rate]:
        """Rates nearby and the other kind of step, the nearest first, except those that are there already."""
        near = [(FACTOR, False), (1 / FACTOR, False), (1.0, True), (FACTOR, True), (1 / FACTOR, True)]
        near += [(FACTOR**2, False), (FACTOR**-2, False)]
        rates = [Rate(best.lr * factor, best.implicit != other) for factor, other in near if not other or self.both]
        return [rate for rate in rates if rate not in [self.rates[k] for k in useful]]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that changes: arrays, and what JSON can hold. A schedule never changes."""
        rates = [[None if callable(rate.lr) else rate.lr, rate.implicit] for rate in self.rates]
        return {"behind": self.behind, "on_trial": self.on_trial}, {"rates": rates, "reviewed": self.reviewed}

    def restored(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> RateGrid:
        """The grid in this state, of one that began with the same rates.

        Raises:
            ValueError: it is not one.
        """
        if not 1 <= len(numbers["rates"]) <= MOST:
            raise ValueError(f"rates: found {len(numbers['rates'])} learning rates, expected 1 to {MOST}")
        rates = tuple(
            Rate(self.rates[k].lr if lr is None else float(lr), bool(implicit))
            for k, (lr, implicit) in enumerate(numbers["rates"])
        )
        arrays = {name: restoring.array(arrays, name, np.float64, (len(rates),)) for name in ("behind", "on_trial")}
        copies = {name: array.copy() for name, array in arrays.items()}
        return replace(self, rates=rates, reviewed=restoring.whole(numbers, "reviewed"), **copies)


def lag(scores: np.ndarray) -> np.ndarray:
    """−ln of each rate's weight as a share of the best one's, in the mixture where that is largest."""
    return (scores - scores.min(axis=1, keepdims=True)).min(axis=0)


def winner(scores: np.ndarray) -> int:
    """The position of the rate with the largest weight over all mixtures."""
    return int(softmax_of(-scores).sum(axis=0).argmax())


def _width(rates: int) -> int:
    """Room for this many rates; more than MOST are not trained."""
    return next(width for width in WIDTHS if width >= min(rates, MOST))
