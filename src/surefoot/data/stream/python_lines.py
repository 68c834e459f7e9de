"""Formats of lines that a plain Python function reads: a few lines of code, at the speed of Python.

For formats that are read often, a kernel is a hundred times as fast (see `lines.Lines`).
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from surefoot.data.stream.blocks import Block
from surefoot.data.stream.faults import FINITE, Fault
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels.layout import LARGEST_FLOAT32, LARGEST_INDEX
from surefoot.data.stream.lines import TOO_LONG, line_of, text_pieces, too_long
from surefoot.data.stream.reader import Parsed, Piece, Request
from surefoot.data.stream.sources.buffer import Buffer

LONGEST_NAME = 200
"""Bytes of a name that a table of names keeps; all of it is hashed."""
UNREADABLE = "line cannot be read"


class Example(NamedTuple):
    """What a line holds.

    Attributes:
        label: NaN where there is none.
        features: values by the names of features, or by whole numbers of 0 or more where names are not hashed; of
            names that share an index the values are summed.
        weight: of the example, 0 or more.
        base: the initial prediction.
        group: the query id; -1 for none.
    """

    label: float
    features: Mapping[Any, float]
    weight: float = 1.0
    base: float = 0.0
    group: int = -1


@dataclass(frozen=True)
class PythonLines:
    """Lines that a function reads.

    Args:
        parse: returns the example of a line, or None where there is none, such as of a blank line or a comment; raises
            ValueError, saying what was found and what was expected, where the line cannot be used. Any other exception
            is a fault of the line, too.
        hashing: of names; None, the default, where features are whole numbers, which are taken as they are.

    >>> import io
    >>> from surefoot.data.stream import read
    >>> def parse(line):
    ...     label, *words = line.decode().split()
    ...     return Example(float(label), dict.fromkeys(words, 1.0))
    >>> stream = read(io.BytesIO(b"1 rain wind\\n-1 sun\\n"), PythonLines(parse, Hashing()))
    >>> [stream.names[index] for block in stream for index in block.indices[2:]]
    ['sun']
    """

    parse: Callable[[bytes], Example | None]
    hashing: Hashing | None = None

    def pieces(self, file: Any, number: int) -> Iterator[Piece]:
        return text_pieces(file, number)

    def parser(self, request: Request) -> _Parser:
        return _Parser(self, request)


class _Parser:
    """Parses pieces of text, a line at a time."""

    def __init__(self, lines: PythonLines, request: Request):
        self.lines, self.request = lines, request

    def __call__(self, piece: Piece) -> Parsed:
        buffer = Buffer()
        text = piece.content(buffer)
        content = buffer.bytes[text.begin : text.end].tobytes()
        lines = content.removesuffix(b"\n").split(b"\n") if content else []
        rows, faults, names = _Rows(self.lines.hashing), [], _NewNames()
        for number, line in enumerate(lines):
            # The function is the user's and may raise anything; one bad line must not end a training that skips them.
            try:
                example = self.lines.parse(line.removesuffix(b"\r"))
                if example is not None:
                    rows.add(example, names)
            except (Exception, SystemExit) as error:
                faults.append(Fault(number, 1, UNREADABLE, said(error)))
        counts = Counter({UNREADABLE: len(faults)} if faults else {})
        faults = faults[: self.request.faults]
        if text.too_long:
            faults.append(too_long(len(lines)))
            counts[TOO_LONG] += 1
        found = None if self.request.known is None else names.arrays()
        size, read = text.end - text.begin, len(lines) + text.too_long
        return Parsed(piece, rows.block(self.request), found, size, read, 0, rows.summed, counts, faults)

    def place(self, piece: Piece, row: int) -> tuple[int, int | None]:
        return line_of(_Parser(self.lines, Request(faults=0)), piece, row), 1


def said(error: BaseException) -> str:
    """What an exception says about a line, in one sentence; those other than ValueError also by their names.

    >>> said(ValueError("found 'x', expected a number")), said(KeyError("y"))
    ("found 'x', expected a number", "the parser failed with KeyError: 'y'")
    """
    text = " ".join(str(error).split())
    if isinstance(error, ValueError) and text:
        return text
    return f"the parser failed with {type(error).__name__}{': ' if text else ''}{text}"


class _NewNames:
    """Names that a table may lack, in order of occurrence."""

    def __init__(self) -> None:
        self.found: dict[int, bytes] = {}

    def add(self, identity: int, name: bytes) -> None:
        self.found.setdefault(identity, name[:LONGEST_NAME])

    def arrays(self) -> tuple[np.ndarray, np.ndarray] | None:
        if not self.found:
            return None
        ends = np.cumsum([len(name) for name in self.found.values()])
        hashes = np.array(list(self.found), np.uint64).view(np.int64)
        return np.stack([hashes, ends], axis=1), np.frombuffer(b"".join(self.found.values()), np.uint8).copy()


class _Rows:
    """Examples that become a block."""

    def __init__(self, hashing: Hashing | None):
        self.hashing, self.summed = hashing, 0
        self.examples: list[Example] = []
        self.entries: list[list[tuple[int, float]]] = []

    def add(self, example: Example, names: _NewNames) -> None:
        """Takes an example, all of it or nothing.

        Raises:
            ValueError: it is something else, a number of it is not finite, or an index is out of range.
        """
        if not isinstance(example, Example):
            raise ValueError(f"the parser returned {type(example).__name__}, expected Example, or None for no example")
        if not isinstance(example.features, Mapping):
            raise ValueError(f"found features of type {type(example.features).__name__}, expected a mapping to values")
        checked = _checked(example)
        sums: dict[int, float] = {}
        new: list[tuple[int, bytes]] = []
        for feature, value in example.features.items():
            index, sign = self._index(feature, new)
            number = sign * finite(f"feature {feature} with value", value)
            sums[index] = sums[index] + number if index in sums else number
        if any(abs(value) > LARGEST_FLOAT32 for value in sums.values()):
            raise ValueError(f"found features whose values, summed, are not finite, {FINITE}")
        for identity, name in new:
            names.add(identity, name)
        self.summed += len(example.features) - len(sums)
        self.examples.append(checked)
        self.entries.append(sorted(sums.items()))

    def _index(self, feature: Any, new: list[tuple[int, bytes]]) -> tuple[int, int]:
        """The index of a feature, and what its values are multiplied by."""
        if self.hashing is not None:
            name = feature if isinstance(feature, bytes) else str(feature).encode()
            identity = self.hashing.identity(name)
            new.append((identity, name))
            return self.hashing.place(identity)
        if isinstance(feature, (str, bytes)):
            raise ValueError(
                f"found feature {feature!r}, expected a whole number; names are hashed by a format with hashed=True"
            )
        whole = isinstance(feature, (int, np.integer)) and not isinstance(feature, bool)
        if not whole or not 0 <= feature <= LARGEST_INDEX:
            raise ValueError(f"found feature {feature!r}, expected a whole number from 0 to {LARGEST_INDEX}")
        return int(feature), 1

    def block(self, request: Request) -> Block:
        indptr = np.cumsum([0, *map(len, self.entries)])
        entries = [entry for row in self.entries for entry in row]
        columns = list(zip(*self.examples, strict=True)) or [(), (), (), (), ()]
        labels, _, weights, bases, groups = columns
        return Block(
            indptr,
            np.array([index for index, _ in entries], np.int64),
            np.array([value for _, value in entries], request.dtype),
            np.array(labels, request.label_dtype),
            np.array(weights, np.float32),
            np.array(bases, np.float32) if any(bases) else None,
            np.array(groups, np.int64) if any(group != -1 for group in groups) else None,
        )


def _checked(example: Example) -> Example:
    """The example with its numbers as Python's own.

    Raises:
        ValueError: one of them cannot be used.
    """
    missing = isinstance(example.label, (float, np.floating)) and math.isnan(example.label)
    label = math.nan if missing else finite("label", example.label)
    weight, base = finite("weight", example.weight), finite("initial prediction", example.base)
    if weight < 0:
        raise ValueError(f"found weight {example.weight!r}, expected 0 or more")
    try:
        group = operator.index(example.group)
    except TypeError:
        group = LARGEST_INDEX + 1
    if not -1 <= group <= LARGEST_INDEX:
        raise ValueError(
            f"found group {example.group!r}, expected a whole number from 0 to {LARGEST_INDEX}, or -1 for none"
        )
    return Example(label, example.features, weight, base, group)


def finite(what: str, found: Any) -> float:
    """A finite number, of any type that is one.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = math.nan if isinstance(found, (str, bytes)) else float(found)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST_FLOAT32:
        raise ValueError(f"found {what} {found!r}, {FINITE}")
    return number
