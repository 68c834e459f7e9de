"""When an epoch ends, as far as the sparse gradients of tables tell: a last batch that is smaller, or no new rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

STEPS = 10
"""Steps before a batch of varying size counts as smaller than all others."""
CHECKS = 32
"""Checks for new rows in the time that it took so far."""
MISSED = 8.0
"""New rows that were to be expected without one, where an epoch has ended: by chance, once in e⁸ checks."""
SURE = 4.0
"""The same where a smaller batch says so, too."""
SHARE = 1 / 16
"""The share of an epoch after which that is to be known."""


@dataclass
class Clock:
    """Where training is, by one table's gradients.

    Attributes:
        steps: of all epochs so far.
        seen: steps since the epoch began.
        length: steps of an epoch; 0 as long as none has ended.
        epochs: how many have ended.
        fewest, most: ids of a step, but for the last of an epoch.
        once: rows that had occurred once when the first epoch ended.
        distinct: 1 if no gradient has had a row twice.
        due: 1 if an epoch has ended, and rows are yet to decay.
    """

    steps: float = 0.0
    seen: float = 0.0
    length: float = 0.0
    epochs: float = 0.0
    fewest: float = 0.0
    most: float = 0.0
    once: float = 0.0
    distinct: float = 1.0
    due: float = 0.0

    @classmethod
    def of(cls, tensors: Mapping[str, Any]) -> Clock:
        return cls(*tensors["decay_clock"].tolist())

    def keep(self, tensors: Mapping[str, Any]) -> None:
        tensors["decay_clock"].numpy()[:] = tuple(vars(self).values())

    def is_last(self, count: float) -> bool | None:
        """Whether a batch of that many ids ends an epoch; None if other tables may say so.

        >>> clock = Clock(steps=20, fewest=64, most=64)
        >>> clock.is_last(63), clock.is_last(64)
        (True, False)
        >>> Clock(steps=20, fewest=60, most=64).is_last(56), Clock(20, length=9, fewest=64, most=64).is_last(1)
        (None, None)
        """
        if self.length and self.seen + 1 >= self.length:
            return True
        if 2 * (self.seen + 1) < self.length:
            return None
        if self.steps >= (2 if self.fewest == self.most else STEPS) and count < 2 * self.fewest - self.most:
            return True
        return None if self.length or count < self.most else False

    def take(self, count: float, is_merged: bool, ended: bool) -> None:
        """Counts a step with that many ids."""
        if not ended or not self.steps:
            self.fewest = min(self.fewest, count) if self.steps else count
            self.most = max(self.most, count)
        self.steps += 1
        self.seen += 1
        self.distinct *= is_merged

    def end(self, visits: Tensor, length: float) -> None:
        """Ends an epoch of that many steps."""
        if not self.epochs:
            self.once = float((visits == 1).sum())
        self.length, self.epochs, self.seen, self.due = length, self.epochs + 1, self.seen - length, 1.0

    def go_on(self) -> None:
        """Goes on as if the first epoch had not ended: what came next was new."""
        self.seen, self.length, self.epochs, self.due = self.seen + self.length, 0.0, 0.0, 0.0

    def without_new_rows(self, visits: Tensor, newest: Tensor) -> float:
        """How many steps the first epoch had, if it has ended; 0 if not, by the estimate of Good and Turing (1953).

        Of the next rows, the share of those that occur for the first time is that of those which have occurred once.
        """
        if self.epochs or self.steps < STEPS or self.steps % max(1, self.steps // CHECKS):
            return 0.0
        last = float(newest)
        missed = float((visits == 1).sum()) * (self.seen - last) / max(self.seen, 1.0)
        return last if missed >= MISSED else 0.0

    def repeats(self, newest: Tensor, ids: Tensor, visits: Tensor) -> bool | None:
        """Whether an epoch, once it has ended, is followed by the same examples; None if it is too early to tell.

        Args:
            newest: the last step of those since then that had a new row; 0 if none had.
            ids: the rows of the present step.
            visits: how often rows occurred before.
        """
        if self.epochs > 1:
            return True
        if float(newest) > 0 or bool((visits[ids] == 0).any()):
            return False
        expected = self.once * self.seen / self.length * self.fewest / max(self.most, 1.0)
        return True if expected >= SURE or self.seen >= SHARE * self.length or self.once * SHARE < SURE else None
