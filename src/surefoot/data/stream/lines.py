"""Formats of lines: a kernel reads the lines of a piece into a workspace, which becomes a block."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import record
from surefoot.data.stream.faults import Fault
from surefoot.data.stream.kernels import layout
from surefoot.data.stream.reader import Parsed, Piece, Request
from surefoot.data.stream.sources import limits, plain, streams
from surefoot.data.stream.sources.buffer import Buffer, Text
from surefoot.data.stream.sources.opening import opened, peek
from surefoot.data.stream.sources.paths import name_of
from surefoot.data.stream.workspace import Shelf, Workspace
from surefoot.native import Kernel

TOO_LONG = "line too long"


class Lines:
    """Base of readers of lines. Formats have `hashing` (see `Reader`), `reasons`, `call` and `said`; most have no more.

    Attributes:
        reasons: what can be wrong with a line: a kernel's code, and what it is called where faults are counted.
    """

    reasons: ClassVar[dict[int, str]]

    @property
    def fields(self) -> bool:
        """Whether entries have fields."""
        return False

    @property
    def header(self) -> Callable[[bytes, str], None] | None:
        """Checks the first line of a file of this name, where that is not an example."""
        return None

    def call(self, space: Workspace) -> tuple[Kernel, tuple]:
        """The kernel that reads lines into a workspace, and its arguments after a text and its end.

        It reads until the end or until an array is full, and returns why it stopped.
        """
        raise NotImplementedError

    def said(self, code: int, line: bytes, offset: int) -> str:
        """What was found at this offset of a line, and what was expected."""
        raise NotImplementedError

    def words(self, space: Workspace) -> dict[float, str]:
        """The words that the workspace's labels stand for, where they are words."""
        return {}

    def pieces(self, file: Any, number: int) -> Iterator[Piece]:
        return text_pieces(file, number)

    def parser(self, request: Request) -> LineParser:
        return LineParser(self, request)


def text_pieces(file: Any, number: int) -> Iterator[Piece]:
    """The pieces of a file of text.

    Raises:
        DataError: it cannot be read, or its first bytes are those of another format.
    """
    name = name_of(file)
    with opened(file, name) as stream:
        start = peek(stream, name)
        if (other := record.of_first_bytes(start)) is not None:
            raise DataError(f'{name}: a {other.name} file, expected lines of text; read it as format "{other.name}"')
        if plain.is_plain(file, start):
            yield from plain.pieces(stream, number, name)
        else:
            yield from streams.pieces(stream, start, number, name)


class LineParser:
    """Parses pieces of text, in any thread.

    Args:
        lines: how lines are read.
        request: what is wanted.
    """

    def __init__(self, lines: Lines, request: Request):
        self.lines, self.request = lines, request
        self.own, self.shelf = threading.local(), Shelf()

    def __call__(self, piece: Piece) -> Parsed:
        if not hasattr(self.own, "space"):
            self.own.space = Workspace(self.request, self.lines.fields, self.shelf)
        space: Workspace = self.own.space
        text = piece.content(space.buffer)
        space.state[:] = 0
        space.state[layout.POSITION] = text.begin
        if piece.first and (check := self.lines.header) is not None and text.end > text.begin:
            end = line_end(space.buffer.bytes, text.begin)
            check(space.buffer.bytes[text.begin : end].tobytes(), piece.name)
            space.state[layout.POSITION], space.state[layout.LINES] = end + 1, 1
        if text.end > space.state[layout.POSITION]:
            kernel, arguments = self.lines.call(space)
            while (status := kernel(space.buffer.bytes, text.end, *arguments)) != layout.DONE:
                space.grow(status)
                kernel, arguments = self.lines.call(space)
        counts, faults = self._faults(space)
        lines = int(space.state[layout.LINES])
        if text.too_long:
            faults.append(too_long(lines))
            counts[TOO_LONG] += 1
            lines += 1
        sorted_rows, summed = int(space.state[layout.SORTED]), int(space.state[layout.SUMMED])
        size = text.end - text.begin
        words = self.lines.words(space)
        return Parsed(piece, space.block(), space.names(), size, lines, sorted_rows, summed, counts, faults, words)

    def place(self, piece: Piece, row: int) -> tuple[int, int | None]:
        """Blocks do not carry their lines along: the fewest lines that hold as many rows are found by parsing again."""
        return line_of(self.lines.parser(replace(self.request, faults=0, known=None)), piece, row), 1

    def _faults(self, space: Workspace) -> tuple[Counter[str], list[Fault]]:
        found = space.faults[: space.state[layout.FAULTS]]
        counts = Counter({self.lines.reasons[code]: int(n) for code, n in enumerate(np.bincount(found[:, 0])) if n})
        faults = []
        for code, number, begin, position in found[: self.request.faults].tolist():
            end = line_end(space.buffer.bytes, position)
            line = space.buffer.bytes[begin:end].tobytes()
            column = len(line[: position - begin].decode("utf-8", "replace")) + 1
            said = self.lines.said(code, line, position - begin)
            faults.append(Fault(number, column, self.lines.reasons[code], said))
        return counts, faults


def too_long(line: int) -> Fault:
    """The fault of a line that is too long to be read."""
    return Fault(line, 1, TOO_LONG, f"found a line of more than {limits.LONGEST_LINE:,} bytes, expected shorter ones")


def line_end(text: np.ndarray, position: int) -> int:
    """Where the line at this position ends."""
    step = 1 << 12
    while True:
        found = text[position : position + step].tobytes().find(b"\n")
        if found >= 0:
            return position + found
        position += step


def line_of(parse: Callable[[Piece], Parsed], piece: Piece, row: int) -> int:
    """The line of a piece, from 0, in which a row is: the fewest lines that hold as many rows."""
    buffer = Buffer()
    text = piece.content(buffer)
    ends = text.begin + np.flatnonzero(buffer.bytes[text.begin : text.end] == 10) + 1

    def rows(lines: int) -> int:
        def beginning(own: Buffer) -> Text:
            return replace(piece.content(own), end=int(ends[lines]), too_long=False)

        return len(parse(replace(piece, content=beginning)).block)

    return bisect.bisect_right(range(len(ends)), row, key=rows)
