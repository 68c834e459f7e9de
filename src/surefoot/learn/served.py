"""One example as users have it, for a model that was learned from files: with the ids that its files gave features."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block, Hashing, Table, formats
from surefoot.data.stream.blocks import without_fields
from surefoot.data.stream.reader import Parser, Piece, Request
from surefoot.data.stream.sources.buffer import Buffer, Text, closed
from surefoot.data.stream.table import NONE
from surefoot.data.stream.vw import Vw
from surefoot.learn.one_row import MISSING_TEXT, are_numbers, is_named, name_and_text, of_array

MOST_KNOWN = 1 << 20
"""Names whose ids are remembered."""
NAME = "x"
"""What messages call an example."""


class Example(NamedTuple):
    """An example: ids of its features and their values, in any order, two lists or two arrays; whether zeros are among
    them, as `one_row.entries_of` takes it; and label and weight, NaN and 1 where it has none."""

    ids: Any
    values: Any
    zeros: bool = False
    label: float = float("nan")
    weight: float = 1.0


class Examples:
    """Makes examples of dicts, lines of text, and rows of arrays.

    Args:
        reading: how the model's files were read; None where it did not come from files, and features have numbers.
        most: the largest number of features that there may be.
    """

    def __init__(self, reading: ReadOptions | None, most: int):
        self.reading, self.most = reading or ReadOptions("svmlight"), most
        self.known: dict[Any, int] = {}

    def __call__(self, x: Any) -> Example:
        """The example.

        Raises:
            ValueError, DataError: it cannot be read.
        """
        if isinstance(x, str):
            return self._of_line(x)
        if not is_named(x):
            return Example(*of_array(x, None)[0])
        if isinstance(self._reader, Table):
            return self._of_columns(x)
        if type(x) is dict and are_numbers(x) and None not in (ids := self._of_names(x)):
            return Example(ids, [*x.values()])
        ids, values = [], []
        for name, value in x.items():
            own, text, number = name_and_text(name, value)
            ids.append(self._id(own, text) if self._hashes else own)
            values.append(number)
        if not self._hashes and not all(isinstance(own, (int, np.integer)) for own in ids):
            raise ValueError(f"x: found features {list(x)[:4]}, expected whole numbers: this model knows no names")
        return Example(ids, values)

    def _of_names(self, names: dict) -> list[int | None]:
        """The ids of numeric columns, of those that are known."""
        if self._hashes:
            return [*map(self.known.get, names)]
        return [*names] if {*map(type, names)} == {int} else [None]

    @functools.cached_property
    def _reader(self) -> Any:
        """The reader of the model's files, or their table."""
        format = formats.named(self.reading.format)
        return format.with_options({name: v for name, v in self.reading.given.items() if name in format.takes})

    @functools.cached_property
    def _hashes(self) -> bool:
        return formats.named(self.reading.format).hashed

    @functools.cached_property
    def _hashing(self) -> Hashing:
        return (
            Hashing(seed=self.reading.seed)
            if self.reading.bits is None
            else Hashing(self.reading.bits, seed=self.reading.seed)
        )

    def _id(self, name: str, text: str | None = None) -> int:
        """The id of a numeric column's feature, or of a categorical one's for this value."""
        key = name if text is None else (name, text)
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            found = self._hashing.index(str(name)) if text is None else self._hashing.index(text, str(name))
            self.known[key] = found
        return found

    # Tables

    def _of_columns(self, x: Any) -> Example:
        """A row of a table: columns that the model does not know are left out, and those that are not there are
        missing."""
        ids, values = [], []
        for name in self.reading.numeric:
            value = x.get(name)
            kind = type(value)
            if (kind is float and value == value) or kind is int:
                ids.append(self._id(name))
                values.append(value)
            elif value is None or kind is float:
                ids.append(self._id(name, NONE))
                values.append(1.0)
            else:
                return self._of_table(x)
        for name in self.reading.categorical:
            value = x.get(name)
            if value is None or (isinstance(value, str) and value in MISSING_TEXT):
                value = NONE
            if type(value) is not str or not value.isprintable():
                return self._of_table(x)
            ids.append(self._id(name, value))
            values.append(1.0)
        label, weight = (
            x.get(name, nothing) for name, nothing in ((self.reading.target, np.nan), (self.reading.weight, 1.0))
        )
        if type(label) not in (int, float) or type(weight) not in (int, float):
            return self._of_table(x)
        return Example(ids, values, True, label, weight)

    def _of_table(self, x: Any) -> Example:
        """The same for values that are not simple."""
        return _only(self.reading.examples([dict(x.items())], trained=True), zeros=True)

    # Lines

    @functools.cached_property
    def _lines(self) -> Parser:
        """What parses a line of the model's own format, or for a table one of Vowpal Wabbit's."""
        reader = Vw(self._hashing) if isinstance(self._reader, Table) else self._reader
        return reader.parser(Request(faults=1))

    def _of_line(self, line: str) -> Example:
        if isinstance(self._reader, Table) and "|" not in line:
            raise ValueError(
                f"x: found {line!r}; the model was learned from a table, whose lines have no names: expected a dict "
                "{column: value}, or |column value as Vowpal Wabbit has it"
            )
        first = line.split(None, 1)[:1]
        if not self._hashes and not self.reading.label_weights and first and ":" in first[0]:
            line = f"0 {line}"  # a line without a label
        text = line.encode()

        def content(buffer: Buffer) -> Text:
            buffer.reserve(len(text) + 1)
            buffer.bytes[: len(text)] = np.frombuffer(text, np.uint8)
            return closed(buffer, 0, len(text))

        parsed = self._lines(Piece(0, NAME, content, 0))
        if parsed.faults:
            raise DataError(f"{NAME}: {parsed.faults[0].said}")
        return _only(parsed.block, zeros=isinstance(self._reader, Table))


def _only(block: Block, zeros: bool) -> Example:
    """The only example of a block, with or without its zeros.

    Raises:
        DataError: there is none, or several, or it has an initial prediction.
    """
    if len(block) != 1:
        raise DataError(f"{NAME}: found {len(block)} examples, expected one")
    if block.bases is not None:
        raise DataError(f"{NAME}: found an initial prediction, expected none; give one example after the other without")
    block = without_fields(block)
    return Example(block.indices, block.values, zeros, float(block.labels[0]), float(block.weights[0]))
