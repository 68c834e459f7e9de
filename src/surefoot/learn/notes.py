"""What estimators warn of: what `surefoot train` prints a note on, in the same words."""

from __future__ import annotations

import numpy as np

from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.epochs import Epochs, losses_on
from surefoot.learn.learner import Learner
from surefoot.learn.outliers import Outliers
from surefoot.learn.remarks import FIRST, in_runs, of_order, of_runs, of_sizes, of_targets, of_units
from surefoot.learn.settings import FIRST_TARGETS
from surefoot.losses import Loss

ROWS = "rows"
"""What users of estimators call examples."""
FEW = 4096
"""Features that are looked at in streams, at most: a look must not take long."""


class Notes:
    """What is noticed of the examples that an estimator learns from; each kind of note is given once.

    Args:
        loss: that is learned.
    """

    def __init__(self, loss: Loss):
        self._loss, self._names = loss, (ROWS, "labels" if loss.target == "class" else "targets")
        self._outliers: Outliers | None = None
        self._latest: list[float] = []
        self._given: set[str] = set()

    def add(self, targets: np.ndarray) -> None:
        """Looks at the targets of further examples, or keeps them until there are enough to tell which are far."""
        if self._loss.target == "class":
            return
        if len(self._latest) + len(targets) < FIRST_TARGETS:
            self._latest += targets.tolist()
        else:
            self._count(np.append(self._latest, targets))

    def add_one(self, target: float) -> None:
        """The same for one."""
        if self._loss.target == "class":
            return
        self._latest.append(target)
        if len(self._latest) >= FIRST_TARGETS:
            self.add(np.empty(0))

    def _count(self, targets: np.ndarray) -> None:
        self._latest = []
        self._outliers = self._outliers or Outliers.of(targets[:FIRST_TARGETS], self._loss)
        self._outliers.add(targets)

    def of_fit(self, learner: Learner, data: ArrayDataset, epochs: Epochs) -> list[str]:
        """The new notes after a fit."""
        if self._loss.target != "class":
            step = -(-len(data) // FIRST_TARGETS) if epochs.shuffle else 1
            self._outliers = Outliers.of(data.targets[::step][:FIRST_TARGETS], self._loss)
            self._outliers.add(data.targets)
        found = self._found(learner, self._outliers, is_end=True)
        if not (found.keys() - {"sizes"} or epochs.past is None or learner.before.examples):
            first = losses_on(learner, data.part(np.arange(len(epochs.past.losses))))
            loss = epochs.history["progressive_loss"][0]
            found["order"] = of_order(epochs.in_runs, loss, epochs.past, first, self._names)
        return self._new(found)

    def of_stream(self, learner: Learner, before: int) -> list[str]:
        """The new notes, where a look has become due since there were `before` examples."""
        if learner.examples < FIRST or last_look(learner.examples) <= before:
            return []
        outliers = self._counted()
        changes = outliers is not None and outliers.come_together
        found = self._found(learner, None if changes else outliers, is_end=False)
        # Where counts begin, all rates are far behind those whose bias learns fast.
        follow = self._loss.target == "class" or (learner.settings.centers_targets and not changes)
        if not found.keys() - {"sizes"} and follow and in_runs(learner):
            found["order"] = of_runs(learner.loss, None, *self._names)
        return self._new(found)

    def _counted(self) -> Outliers | None:
        """Outliers among all targets so far; of few ones, those that are far from the others."""
        latest = np.array(self._latest)
        if self._outliers is not None:
            self._count(latest)
            return self._outliers
        if not len(latest):
            return None
        found = Outliers.of(latest, self._loss)
        found.add(latest)
        return found

    def _found(self, learner: Learner, outliers: Outliers | None, is_end: bool) -> dict[str, str | None]:
        """Notes on targets and features, by their kind."""
        found = {"targets": of_targets(learner, outliers, ROWS, is_end), "units": of_units(learner)}
        if is_end or learner.bank.features <= FEW:
            found["sizes"] = of_sizes(learner)
        return {kind: note for kind, note in found.items() if note}

    def _new(self, found: dict[str, str | None]) -> list[str]:
        """Those of notes that are of a new kind."""
        new = {kind: note for kind, note in found.items() if note and kind not in self._given}
        self._given |= new.keys()
        return [*new.values()]


def last_look(examples: int) -> int:
    """After how many examples the last look was due: there are four in each doubling.

    >>> last_look(1000), last_look(1024), last_look(1300)
    (896, 1024, 1280)
    """
    return examples >> (shift := max(examples.bit_length() - 3, 0)) << shift
