"""What the losses of a run tell: whether it rose, fell, or stands."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_LOSSES, TO_STAND = 20, 50
"""Losses, of fewer than which nothing is said; and not that they stand."""

ROSE, FELL = 1.0, 0.05
"""The share of the first losses by which the last ones lie above, or below, for a run that rose, or fell; one that
stands does not differ by more than the second, or by up to twice as much, if that is their noise."""

ROUNDED = 1e-3
"""The share of the first losses that rounding may be."""

HALF = 0.5
"""The same, below which a run has become better although the first losses vary by more than that."""

FAR = 0.1
"""The share of the first losses below which the last ones lie for a run whose weights may be large."""

UPHILL, SLOWLY = 0.25, 1.5
"""The share of what a step takes off the loss, to first order, by which losses rise that climb; and the factor of one
step below which they do: of a quadratic function, steps that are too long raise it by a tenth of that at most."""

ERRORS = 3.0
"""Standard errors of the two means that a difference must exceed, to be one."""


@dataclass
class Losses:
    """The losses of the steps so far, in three numbers: the first one, the medians of the first and of the last tenth.

    Attributes:
        given: how many there are.
        count: the same, if they are enough to say something.
        start: the first one, before any step.
        first, last: the medians; infinite where most are not finite.
        late: by how much a single one of the last ones is off.
        error: the standard error of the difference of the medians.
        growth: the factor by which they rise from step to step, if they do in all tenths of the second half; else 1.
    """

    given: int = 0
    count: int = 0
    start: float = 0.0
    first: float = 0.0
    last: float = 0.0
    late: float = 0.0
    error: float = 0.0
    growth: float = 1.0

    @classmethod
    def of(cls, losses: Iterable[Any] | None) -> Losses:
        """Takes numbers, or tensors of one.

        Raises:
            TypeError: for what is not a sequence of numbers.
        """
        try:
            given = () if losses is None else losses
            values = np.array([float(loss.detach() if hasattr(loss, "detach") else loss) for loss in given])
        except (RuntimeError, TypeError, ValueError):
            raise TypeError(
                f"losses must be the loss of each step, numbers in the order of the steps, got {reprlib.repr(losses)}"
            ) from None
        if len(values) < LEAST_LOSSES:
            return cls(len(values))
        part = part_of(len(values))
        values[~np.isfinite(values)] = math.inf
        ends = values[:part], values[-part:]
        first, last = (float(np.median(end)) for end in ends)
        # Of differences between neighbours, as a trend is no noise, by their median, as a blow-up is none either.
        spread = [float(np.median(np.abs(np.diff(end)))) / 0.954 if np.isfinite(end).all() else 0.0 for end in ends]
        error = math.hypot(*spread) / math.sqrt(part)
        return cls(len(values), len(values), float(values[0]), first, last, spread[1], error, growth_of(values, part))

    @property
    def rose(self) -> bool:
        """Whether a run is much worse than at its start, which the first steps may have spoilt already.

        Then the spread of the first losses is not noise, and that of the last ones counts alone.
        """
        by_first = self.last - self.first > max(ROSE * abs(self.first), ERRORS * self.error)
        by_start = self.last - self.start > max(ROSE * abs(self.start), ERRORS * self.late)
        return self.count > 0 and (by_first or by_start)

    @property
    def rises(self) -> bool:
        """Whether a run is worse than at its start, however little: by more than noise and rounding."""
        rise = self.last - max(self.start, self.first)
        return self.count > 0 and rise > max(ROUNDED * abs(self.first), ERRORS * self.error)

    def climbs(self, fall: float) -> bool:
        """Whether they rise as much as steps are to lower them, to first order: along gradients of the wrong sign.

        Args:
            fall: what the next step is to take off the loss.
        """
        now = self.last * self.growth ** (part_of(self.count) / 2)
        return 1 < self.growth < SLOWLY and now * (self.growth - 1) > UPHILL * fall > 0

    @property
    def fell(self) -> bool:
        """Whether a run is better than at its start."""
        by_first = self.first - self.last > max(FELL * abs(self.first), ERRORS * self.error)
        return self.count > 0 and by_first and self.start - self.last > FELL * abs(self.start)

    @property
    def size(self) -> float:
        """The size of the last losses, or of their noise, as a constant may have been taken off."""
        return max(abs(self.last), self.late)

    @property
    def scale(self) -> float:
        """What changes of the loss are compared with: its size, if it is known and below one."""
        sizes = [abs(each) for each in (self.start, self.first, self.last) if math.isfinite(each)]
        return min(max(sizes, default=1.0), 1.0) if self.count else 1.0

    @property
    def fell_far(self) -> bool:
        """Whether a run is so much better than at its start that its steps cannot have been far too long."""
        return self.fell and self.last < FAR * min(self.first, self.start)

    @property
    def never_fell(self) -> bool:
        """Whether a run is known to be no better than at its start, nor than after the first tenth of the steps."""
        return self.count > 0 and not self.fell and not self.is_half_of(max(self.start, self.first))

    @property
    def stays(self) -> bool:
        """Whether a run is no better than the better of these, after TO_STAND steps at least."""
        return self.count >= TO_STAND and not self.fell and not self.is_half_of(min(self.start, self.first))

    def is_half_of(self, before: float) -> bool:
        """Whether losses have fallen from there, however noisy they were."""
        return before - self.last >= HALF * abs(before)

    def would_show(self, fall: float) -> bool:
        """Whether the losses would have fallen visibly, had each step taken this much off them."""
        return self.count * fall > max(2 * FELL * self.size, ERRORS * self.error)

    @property
    def stands(self) -> bool:
        """Whether a run is where it began, by the losses of TO_STAND steps at least."""
        least = FELL * abs(self.first)
        return self.count >= TO_STAND and abs(self.first - self.last) < min(max(least, 2 * self.error), 2 * least)


def part_of(count: int) -> int:
    """The number of losses of which medians are taken: a tenth.

    >>> part_of(300), part_of(20)
    (30, 5)
    """
    return max(count // 10, 5)


def growth_of(values: np.ndarray, part: int) -> float:
    """The factor by which losses rise from step to step, by the last two medians of a part, if all later ones rise.

    >>> round(growth_of(np.geomspace(1.0, 16.0, 41), 5), 3), growth_of(np.ones(40), 5)
    (1.072, 1.0)
    """
    medians = np.median(values[len(values) % part :].reshape(-1, part), axis=1)
    later = medians[len(medians) // 2 - 1 :]
    rising = later[0] > 0 and np.isfinite(later).all() and (np.diff(later) > 0).all()
    return float((later[-1] / later[-2]) ** (1 / part)) if rising else 1.0
