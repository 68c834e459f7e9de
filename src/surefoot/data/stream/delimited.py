"""Tables as text, with delimiters between values (CSV, TSV).

Values may be quoted, with doubled quotes inside, but not go on past the end of their line: a stray quote would then
swallow rows unseen. So rows are cut at line ends, threads parse them side by side, and every fault has its line.

Y. Shafranovich, RFC 4180, 2005.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.faults import check_text, shown, unreadable
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels import compiled, layout
from surefoot.data.stream.lines import Lines, line_end
from surefoot.data.stream.number_like import NUMBER, SAMPLE, are_words, warn_of
from surefoot.data.stream.record import OF_TABLES, Format
from surefoot.data.stream.sources import limits
from surefoot.data.stream.sources.opening import BOM
from surefoot.data.stream.table import REASONS, Schema, Table
from surefoot.data.stream.workspace import Workspace
from surefoot.native import Kernel

OF_TEXT = ("delimiter", "header", "quotes")
"""The options of tables as text."""
BLANKS = " \t\r\v\f"


def opened(table: Table, name: str, beginning: bytes) -> DelimitedTable:
    """The reader for files, whose columns the beginning of the first one, of this name, shows.

    Raises:
        DataError: a column that is requested is not there, or the first line has no names.
    """
    check_text(name, beginning)
    lines = [line for line in _lines(beginning) if line.strip()]
    if not lines:
        raise DataError(f"{name}: is empty, expected at least one line of data")
    head = _values(table, lines[0])
    if not head and "\r" in lines[0].strip("\r"):
        raise DataError(f"{name}:1:1: found carriage returns alone as line ends, expected line feeds; convert them")
    if table.header and all(NUMBER.fullmatch(value) for value in head):
        raise DataError(
            f"{name}:1:1: found only numbers in the first line, expected column names; specify that there is no "
            f"header, or give the names"
        )
    names = tuple(table.names or (head if table.header else map(str, range(1, len(head) + 1))))
    rows = [_values(table, line) for line in lines[int(table.header) : SAMPLE]]
    values = {column: [row[k] for row in rows if k < len(row)] for k, column in enumerate(names)}
    numeric = [_are_numbers(table, values[column]) for column in names]
    if table.word_labels is None and table.target in values:
        table = replace(table, word_labels=are_words(values[table.target], table.missing))
    schema = table.schema(name, names, numeric)
    warn_of(name, schema.guessed, values.__getitem__, table.missing, numbers=True)
    return DelimitedTable(schema, tuple(head) if table.header else None)


def _lines(beginning: bytes) -> list[str]:
    """The whole lines, as text; the last one is whole where the file has no more."""
    text = beginning.removeprefix(BOM).decode("utf-8", "replace")
    cut = len(text) if len(beginning) < limits.BEGINNING else text.rfind("\n") + 1
    return text[:cut].split("\n")


def _values(table: Table, line: str) -> list[str]:
    """The values of a line; not to be trusted where it is faulty."""
    quoting = csv.QUOTE_MINIMAL if table.quotes else csv.QUOTE_NONE
    try:
        found = next(csv.reader([line], delimiter=table.delimiter, skipinitialspace=True, quoting=quoting), [])
    except csv.Error:
        return []
    return [value.strip(BLANKS) for value in found]


def _are_numbers(table: Table, values: list[str]) -> bool:
    return all(value in table.missing or NUMBER.fullmatch(value) for value in values)


@dataclass(frozen=True)
class DelimitedTable(Lines):
    """How the lines of a table are read whose columns are known.

    Args:
        schema: the columns.
        head: the values of the first line of every file; None where it is data.
    """

    schema: Schema
    head: tuple[str, ...] | None

    reasons: ClassVar[dict[int, str]] = dict(enumerate(REASONS, start=1))

    @property
    def hashing(self) -> Hashing:
        return self.schema.table.hashing

    @property
    def fields(self) -> bool:
        return self.schema.table.fields

    @property
    def header(self) -> Callable[[bytes, str], None] | None:
        return None if self.head is None else self._check

    def _check(self, line: bytes, name: str) -> None:
        """Whether a file has the columns of the first one.

        Raises:
            DataError: it has others.
        """
        found = tuple(_values(self.schema.table, line.removeprefix(BOM).decode("utf-8", "replace")))
        if found != self.head:
            raise DataError(
                f"{name}:1:1: found the columns {', '.join(found[:8])}, expected those of the first file, "
                f"{', '.join((self.head or ())[:8])}"
            )

    def call(self, space: Workspace) -> tuple[Kernel, tuple]:
        table = self.schema.table
        return compiled("table", "lines"), (
            (*table.hashing.settings, ord(table.delimiter), table.quotes, self.schema.longest_missing),
            *self.schema.arrays,
            *space.of_tables,
            space.unquoted,
            space.words,
            space.faults,
            space.scratch,
            space.counts,
        )

    def words(self, space: Workspace) -> dict[float, str]:
        if self.schema.class_column is None:
            return {}
        labels, rows = np.unique(space.labels[: space.state[layout.ROWS]], return_index=True)
        there = np.isfinite(labels)
        text, found = space.buffer.bytes, {}
        for label, begin in zip(labels[there].tolist(), space.words[rows[there]].tolist(), strict=True):
            _, values = _fields(text[begin : line_end(text, begin)].tobytes(), self.schema.table)
            found[label] = _unquoted(values[0], self.schema.table)
        return found

    def said(self, code: int, line: bytes, offset: int) -> str:
        names, table = self.schema.names, self.schema.table
        ends, values = _fields(line, table)
        place = sum(end <= offset for end in ends)
        match self.reasons[code]:
            case "number of values":
                return f"found {len(values)} values, expected {len(names)}, one for each column"
            case "quote":
                return (
                    "found a quoted value that does not end before a delimiter in its line, expected quotes in pairs; "
                    "or disable quotes"
                )
            case "binary data":
                text = f"a table of text with {table.delimiter!r} between values"
                return unreadable(line, text, "a table in UTF-8")
        column = names[place] if place < len(names) else ""
        return self.schema.said(self.reasons[code], column, shown(values[place] if place < len(values) else b""))


def _unquoted(value: bytes, table: Table) -> str:
    """A value as text, without the quotes that it stands in."""
    text = value.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if table.quotes and text.startswith('"') else text


def _fields(line: bytes, table: Table) -> tuple[list[int], list[bytes]]:
    """Where the values of a line end, each with its delimiter, and what they are, without blanks around them."""
    delimiter = table.delimiter.encode()
    mark, quoted = re.escape(delimiter), rb'(?:"(?:[^"]|"")*"?)?' if table.quotes else b""
    pattern = rb"(\s*?%b[^%b]*)(?:%b|$)" % (quoted, mark, mark)
    found = list(re.finditer(pattern, line.rstrip(b"\r")))
    # After the last value, the pattern matches once more, unless a delimiter precedes it.
    if len(found) > 1 and found[-1].start() == found[-1].end() and not found[-2].group().endswith(delimiter):
        found.pop()
    return [match.end() for match in found], [match.group(1).strip() for match in found]


FORMATS = (
    Format(
        "tsv",
        functools.partial(Table, delimiter="\t"),
        (".tsv", ".tab"),
        line=re.compile(rb"[^\t]*\t.*"),
        options=(*OF_TABLES, *OF_TEXT),
        hashed=True,
    ),
    Format("csv", Table, (".csv",), line=re.compile(rb"[^,]*,.*"), options=(*OF_TABLES, *OF_TEXT), hashed=True),
)
