"""What all readers have in common, whether they read lines of text or columns: pieces of files become blocks.

A stream takes pieces from the reader, lets threads parse them, and yields the blocks in the order of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from surefoot.data.stream.blocks import Block
from surefoot.data.stream.faults import Fault
from surefoot.data.stream.hashing import Hashing


@dataclass(frozen=True)
class Piece:
    """Some consecutive examples of a file.

    Attributes:
        source: the number of the file among all files.
        name: of the file, for messages.
        content: what the reader's parser takes: for lines, a function that reads them into a buffer; for columns, a
            batch of them.
        position: where in the file, as stored, the next piece begins.
        first: whether it begins the file.
    """

    source: int
    name: str
    content: Any
    position: int
    first: bool = False


class Parsed(NamedTuple):
    """What a piece holds.

    Attributes:
        piece: which.
        block: its examples.
        names: of hashed features that a table of names may lack, as `Names.add` takes them.
        words: that labels of the block stand for, by label; of no others than those that are words.
        bytes: of text, or of columns in memory.
        lines: or rows of columns, those that could not be used included.
        sorted: rows whose indices did not rise.
        summed: entries that were added to another one of their row.
        counts: how many lines could not be used for which reason.
        faults: what is wrong with them, as many as were requested.
    """

    piece: Piece
    block: Block
    names: tuple[np.ndarray, np.ndarray] | None
    bytes: int
    lines: int
    sorted: int
    summed: int
    counts: Counter[str]
    faults: list[Fault]
    words: Mapping[float, str] = MappingProxyType({})


@dataclass(frozen=True)
class Request:
    """What is wanted of a parser.

    Attributes:
        dtype: of values.
        label_dtype: of labels.
        faults: how many of a piece's faults are put into words; None for all.
        known: which names a table has already, see `kernels.hashing`; None where names are not gathered.
    """

    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009
    label_dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009
    faults: int | None = None
    known: np.ndarray | None = None


class Parser(Protocol):
    """Makes blocks of pieces, in any thread."""

    def __call__(self, piece: Piece) -> Parsed:
        """What the piece holds."""
        ...

    def place(self, piece: Piece, row: int) -> tuple[int, int | None]:
        """The line of a piece, from 0, that a row of its block comes from; and the column, from 1, where lines have
        any.
        """
        ...


class Reader(Protocol):
    """How the files of a format are read whose particulars are known, such as the columns of a table."""

    @property
    def hashing(self) -> Hashing | None:
        """How names become indices; None where the format has indices."""
        ...

    def pieces(self, file: Any, number: int) -> Iterator[Piece]:
        """The pieces of a file, in order."""
        ...

    def parser(self, request: Request) -> Parser:
        """What makes blocks of them."""
        ...
