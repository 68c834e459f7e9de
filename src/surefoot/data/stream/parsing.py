"""From a piece of text to a block: what all formats of lines share around their kernels."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from surefoot.data.stream.blocks import Block
from surefoot.data.stream.faults import Fault
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels import layout
from surefoot.data.stream.sources import LONGEST_LINE, Buffer, Piece

ROWS, ENTRIES, FAULTS, NAMES, ARENA, UNQUOTED = 1 << 12, 1 << 18, 16, 1 << 12, 1 << 17, 1 << 12
"""How much a workspace holds to begin with; it grows to what pieces need."""
TOO_LONG = "line too long"
SHELVED = 16
"""Arrays that are kept to be used again."""


class Format(Protocol):
    """A format of lines."""

    reasons: ClassVar[dict[int, str]]
    """What can be wrong with a line: a kernel's code, and what it is called where faults are counted."""

    @property
    def hashing(self) -> Hashing | None:
        """How names become indices; None where the format has indices."""
        ...

    @property
    def fields(self) -> bool:
        """Whether entries have fields."""
        ...

    @property
    def header(self) -> Callable[[bytes, str], None] | None:
        """Checks the first line of a file of this name, where that is no example."""
        ...

    @property
    def parquet(self) -> Sequence[str] | None:
        """The columns that are wanted of Parquet files; None where these cannot be read."""
        ...

    def run(self, text: np.ndarray, end: int, space: Workspace) -> int:
        """Lets the kernel read lines until the end or until an array is full; returns why it stopped."""
        ...

    def said(self, code: int, line: bytes, offset: int) -> str:
        """What was found at this offset of a line, and what was expected."""
        ...


class Plain:
    """What most formats are: without fields, header and columns."""

    @property
    def fields(self) -> bool:
        return False

    @property
    def header(self) -> Callable[[bytes, str], None] | None:
        return None

    @property
    def parquet(self) -> Sequence[str] | None:
        return None


class Shelf:
    """Lends arrays, and takes their memory back when nobody holds them any more, to be lent again.

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

    def __init__(self, dtype: np.dtype, label_dtype: np.dtype, known: np.ndarray, fields: bool, shelf: Shelf) -> None:
        self.shelf = shelf
        self.buffer = Buffer()
        self.state = np.zeros(layout.STATE, np.int64)
        self.labels, self.weights = np.empty(ROWS, label_dtype), np.empty(ROWS, np.float32)
        self.bases, self.groups = np.empty(ROWS, np.float32), np.empty(ROWS, np.int64)
        self.indptr = np.zeros(ROWS + 1, np.int64)
        self.indices, self.values = shelf.lend(ENTRIES, np.dtype(np.int64)), shelf.lend(ENTRIES, dtype)
        self.fields = shelf.lend(ENTRIES if fields else 0, np.dtype(np.int64))
        self.faults = np.empty((FAULTS, 4), np.int64)
        self.known, self.recent = known, np.zeros(layout.RECENT, np.uint64)
        self.unquoted = np.empty(UNQUOTED, np.uint8)
        self.found, self.arena = np.empty((NAMES, 2), np.int64), np.empty(ARENA, np.uint8)
        self.scratch = np.empty(layout.SCRATCH, np.uint64)
        self.counts = np.empty(layout.MOST_BUCKETS, np.int64)

    def grow(self, status: int) -> None:
        """Doubles the array that is full."""
        names = {
            layout.ROWS_FULL: ("labels", "weights", "bases", "groups", "indptr"),
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


class Parsed(NamedTuple):
    """What a piece holds."""

    piece: Piece
    block: Block
    names: tuple[np.ndarray, np.ndarray] | None
    bytes: int
    lines: int
    sorted: int
    summed: int
    counts: Counter[str]
    faults: list[Fault]


class Parser:
    """Parses pieces, in any thread.

    Args:
        format: of the lines.
        dtype: of the values.
        label_dtype: of the labels.
        faults: how many of a piece's faults are put into words; None for all.
        known: which names a table has already, see `kernels.hashing`; without it, names are not gathered.
    """

    def __init__(
        self,
        format: Format,
        dtype: np.dtype,
        label_dtype: np.dtype,
        faults: int | None,
        known: np.ndarray | None = None,
    ):
        self.format, self.dtype, self.label_dtype, self.faults = format, dtype, label_dtype, faults
        self.known = np.empty(0, np.uint32) if known is None else known
        self.own, self.shelf = threading.local(), Shelf()

    def __call__(self, piece: Piece) -> Parsed:
        if not hasattr(self.own, "space"):
            self.own.space = Workspace(self.dtype, self.label_dtype, self.known, self.format.fields, self.shelf)
        space: Workspace = self.own.space
        text = piece.read(space.buffer)
        space.state[:] = 0
        space.state[layout.POSITION] = text.begin
        if piece.first and (check := self.format.header) is not None and text.end > text.begin:
            end = _line_end(space.buffer.bytes, text.begin)
            check(space.buffer.bytes[text.begin : end].tobytes(), piece.name)
            space.state[layout.POSITION], space.state[layout.LINES] = end + 1, 1
        if text.end > space.state[layout.POSITION]:
            while (status := self.format.run(space.buffer.bytes, text.end, space)) != layout.DONE:
                space.grow(status)
        counts, faults = self._faults(space)
        lines = int(space.state[layout.LINES])
        if text.too_long:
            said = f"found a line of more than {LONGEST_LINE:,} bytes, expected shorter ones"
            faults.append(Fault(lines, 1, TOO_LONG, said))
            counts[TOO_LONG] += 1
            lines += 1
        state = space.state
        size = text.end - text.begin
        return Parsed(
            piece,
            _block(space),
            _names(space),
            size,
            lines,
            int(state[layout.SORTED]),
            int(state[layout.SUMMED]),
            counts,
            faults,
        )

    def _faults(self, space: Workspace) -> tuple[Counter[str], list[Fault]]:
        found = space.faults[: space.state[layout.FAULTS]]
        counts = Counter({self.format.reasons[code]: int(n) for code, n in enumerate(np.bincount(found[:, 0])) if n})
        faults = []
        for code, number, begin, position in found[: self.faults].tolist():
            end = _line_end(space.buffer.bytes, position)
            line = space.buffer.bytes[begin:end].tobytes()
            column = len(line[: position - begin].decode("utf-8", "replace")) + 1
            said = self.format.said(code, line, position - begin)
            faults.append(Fault(number, column, self.format.reasons[code], said))
        return counts, faults


def _line_end(text: np.ndarray, position: int) -> int:
    step = 1 << 12
    while True:
        found = text[position : position + step].tobytes().find(b"\n")
        if found >= 0:
            return position + found
        position += step


def _block(space: Workspace) -> Block:
    """What the workspace holds."""
    n, entries = space.state[layout.ROWS], space.state[layout.ENTRIES]
    return Block(
        indptr=space.indptr[: n + 1].copy(),
        indices=space.given("indices", entries),
        values=space.given("values", entries),
        labels=space.labels[:n].copy(),
        weights=space.weights[:n].copy() if space.state[layout.WEIGHTED] else np.ones(n, np.float32),
        bases=space.bases[:n].copy() if space.state[layout.BASED] else None,
        groups=space.groups[:n].copy() if space.state[layout.GROUPED] else None,
        fields=space.given("fields", entries) if len(space.fields) else None,
    )


def _names(space: Workspace) -> tuple[np.ndarray, np.ndarray] | None:
    """Names that were noted and their bytes."""
    count, used = space.state[layout.NAMES], space.state[layout.ARENA]
    return (space.found[:count].copy(), space.arena[:used].copy()) if count else None
