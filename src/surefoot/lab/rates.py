"""The learning rate of a parameter, compared with its past: whether it decayed too far, or a schedule ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surefoot.lab.findings import Case
from surefoot.lab.motion import altered

FALLEN, SCHEDULED = 10.0, 1e6
"""How many times below its highest a learning rate has decayed; one that a scheduler of torch sets, whose past is not
known, may be warming up or nearly at its end, where a cosine over T steps is some T² below."""


@dataclass
class Rate:
    """The learning rate, compared with its past.

    Attributes:
        now: of the next step.
        halfway: after half of the steps so far, if its past is known.
        highest: the highest so far, as far as it is known.
        ends: whether a scheduler of torch has brought it to the end that it declared, or to 0.
        is_scheduled: whether a scheduler of torch sets it that has noted where it began. ReduceLROnPlateau does not.
    """

    now: float
    halfway: float | None
    highest: float
    ends: bool
    is_scheduled: bool

    @classmethod
    def of(cls, case: Case) -> Rate:
        step, t, group = case.view.step, case.view.t, case.settings
        decay = step.hyper.get("lr_decay", 0.0)

        def at(k: int) -> float:
            return float(step.lr(k + 1)) / (1 + k * decay)

        now, factor = at(t), float(group.get("lr_factor", 1.0))
        if callable(step.hyper["lr"]) or (decay and "initial_lr" not in group):
            past = [at(int(k)) for k in np.unique(np.geomspace(1, t + 1, 50).astype(int)) - 1]
            return cls(now, at(t // 2), max([now, *past]), False, False)
        scheduled = [float(group[key]) * factor for key in ("initial_lr", "max_lr") if key in group]
        least = float(group.get("min_lr", 0.0)) * factor
        first = [] if scheduled or case.first_lr is None else [case.first_lr * factor]
        ends = bool(scheduled) and now <= 10 * least
        return cls(now, None, max([now, *scheduled, *first]), ends, bool(scheduled))

    @classmethod
    def of_start(cls, case: Case) -> float:
        """What a new start would begin with: what was lowered by hand stays so, what a schedule lowered does not."""
        return cls.of(case._replace(first_lr=None)).highest

    @classmethod
    def lowered(cls, case: Case) -> float:
        """How many times it was lowered otherwise than by a schedule, as by ReduceLROnPlateau."""
        first = cls.of_start(case)
        return cls.of(case).highest / first if first else 1.0

    @property
    def fallen(self) -> float:
        """How many times below its highest it is."""
        return self.highest / self.now if self.now else math.inf

    def has_decayed(self, steps: int | None, needed: float) -> bool:
        """Whether it decayed too far: for half of the steps, or more than a schedule's end explains, or by hand.

        Args:
            steps: the number of steps taken.
            needed: the rate at which steps are just long enough.
        """
        if self.halfway is not None:
            return self.fallen >= FALLEN and self.halfway < needed
        if not self.is_scheduled:
            return self.fallen >= FALLEN
        return not self.ends and self.fallen > max(SCHEDULED, float(steps or 0) ** 2)

    def pace_at_highest(self, case: Case) -> float:
        """‖update‖/‖parameter‖ at the highest learning rate."""
        step = altered(case.view.step, lr=self.highest, lr_decay=0.0)
        return case.view.motion(step, exact=True).pace or 0.0
