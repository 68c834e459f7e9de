"""Rows for the features that occur, however large their ids are: an array for the small ones, and for the others a hash
table with linear probing (Knuth, 6.4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot.engines.growing import Growing
from surefoot.native import kernel

DIRECT = 1 << 18
"""Ids below this are not hashed: that takes a sixth of the time. Their array has memory only where it is written to."""
FIRST = 1 << 10
"""Slots of an empty table."""
MOST = (1 << 32) - 1
"""Rows that slots of 32 bits tell apart."""
FOUND, ROWS, HASHED = range(3)
"""What `find` counts: ids whose row is found, rows, and those whose id is hashed."""


class HashedRows:
    """A row map: ids, of 0 to 2^63 − 1, get rows as they occur.

    A slot holds a row, and the row's id stands in an array of its own: 12 to 24 bytes for each id. The hash has a
    random key, so that no file can have ids that all get the same slot; rows do not depend on it.

    >>> rows = HashedRows()
    >>> rows.rows(np.array([70, 5, 70])).tolist()
    [0, 1, 0]
    >>> rows.known(np.array([5, 6])).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self.moves = 0
        self._direct = np.zeros(DIRECT, np.uint32)
        self._slots = np.zeros(FIRST, np.uint32)
        self._room = Growing(np.dtype(np.int64))
        self._counts = np.zeros(3, np.int64)
        self._key = np.uint64(secrets.randbits(64))
        self._make_room(FIRST // 2)

    def _make_room(self, rows: int) -> None:
        self._room.resize(rows)
        self._ids = self._room.array

    def rows(self, ids: np.ndarray) -> np.ndarray:
        ids = checked(ids)
        rows = np.empty(len(ids), np.int64)
        self._counts[FOUND] = 0
        while self._find(ids, rows) < len(ids):
            self._enlarge()
        return rows

    def _find(self, ids: np.ndarray, rows: np.ndarray) -> int:
        FIND(ids, rows, self._direct, self._slots, self._ids, self._counts, self._key, True)
        return int(self._counts[FOUND])

    def known(self, ids: np.ndarray) -> np.ndarray:
        ids = np.require(ids, np.int64, ["C", "W"])
        rows, counts = np.empty(len(ids), np.int64), self._from_start()
        FIND(ids, rows, self._direct, self._slots, self._ids, counts, self._key, False)
        return rows

    def _from_start(self) -> np.ndarray:
        counts = self._counts.copy()
        counts[FOUND] = 0
        return counts

    def ids(self, first: int, last: int) -> np.ndarray:
        return self._ids[first:last]

    def finder(self, indptr: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> Callable[[], int]:
        counts = self._from_start()
        return FIND_EACH.bound(indptr, ids, rows, self._direct, self._slots, self._ids, counts, self._key)

    def __len__(self) -> int:
        return int(self._counts[ROWS])

    def _enlarge(self) -> None:
        """Makes room for more rows, and for more ids that are hashed, whatever there is none for."""
        if len(self) >= MOST // 2:
            raise ValueError(f"found more than {len(self):,} features; hash features to fewer ids")
        self.moves += 1
        if len(self) == len(self._ids):
            self._make_room(2 * len(self))
        if 2 * self._counts[HASHED] == len(self._slots):
            slots = 2 * len(self._slots)
            del self._slots  # not needed to make others
            self._slots = np.zeros(slots, np.uint32)
            FILL(self._slots, self._ids[: len(self)], DIRECT, self._key)

    def __getstate__(self) -> dict[str, Any]:
        return {"ids": self._ids[: len(self)].copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()
        self.rows(state["ids"])


def checked(ids: np.ndarray) -> np.ndarray:
    """Ids as kernels take them.

    Raises:
        ValueError: one is negative.
    """
    ids = np.require(ids, np.int64, ["C", "W"])
    if len(ids) and ids.min() < 0:
        raise ValueError(f"found feature {ids.min()}, expected ids of at least 0")
    return ids


def find(ids, rows, direct, slots, known, counts, key, adds):
    """Writes the row of each id, from counts[FOUND] on, until there is no room for another one.

    Args:
        ids: that are looked up.
        rows: for what is found.
        direct: of each id below its size a row plus 1, or 0.
        slots: the same of other ids, by their hash; a power of 2 of them, of which at most half are taken.
        known: the id of each row, with room for others.
        counts: ids that are found so far, rows, and those whose id is hashed.
        key: of the hash.
        adds: whether ids that are new get rows; otherwise −1 stands for them.
    """
    shift, last = np.uint64(64), slots.size - 1
    while (1 << np.int64(np.uint64(64) - shift)) < slots.size:
        shift -= np.uint64(1)
    n, hashed, small = counts[1], counts[2], np.uint64(direct.size)
    k = counts[0]
    while k < ids.size:
        wanted = ids[k]
        if np.uint64(wanted) < small:
            row = np.int64(direct[np.uint64(wanted)]) - 1
            if row < 0 and adds:
                if n == known.size:
                    break
                row, known[n] = n, wanted
                n += 1
                direct[wanted] = n
        else:
            slot = np.int64(mixed(wanted, key) >> shift)
            row = np.int64(slots[slot]) - 1
            while row >= 0 and known[row] != wanted:
                slot = (slot + 1) & last
                row = np.int64(slots[slot]) - 1
            if row < 0 and adds:
                if n == known.size or 2 * hashed == slots.size:
                    break
                row, known[n] = n, wanted
                n += 1
                hashed += 1
                slots[slot] = n
        rows[k] = row
        k += 1
    counts[0], counts[1], counts[2] = k, n, hashed


def find_each(indptr, ids, rows, direct, slots, known, counts, key):
    """`find` for the first ids, indptr[1] of them; returns the least row, or 0."""
    counts[0], least = 0, 0
    find(ids[: indptr[1]], rows, direct, slots, known, counts, key, False)
    for e in range(indptr[1]):
        least = min(least, rows[e])
    return least


def mixed(wanted, key):
    """A hash of an id, of 64 bits, of which the leading ones are as good as any."""
    h = (np.uint64(wanted) ^ key) * np.uint64(0x9E3779B97F4A7C15)
    return (h ^ (h >> np.uint64(32))) * np.uint64(0xC2B2AE3D27D4EB4F)


def fill_slots(slots, known, direct, key):
    """Gives each row whose id is hashed a slot, of which all are 0 before; see `find`."""
    shift, last = np.uint64(64), slots.size - 1
    while (1 << np.int64(np.uint64(64) - shift)) < slots.size:
        shift -= np.uint64(1)
    for row in range(known.size):
        if known[row] >= direct:
            slot = np.int64(mixed(known[row], key) >> shift)
            while slots[slot]:
                slot = (slot + 1) & last
            slots[slot] = row + 1


FIND, FIND_EACH, FILL = kernel(find, mixed), kernel(find_each, mixed, find), kernel(fill_slots, mixed)
