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
EMPTY = -1
"""Where no id is."""
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
        bits = max(8 * len(self.ids), 2).bit_length()
        self._shift, self._slots = np.uint64(64 - bits), np.empty(len(self.ids), np.int64)
        self._keys = np.full(1 << bits, EMPTY)
        note_slots(self.ids, self._keys, self._shift, self._slots)
        self._last_row = np.empty(len(self._keys), np.int64)
        self._room = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)

    def written(self, examples: Examples) -> Examples:
        """The examples with the zeros of these features, which follow what a row has; valid until the next call."""
        if not len(self.ids):
            return examples
        indptr, indices, values = self.entries(examples.indptr, examples.indices, examples.values)
        return replace(examples, indptr=indptr, indices=indices, values=values)

    def entries(self, indptr, indices, values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of rows in CSR form."""
        whole = indices.dtype if indices.dtype == np.int32 else np.int64
        number = values.dtype if values.dtype == np.float32 else np.float64
        given = [
            np.require(array, kind, ["C", "W"])
            for array, kind in ((indptr, np.int64), (indices, whole), (values, number))
        ]
        rows, most = len(indptr) - 1, int(given[0][-1]) + (len(indptr) - 1) * len(self.ids)
        if len(self._room[0]) <= rows or len(self._room[1]) < most:
            self._room = np.empty(rows + 1, np.int64), np.empty(most, np.int64), np.empty(most)
        used = write_zeros(*given, self.ids, self._keys, self._shift, self._slots, self._last_row, *self._room)
        return self._room[0][: rows + 1], self._room[1][:used], self._room[2][:used]

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
def note_slots(ids, keys, shift, slots):
    """Writes each id to a hash table with linear probing, and its slot there to `slots`."""
    for k in range(ids.size):
        slot = np.int64((np.uint64(ids[k]) * np.uint64(GOLDEN)) >> shift)
        while keys[slot] != EMPTY:
            slot = (slot + 1) & (keys.size - 1)
        keys[slot], slots[k] = ids[k], slot


@kernel
def write_zeros(indptr, indices, values, ids, keys, shift, slots, last_row, new_indptr, new_indices, new_values):
    """Copies rows, each followed by a 0 for every one of `ids` that it does not have; returns how many entries.

    Every entry notes its row at the slot where its id is, or would be: whether it is one of `ids` decides no branch.
    """
    used, mask = np.uint64(0), np.uint64(keys.size - 1)
    new_indptr[0] = 0
    last_row[:] = -1
    for i in range(indptr.size - 1):
        row, row_values = indices[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]
        size = np.uint64(row.size)
        for e in range(size):
            new_indices[used + e] = row[e]
        for e in range(size):
            new_values[used + e] = row_values[e]
        for e in range(size):
            slot = (np.uint64(row[e]) * np.uint64(GOLDEN)) >> shift
            while (keys[slot] != row[e]) & (keys[slot] != EMPTY):
                slot = (slot + np.uint64(1)) & mask
            last_row[slot] = i
        used += size
        for k in range(ids.size):
            new_indices[used], new_values[used] = ids[k], 0.0
            used += np.uint64(last_row[slots[k]] != i)
        new_indptr[i + 1] = used
    return np.int64(used)
