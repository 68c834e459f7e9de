"""Zeros that sparse rows leave out, written out for features that are centred: to these 0 is a value like others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from surefoot.engines import scaling
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.models import STATISTICS
from surefoot.native import kernel

OFTEN = 0.5
"""Features whose zeros are written out have other values in this share of the rows, at some doubling of these."""
GOLDEN = 0x9E3779B97F4A7C15
"""An odd number close to 2⁶⁴ over the golden ratio: the leading bits of its multiples are a hash (Knuth, 6.4)."""


class Zeros:
    """The features whose zeros are written out.

    Attributes:
        ids: of these features, rising, int64.

    >>> zeros = Zeros(np.array([3, 7]))
    >>> rows = Examples(np.array([0, 1]), np.array([7]), np.array([0.5]), np.ones(1), np.ones(1))
    >>> found = zeros.written(rows)
    >>> found.indices.tolist(), found.values.tolist()
    ([7, 3], [0.5, 0.0])
    """

    def __init__(self, ids: np.ndarray | None = None):
        self.ids = np.empty(0, np.int64) if ids is None else ids.astype(np.int64)
        bits = max(4 * len(self.ids) - 1, 1).bit_length()
        self._shift, self._places = np.uint64(64 - bits), np.full(1 << bits, -1)
        note_places(self.ids, self._places, self._shift)

    def written(self, examples: Examples) -> Examples:
        """The examples with the zeros of these features, which follow what a row has."""
        if not len(self.ids):
            return examples
        indptr, indices, values = self.entries(examples.indptr, examples.indices, examples.values)
        return replace(examples, indptr=indptr, indices=indices, values=values)

    def entries(self, indptr, indices, values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of rows in CSR form."""
        given = [
            np.require(array, kind, ["C", "W"])
            for array, kind in ((indptr, np.int64), (indices, np.int64), (values, np.float64))
        ]
        size = int(given[0][-1]) + (len(indptr) - 1) * len(self.ids)
        found = np.empty(len(indptr), np.int64), np.empty(size, np.int64), np.empty(size)
        last_row = np.full(len(self.ids), -1)
        used = write_zeros(*given, self.ids, self._places, self._shift, last_row, *found)
        return found[0], found[1][:used], found[2][:used]

    def row(self, ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of one row."""
        return self.entries(np.array([0, len(ids)]), ids, values)[1:] if len(self.ids) else (ids, values)

    def after(self, bank: ModelBank, ids: np.ndarray) -> Zeros:
        """These, and others among the features of the latest example that now have values often enough, and not always
        the same.

        Their statistics become those that they would have with all zeros written out.
        """
        seen, ids = bank.table.seen[0], np.asarray(ids, np.int64)
        rows = bank.row_map.known(ids)
        count, mean, deviations = (bank.table.statistic(name)[rows] for name in STATISTICS)
        new = (count >= OFTEN * seen) & scaling.centred(0.0, count, mean, deviations) & ~np.isin(ids, self.ids)
        if not new.any():
            return self
        after = scaling.with_zeros(seen, count[new], mean[new], deviations[new])
        for name in STATISTICS:
            bank.table.statistic(name)[rows[new]] = getattr(after, name)
        return Zeros(np.sort(np.append(self.ids, ids[new])))


@kernel
def note_places(ids, places, shift):
    """Writes where each id stands in `ids` to a hash table with linear probing; −1 is empty."""
    for k in range(ids.size):
        slot = np.int64((np.uint64(ids[k]) * np.uint64(GOLDEN)) >> shift)
        while places[slot] >= 0:
            slot = (slot + 1) & (places.size - 1)
        places[slot] = k


@kernel
def write_zeros(indptr, indices, values, ids, places, shift, last_row, new_indptr, new_indices, new_values):
    """Copies rows, each followed by a 0 for every one of `ids` that it does not have; returns how many entries."""
    used = 0
    new_indptr[0] = 0
    for i in range(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            slot = np.int64((np.uint64(indices[e]) * np.uint64(GOLDEN)) >> shift)
            while places[slot] >= 0 and ids[places[slot]] != indices[e]:
                slot = (slot + 1) & (places.size - 1)
            if places[slot] >= 0:
                last_row[places[slot]] = i
            new_indices[used], new_values[used] = indices[e], values[e]
            used += 1
        for k in range(ids.size):
            if last_row[k] != i:
                new_indices[used], new_values[used] = ids[k], 0.0
                used += 1
        new_indptr[i + 1] = used
    return used
