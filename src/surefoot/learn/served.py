"""One example as users have it, for a model that was learned from files: with the ids that its files gave features."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import getitem, itemgetter
from typing import Any, NamedTuple

import numpy as np

from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block, Hashing, Table, formats
from surefoot.data.stream.blocks import without_fields
from surefoot.data.stream.lines import Lines
from surefoot.data.stream.one_line import OneLine
from surefoot.data.stream.reader import Parser, Piece, Request
from surefoot.data.stream.sources.buffer import Buffer, Text, closed
from surefoot.data.stream.table import NONE
from surefoot.data.stream.vw import Vw
from surefoot.learn.given import plain, shown
from surefoot.learn.one_row import NUMBERS, are_numbers, is_named, name_and_text, of_array

MOST_KNOWN = 1 << 20
"""Names, of columns too or of one column's values, whose ids are remembered."""
TEXTS = frozenset((str, type(None)))
"""The types of most values of categorical columns."""
NAME = "x"
"""What messages call an example."""


class Example(NamedTuple):
    """An example: ids of its features and their values, in any order, two lists or two arrays; whether zeros are among
    them, as `one_row.entries_of` takes it; and label and weight, NaN and 1 where it has none."""

    ids: Any
    values: Any
    zeros: bool = False
    label: float | str = float("nan")
    weight: float = 1.0


class Columns(NamedTuple):
    """What is known of a table's columns, the numeric ones first.

    Attributes:
        numeric: how many of them hold numbers.
        cells: gives the values of a row.
        ids: of the numeric columns' features.
        texts: for each of the others, the ids of the features that its values are, by value.
        ones: the values of these features, one for each column.
    """

    numeric: int
    cells: Callable[[Any], tuple]
    ids: list[int]
    texts: list[dict[str | None, int]]
    ones: list[float]


class Examples:
    """Makes examples of dicts, lines of text, and rows of arrays.

    Args:
        reading: how the model's files were read; None where it did not come from files, and features have numbers.
        most: the largest number of features that there may be.
    """

    def __init__(self, reading: ReadOptions | None, most: int):
        self.reading, self.most = reading or ReadOptions(formats.NUMBERED), most
        self.known: dict[Any, int] = {}

    def __reduce__(self) -> tuple:
        """Copies and pickles find by themselves what this one has found."""
        return Examples, (self.reading, self.most)

    def __call__(self, x: Any) -> Example:
        """The example.

        Raises:
            ValueError, DataError: it cannot be read.
        """
        if isinstance(x, str):
            return self._of_line(x)
        if not is_named(x):
            (ids, values), _ = of_array(x, None)
            if self._hashes and isinstance(values, np.ndarray) and len(values) and not hasattr(x, "indptr"):
                raise ValueError(
                    f"x: found {shown(x)}, expected a dict {{name: value}}: this model's features have names"
                )
            return Example(ids, values)
        if self._of_a_table:
            return self._of_columns(x)
        if type(x) is dict and are_numbers(x.values()):
            ids = [*map(self.known.get, x)] if self._hashes else x.keys()
            if not self._hashes or None not in ids:
                return Example(ids, x.values())
        return self._of_features(x)

    def _of_features(self, x: Any) -> Example:
        """The example of a dict of features, one after the other."""
        ids, values = [], []
        for name, value in x.items():
            own, text, number = name_and_text(name, value)
            if text is not None and not self._hashes:
                raise ValueError(f"x: found {shown(value)} for feature {name!r}, expected a number")
            ids.append(self._id(own, text) if self._hashes else own)
            values.append(number)
        return Example(ids, values)

    @functools.cached_property
    def _reader(self) -> Any:
        """The reader of the model's files, or their table."""
        format = formats.named(self.reading.format)
        return format.with_options({name: v for name, v in self.reading.given.items() if name in format.takes})

    @functools.cached_property
    def _of_a_table(self) -> bool:
        return isinstance(self._reader, Table)

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
            try:
                found = self._hashing.index(str(name)) if text is None else self._hashing.index(text, str(name))
            except UnicodeEncodeError as error:
                wrong = name if text is None else text
                raise ValueError(f"x: found {wrong!r}, expected text that UTF-8 has ({error.reason})") from None
            self.known[key] = found
        return found

    # Tables

    def _of_columns(self, x: Any) -> Example:
        """A row of a table: columns that the model does not know are ignored, and those that are not there are
        missing."""
        label, weight = x.get(self.reading.target, np.nan), x.get(self.reading.weight, 1.0)
        is_label = type(label) in NUMBERS or (type(label) is str and self.reading.word_labels)
        if not is_label or type(weight) not in NUMBERS:
            return self._of_table(x)
        known = self._columns
        try:
            cells = known.cells(x)
            numbers, texts = cells[: known.numeric], cells[known.numeric :]
            if are_numbers(numbers) and TEXTS.issuperset(map(type, texts)):
                ids = [*known.ids, *map(getitem, known.texts, texts)]
                return Example(ids, [*numbers, *known.ones], True, label, weight)
        except KeyError:  # a column is not there, or a text is new
            pass
        return self._of_cells(x, label, weight)

    def _of_cells(self, x: Any, label: Any, weight: float) -> Example:
        """The same, one value after the other."""
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
        for name, known in zip(self.reading.categorical, self._columns.texts, strict=True):
            value = x.get(name)
            if type(value) not in TEXTS:
                return self._of_table(x)
            found = known.get(value)
            if found is None:
                text = NONE if value is None or value in self._missing else value
                if not text.isprintable():
                    return self._of_table(x)
                if len(known) >= MOST_KNOWN:
                    known.clear()
                known[value] = found = self._hashing.index(text, name)
            ids.append(found)
            values.append(1.0)
        return Example(ids, values, True, label, weight)

    @functools.cached_property
    def _missing(self) -> frozenset[str]:
        """Texts that stand for no value."""
        assert isinstance(self._reader, Table)
        return frozenset(("", *self._reader.missing))

    @functools.cached_property
    def _columns(self) -> Columns:
        numeric, categorical = self.reading.numeric, self.reading.categorical
        names = [*numeric, *categorical]
        cells = itemgetter(*names) if len(names) > 1 else lambda x: tuple(x[name] for name in names)
        texts = [{} for _ in categorical]
        return Columns(len(numeric), cells, [*map(self._id, numeric)], texts, [1.0] * len(texts))

    def _of_table(self, x: Any) -> Example:
        """The same for values that are not simple."""
        options = self.reading
        known = [*options.numeric, *options.categorical, options.target, options.weight]
        row = {name: plain(name, x[name]) for name in known if name in x}
        found = _only(options.examples([row], trained=True), zeros=True)
        is_word = options.word_labels and options.target in row  # whose label is a hash that tells users nothing
        return found._replace(label=row[options.target]) if is_word else found

    # Lines

    @functools.cached_property
    def _format(self) -> Any:
        """The reader of lines of the model's own format, or for a table of Vowpal Wabbit's."""
        return Vw(self._hashing) if self._of_a_table else self._reader

    @functools.cached_property
    def _lines(self) -> Parser:
        return self._format.parser(Request(faults=1))

    @functools.cached_property
    def _one_line(self) -> OneLine | None:
        """The same for a line that has nothing out of the ordinary, in less time."""
        return OneLine(self._format) if isinstance(self._format, Lines) and not self._format.fields else None

    def _of_line(self, line: str) -> Example:
        if self._of_a_table and "|" not in line:
            raise ValueError(
                f"x: found {line!r}; the model was learned from a table, whose lines have no names: expected a dict "
                "{column: value}, or |column value as Vowpal Wabbit has it"
            )
        if not self._hashes and not self.reading.label_weights and ":" in "".join(line.split(None, 1)[:1]):
            line = f"0 {line}"  # a line without a label
        text = line.encode()
        if self._one_line is not None and (row := self._one_line.read(text)) is not None:
            return Example(row.indices, row.values, self._of_a_table, row.label, row.weight)

        def content(buffer: Buffer) -> Text:
            buffer.reserve(len(text) + 1)
            buffer.bytes[: len(text)] = np.frombuffer(text, np.uint8)
            return closed(buffer, 0, len(text))

        parsed = self._lines(Piece(0, NAME, content, 0))
        if parsed.faults:
            raise DataError(f"{NAME}: {parsed.faults[0].said}")
        return _only(parsed.block, zeros=self._of_a_table)


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
