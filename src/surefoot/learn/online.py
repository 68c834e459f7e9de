"""One example at a time, from and for any thread: learning is all or nothing, and predictions wait for it.

Both cost what the example has entries, whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from surefoot.data.stream import Block
from surefoot.engines.undoing import Noted
from surefoot.learn import scoring
from surefoot.learn.learner import Learner


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


def learn_one(learner: Learner, ids: np.ndarray, values: np.ndarray, target: float, weight: float) -> None:
    """Learns from an example, with the same bits as `Learner.learn`, or not at all.

    Args:
        learner: which learns.
        ids: of the example's features, rising, (n,) int64.
        values: of these, (n,) float64; not 0 unless absent numbers are missing.
        target, weight: of the example.

    Raises:
        DivergedError: as in `Learner.learn`; the learner is unchanged.
    """
    with learner.guard.lock:
        features, has_rows = int(ids[-1]) + 1 if len(ids) else 0, learner.has_rows(ids)
        ids, values = learner.zeros.row(ids, values)
        rows = ids if has_rows else learner.bank.rows_of(ids)
        undo = noted(learner, rows)
        try:
            learner.features = max(learner.features, features)
            learner.learn_one(ids, rows, values, target, weight)
        except BaseException:
            undo()
            raise


def noted(learner: Learner, rows: np.ndarray) -> Callable[[], None]:
    """Notes what learning from examples with features in these rows changes; returns what puts it back."""
    bank, mixture = learner.bank, learner.mixture
    if len(rows) > learner.bank.features or bank.settles_at_once:
        rows = np.arange(learner.bank.features)
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
        if len(learner.zeros.ids):
            indptr, ids, values = learner.zeros.entries(indptr, ids, values)
        rows = learner.known(ids)
        if scoring.reads(learner):
            return scoring.scores(learner, indptr, rows, values)
        return scores_of_excerpt(learner, indptr, rows, values)


def score_one(learner: Learner, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The same for one example, (outputs,), in less time."""
    guard = learner.guard
    with guard.lock:
        ids, values = learner.zeros.row(ids, values)
        rows, scorer = learner.known(ids), guard.scorer
        if scorer is None or not scorer.fits(learner, len(ids)):
            if not scoring.reads(learner):
                return scores_of_excerpt(learner, np.array([0, len(ids)]), rows, values)[0]
            guard.scorer = scorer = scoring.Scorer(learner, len(ids))
        return scoring.as_they_are(learner, scorer.score(rows, values))


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
