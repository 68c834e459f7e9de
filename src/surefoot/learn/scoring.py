"""The prediction for one example, read from the table: no other feature's weight is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot.native import kernel

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner


def scores(learner: Learner, indptr: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What a linear model predicts for features and targets as they are, (n, outputs) float64.

    Args:
        learner: whose features need not catch up, and that does not average.
        indptr: where each example begins, and where the last one ends, (n + 1,) int64.
        rows: of the examples' features, int64; others than there are add nothing.
        values: of these, float64.
    """
    bank, mixture = learner.bank, learner.mixture
    table, found = bank.table, np.empty((len(indptr) - 1, bank.outputs))
    cells = table.cells
    places = table.parts["weight"].begin, table.parts["bias"].begin, table.row.statistics, bank.normalize
    shares = mixture.shares
    if not mixture.frozen:
        shares = np.empty_like(shares)
        share(mixture.losses, mixture.eta, learner.lasting, shares)
    narrow = np.empty(1, bank.dtype)
    weighted_sums(indptr, rows, values, cells, cells.view(np.float64), table.shared, places, shares, narrow, found)
    return found * learner.spread + learner.center if learner.scales else found


@kernel
def share(losses, eta, lasting, shares):
    """`Mixture.kept`: exp(−η · loss) of the lasting models of each mixture, normalized; (M, R)."""
    for m in range(losses.shape[0]):
        least, total = np.inf, 0.0
        for r in range(losses.shape[1]):
            if lasting[r]:
                least = min(least, losses[m, r])
        for r in range(losses.shape[1]):
            shares[m, r] = np.exp(eta[m, 0] * (least - losses[m, r])) if lasting[r] else 0.0
            total += shares[m, r]
        for r in range(losses.shape[1]):
            shares[m, r] /= total


@kernel
def weighted_sums(indptr, rows, values, cells, sums, shared, places, shares, narrow, found):
    """The mixed bias of each output, and the sum of the mixed weights times an example's values.

    Args:
        indptr, rows, values: of the examples.
        cells, sums, shared: a table's.
        places: where the weights begin in a row, the biases in `shared`, and the statistics in a row of `sums`; and
            whether weights are those of features divided by their root mean squares.
        shares: of the models in each mixture, (M, R).
        narrow: a number of the table's type, to which weights are rounded.
        found: (n, outputs).
    """
    rates, outputs = shares.shape[1], found.shape[1]
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
                scale = 1.0
                if normalizes:
                    squares = sums[row, statistics + 2]
                    scale = np.sqrt(sums[row, statistics] / squares) if squares > 0.0 else 0.0
                for o in range(outputs):
                    m = min(o, shares.shape[0] - 1)
                    total = 0.0
                    for r in range(rates):
                        narrow[0] = np.float64(cells[row, weight + o * rates + r]) * scale
                        total += shares[m, r] * np.float64(narrow[0])
                    found[i, o] += total * values[e]
