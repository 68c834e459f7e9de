"""The memory of several models that learn at once: named parts and statistics of every feature, in one row each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from surefoot import system
from surefoot.engines import restoring, scaling
from surefoot.engines.growing import Growing
from surefoot.models import STATISTICS, Architecture
from surefoot.native import kernel

ALL = slice(None)
ALIGNED = 32
"""Bytes that a row is a multiple of: as few lines of a cache as can be have parts of two rows."""
PIECE = 1 << 15
"""Rows of a table whose numbers are read at once."""
PAGE = 1 << 12
"""Bytes of an ordinary page."""
LARGEST_MEAN = float(np.finfo(np.float32).max)
"""Of values, which are at most as large."""
LARGEST = (float(1 << 62), LARGEST_MEAN, 1e96)
"""Of each statistic."""
LARGEST_SHARE = 0.9
"""Of the machine's memory, for a table."""


class TooLargeError(ValueError):
    """There are more features than there is memory for."""


class RowMap(Protocol):
    """From ids of features, of 64 bits, to rows of the table. Nothing but the table knows rows.

    Attributes:
        moves: how often its memory has moved.
    """

    moves: int

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, int64; ids that are new get the next rows, in the order in which they first occur."""
        ...

    def known(self, ids: np.ndarray) -> np.ndarray:
        """The same, but −1 for ids that have no row."""
        ...

    def ids(self, first: int, last: int) -> np.ndarray:
        """The ids of the rows first … last − 1, int64."""
        ...

    def finder(self, indptr: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> Callable[[], int]:
        """What writes `known` of ids[: indptr[1]] to `rows`, and returns the least of these, or 0; it holds until the
        memory of the map moves."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...


class Identity:
    """Ids are rows.

    >>> Identity().rows(np.array([3, 1])).tolist()
    [3, 1]
    """

    moves = 0

    def __init__(self) -> None:
        self._rows = 0

    def rows(self, ids: np.ndarray) -> np.ndarray:
        ids = ids.astype(np.int64, copy=False)
        most = int(ids.view(np.uint64).max(initial=0))  # a negative one is the largest
        if most >= 1 << 63:
            raise ValueError(f"found feature {ids.min()}, expected ids of at least 0")
        self._rows = max(self._rows, most + bool(len(ids)))
        return ids

    def known(self, ids: np.ndarray) -> np.ndarray:
        return np.where((ids >= 0) & (ids < self._rows), ids, -1)

    def ids(self, first: int, last: int) -> np.ndarray:
        return np.arange(first, last)

    def finder(self, indptr: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> Callable[[], int]:
        def find() -> int:
            size = indptr[1]
            rows[:size] = self.known(ids[:size])
            return int(rows[:size].min(initial=0))

        return find

    def reserve(self, rows: int) -> None:
        """Features that are known to exist have a row before they occur."""
        self._rows = max(self._rows, rows)

    def __len__(self) -> int:
        return self._rows


@dataclass(frozen=True)
class RowLayout:
    """A feature's row: its parts' numbers and slots, then its statistics in float64.

    Numbers come first, so that those of eight lanes, which a processor reads as one vector, lie in one line of a cache.

    Attributes:
        statistics: the column in which they begin, of the row as float64.
        width: the cells of a row.
    """

    statistics: int
    width: int

    @classmethod
    def of(cls, numbers: int, dtype: np.dtype) -> RowLayout:
        """
        >>> RowLayout.of(16, np.dtype(np.float32))
        RowLayout(statistics=8, width=24)
        """
        statistics = math.ceil(numbers * dtype.itemsize / 8)
        return cls(statistics, math.ceil((statistics + len(STATISTICS)) * 8 / ALIGNED) * ALIGNED // dtype.itemsize)


@dataclass(frozen=True)
class PartLayout:
    """Where a part lies in a row: its numbers in every lane, then each slot of its rule in every lane.

    Attributes:
        of: "feature" or "model".
        begin: the first cell.
        span: cells of its numbers, width · lanes.
        slots: the initial value of each slot in each lane, (lanes,), by name.
    """

    of: str
    begin: int
    width: int
    lanes: int
    slots: Mapping[str, np.ndarray]

    @property
    def span(self) -> int:
        return self.width * self.lanes

    @property
    def end(self) -> int:
        return self.begin + self.span * (1 + len(self.slots))

    def place(self, slot: str | None) -> int:
        """The first cell of the numbers, or of a slot."""
        return self.begin + self.span * (0 if slot is None else 1 + list(self.slots).index(slot))


class FeatureTable:
    """Parts and statistics of every feature, and the parts of the model.

    A feature's row has its parts, and then its statistics in float64, see STATISTICS.

    Args:
        architecture: what parts there are.
        slots: for each part, the initial values of its rule's slots in every lane, by name.
        lanes: models that learn at once.
        dtype: of the numbers, float32 or float64.
        row_map: from ids to rows.

    Attributes:
        cells: (rows, cells), the rows as numbers of dtype.
        sums: (rows, …), the same memory as float64, with the statistics.
        shared: (1, cells), the parts of the model.
        seen: (2,), float64: the rows of examples so far, and what another one adds; see `scaling.centred`.
        started: whether numbers of features were set before they occurred.
    """

    def __init__(
        self,
        architecture: Architecture,
        slots: Mapping[str, Mapping[str, np.ndarray]],
        lanes: int,
        dtype: np.dtype,
        row_map: RowMap,
    ):
        self.architecture, self.dtype, self.row_map = architecture, np.dtype(dtype), row_map
        self.rows, self.started, self.seen = 0, False, np.array([math.inf, 0.0])
        self._lay_out(slots, lanes)
        width = max((layout.end for layout in self.parts.values() if layout.of == "model"), default=1)
        self.shared = np.zeros((1, width), self.dtype)
        self._memory, self._expected, self._fits = Growing(self.dtype), math.inf, 0.0
        for name, layout in self.parts.items():
            if layout.of == "model":
                self._begin(self.shared, name, lambda: np.array([-1]))

    def _lay_out(self, slots: Mapping[str, Mapping[str, np.ndarray]], lanes: int) -> None:
        self.lanes, self.parts = lanes, {}
        ends = {"feature": 0, "model": 0}
        for name, part in self.architecture.parts.items():
            layout = PartLayout(part.of, ends[part.of], part.width, lanes, slots[name])
            self.parts[name], ends[part.of] = layout, layout.end
        self.row = RowLayout.of(ends["feature"], self.dtype)
        self._begins = [name for name, layout in self.parts.items() if layout.of == "feature" and self._is_begun(name)]

    def _is_begun(self, name: str) -> bool:
        """Whether a part, or a slot of its rule, does not begin with 0."""
        initial = self.architecture.parts[name].initial
        return callable(initial) or any(np.any(value) for value in (initial, *self.parts[name].slots.values()))

    @property
    def cells(self) -> np.ndarray:
        return self._memory.array.reshape(self.rows, self.row.width)

    @property
    def sums(self) -> np.ndarray:
        return self.cells.view(np.float64)

    @property
    def block(self) -> np.ndarray:
        """The memory of the rows and of those to come: another one where rows move as others are added."""
        return self._memory.block

    @property
    def room(self) -> np.ndarray:
        """The rows and those to come, as `cells`; the latter may have anything in them."""
        width = self.row.width
        return self.block[: len(self.block) // width * width].reshape(-1, width)

    @property
    def bytes_per_feature(self) -> int:
        return self.row.width * self.dtype.itemsize

    def numbers(self, part: str, slot: str | None = None) -> np.ndarray:
        """A view of a part's numbers, or of a slot of theirs, (features or 1, width, lanes)."""
        layout = self.parts[part]
        home = self.cells if layout.of == "feature" else self.shared
        begin = layout.place(slot)
        return home[:, begin : begin + layout.span].reshape(-1, layout.width, self.lanes)

    def statistic(self, name: str) -> np.ndarray:
        """A view of a statistic, (features,)."""
        return self.sums[:, self.row.statistics + STATISTICS.index(name)]

    def scales(self, rows: slice | np.ndarray = ALL) -> np.ndarray:
        """What each feature's values are multiplied by, (features,), float64; 0 where there is no value but 0."""
        return scaling.scales(self.seen[0], *(self.statistic(name)[rows] for name in STATISTICS))

    def centers(self, rows: slice = ALL) -> np.ndarray:
        """What is taken off each feature's values before, (features,), float64."""
        first, last, _ = rows.indices(self.rows)
        found = np.zeros(last - first)
        for piece in pieces(len(found)):
            own = slice(first + piece.start, min(first + piece.stop, last))
            centers = scaling.centers(self.seen[0], *(self.statistic(name)[own] for name in STATISTICS))
            if centers.any():  # memory that nothing is written to takes no space
                found[piece] = centers
        return found

    def grow(self, rows: int) -> None:
        """Adds rows up to this number.

        Raises:
            TooLargeError: there is no memory for them.
        """
        if rows <= self.rows:
            return
        self._check_memory(rows)
        self._memory.resize(rows * self.row.width)
        before, self.rows = self.rows, rows
        if before == 0 and isinstance(self.row_map, Identity):
            self._memory.decline_huge_pages()
            self._expected = 0
        for name in self._begins:
            self._begin(self.cells[before:], name, lambda: self.row_map.ids(before, rows))

    def expect(self, entries: int) -> None:
        """Prepares for this number of entries of examples: once there is one for each page on average, pages are huge.

        Until then the system would clear megabytes for each entry of examples whose features lie far apart.
        """
        before = self._expected
        self._expected += entries
        if before * PAGE < self._memory.array.nbytes <= self._expected * PAGE:
            self._memory.move_to_huge_pages(is_new=before == 0)

    def _check_memory(self, rows: int) -> None:
        """Raises TooLargeError for more rows than there is memory for; the system is asked at every doubling."""
        needed = rows * self.bytes_per_feature
        if needed <= self._fits:
            return
        memory = system.memory()
        self._fits = min(2 * needed, LARGEST_SHARE * memory)
        if needed > LARGEST_SHARE * memory:
            found = f"feature {rows - 1}" if isinstance(self.row_map, Identity) else f"{rows:,} features"
            raise TooLargeError(
                f"found {found}, whose table would take {needed / 1e9:,.1f} GB of the {memory / 1e9:,.1f} GB "
                "of memory; hash features to fewer ids"
            )

    def _begin(self, home: np.ndarray, name: str, ids: Callable[[], np.ndarray]) -> None:
        """Writes initial numbers where they are not 0: memory that nothing is written to takes no space."""
        layout, initial = self.parts[name], self.architecture.parts[name].initial
        start = np.asarray(initial(ids()) if callable(initial) else initial)
        if start.any():
            values = np.broadcast_to(start, (len(home), layout.width))
            home[:, layout.begin : layout.begin + layout.span] = np.repeat(values, self.lanes, axis=1)
        for slot, initial in layout.slots.items():
            if initial.any():
                begin = layout.place(slot)
                home[:, begin : begin + layout.span] = np.tile(initial, layout.width)

    def excerpt(self, rows: np.ndarray) -> FeatureTable:
        """A table that has only these rows, and the parts of the model, as copies."""
        found = copy.copy(self)
        found.row_map, found.rows = Identity(), len(rows)
        found._memory, found.shared, found._expected = Growing.of(self.cells[rows]), self.shared.copy(), math.inf
        return found

    def columns(self, of: str, lanes: Sequence[int] | np.ndarray) -> np.ndarray:
        """The cells of the parts of features or of the model, for these lanes alone."""
        chosen = []
        for layout in self.parts.values():
            if layout.of == of:
                begins = np.arange(layout.begin, layout.end, self.lanes)
                chosen.append((begins[:, None] + np.asarray(lanes)).ravel())
        return np.concatenate(chosen)

    def state(self) -> dict[str, np.ndarray]:
        """Its arrays, which are not copies."""
        return {"cells": self.cells, "shared": self.shared}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the arrays of a table of the same kind.

        Raises:
            ValueError: they are of another kind.
        """
        cells = restoring.array(arrays, "cells", self.dtype, (None, self.row.width))
        shared = restoring.numbers(arrays, "shared", self.dtype, self.shared.shape)
        self._memory, self._expected = Growing.of(cells), math.inf
        self.rows, self.shared = len(cells), shared
        restoring.finite("cells", cells[:, : max(own.end for own in self.parts.values() if own.of == "feature")])
        for name, least, most in zip(STATISTICS, (0.0, -LARGEST_MEAN, 0.0), LARGEST, strict=True):
            restoring.between(f"cells, {name}", self.statistic(name), least, most)

    def choose(self, lanes: np.ndarray, slots: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Goes on with these lanes, some perhaps twice. Rows stay in the memory that they have.

        Args:
            lanes: the lane that each is to be a copy of.
            slots: the initial values of the slots in the new lanes, which are those of the lanes copied.
        """
        columns = self.columns("feature", lanes).astype(np.uint64)
        self.shared = np.ascontiguousarray(self.shared[:, self.columns("model", lanes)])
        before = self.row
        self._lay_out(slots, len(lanes))
        self._memory.resize(self.rows * max(before.width, self.row.width))
        cells, row = self._memory.array, np.zeros(self.row.width, self.dtype)
        words = [memory.view(np.uint64) for memory in (cells, row)]
        widths = [row.width * self.dtype.itemsize // 8 for row in (before, self.row)]
        places = [before.width, *widths, before.statistics, self.row.statistics, len(STATISTICS), self.rows]
        move_rows(cells, columns, row, *words, *map(np.uint64, places), self._begins_at_zero())
        self._memory.resize(self.rows * self.row.width)

    def _begins_at_zero(self) -> bool:
        """Whether features have no number but 0 before they occur."""
        slots = [slot for layout in self.parts.values() if layout.of == "feature" for slot in layout.slots.values()]
        return not self.started and self.architecture.starts_at_zero and not any(map(np.any, slots))


@kernel
def move_rows(cells, columns, row, words, words_of_row, width, old, new, statistics, new_statistics, count, rows, zero):
    """Moves some columns of every row, and its statistics, to where they are in rows of another width.

    No row is written over before it has moved. Where numbers are 0 to begin
    with, memory of features that never occurred is not written to, so that it takes no space.

    Args:
        cells: the rows, `width` cells each before.
        columns: the cells that are moved, to the first cells of a row.
        row: room for a row.
        words, words_of_row: the rows and `row` as uint64.
        old, new: the words of a row.
        statistics, new_statistics, count: in which words the statistics begin, the first of which is 0 for a feature
            that never occurred, and how many there are.
        rows: how many.
        zero: whether numbers are 0 to begin with.
    """
    one = np.uint64(1)
    for k in range(rows):
        j = np.uint64(k) if new <= old else rows - one - np.uint64(k)
        at, begin = j * old, j * new
        if words[at + statistics] or not zero:
            for c in range(np.uint64(columns.size)):
                row[c] = cells[j * width + columns[c]]
            for s in range(count):
                words_of_row[new_statistics + s] = words[at + statistics + s]
            for w in range(new):
                words[begin + w] = words_of_row[w]
        else:
            stale = np.uint64(0)
            for w in range(new):
                stale |= words[begin + w]
            if stale:
                for w in range(new):
                    words[begin + w] = np.uint64(0)


def in_order(array: np.ndarray, order: np.ndarray) -> np.ndarray:
    """array[order], without the copy that NumPy makes of an `order` in 32 bits.

    >>> in_order(np.array([7, 8, 9]), np.array([2, 0], np.int32)).tolist()
    [9, 7]
    """
    found = np.empty((len(order), *array.shape[1:]), array.dtype)
    for rows in pieces(len(order)):
        found[rows] = array[order[rows]]
    return found


def pieces(size: int) -> Iterator[slice]:
    """Slices of this many rows: what is computed of one of them is small."""
    return (slice(first, first + PIECE) for first in range(0, size, PIECE))
