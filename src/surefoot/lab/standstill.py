"""Which parameters stand still, and why: the rate, its decay, or a memory of other gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from surefoot.lab.findings import Case
from surefoot.lab.motion import Motion, altered
from surefoot.lab.rates import Rate
from surefoot.lab.remedies import TARGET
from surefoot.optim.conversion import weight_of

SLOWEST, AS_FAR_AGAIN = 1e-5, 0.01
"""A parameter stands still if a step moves it by less than the first share of it, the lower end of the band, and as
many steps again as it has taken by less than the second."""

MOVED = 0.3
"""The same as the second, for a run whose losses stand."""

OUTLIER = 1e-3
"""A parameter this many times slower than the run is judged by itself; otherwise, most coordinates count."""

FEW = 10
"""Coordinates, of fewer than which a single gradient does not tell what gradients are like."""

FROZEN = 0.2
"""The share of coordinates above which it counts that they do not move."""

RESTING = 0.1
"""The share of a gradient's norm that coordinates which do not move have at least, unless they have converged."""

DOMINATED = 10.0
"""How many times as long a step would be, if all gradients so far had been the present one, for a memory of others."""

WHY = {
    "rate": "the learning rate is too small",
    "decay": "the learning rate has decayed too far",
    "memory": "the state is of much larger gradients than today's",
}


class Bounds(NamedTuple):
    """What a parameter is too slow below: a step's share of it, and that of as many steps as were taken.

    Attributes:
        slowest, so_far: the shares.
        of_made: whether they are of what parameters are made with, where that is longer: what began at zero is small.
    """

    slowest: float = SLOWEST
    so_far: float = AS_FAR_AGAIN
    of_made: bool = False

    def hold(self, pace: float, steps: int | None) -> bool:
        return pace < self.slowest and (steps is None or pace * steps < self.so_far)

    def length(self, motion: Motion) -> float:
        """With what the update is compared."""
        return motion.reach if self.of_made else motion.length

    @classmethod
    def where_losses_stand(cls, count: int) -> Bounds:
        """For a run whose losses, `count` of them, did not fall."""
        return cls(min(max(SLOWEST, MOVED / count), TARGET), MOVED, of_made=True)


@dataclass
class Rest:
    """A parameter that stands still.

    Attributes:
        case: the parameter.
        having: how many coordinates have a gradient.
        pace: ‖update‖ of a step, compared with `length`.
        length: of the parameter, or of what it is made with.
        cause: "rate", "decay" or "memory".
        partly: the share of coordinates that do not move, where others do.
    """

    case: Case
    having: float
    pace: float
    length: float
    cause: str
    partly: float | None = None

    def is_outlier(self, pace: float) -> bool:
        """Whether it is much slower than the run, and not only because one gradient happens to be small."""
        return self.pace < OUTLIER * pace and (self.cause == "rate" or self.having >= FEW)

    @classmethod
    def of(cls, case: Case, motion: Motion, bounds: Bounds) -> Rest | None:
        """What there is to say of a parameter; None if it moves, or stands still by its schedule."""
        if motion.pace is None:
            return None
        steps, still = case.finding.steps, (motion.frozen or 0) - (motion.lost or 0)
        length, having = bounds.length(motion), motion.having
        share = motion.length / length
        pace = share * motion.pace
        if bounds.hold(pace, steps):
            rate = Rate.of(case)
            fastest = share * rate.pace_at_highest(case)
            pace = pace or fastest / rate.fallen
            if rate.fallen > 1 and fastest >= bounds.slowest:
                # Otherwise its scheduler warms up, or has come to its end.
                has_decayed = case.is_warm and rate.has_decayed(steps, rate.highest * bounds.slowest / fastest)
                return cls(case, having, pace, length, "decay") if has_decayed else None
            cause = "memory" if share * larger_pace(case) > max(bounds.slowest, DOMINATED * pace) else "rate"
            return cls(case, having, pace, length, cause)
        matters = motion.resting > RESTING * motion.gradient
        if still > FROZEN and matters and has_squares(case) and (case.view.motion(steady=True).frozen or 0) < still / 2:
            return cls(case, having, motion.pace, motion.length, "memory", still)
        return None


def has_squares(case: Case) -> bool:
    """Whether the rate follows from gradients of the past."""
    return bool(case.view.t) and any(slot.kind == "scale" for slot in case.view.step.rule.slots.values())


def larger_pace(case: Case) -> float:
    """‖update‖/‖parameter‖ if the memory were of gradients as large as the present one; 0 where there is none."""
    if not has_squares(case):
        return 0.0
    view = case.view
    step = altered(view.step, lr=Rate.of(case).now, lr_decay=0.0)
    if any(weight_of(step, slot, "squares", 1) for slot in step.rule.slots):
        return view.motion(step, steady=True, exact=True).pace or 0.0
    return (view.motion(step, fresh=True).pace or 0.0) / math.sqrt(view.t)
