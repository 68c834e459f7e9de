"""Tables whose files hold columns: batches of columns become blocks, without a detour through text.

The same table gives the same ids, names and values as text and as columns, as far as both can hold it: a number that
text has in decimal is the nearest float64, and strings are hashed as they are. Line breaks belong to a string like any
other character.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.arrays import Column, Numbers, Strings, labels_of, numbers_of, strings_of, texts_of
from surefoot.data.stream.faults import Fault, shown
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels import compiled, layout
from surefoot.data.stream.number_like import SAMPLE, are_words, warn_of
from surefoot.data.stream.reader import Parsed, Piece, Request
from surefoot.data.stream.record import OF_TABLES, Format
from surefoot.data.stream.sources import remote
from surefoot.data.stream.table import REASONS, Schema, Table
from surefoot.data.stream.workspace import Shelf, Workspace

VALUES = 1 << 20
"""Values that are read at once from a file."""
TILE = 1 << 13
"""Entries of rows that are made at once: they fit the second cache."""
KINDS = ("number", "text", "nested")
"""What a column of a file holds."""

READ: dict[int, Callable[[Any], Column]] = {
    layout.CATEGORICAL: strings_of,
    layout.CLASS: strings_of,
    layout.TARGET: labels_of,
}
"""How columns are read, by kind; others are numbers."""

Batch: TypeAlias = Mapping[str, Any]
"""Columns by name, each an array of NumPy or of PyArrow, all of the same length."""


class ColumnFile(Protocol):
    """A file of columns that is open."""

    @property
    def columns(self) -> Mapping[str, str]:
        """What each column holds, see `KINDS`, by name, in the order of the file."""
        ...

    @property
    def rows(self) -> int | None:
        """How many there are; None where that is not known."""
        ...

    def __enter__(self) -> ColumnFile: ...

    def __exit__(self, *_: object) -> None: ...

    def batches(self, names: Sequence[str], rows: int) -> Iterator[Batch]:
        """These columns, at most `rows` rows at a time.

        Raises:
            DataError: the file is damaged.
        """
        ...


OpenColumns: TypeAlias = Callable[[Any, str], ColumnFile]
"""Opens a file, given its name for messages too."""


def columnar(name: str, columns: OpenColumns, endings: tuple[str, ...] = (), begins: bytes | None = None) -> Format:
    """The record of a format of tables whose files `columns` opens."""
    return Format(name, Table, endings, begins, options=OF_TABLES, hashed=True, columns=columns)


def opened(table: Table, files: list[Any], open: OpenColumns) -> ColumnTable:
    """The reader for these files, whose columns the first one has.

    Raises:
        DataError: a column that is requested is not there, or holds lists or records.
    """
    name = sources.name_of(files[0])
    if table.names is not None:
        raise DataError(f"{name}: its columns have names; leave out those given")
    with one_sentence(name), open(files[0], name) as file:
        columns = dict(file.columns)
        if unknown := [column for column, kind in columns.items() if kind not in KINDS]:
            raise DataError(
                f"{name}: its format says that column {unknown[0]!r} holds {columns[unknown[0]]!r}, "
                f"expected {', '.join(KINDS)}"
            )
    if table.word_labels is None and table.target in columns:
        table = replace(table, word_labels=columns[table.target] == "text" and _are_words(table, files[0], name, open))
    schema = table.schema(name, tuple(columns), [kind == "number" for kind in columns.values()]).used
    if nested := [column for column in schema.names if columns[column] == "nested"]:
        raise DataError(f"{name}: column {nested[0]!r} holds lists or records, expected single values; drop it")
    if not schema.names:
        known = ", ".join(list(columns)[:8]) or "none"
        raise DataError(f"{name}: found no column to read, expected at least one; there are {known}")
    if (guessed := schema.guessed) and not (isinstance(files[0], str) and remote.is_url(files[0])):
        texts: dict[str, list[str]] = {}
        # What is wrong is reported where all columns are read.
        with contextlib.suppress(DataError), one_sentence(name), open(files[0], name) as file:
            sample = next(iter(file.batches(guessed, SAMPLE)), {})
            texts = {column: texts_of(sample[column]) for column in guessed if column in sample}
        warn_of(name, texts, texts.__getitem__, table.missing, numbers=False)
    return ColumnTable(schema, open)


def _are_words(table: Table, file: Any, name: str, open: OpenColumns) -> bool:
    """Whether the target's first values are words."""
    assert table.target is not None
    with one_sentence(name), open(file, name) as opened:
        for batch in opened.batches([table.target], SAMPLE):
            return are_words(texts_of(batch[table.target]), table.missing)
    return False


@dataclass(frozen=True)
class ColumnTable:
    """How files of columns are read.

    Args:
        schema: the columns that are used.
        open: opens a file.
    """

    schema: Schema
    open: OpenColumns

    @property
    def hashing(self) -> Hashing:
        return self.schema.table.hashing

    @property
    def fields(self) -> bool:
        return self.schema.table.fields

    def pieces(self, file: Any, number: int) -> Iterator[Piece]:
        name, names = sources.name_of(file), list(self.schema.names)
        stored, done = sources.size(file), 0
        with one_sentence(name), self.open(file, name) as opened:
            if lacking := [column for column in names if column not in opened.columns]:
                raise DataError(f"{name}: has no column {lacking[0]!r}, which the first file has")
            for batch in opened.batches(names, max(1, VALUES // max(len(names), 1))):
                check_batch(name, batch, names)
                rows = rows_of(batch)
                done += rows
                position = stored * done // opened.rows if stored and opened.rows else 0
                yield Piece(number, name, batch, position, first=done == rows)

    def parser(self, request: Request) -> ColumnParser:
        return ColumnParser(self.schema, request)


@contextlib.contextmanager
def one_sentence(name: str) -> Iterator[None]:
    """While a format's own class reads a file of this name, which may be the user's and raise anything.

    Raises:
        DataError: it raised something; the message names the file and the cause.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        cause = f"{type(error).__name__}{': ' if text else ''}{text}"
        raise DataError(f"{name}: cannot be read ({cause}); check the file, and what reads its format") from error


def check_batch(name: str, batch: Batch, names: Sequence[str]) -> None:
    """Raises DataError unless a batch has these columns, each with one value for every row: kernels trust lengths."""
    if lacking := [column for column in names if column not in batch]:
        raise DataError(f"{name}: a batch of its format lacks the column {lacking[0]!r}, which was requested")
    lengths = {column: len(batch[column]) for column in batch}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{column} {rows:,}" for column, rows in lengths.items())
        raise DataError(
            f"{name}: found columns of different lengths in a batch ({found}), expected as many rows in each"
        )
    if nested := [column for column in names if getattr(batch[column], "ndim", 1) != 1]:
        raise DataError(f"{name}: column {nested[0]!r} has {batch[nested[0]].ndim} dimensions in a batch, expected 1")


def rows_of(batch: Batch) -> int:
    """How many rows a batch has."""
    return len(next(iter(batch.values()))) if batch else 0


class ColumnParser:
    """Makes blocks of batches, in any thread.

    Args:
        schema: the columns.
        request: what is wanted.
    """

    reasons: ClassVar[dict[int, str]] = dict(enumerate(REASONS, start=1))

    def __init__(self, schema: Schema, request: Request):
        self.schema, self.request = schema, request
        self.own, self.shelf = threading.local(), Shelf()

    def __call__(self, piece: Piece) -> Parsed:
        if not hasattr(self.own, "space"):
            self.own.space = Workspace(self.request, self.schema.table.fields, self.shelf)
            self.own.entries = self._entries()
        space: Workspace = self.own.space
        space.state[:] = 0
        given = self._given(piece, space)
        while (status := self._run(given, space)) != layout.DONE:
            space.grow(status)
        found = space.faults[: space.state[layout.FAULTS]]
        counts = Counter({self.reasons[code]: int(n) for code, n in enumerate(np.bincount(found[:, 0])) if n})
        faults = [self._fault(piece.content, *fault) for fault in found[: self.request.faults].tolist()]
        lines, summed = int(space.state[layout.LINES]), int(space.state[layout.SUMMED])
        words = given.words
        return Parsed(piece, space.block(), space.names(), given.bytes, lines, 0, summed, counts, faults, words)

    def place(self, piece: Piece, row: int) -> tuple[int, int | None]:
        """The row of the batch: rows that could not be used are not in the block."""
        again = ColumnParser(self.schema, replace(self.request, faults=None, known=None))
        unused = [fault.line for fault in again(piece).faults]
        return int(np.setdiff1d(np.arange(rows_of(piece.content)), unused)[row]), None

    def _given(self, piece: Piece, space: Workspace) -> _Columns:
        """The columns of a batch as the kernel takes them."""
        made = _Columns(self.schema, rows_of(piece.content), self.request, space)
        for place, (name, kind) in enumerate(zip(self.schema.names, self.schema.kinds, strict=True)):
            array = piece.content[name]
            try:
                column = READ.get(kind, numbers_of)(array)
            except Exception as error:  # PyArrow's, or those of values that a format of the user's own gives
                advice = "drop the column, or write the file again"
                raise DataError(f"{piece.name}: column {name!r} cannot be read ({error}); {advice}") from None
            made.add(place, column)
        return made.finished()

    def _entries(self) -> tuple[np.ndarray, ...]:
        """How the columns' entries follow one another in a row, and room for those of some rows."""
        kinds, fields, *_ = self.schema.arrays
        features = np.isin(kinds, (layout.NUMERIC, layout.CATEGORICAL))
        order = fields if self.schema.table.fields else np.arange(len(kinds))
        at = np.where(features, np.cumsum(features) - 1, -1)
        entry_of = np.zeros(len(kinds) + 1, np.int64)
        entry_of[order[features]] = at[features]
        entries = int(features.sum())
        rows = max(1, TILE // max(entries, 1))
        keys, indices = (np.empty((rows, entries), np.uint64) for _ in range(2))
        return (
            order,
            at,
            entry_of,
            keys,
            indices,
            np.empty((rows, entries)),
            np.empty(rows, np.uint8),
            np.empty((rows, 2), np.int64),
            np.empty(entries, np.uint64),
        )

    def _run(self, given: _Columns, space: Workspace) -> int:
        kinds, _, _, _, _, bounds = self.schema.arrays
        return compiled("columns", "lines")(
            given.rows,
            self.schema.table.hashing.settings[:2],
            np.where(kinds == layout.CLASS, layout.TARGET, kinds),
            bounds,
            *self.own.entries,
            given.places,
            given.numbers,
            given.hows,
            given.codes,
            given.own,
            given.text,
            given.cuts,
            given.hashes,
            given.kinds,
            *space.of_tables,
            space.faults,
            space.counts,
        )

    def _fault(self, batch: Batch, code: int, line: int, column: int, row: int) -> Fault:
        """What is wrong with a row, in words."""
        reason = self.reasons[code]
        if column == len(self.schema.names):
            return Fault(line, None, reason, "found features whose values, summed, are not finite")
        name = self.schema.names[column]
        value = strings_of(batch[name][row : row + 1])
        found = shown(value.text.tobytes() if value.codes[0] >= 0 else b"")
        return Fault(line, None, reason, self.schema.said(reason, name, found))


class _Columns:
    """Columns of a batch: all numbers in one array, and all strings in one text, which the columns' names begin.

    A column's own string, before its values, says that there is no value; that of a numeric column is its name.

    Attributes:
        rows: how many.
        words: that labels stand for, by label, where they are words.
        places, numbers, hows, codes, own, text, cuts, hashes, kinds: see `kernels.columns`.
    """

    def __init__(self, schema: Schema, rows: int, request: Request, space: Workspace):
        self.schema, self.rows, self.request, self.space = schema, rows, request, space
        columns, categorical = len(schema.kinds), len(schema.columns("categorical"))
        self.numbers = np.empty((columns - categorical, rows))
        self.hows = np.zeros(self.numbers.shape, np.uint8)
        self.codes = np.empty((categorical, rows), np.int32)
        self.places, self.own = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
        self.words: dict[float, str] = {}
        self._strings: list[Strings] = []
        self._used = {True: 0, False: 0}

    def add(self, column: int, found: Numbers | Strings) -> None:
        """Takes a column, the next one."""
        is_categorical = self.schema.kinds[column] == layout.CATEGORICAL
        self.places[column] = place = self._used[is_categorical]
        self._used[is_categorical] += 1
        if isinstance(found, Numbers):
            self.numbers[place] = found.values
        elif is_categorical:
            self.codes[place] = found.codes
        elif column == self.schema.class_column:
            self._add_classes(column, found)
        else:
            self._parse(column, found)
        self._strings.append(found if is_categorical and isinstance(found, Strings) else self.schema.name_of(column))

    def finished(self) -> _Columns:
        """Puts all strings into one text, and hashes each once."""
        _, _, spaces, missing, names, _ = self.schema.arrays
        none = self.schema.none
        self.text = np.zeros(
            len(names) + sum(len(none) + len(found.text) for found in self._strings) + layout.PADDING, np.uint8
        )
        self.text[: len(names)] = names
        self.cuts = np.zeros(sum(len(found.cuts) for found in self._strings) + 1, np.int64)
        self.hashes, self.kinds = np.zeros(len(self.cuts), np.uint64), np.zeros(len(self.cuts), np.uint8)
        self.kinds += layout.UNSEEN if len(self.space.known) else layout.SEEN
        used, string = len(names), 0
        for column, found in enumerate(self._strings):
            end = used + len(none)
            last = string + len(found.cuts)
            self.text[used:end], self.text[end : end + len(found.text)] = none, found.text
            self.own[column], self.cuts[string] = string, used
            self.cuts[string + 1 : last + 1] = found.cuts + end
            if self.schema.kinds[column] == layout.CATEGORICAL:
                compiled("columns", "describe")(
                    self.text, self.cuts, string + 1, last, self.schema.longest_missing, spaces[column, 1],
                    missing[column], self.schema.table.hashing.mask, self.space.known, self.hashes, self.kinds,
                )  # fmt: skip
            else:
                self.hashes[string + 1] = spaces[column, 0]
            self.hashes[string] = missing[column, -1]
            used, string = end + len(found.text), last
        return self

    @property
    def bytes(self) -> int:
        """In memory."""
        return self.numbers.nbytes + self.codes.nbytes + self.text.nbytes

    def _add_classes(self, column: int, found: Strings) -> None:
        """Takes a column of words that name classes."""
        text, cuts = found.in_lines()
        _, _, spaces, missing, _, _ = self.schema.arrays
        labels = np.empty(len(cuts) - 1)
        longest = self.schema.longest_missing
        compiled("table", "class_labels")(text, cuts, spaces[column, 1], missing[column], longest, labels)
        own = np.where(found.codes < 0, np.nan, np.append(labels, np.nan)[found.codes])
        self.numbers[self.places[column]] = own
        for label, string in zip(*np.unique(labels, return_index=True), strict=True):
            if label == label:
                word = text[cuts[string] : cuts[string + 1] - 1].tobytes()
                self.words[float(label)] = word.decode("utf-8", "replace")

    def _parse(self, column: int, found: Strings) -> None:
        """Reads a column of strings as numbers."""
        is_target = self.schema.kinds[column] == layout.TARGET
        single = (self.request.label_dtype if is_target else self.request.dtype).itemsize == 4
        text, cuts = found.in_lines()
        values, hows = np.empty(len(cuts) - 1), np.empty(len(cuts) - 1, np.uint8)
        _, _, spaces, missing, _, _ = self.schema.arrays
        compiled("columns", "parse")(
            text, cuts, spaces[column, 1], missing[column], single, self.space.scratch, values, hows
        )
        place = self.places[column]
        self.numbers[place] = np.where(found.codes < 0, np.nan, np.append(values, np.nan)[found.codes])
        self.hows[place] = np.where(found.codes < 0, 0, np.append(hows, 0)[found.codes])
