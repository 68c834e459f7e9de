"""The average of the models at the ends of epochs, in which later ones count more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from surefoot.learn.learner import Learner

ORDER = 3.0
"""The k-th of the models counts about as the power of k with this exponent does."""


@dataclass
class EpochAverage:
    """The average of a learner's numbers at the ends of epochs, from the second epoch on.

    The numbers at the end of an epoch miss the best ones by what the last steps were too long. Those misses are nearly
    independent of each other, so an average has less of them. With w̄ₖ = w̄ₖ₋₁ + (η + 1) / (k + η) · (wₖ − w̄ₖ₋₁) the
    first ones, which are further away, soon count for nothing; after Shamir & Zhang (2013), Stochastic gradient descent
    for non-smooth optimization: convergence results and optimal averaging schemes, section 4.

    Attributes:
        count: of models.
        numbers: their average, by part.
    """

    count: int = 0
    numbers: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, learner: Learner) -> None:
        """Adds the present model: of several rates, after the second epoch or a later one, unless it is an average
        already, or the rule computes it again in each step from sums."""
        parts = learner.settings.architecture.parts
        is_of_sums = any(learner.settings.rule_of(part).from_origin for part in parts)
        if not (learner.settings.auto and learner.first_pass) or learner.bank.averages or is_of_sums:
            return
        learner.bank.settle()
        self.count += 1
        share = learner.bank.dtype.type((ORDER + 1.0) / (self.count + ORDER))
        for name, now in self._of(learner).items():
            if self.count == 1:
                self.numbers[name] = now.copy()
            else:
                self.numbers[name] += share * (now - self.numbers[name])

    def put(self, learner: Learner) -> None:
        """Makes the average the learner's model; what a penalty has just made exactly 0 is so still."""
        for name, now in self._of(learner).items():
            if name in self.numbers:
                now[...] = np.where(now, self.numbers[name], 0) if learner.settings.l1 else self.numbers[name]

    @contextmanager
    def of(self, learner: Learner) -> Iterator[None]:
        """Within it, the average is the learner's model."""
        before = {name: now.copy() for name, now in self._of(learner).items()}
        self.put(learner)
        try:
            yield
        finally:
            for name, now in self._of(learner).items():
                now[...] = before[name]

    @staticmethod
    def _of(learner: Learner) -> dict[str, np.ndarray]:
        """Views of the numbers of each part."""
        table = learner.bank.table
        return {name: table.numbers(name)[: learner.bank.features] for name in learner.settings.architecture.parts}
