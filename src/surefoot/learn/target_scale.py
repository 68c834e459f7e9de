"""Numbers to predict whose unit or origin changes in mid-stream, or that the first ones did not show: learning begins
again.

Targets are centred and scaled by those of the first examples: all in a first call, one where examples come singly. If
these are not like the others, no learning rate fits the others, and what was learned from them says next to nothing of
the others, or far too much. So at four looks in each doubling of the rows, their statistics between looks are compared
with the spread s in use:

- Targets are of a larger unit, or elsewhere, if between the latest two looks, and between the two before, their
  standard deviation is at least 4 s, or their mean 16 s from the center; or if between the latest two looks one of
  these is 1,000 s, and an eighth of them, two at least, is 4 s from the center or further. Of losses whose center is
  the median an eighth has to be in any case: a few outliers hardly change what these learn. Center and spread become
  those of all targets since learning began.
- They are of a smaller unit if their standard deviation is at most s/16 between the latest three looks, or s/4 between
  the latest five: over the last half of the rows. Center and spread become those of these targets.

Weights, what rules remember, and the mixture's shares then begin again, as for a stream that begins there; statistics
of features, and the progressive loss, go on. This depends on targets alone, and so is the same at all rates: a bound on
the mixture's loss holds for each part of the stream, and their sum for all of it. A target so far away that it alone
would move the mean between two looks by about as much, 1,000 s √n after n rows, is learned from as if it were 4 s away,
and what is lost by it is added to the loss as it is: no single target spoils a model.

Targets in random order give none of this, unless tails are so heavy that standard deviations of a few thousand targets
differ fourfold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from surefoot.engines import restoring, scaling
from surefoot.engines.scaling import NOISE, Statistics
from surefoot.learn.mixture import sum_of
from surefoot.records.restored import Count, restored

LARGEST_TARGET = float(np.finfo(np.float32).max)
"""By its absolute value: targets are rejected beyond."""
LARGEST_SQUARES = 1e96
"""Of all targets together."""
LEAST_SPREAD = 1e-150
"""Of targets: squares of smaller ones are not numbers."""
FIRST = 16
"""Rows before the first look."""
LOOKS = 4
"""In each doubling of the rows, and the latest whose statistics are kept."""
RISE, MOVE, JUMP = 4.0, 16.0, 1e3
"""How many times the spread their standard deviation is, or how far their mean from the center, between each of the
latest three looks; and either of both between the latest two."""
SHARE = 1 / 8
"""Of the targets between two looks, which is at least RISE times the spread from the center where these are not a few
outliers."""
FALL, DROP = 4.0, 16.0
"""How many times smaller than the spread their standard deviation is: over the last half of the rows, and the last
quarter."""


class Window(NamedTuple):
    """Targets since the last look: one of them, number, sum and sum of squares of the differences from it, and how many
    are at least RISE times the spread from the center."""

    one: float = 0.0
    number: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    far: float = 0.0

    def statistics(self) -> np.ndarray:
        """Number, mean and sum of squared deviations, and how many are far, (4,)."""
        mean = self.total / self.number
        return np.array([self.number, self.one + mean, max(self.squares - self.total * mean, 0.0), self.far])


NONE = Window()


class Before(NamedTuple):
    """What was before learning began again for the last time: numbers of examples and their weights, and what was lost
    by the mixture, and by the best rates that the model may be of, in the unit of the data. To these is added what was
    lost by targets that were out of reach, in all parts, besides what was by the nearer ones in their place."""

    examples: Count = 0
    weight: float = 0.0
    lost: float = 0.0
    lost_by_model: float = 0.0


@dataclass(frozen=True, eq=False)
class TargetScale:
    """What is known of the targets so far.

    Attributes:
        known: how many of the first ones center and spread were taken from: the first look is after these.
        window: those since the last look.
        past: number, mean and sum of squared deviations, and number of those that are far (see Window), of all targets
            since learning began, and between the latest looks, the latest last, (1 + LOOKS, 4).
    """

    known: int = 0
    window: Window = NONE
    past: np.ndarray = field(default_factory=lambda: np.zeros((1 + LOOKS, 4)))

    def until_look(self, rows: int) -> int:
        """Rows until the next look, after this many.

        >>> TargetScale().until_look(0), TargetScale().until_look(16), TargetScale(4096).until_look(4095)
        (16, 4, 1025)
        """
        last = max(rows, self.known)
        if last < FIRST:
            return FIRST - rows
        step = (1 << (last.bit_length() - 1)) // LOOKS
        return last + step - last % step - rows

    def after(self, targets: np.ndarray, center: float, spread: float) -> TargetScale:
        """This after further targets; the same however many are given at once.

        Args:
            targets: at least one.
            center, spread: in use.
        """
        window = self.window if self.window.number else Window(float(targets[0]))
        away = targets - window.one
        with np.errstate(under="ignore"):
            far = abs(targets - center) >= RISE * spread
            terms = np.stack([np.ones(len(away)), away, away * away, far], axis=1)
        return replace(self, window=Window(window.one, *sum_of(np.array(window[1:]), terms).tolist()))

    def after_one(self, target: float, center: float, spread: float) -> TargetScale:
        """The same after one."""
        one, count, total, squares, far = self.window if self.window.number else Window(target)
        away, far = target - one, far + (abs(target - center) >= RISE * spread)
        return TargetScale(self.known, Window(one, count + 1.0, total + away, squares + away * away, far), self.past)

    def is_out_of_reach(self, target: Any, center: float, spread: float) -> Any:
        """Whether targets, or one of them, are so far away that they are not learned from as they are."""
        rows = max(self.past.item(0), self.known, FIRST)
        return abs(target - center) > JUMP * math.sqrt(rows) * spread

    def looked(self) -> TargetScale:
        """This after a look."""
        latest = self.window.statistics()
        return TargetScale(self.known, past=np.stack([joined(self.past[0], latest), *self.past[2:], latest]))

    @np.errstate(under="ignore")
    def changed(self, center: float, spread: float, by_median: bool) -> TargetScale | None:
        """This, after a look, as learning begins again with targets of another scale: these are all; None unless it
        does.

        Args:
            center, spread: in use.
            by_median: whether the loss has its center there.
        """
        *_, before, latest = self.past
        if max(deviation(latest), abs(latest[1] - center)) >= JUMP * spread and has_many(latest):
            return self
        if not before[0]:
            return None
        if all(
            (deviation(own) >= RISE * spread or abs(own[1] - center) >= MOVE * spread)
            and (has_many(own) or not by_median)
            for own in (before, latest)
        ):
            return self
        last = joined(before, latest)
        for times in (DROP, FALL):
            if NOISE * abs(last[1]) < deviation(last) <= spread / times:
                return replace(self, past=np.stack([last, *self.past[1:]]))
            if not self.past[1, 0]:
                break
            last = joined(joined(self.past[1], self.past[2]), last)
        return None

    def scale(self) -> tuple[float, float]:
        """Center and spread of all targets since learning began."""
        found = joined(self.past[0], self.window.statistics()) if self.window.number else self.past[0]
        limited = np.clip([found[1], deviation(found) or abs(found[1]) or 1.0], -LARGEST_TARGET, LARGEST_TARGET)
        return float(limited[0]), max(float(limited[1]), LEAST_SPREAD)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that changes: an array, which is not a copy, and numbers."""
        return {"past": self.past}, {"known": self.known, "window": [*self.window]}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any], rows: int) -> TargetScale:
        """That which had this state, after at most this many rows.

        Raises:
            ValueError: it is not one.
        """
        past = restoring.array(arrays, "past", np.float64, (1 + LOOKS, 4))
        limits = [
            ("count", 0.0, rows),
            ("mean", -LARGEST_TARGET, LARGEST_TARGET),
            ("deviations", 0.0, LARGEST_SQUARES),
            ("far", 0.0, rows),
        ]
        for (name, least, most), column in zip(limits, past.T, strict=True):
            restoring.between(f"past, {name}", column, least, most)
        window = one, count, total, squares, far = restored(Window, numbers.get("window"), "window")
        is_of_some = count.is_integer() and 0 <= far <= count <= rows and count and 0 <= squares <= LARGEST_SQUARES
        if not (is_of_some or window == NONE) or max(abs(one), abs(total) / (2 * rows or 1)) > LARGEST_TARGET:
            raise ValueError(f"window: found {[*window]}, expected numbers of the targets of at most {rows} rows")
        return cls(restoring.whole(numbers, "known"), window, past.copy())


def deviation(statistics: np.ndarray) -> float:
    """The standard deviation of targets of which there are some."""
    return math.sqrt(statistics[2] / statistics[0])


def has_many(statistics: np.ndarray) -> bool:
    """Whether those of the targets that are far are not a few outliers."""
    return bool(statistics[3] >= max(SHARE * statistics[0], 2.0))


def joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The statistics of the targets of both."""
    found = scaling.joined(Statistics(*one[:3, None]), Statistics(*other[:3, None]))
    return np.concatenate([found.count, found.mean, found.deviations, one[3:] + other[3:]])
