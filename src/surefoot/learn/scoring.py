"""The prediction for one example, read from the table: no other feature's weight is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot import models
from surefoot.engines.cpu.bound import bound
from surefoot.engines.scaling import LEAST_SQUARE, NOISE
from surefoot.native import kernel

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner


FEWEST = 64
"""Entries that there is room for, at least."""


class Scorer:
    """The call that predicts one example by a linear model, whose arguments are laid out once.

    It holds until the memory of the learner moves.

    Args:
        learner: that `reads` is true of.
        entries: that an example may have.
    """

    def __init__(self, learner: Learner, entries: int):
        self.room = max(entries, FEWEST)
        self.indptr, self.rows, self.values = np.zeros(2, np.int64), np.empty(self.room, np.int64), np.empty(self.room)
        self.found = np.empty((1, learner.bank.outputs))
        self.expects = expected(learner)
        self.arguments = self.indptr, self.rows, self.values, *arguments_of(learner), self.found
        self.call = lambda: weighted_sums(*self.arguments)
        self.is_bound = False

    def fits(self, learner: Learner, entries: int) -> bool:
        return entries <= self.room and self.holds(*expected(learner))

    def holds(self, rows: int, shared: np.ndarray, memory: np.ndarray) -> bool:
        return rows == self.expects[0] and shared is self.expects[1] and memory is self.expects[2]

    def score(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(outputs,), until the next call."""
        size = len(rows)
        self.indptr[1] = size
        self.rows[:size], self.values[:size] = rows, values
        self.call()
        if not self.is_bound:
            self.call, self.is_bound = bound(weighted_sums, self.arguments), True
        return self.found[0]


def expected(learner: Learner) -> tuple:
    """What is replaced where memory moves."""
    table = learner.bank.table
    return table.rows, table.shared, learner.mixture.memory


def reads(learner: Learner) -> bool:
    """Whether the numbers in the table are those of the model: features need not catch up, and nothing is averaged."""
    bank = learner.bank
    return learner.settings.architecture is models.linear and not (bank.waits or bank.averages)


def scores(learner: Learner, indptr: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What a linear model predicts for features and targets as they are, (n, outputs) float64.

    Args:
        learner: that `reads` is true of.
        indptr: where each example begins, and where the last one ends, (n + 1,) int64.
        rows: of the examples' features, int64; others than there are add nothing.
        values: of these, float64.
    """
    found = np.empty((len(indptr) - 1, learner.bank.outputs))
    weighted_sums(indptr, rows, values, *arguments_of(learner), found)
    return as_they_are(learner, found)


def as_they_are(learner: Learner, scores: np.ndarray) -> np.ndarray:
    """Predictions of targets that are neither centred nor scaled; a copy."""
    return scores * learner.spread + learner.center if learner.scales else scores.copy()


def arguments_of(learner: Learner) -> tuple:
    """What a learner has for `weighted_sums`."""
    bank, mixture = learner.bank, learner.mixture
    table = bank.table
    places = table.parts["weight"].begin, table.parts["bias"].begin, table.row.statistics, bank.normalize
    shares = mixture.shares if mixture.frozen else np.empty_like(mixture.shares)
    kept = mixture.losses, mixture.eta, np.array(learner.lasting), mixture.frozen, shares
    return table.cells, table.sums, table.shared, places, table.seen, kept


@kernel
def weighted_sums(indptr, rows, values, cells, sums, shared, places, seen, kept, found):
    """The mixed bias of each output, and the sum of the mixed weights times an example's values.

    Args:
        indptr, rows, values: of the examples.
        cells, sums, shared: a table's.
        places: where the weights begin in a row, the biases in `shared`, and the statistics in a row of `sums`; and
            whether weights are those of scaled features.
        seen: see `scaling.centred`.
        kept: of `Mixture.kept`: what the models lost, η, which of them are lasting, whether their shares stay, and
            the shares, (M, R).
        found: (n, outputs).
    """
    losses, eta, lasting, frozen, shares = kept
    rates, outputs = shares.shape[1], found.shape[1]
    for m in range(0 if frozen else shares.shape[0]):
        least, total = np.inf, 0.0
        for r in range(rates):
            if lasting[r]:
                least = min(least, losses[m, r])
        for r in range(rates):
            shares[m, r] = np.exp(eta[m, 0] * (least - losses[m, r])) if lasting[r] else 0.0
            total += shares[m, r]
        for r in range(rates):
            shares[m, r] /= total
    weight, bias, statistics, normalizes = places
    for i in range(found.shape[0]):
        for o in range(outputs):
            m = min(o, shares.shape[0] - 1)
            total = 0.0
            for r in range(rates):
                total += shares[m, r] * np.float64(shared[0, bias + o * rates + r])
            found[i, o] = total
        for e in range(indptr[i], indptr[i + 1]):
            row = rows[e]
            if row >= 0 and row < cells.shape[0]:
                scale, value = 1.0, values[e]
                if normalizes:
                    count, mean, squares = sums[row, statistics], sums[row, statistics + 1], sums[row, statistics + 2]
                    if count >= seen[0] and squares > count * (NOISE * mean) * (NOISE * mean):
                        value -= mean
                    else:
                        squares += count * mean * mean
                    scale = np.sqrt(count / max(squares, count * LEAST_SQUARE)) if squares > 0.0 else 0.0
                for o in range(outputs):
                    m = min(o, shares.shape[0] - 1)
                    total = 0.0
                    for r in range(rates):
                        total += shares[m, r] * (np.float64(cells[row, weight + o * rates + r]) * scale)
                    found[i, o] += total * value
