"""Rows for the features that occur, however large their ids are: a hash table with linear probing (Knuth, 6.4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot.engines.growing import Growing
from surefoot.native import kernel

FIRST = 1 << 10
"""Slots of an empty table."""
MOST = (1 << 32) - 1
"""Rows that slots of 32 bits tell apart."""
FOUND, ROWS = range(2)
"""What `find` counts: ids whose row is found, and rows."""


class HashedRows:
    """A row map: ids, of 0 to 2^63 − 1, get rows as they occur.

    A slot holds a row, and the row's id stands in an array of its own: 16 to 24 bytes for each id. The hash has a
    random key, so that no file can have ids that all get the same slot; rows do not depend on it.

    >>> rows = HashedRows()
    >>> rows.rows(np.array([70, 5, 70])).tolist()
    [0, 1, 0]
    >>> rows.known(np.array([5, 6])).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self._room = Growing(np.dtype(np.int64))
        self._counts = np.zeros(2, np.int64)
        self._key = np.uint64(secrets.randbits(64))
        self._make_room(FIRST)

    def _make_room(self, slots: int) -> None:
        """Gives each row a slot among this number of them, half of which ids may take."""
        self._slots = np.zeros(slots, np.uint32)
        self._room.resize(slots // 2)
        self._ids = self._room.array
        if len(self):
            fill(self._slots, self._ids[: len(self)], self._key)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        ids = checked(ids)
        rows = np.empty(len(ids), np.int64)
        self._counts[FOUND] = 0
        FIND(ids, rows, self._slots, self._ids, self._counts, self._key, True)
        while self._counts[FOUND] < len(ids):
            self._enlarge()
            FIND(ids, rows, self._slots, self._ids, self._counts, self._key, True)
        return rows

    def known(self, ids: np.ndarray) -> np.ndarray:
        ids = np.require(ids, np.int64, ["C", "W"])
        rows, counts = np.empty(len(ids), np.int64), np.array([0, len(self)])
        FIND(ids, rows, self._slots, self._ids, counts, self._key, False)
        return rows

    def ids(self, first: int, last: int) -> np.ndarray:
        return self._ids[first:last]

    def finder(self, indptr: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> Callable[[], int]:
        counts = np.array([0, len(self)])
        return FIND_EACH.bound(indptr, ids, rows, self._slots, self._ids, counts, self._key)

    def __len__(self) -> int:
        return int(self._counts[ROWS])

    def _enlarge(self) -> None:
        if len(self) >= MOST // 2:
            raise ValueError(f"found more than {len(self):,} features; hash features to fewer ids")
        slots = 2 * len(self._slots)
        del self._slots  # not needed to make others
        self._make_room(slots)

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


def find(ids, rows, slots, known, counts, key, adds):
    """Writes the row of each id, from counts[FOUND] on, until there is no room for another one.

    Args:
        ids: that are looked up.
        rows: for what is found.
        slots: a row plus 1 each, or 0; a power of 2 of them, of which at most half are taken.
        known: the id of each row, with room for others.
        counts: ids that are found so far, and rows.
        key: of the hash.
        adds: whether ids that are new get rows; otherwise −1 stands for them.
    """
    shift, last = np.uint64(64), slots.size - 1
    while (1 << np.int64(np.uint64(64) - shift)) < slots.size:
        shift -= np.uint64(1)
    k, n = counts[0], counts[1]
    room = min(known.size, slots.size // 2)
    while k < ids.size:
        wanted = ids[k]
        h = (np.uint64(wanted) ^ key) * np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xC2B2AE3D27D4EB4F)
        slot = np.int64(h >> shift)
        row = np.int64(slots[slot]) - 1
        while row >= 0 and known[row] != wanted:
            slot = (slot + 1) & last
            row = np.int64(slots[slot]) - 1
        if row < 0 and adds:
            if n == room:
                break
            row, known[n] = n, wanted
            n += 1
            slots[slot] = n
        rows[k] = row
        k += 1
    counts[0], counts[1] = k, n


def find_each(indptr, ids, rows, slots, known, counts, key):
    """`find` for the first ids, indptr[1] of them; returns the least row, or 0."""
    counts[0], least = 0, 0
    find(ids[: indptr[1]], rows, slots, known, counts, key, False)
    for e in range(indptr[1]):
        least = min(least, rows[e])
    return least


FIND, FIND_EACH = kernel(find), kernel(find_each, find)


@kernel
def fill(slots, known, key):
    """Gives each row a slot, of which all are 0 before; see `find`."""
    shift, last = np.uint64(64), slots.size - 1
    while (1 << np.int64(np.uint64(64) - shift)) < slots.size:
        shift -= np.uint64(1)
    for row in range(known.size):
        h = (np.uint64(known[row]) ^ key) * np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xC2B2AE3D27D4EB4F)
        slot = np.int64(h >> shift)
        while slots[slot]:
            slot = (slot + 1) & last
        slots[slot] = row + 1
