"""The prediction for one example, read from the table: no other feature's weight is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import losses, models
from surefoot.engines.cpu.bank.statistics import about, scale_by
from surefoot.learn.one_row import ENTERED, RowBuffer, entered, kept
from surefoot.learn.tracking import of_numbers
from surefoot.losses import Loss
from surefoot.native import Kernel, digest, kernel
from surefoot.records.functions import fingerprint

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner


ENTRIES = 1 << 12
"""What an example may have; of longer ones other things take the time."""


class Scorer:
    """The calls that predict one example by a linear model, laid out once.

    They hold until the memory of the learner moves.

    Args:
        learner: that `reads` is true of.

    Attributes:
        found: the scores of the latest example, (1, outputs), as `online.score_one` has them.
        has_probabilities: whether there are
        probabilities: of each output alone, (outputs,).
    """

    def __init__(self, learner: Learner):
        loss, outputs, zeros = learner.settings.loss, learner.bank.outputs, learner.zeros
        room = ENTRIES + len(zeros.ids)
        indptr, ids, values = np.zeros(2, np.int64), np.empty(room, np.int64), np.empty(room)
        self._buffer, self._ids = RowBuffer(ENTRIES), ids
        self._rows = ids
        if not learner.are_rows:
            self._rows = np.empty_like(ids)
            self._find = learner.bank.row_map.finder(indptr, ids, self._rows)
        self.found, self.probabilities = np.empty((1, outputs)), np.empty(outputs)
        self.has_probabilities = knows_probabilities(loss)
        given = *self._buffer.arguments, zeros.ids, indptr, ids, values
        self._enter = ENTERED.bound(*given)
        table = learner.bank.table
        self._limit, cells = np.array([table.rows]), table.room
        of_learner = *arguments_of(learner, cells, self._limit), learner.spread, learner.center
        self._score = with_probabilities(scored, loss if self.has_probabilities else None).bound(
            *given, self._rows, learner.are_rows, *of_learner, self.found, self.probabilities
        )
        self._rows_then, self._moves, self._spread = table.rows, learner.bank.row_map.moves, learner.spread
        self._arrays = table.block, table.shared, learner.mixture.memory, zeros

    def fits(self, learner: Learner) -> bool:
        """Whether memory is where it was; rows may have been added."""
        bank, (block, shared, memory, zeros) = learner.bank, self._arrays
        table = bank.table
        if table.rows != self._rows_then:
            self._limit[0] = self._rows_then = table.rows
        is_there = block is table.block and shared is table.shared and memory is learner.mixture.memory
        is_alike = zeros is learner.zeros and self._spread == learner.spread
        return is_there and is_alike and self._moves == bank.row_map.moves

    def score(self, ids: Any, values: Any, features: int, zeros: bool) -> bool:
        """Scores an example, unless it has to be sorted, or cannot be used."""
        if not self._buffer.write(ids, values, features, zeros):
            return False
        if self._rows is not self._ids:
            if self._enter() < 0:
                return False
            self._find()
        return self._score() >= 0


class Recalled:
    """The call that predicts one example by the weights of a linear model, laid out once.

    Args:
        model: a `model.Model` of the linear architecture.

    Attributes:
        found, has_probabilities, probabilities: see Scorer.
    """

    def __init__(self, model: Any):
        loss, outputs, weights = model.targets.loss, model.targets.outputs, model.numbers["weight"][:, 0]
        self.found, self.probabilities = np.empty((1, outputs)), np.empty(outputs)
        self.has_probabilities = knows_probabilities(loss)
        self._buffer, none = RowBuffer(ENTRIES), np.empty(0, np.int64)
        row = np.zeros(2, np.int64), np.empty(ENTRIES, np.int64), np.empty(ENTRIES)
        known = none if model.ids is None else np.require(model.ids, np.int64)
        centers, bias = np.empty(0), model.numbers["bias"]
        if model.centers is not None:
            centers, bias = np.require(model.centers, np.float64), model.centred_bias
        own = known, model.ids is None, np.ascontiguousarray(weights), centers, bias[0, 0].astype(np.float64)
        scales = float(model.spread), float(model.center)
        call = with_probabilities(recalled, loss if self.has_probabilities else None)
        self._score = call.bound(*self._buffer.arguments, none, *row, *own, *scales, self.found, self.probabilities)

    def score(self, ids: Any, values: Any, features: int, zeros: bool) -> bool:
        """Scores an example, unless it has to be sorted, or cannot be used."""
        return self._buffer.write(ids, values, features, zeros) and self._score() >= 0


def knows_probabilities(loss: Loss) -> bool:
    """Whether kernels can compute the probability of each output by itself."""
    return loss in losses.CODES and not loss.joint and loss.probability is not None


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
    cells = learner.bank.table.cells
    WEIGHTED_SUMS(indptr, rows, values, *arguments_of(learner, cells, np.array([len(cells)])), found)
    return found * learner.spread + learner.center if learner.scales else found


def arguments_of(learner: Learner, cells: np.ndarray, limit: np.ndarray) -> tuple:
    """What a learner with these cells has for `weighted_sums`."""
    bank, mixture = learner.bank, learner.mixture
    table = bank.table
    places = table.parts["weight"].begin, table.parts["bias"].begin, table.row.statistics, bank.normalize
    shares = mixture.shares if mixture.frozen else np.empty_like(mixture.shares)
    kept = mixture.losses, mixture.eta, np.array(learner.lasting), mixture.frozen, shares
    return limit, cells, cells.view(np.float64), table.shared, places, table.seen, kept


def weighted_sums(indptr, rows, values, limit, cells, sums, shared, places, seen, kept, found):
    """The mixed bias of each output, and the sum of the mixed weights times an example's values.

    Args:
        indptr, rows, values: of the examples.
        limit: how many rows there are.
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
            if row >= 0 and row < limit[0]:
                scale, value = 1.0, values[e]
                if normalizes:
                    count, mean, spread = sums[row, statistics], sums[row, statistics + 1], sums[row, statistics + 2]
                    center, squares = about(count, mean, spread, seen[0])
                    value -= center
                    scale = scale_by(count, squares) if squares > 0.0 else 0.0
                for o in range(outputs):
                    m = min(o, shares.shape[0] - 1)
                    total = 0.0
                    for r in range(rates):
                        total += shares[m, r] * (np.float64(cells[row, weight + o * rates + r]) * scale)
                    found[i, o] += total * value
    return 0


def scored(
    given, given_values, bounds, keeps, largest, most, zeros, indptr, ids, values, rows, enters,
    limit, cells, sums, shared, places, seen, kept_rates, spread, center, found, probabilities,
):  # fmt: skip
    """Sorts a row as `entered` does, unless it is, and scores it; returns what `entered` does."""
    size = indptr[1]
    if enters:
        size = entered(given, given_values, bounds, keeps, largest, most, zeros, indptr, ids, values)
    if size >= 0:
        weighted_sums(indptr, rows, values, limit, cells, sums, shared, places, seen, kept_rates, found)
        for o in range(found.shape[1]):
            found[0, o] = found[0, o] * spread + center
            probabilities[o] = probability_of(found[0, o])
    return size


WEIGHTED_SUMS = kernel(weighted_sums, about, scale_by)


def probability_of(score):
    """The probability of y = 1; kernels have that of their loss in its place."""
    return score


def recalled(
    given, given_values, bounds, keeps, largest, most, zeros, indptr, ids, values,
    known, are_rows, weights, centers, bias, spread, center, found, probabilities,
):  # fmt: skip
    """The same by weights as they are in a model, whose features are the rising ids `known`, or all that have a row."""
    size = entered(given, given_values, bounds, keeps, largest, most, zeros, indptr, ids, values)
    if size >= 0:
        found[:] = 0.0
        for e in range(size):
            row = ids[e] if are_rows else place_of(ids[e], known)
            if 0 <= row < weights.shape[0]:
                value = values[e] - (centers[row] if centers.size > 0 else 0.0)
                for o in range(found.shape[1]):
                    found[0, o] += np.float64(weights[row, o]) * value
        for o in range(found.shape[1]):
            found[0, o] = (bias[o] + found[0, o]) * spread + center
            probabilities[o] = probability_of(found[0, o])
    return size


def place_of(wanted, known):
    """Where an id is among rising ones; −1 if it is not."""
    first, last = 0, known.size
    while first < last:
        middle = (first + last) // 2
        if known[middle] < wanted:
            first = middle + 1
        else:
            last = middle
    return first if first < known.size and known[first] == wanted else -1


@functools.cache
def with_probabilities(function: Callable, loss: Loss | None) -> Kernel:
    """`scored` or `recalled` with the probabilities of a loss, or without any."""
    helpers = kept, entered, about, scale_by, weighted_sums, place_of
    if loss is None:
        return kernel(function, *helpers, probability_of)
    assert loss.probability is not None
    probability = loss.probability

    def made() -> dict[str, Any]:
        from surefoot.native.codegen import jitted

        return {"probability_of": jitted(of_numbers(probability))}

    return kernel(function, *helpers, made=made, of=digest(fingerprint(probability)))
