"""Blocks of examples, one after the other, and what has been read so far."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Iterator

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.blocks import Block
from surefoot.data.stream.columns import ColumnTable
from surefoot.data.stream.faults import DataWarning, Policy, place
from surefoot.data.stream.hashing import Hashing, Names
from surefoot.data.stream.opening import Opened, schema_of
from surefoot.data.stream.ordered import in_order
from surefoot.data.stream.reader import Parsed, Parser, Piece, Request
from surefoot.threads import get_threads


class Stream:
    """Blocks of examples, and what has been read so far; iterating again begins at the first file again.

    Attributes:
        bytes: of text, decompressed; or of columns, in memory.
        lines: with blank ones, comments and those skipped; or rows of columns.
        rows: examples.
        entries: of all rows.
        sorted: rows whose indices did not rise from left to right.
        summed: entries that were added to another one of the same row and index.
        position: bytes of the files as they are stored.
        size: bytes of all files as stored; None where that cannot be known.
        policy: what happens to lines that cannot be used, and how many there were for which reason.
        reader: of the files.
        format: its record, where the format was given by name or guessed.
        guess: how the format was found, where it was not given.
        names: of hashed features, those of the blocks so far; None where nothing is hashed, or names are not wanted.
        words: that labels stand for, by label, those of the blocks so far; empty where labels are numbers.
    """

    def __init__(
        self,
        opened: Opened,
        policy: Policy | None = None,
        threads: int | None = None,
        dtype: np.dtype = np.dtype(np.float32),  # noqa: B008
        label_dtype: np.dtype | None = None,
        names: Names | bool = True,
    ):
        self.reader, self.files, self.format, self.guess = opened
        self.policy, self.threads = policy or Policy(), threads
        self.dtype, self.label_dtype = dtype, label_dtype or dtype
        if (schema := schema_of(self.reader)) is not None and schema.class_column is not None:
            self.label_dtype = np.dtype(np.float64)  # which holds the numbers that stand for words
        self.names = _table(self.reader.hashing, names)
        self.words: dict[float, str] = {}
        self._sizes = [sources.size(file) for file in self.files]
        known = [size for size in self._sizes if size is not None]
        self.size = sum(known) if len(known) == len(self._sizes) else None
        self._before = np.cumsum([0, *(size or 0 for size in self._sizes)]).tolist()
        self._passes = 0
        self._reset()

    def _reset(self) -> None:
        self.bytes = self.lines = self.rows = self.entries = self.sorted = self.summed = self.position = 0
        self.policy.counts.clear()

    def __iter__(self) -> Generator[Block, None, None]:
        """The blocks, in the order of the files; those without an example are skipped.

        Raises:
            DataError: a file or a line cannot be read, or none of the files contains an example.
        """
        once = [sources.name_of(file) for file in self.files if sources.is_read_once(file)]
        if self._passes and once:
            raise DataError(f"{once[0]}: can be read only once; save it to a file to read it again")
        self._passes += 1
        self._reset()
        parser, source, first_line = self._parser(), -1, 1
        results = in_order(self._pieces(), parser, self.threads or get_threads())
        with contextlib.closing(results):
            for parsed in results:
                if parsed.piece.source != source:
                    source, first_line = parsed.piece.source, 1
                self.bytes += parsed.bytes
                self.lines += parsed.lines
                self.sorted += parsed.sorted
                self.summed += parsed.summed
                self.position = self._before[source] + parsed.piece.position
                self._take(parsed, first_line)
                first_line += parsed.lines
                if self.names is not None and parsed.names is not None:
                    self.names.add(*parsed.names)
                self.words.update(parsed.words)
                if len(parsed.block):
                    self.rows += len(parsed.block)
                    self.entries += len(parsed.block.indices)
                    self._latest = parser, parsed.piece, first_line - parsed.lines
                    yield parsed.block
        self._look_for_changes()
        if not self.rows:
            raise DataError(self._nothing())
        self._latest = self._parser(), *self._latest[1:]  # without the memory of the one that parsed

    def where(self, row: int) -> str:
        """The file, and the line and column, or the row, that a row of the latest block comes from."""
        parser, piece, first_line = self._latest
        line, column = parser.place(piece, row)
        return place(piece.name, first_line + line, column)

    def _pieces(self) -> Iterator[Piece]:
        for number, file in enumerate(self.files):
            yield from self.reader.pieces(file, number)

    def _parser(self) -> Parser:
        known = None if self.names is None else self.names.known
        return self.reader.parser(Request(self.dtype, self.label_dtype, self.policy.needs, known))

    def _take(self, parsed: Parsed, first_line: int) -> None:
        try:
            self.policy.take(parsed.piece.name, first_line, parsed.counts, parsed.faults)
        except DataError as error:
            if self.guess is None:
                raise
            raise DataError(f"{error} ({self.guess})") from None

    def _look_for_changes(self) -> None:
        """Warns of files that grew while they were read: a plain file is read as far as it went at the beginning."""
        for number, (file, before) in enumerate(zip(self.files, self._sizes, strict=True)):
            now = sources.size(file)
            if before is not None and now is not None and now > before:
                self._sizes[number] = now
                warnings.warn(
                    f"{sources.name_of(file)}: grew from {before:,} to {now:,} bytes while it was read; what was added "
                    "may be missing: read it again when it is complete",
                    DataWarning,
                    stacklevel=3,
                )

    def _nothing(self) -> str:
        names = ", ".join(sources.name_of(file) for file in self.files[:3]) + ("…" if len(self.files) > 3 else "")
        if self.policy.counts:
            return f"{names}: found no line that can be used ({self.policy.summary()})"
        if not self.lines:
            what = "row" if isinstance(self.reader, ColumnTable) else "line of data"
            return f"{names}: is empty, expected at least one {what}"
        return f"{names}: found only comments and blank lines, expected examples"


def _table(hashing: Hashing | None, names: Names | bool) -> Names | None:
    if hashing is None or names is False:
        return None
    if names is True:
        return Names(hashing.bits)
    if names.bits != hashing.bits:
        raise ValueError(f"names: found a table of 2^{names.bits} slots, expected 2^{hashing.bits} as in `bits`")
    return names
