"""One example at a time, from and for any thread: learning is all or nothing, and predictions wait for it.

Both cost what the example has entries, whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from surefoot.data.stream import Block
from surefoot.engines.bank import NO_TOTALS
from surefoot.engines.examples import Examples
from surefoot.engines.undoing import Noted
from surefoot.learn import scoring
from surefoot.learn.learner import Learner
from surefoot.learn.one_row import ENTERED, RowBuffer, entries_of
from surefoot.native import kernel

INSTEAD = float(np.float32(1e30))
"""What predictions that are not finite are taken for; see `Learner.learn`."""


@contextmanager
def all_or_nothing(learner: Learner, ids: np.ndarray) -> Iterator[None]:
    """Within it, a learner learns from examples with these features; after an error it is what it was.

    Predictions wait meanwhile.
    """
    with learner.guard.lock:
        undo = noted(learner, learner.bank.rows_of(np.append(learner.zeros.ids, ids)))
        try:
            yield
        except BaseException:
            undo()
            raise


def learn_one(
    learner: Learner, ids: Any, values: Any, target: float, weight: float, features: int, zeros: bool = False
) -> None:
    """Learns from an example, with the same bits as `Learner.learn`, or not at all.

    Args:
        learner: which learns.
        ids, values: of the example's features, two lists or two arrays, see `entries_of`.
        target, weight: of the example.
        features, zeros: as `entries_of` takes them; no zeros unless absent numbers are missing.

    Raises:
        ValueError: as in `entries_of`.
        DivergedError: as in `Learner.learn`; the learner is unchanged.
    """
    guard = learner.guard
    with guard.lock:
        stepper: Stepper | None = guard.stepper
        row = learner, ids, values, target, weight, features, zeros
        if stepper is not None and stepper.fits(learner) and stepper.learn(*row):
            return
        ids, values = entries_of(ids, values, features, zeros)
        needed = int(ids[-1]) + 1 if len(ids) else 0
        given = ids, values
        ids, values = learner.zeros.row(ids, values)
        rows = learner.bank.rows_of(ids)
        undo = noted(learner, rows)
        try:
            learner.features = max(learner.features, needed)
            if learner.is_far(target):
                learner.learn(Examples.one(*given, target, weight))
            else:
                step(learner, ids, rows, values, target, weight)
        except BaseException:
            undo()
            raise
        if stepper is None or not stepper.fits(learner):
            guard.stepper = Stepper.of(learner)


def step(learner: Learner, ids: np.ndarray, rows: np.ndarray, values: np.ndarray, target: float, weight: float) -> None:
    """Learns from an example, with the same bits as `Learner.learn`; after an error the learner is of no use.

    Args:
        learner: which learns.
        ids: of the example's features, zeros included.
        rows: of these, `bank.rows_of` them.
        values: of these, float64.
        target, weight: of the example, whose target is within reach.

    Raises:
        DivergedError: as in `Learner.learn`.
    """
    target, weight = learner.scaled(target, weight)
    predicted = learner.bank.learn_one(rows, values, target, weight)
    learner.take_one(np.where(np.isfinite(predicted), predicted, np.float32(INSTEAD)), target, weight, ids, values)


class Stepper:
    """The calls that learn from one example, laid out once: they sort it, note what it changes, learn, and mix.

    They do what `learn_one` otherwise does, with the same bits, and hold as long as `fits`.

    Args:
        learner: which has just learned from an example.
        single: the call of its bank's engine.
    """

    def __init__(self, learner: Learner, single: Any):
        bank, given = learner.bank, single.given
        self._space, self._single, self._given = bank.workspace, single, given
        self._zeros, self._memory = learner.zeros, learner.mixture.memory
        self._ids, self._find, self._moves = given.rows, None, bank.row_map.moves
        if not learner.are_rows:
            self._ids = np.empty_like(given.rows)
            self._find = bank.row_map.finder(given.indptr, self._ids, given.rows)
        self._buffer = RowBuffer(single.entries - len(self._zeros.ids))
        sorted_row = given.indptr, self._ids, given.values
        self._enter = ENTERED.bound(*self._buffer.arguments, self._zeros.ids, *sorted_row)
        now = bank.table.shared, bank.table.seen, self._memory
        notes = np.empty((single.entries, bank.table.row.width), bank.dtype), *(array.copy() for array in now)
        rows = given.indptr, given.rows, bank.table.room
        self._note, self._put_back = (MOVED.bound(*rows, *now, *notes, back) for back in (False, True))
        self._predicted = np.empty((bank.outputs, bank.rates))
        self._hand_over = handed.bound(single.predictions, self._predicted, INSTEAD)

    @classmethod
    def of(cls, learner: Learner) -> Stepper | None:
        """The calls, if its engine has such and learning changes a few rows and no more."""
        bank, space = learner.bank, learner.bank.workspace
        single = getattr(space, "single", None)
        if single is None or bank.waits or bank.averages or bank.common or single.entries <= len(learner.zeros.ids):
            return None
        return cls(learner, single)

    def fits(self, learner: Learner) -> bool:
        space = learner.bank.workspace
        return (
            space is self._space
            and space.single is self._single
            and self._single.fits(learner.bank, 0)
            and self._moves == learner.bank.row_map.moves
            and learner.zeros is self._zeros
            and learner.mixture.memory is self._memory
        )

    def learn(
        self, learner: Learner, ids: Any, values: Any, target: float, weight: float, features: int, zeros: bool
    ) -> bool:
        """Learns, unless the row has to be sorted, cannot be used, or has new features for which memory moves."""
        bank, given, single = learner.bank, self._given, self._single
        if learner.is_far(target) or not self._buffer.write(ids, values, features, zeros):
            return False
        size = self._enter()
        if size < 0:
            return False
        needed = self._buffer.needed
        if (needed > bank.features if self._find is None else self._find() < 0) and not self._has_new(learner, size):
            return False
        self._note()
        before, counts, entries = vars(learner).copy(), (bank.t, bank.skipped), len(learner.history)
        try:
            if needed > learner.features:
                learner.features = needed
            target, weight = learner.scaled(target, weight)
            given.targets[0], given.weights[0] = target, weight
            bank.stepped(1, NO_TOTALS, single.run())
            self._hand_over()
            learner.take_one(self._predicted, target, weight, self._ids[:size], given.values)
        except BaseException:
            self._put_back()
            vars(learner).update(before)
            bank.t, bank.skipped = counts
            bank.workspace = None  # which counts steps of its own
            del learner.history[entries:]
            raise
        return True

    def _has_new(self, learner: Learner, size: int) -> bool:
        """Lets new features have rows; whether all memory is where it was."""
        rows = learner.bank.rows_of(self._ids[:size])
        self._given.rows[:size] = rows
        return self.fits(learner)


def moved(indptr, rows, cells, shared, seen, memory, of_rows, of_shared, of_seen, of_memory, back):
    """Copies all that learning from an example changes: these rows, what is shared, and a mixture's memory; or `back`
    to where it was."""
    for e in range(indptr[1]):
        copied(cells[rows[e]], of_rows[e], back)
    copied(shared[0], of_shared[0], back)
    copied(seen, of_seen, back)
    copied(memory, of_memory, back)
    return 0


def copied(now, note, back):
    for k in range(now.size):
        if back:
            now[k] = note[k]
        else:
            note[k] = now[k]


MOVED = kernel(moved, copied)


@kernel
def handed(predictions, predicted, instead):
    """Copies what each lane predicted, (1, lanes), to (outputs, rates), with a number `instead` of those that are not
    finite."""
    rates = predicted.shape[1]
    for k in range(predictions.size):
        prediction = np.float64(predictions[0, k])
        predicted[k // rates, k % rates] = prediction if np.isfinite(prediction) else instead
    return 0


def noted(learner: Learner, rows: np.ndarray) -> Callable[[], None]:
    """Notes what learning from examples with features in these rows changes; returns what puts it back."""
    bank, mixture = learner.bank, learner.mixture
    if len(rows) > learner.bank.features or bank.settles_at_once:
        rows = np.arange(learner.bank.features)
    elif len(learner.changes.ids):  # whose statistics may begin again
        rows = np.union1d(rows, bank.row_map.known(learner.changes.ids))
    of_bank = Noted(bank, rows)
    of_learner, of_mixture, entries = vars(learner).copy(), mixture.memory.copy(), len(learner.history)

    def undo() -> None:
        of_bank.put_back()
        mixture.memory[...] = of_mixture
        vars(learner).update(of_learner)
        del learner.history[entries:]

    return undo


def scores(learner: Learner, indptr: np.ndarray, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What the model predicts for some examples before any link function, (n, outputs) float64.

    Args:
        learner: of the model.
        indptr: where each example begins, and where the last one ends, (n + 1,) int64.
        ids: of the examples' features, int64; those that are not known add nothing.
        values: of these, float64.
    """
    with learner.guard.lock:
        return scores_of_rows(learner, indptr, ids, values)


def scores_of_rows(learner: Learner, indptr: np.ndarray, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The same under the lock."""
    if len(learner.zeros.ids):
        indptr, ids, values = learner.zeros.entries(indptr, ids, values)
    rows = learner.known(ids)
    if scoring.reads(learner):
        return scoring.scores(learner, indptr, rows, values)
    return scores_of_excerpt(learner, indptr, rows, values)


def score_one(learner: Learner, ids: Any, values: Any, features: int, zeros: bool = False) -> np.ndarray:
    """The same for one example, (outputs,), in less time.

    Args:
        learner: of the model.
        ids, values, features, zeros: as `learn_one` takes them.

    Raises:
        ValueError: as in `entries_of`.
    """
    with learner.guard.lock:
        scorer = scored(learner, ids, values, features, zeros)
        return scorer.found[0].copy() if scorer else sorted_score(learner, ids, values, features, zeros)


def probability_one(learner: Learner, ids: Any, values: Any, features: int, zeros: bool = False) -> float:
    """The probability that the target is 1, of a loss with a single output; see `score_one`."""
    with learner.guard.lock:
        scorer = scored(learner, ids, values, features, zeros)
        if scorer and scorer.has_probabilities:
            return scorer.probabilities.item(0)
        score = scorer.found[0] if scorer else sorted_score(learner, ids, values, features, zeros)
        return learner.settings.loss.probabilities(score[None]).item(1)


def scored(learner: Learner, ids: Any, values: Any, features: int, zeros: bool) -> scoring.Scorer | None:
    """What has just scored an example; None where it has to be sorted first, or cannot be used."""
    scorer: scoring.Scorer | None = learner.guard.scorer
    if scorer is None or not scorer.fits(learner):
        learner.guard.scorer = scorer = scoring.Scorer(learner) if scoring.reads(learner) else None
    return scorer if scorer and scorer.score(ids, values, features, zeros) else None


def sorted_score(learner: Learner, ids: Any, values: Any, features: int, zeros: bool) -> np.ndarray:
    """What is predicted for any example, (outputs,)."""
    ids, values = entries_of(ids, values, features, zeros)
    return scores_of_rows(learner, np.array([0, len(ids)]), ids, values)[0]


def scores_of_excerpt(learner: Learner, indptr: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The same of any model: the numbers of these rows alone are made what they will be."""
    there, places = np.unique(rows[(rows >= 0) & (rows < learner.bank.features)], return_inverse=True)
    own = np.full(len(rows), -1)
    own[(rows >= 0) & (rows < learner.bank.features)] = places
    excerpt, n = learner.excerpt(there), len(indptr) - 1
    numbers, center, spread = excerpt.exported()
    values = values - np.append(excerpt.centers(), 0.0)[own]
    block = Block(indptr, own, values, np.zeros(n), np.ones(n, np.float32))
    return learner.settings.architecture.scores(block, own, numbers) * spread + center
