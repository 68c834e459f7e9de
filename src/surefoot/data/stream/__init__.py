"""Files of any size as a stream of blocks, in bounded memory."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Generator
from dataclasses import replace
from typing import Literal

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.blocks import Block, joined
from surefoot.data.stream.faults import DataWarning, OnError, Policy
from surefoot.data.stream.formats import Name, resolved
from surefoot.data.stream.hashing import Hashing, Names
from surefoot.data.stream.ordered import in_order
from surefoot.data.stream.parsing import Format, Parsed, Parser
from surefoot.data.stream.svmlight import Libffm, Svmlight
from surefoot.data.stream.table import Table
from surefoot.data.stream.vw import Vw
from surefoot.threads import get_threads

__all__ = [
    "Block",
    "DataWarning",
    "Hashing",
    "Libffm",
    "Names",
    "OnError",
    "Policy",
    "Stream",
    "Svmlight",
    "Table",
    "Vw",
    "joined",
    "read",
]


def read(
    paths: sources.Paths,
    format: Name | Format | Table = "auto",
    *,
    on_error: OnError = "stop",
    max_errors: int | None = None,
    threads: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    names: Names | bool = True,
) -> Stream:
    """Read examples from files, a block at a time.

    Args:
        paths: a path, a glob, a URL that fsspec knows, "-" for standard input, an open file, or several of these; each
            plain, or compressed by gzip, bzip2 or zstd, which its first bytes tell.
        format: by name, or as an object with settings, such as `Table(target="click")`; "auto" goes by the ending of
            the first file's name, and by its first lines.
        on_error: what happens at a line that cannot be used: "stop" raises, "warn" says so and leaves it out, "skip"
            leaves it out. A file that is damaged as a whole is always an error.
        max_errors: how many lines may be left out before the reading stops after all; None for any number.
        threads: that parse, all processors unless given; the blocks are the same for any number.
        dtype: of values and labels, which are the nearest numbers of it.
        names: of hashed features, whether they are kept; a table that other files began is continued.

    Returns:
        A stream: iterating over it gives blocks.

    Raises:
        DataError: a glob matches nothing, the format cannot be guessed, or a table lacks a column that is asked for.
            Iterating raises it for whatever else cannot be read.

    >>> import io
    >>> stream = read(io.BytesIO(b"1 3:0.5 7:1\\n-1 3:2\\n"), "svmlight")
    >>> for block in stream:
    ...     print(block.labels, block.indptr, block.indices, block.values)
    [ 1. -1.] [0 2 3] [3 7 3] [0.5 1. 2. ]
    >>> stream.rows, stream.lines, stream.bytes
    (2, 2, 19)
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads: found {threads}, expected at least 1")
    policy = Policy(on_error, max_errors)
    chosen, files, guess = resolved(format, sources.names(paths))
    return Stream(files, chosen, policy, threads, np.dtype(dtype), names=names, guess=guess)


class Stream:
    """Blocks of examples, and what has been read so far; iterating again begins at the first file again.

    Attributes:
        bytes: of text, decompressed.
        lines: with blank ones, comments and those left out.
        rows: examples.
        entries: of all rows.
        sorted: rows whose indices did not rise from left to right.
        summed: entries that were added to another one of the same row and index.
        position: bytes of the files as they are stored.
        size: bytes of all files as stored; None where that cannot be known.
        policy: what happens to lines that cannot be used, and how many there were for which reason.
        guess: how the format was found, where it was not said.
        names: of hashed features, those of the blocks so far; None where nothing is hashed, or names are not wanted.
    """

    def __init__(
        self,
        files: list,
        format: Format,
        policy: Policy | None = None,
        threads: int | None = None,
        dtype: np.dtype = np.dtype(np.float32),  # noqa: B008
        label_dtype: np.dtype | None = None,
        names: Names | bool = True,
        guess: str | None = None,
    ):
        self.files, self.format, self.policy, self.threads = files, format, policy or Policy(), threads
        self.dtype, self.label_dtype = dtype, label_dtype or dtype
        self.guess = guess
        self.names = _table(format.hashing, names)
        sizes = [sources.size(file) for file in files]
        known = [size for size in sizes if size is not None]
        self.size = sum(known) if len(known) == len(sizes) else None
        self._before = np.cumsum([0, *(size or 0 for size in sizes)]).tolist()
        self._passes = 0
        self._reset()

    def _reset(self) -> None:
        self.bytes = self.lines = self.rows = self.entries = self.sorted = self.summed = self.position = 0
        self.policy.counts.clear()

    def __iter__(self) -> Generator[Block, None, None]:
        """The blocks, in the order of the files; those without an example are left out.

        Raises:
            DataError: a file or a line cannot be read, or there is no example in any of the files.
        """
        once = [sources.name_of(file) for file in self.files if file == "-" or not isinstance(file, str)]
        if self._passes and once:
            raise DataError(f"{once[0]}: can be read only once; save it to a file to read it again")
        self._passes += 1
        self._reset()
        known = None if self.names is None else self.names.known
        parser = Parser(self.format, self.dtype, self.label_dtype, self.policy.needs, known)
        source, first_line = -1, 1
        pieces = sources.pieces(self.files, self.format.parquet)
        results = in_order(pieces, parser, self.threads or get_threads())
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
                if len(parsed.block):
                    self.rows += len(parsed.block)
                    self.entries += len(parsed.block.indices)
                    self._latest = parsed.piece, first_line - parsed.lines
                    yield parsed.block
        if not self.rows:
            raise DataError(self._nothing())

    def where(self, row: int) -> str:
        """The file, line and column where a row of the latest block begins; without column in tables.

        Blocks do not carry their lines along: the fewest lines that hold so many rows are found by parsing again.
        """
        piece, first_line = self._latest
        buffer = sources.Buffer()
        text = piece.read(buffer)
        ends = text.begin + np.flatnonzero(buffer.bytes[text.begin : text.end] == 10) + 1
        parser = Parser(self.format, self.dtype, self.label_dtype, 0)

        def rows(lines: int) -> int:
            def beginning(own: sources.Buffer) -> sources.Text:
                return replace(piece.read(own), end=int(ends[lines]), too_long=False)

            return len(parser(replace(piece, read=beginning)).block)

        line = bisect.bisect_right(range(len(ends)), row, key=rows)
        return f"{piece.name}:{first_line + line}" + ("" if self.format.parquet is not None else ":1")

    def _take(self, parsed: Parsed, first_line: int) -> None:
        try:
            self.policy.take(parsed.piece.name, first_line, parsed.counts, parsed.faults)
        except DataError as error:
            if self.guess is None:
                raise
            raise DataError(f"{error} ({self.guess})") from None

    def _nothing(self) -> str:
        names = ", ".join(sources.name_of(file) for file in self.files[:3]) + ("…" if len(self.files) > 3 else "")
        if self.policy.counts:
            return f"{names}: found no line that can be used ({self.policy.summary()})"
        if not self.lines:
            return f"{names}: is empty, expected at least one line of data"
        return f"{names}: found only comments and blank lines, expected examples"


def _table(hashing: Hashing | None, names: Names | bool) -> Names | None:
    if hashing is None or names is False:
        return None
    if names is True:
        return Names(hashing.bits)
    if names.bits != hashing.bits:
        raise ValueError(f"names: found a table of 2^{names.bits} places, expected 2^{hashing.bits} as in `bits`")
    return names
