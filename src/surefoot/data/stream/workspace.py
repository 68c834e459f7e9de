"""Memory that kernels fill: lent and taken back, and grown to what pieces need."""

from __future__ import annotations

from collections import deque

import numpy as np

from surefoot.data.stream.blocks import Block
from surefoot.data.stream.kernels import layout
from surefoot.data.stream.reader import Request
from surefoot.data.stream.sources.buffer import Buffer

ROWS, ENTRIES, FAULTS, NAMES, ARENA, UNQUOTED = 1 << 12, 1 << 18, 16, 1 << 12, 1 << 17, 1 << 12
"""How much a workspace holds to begin with; it grows to what pieces need."""
SHELVED = 16
"""Arrays that are kept to be used again."""


class Shelf:
    """Lends arrays, and reuses their memory once nothing refers to them.

    Memory that a process touches for the first time costs more than to fill it with what was parsed.

    >>> shelf = Shelf()
    >>> array = shelf.lend(3, np.dtype(np.int64))
    >>> place, part = array.ctypes.data, array[1:]
    >>> del array
    >>> shelf.lend(3, np.dtype(np.int64)).ctypes.data == place  # a part of it is still held
    False
    >>> del part
    >>> shelf.lend(3, np.dtype(np.int64)).ctypes.data == place
    True
    """

    def __init__(self) -> None:
        self.memory: dict[tuple[int, np.dtype], deque[np.ndarray]] = {}

    def lend(self, size: int, dtype: np.dtype) -> np.ndarray:
        """An array that holds anything."""
        shelved = self.memory.setdefault((size, dtype), deque(maxlen=SHELVED))
        try:
            memory = shelved.pop()
        except IndexError:
            memory = np.empty(size, dtype)
        return np.asarray(_Lent(memory, shelved))


class _Lent:
    """What the arrays and their parts hold on to."""

    def __init__(self, memory: np.ndarray, shelved: deque[np.ndarray]):
        self.memory, self.shelved = memory, shelved
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self.shelved.append(self.memory)


class Workspace:
    """Arrays that a kernel fills; each thread has its own, so that memory is touched for the first time only once.

    Those with a place for each entry become a block's: the shelf lends others.
    """

    def __init__(self, request: Request, fields: bool, shelf: Shelf) -> None:
        self.shelf = shelf
        self.buffer = Buffer()
        self.state = np.zeros(layout.STATE, np.int64)
        self.labels, self.weights = np.empty(ROWS, request.label_dtype), np.empty(ROWS, np.float32)
        self.bases, self.groups = np.empty(ROWS, np.float32), np.empty(ROWS, np.int64)
        self.indptr = np.zeros(ROWS + 1, np.int64)
        self.indices, self.values = shelf.lend(ENTRIES, np.dtype(np.int64)), shelf.lend(ENTRIES, request.dtype)
        self.fields = shelf.lend(ENTRIES if fields else 0, np.dtype(np.int64))
        self.faults = np.empty((FAULTS, 4), np.int64)
        self.known = np.empty(0, np.uint64) if request.known is None else request.known
        self.recent = np.zeros(layout.RECENT, np.uint64)
        self.unquoted, self.words = np.empty(UNQUOTED, np.uint8), np.empty(ROWS, np.int64)
        self.found, self.arena = np.empty((NAMES, 2), np.int64), np.empty(ARENA, np.uint8)
        self.scratch = np.empty(layout.SCRATCH, np.uint64)
        self.counts = np.empty(layout.MOST_BUCKETS, np.int64)

    @property
    def of_tables(self) -> tuple[np.ndarray, ...]:
        """What kernels of tables fill, and the names that are known, in the order of their arguments."""
        return (
            self.state,
            self.labels,
            self.weights,
            self.indptr,
            self.indices,
            self.values,
            self.fields,
            self.known,
            self.recent,
            self.found,
            self.arena,
        )

    def grow(self, status: int) -> None:
        """Doubles the array that is full."""
        names = {
            layout.ROWS_FULL: ("labels", "weights", "words", "bases", "groups", "indptr"),
            layout.ENTRIES_FULL: ("indices", "values", "fields"),
            layout.NAMES_FULL: ("found", "arena"),
            layout.UNQUOTED_FULL: ("unquoted",),
            layout.FAULTS_FULL: ("faults",),
        }
        for name in names[status]:
            array = getattr(self, name)
            larger = np.empty((len(array) * 2 - (name == "indptr"), *array.shape[1:]), array.dtype)
            larger[: len(array)] = array
            setattr(self, name, larger)

    def given(self, name: str, size: int) -> np.ndarray:
        """The first numbers of an array with a place for each entry; a copy where most of the array is empty."""
        array = getattr(self, name)
        if 2 * size < len(array):
            return array[:size].copy()
        setattr(self, name, self.shelf.lend(len(array), array.dtype))
        return array[:size]

    def block(self) -> Block:
        """The rows that the kernel has read."""
        n, entries = self.state[layout.ROWS], self.state[layout.ENTRIES]
        return Block(
            indptr=self.indptr[: n + 1].copy(),
            indices=self.given("indices", entries),
            values=self.given("values", entries),
            labels=self.labels[:n].copy(),
            weights=self.weights[:n].copy() if self.state[layout.WEIGHTED] else np.ones(n, np.float32),
            bases=self.bases[:n].copy() if self.state[layout.BASED] else None,
            groups=self.groups[:n].copy() if self.state[layout.GROUPED] else None,
            fields=self.given("fields", entries) if len(self.fields) else None,
        )

    def names(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Names that were noted and their bytes."""
        count, used = self.state[layout.NAMES], self.state[layout.ARENA]
        return (self.found[:count].copy(), self.arena[:used].copy()) if count else None
