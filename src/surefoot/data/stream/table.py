"""Tables of values between delimiters (CSV, TSV), and Parquet: a row per example, a column for the target.

A numeric column is one feature, `column`; a categorical one is a feature `column=value`, with the value 1, for each of
its values. Where there is no value (an empty one, NA, null, NaN and the like), the feature is `column=missing` in both
cases, so that a model can learn what it means; a row without a target has no label. All these names are hashed.

Values may be quoted, with doubled quotes inside, but not go on past the end of their line: a stray quote would then
swallow rows unseen. So rows are cut at line ends, threads parse them side by side, and every fault has its line.
Parquet is read by PyArrow, some thousand rows at a time, and goes the same way as text; its lines are its rows.

Y. Shafranovich, RFC 4180, 2005.
"""

from __future__ import annotations

import csv
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.faults import FINITE, shown, unreadable
from surefoot.data.stream.hashing import Hashing
from surefoot.data.stream.kernels import compiled
from surefoot.data.stream.kernels.layout import CATEGORICAL, DROPPED, NUMERIC, PADDING, TARGET, WEIGHT
from surefoot.data.stream.parsing import Plain, Workspace

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "null", "NULL", "None")
"""Values that stand for none."""
NONE = "missing"
"""What features are called that say so."""
SAMPLE = 1000
"""Rows at the beginning that decide which columns are numeric."""
REASONS = (
    "number of values",
    "quote",
    "target is not a number",
    "target is not finite",
    "weight is not a number of 0 or more",
    "weight is not finite or negative",
    "value is not a number",
    "value is not finite",
    "binary data",
)
"""What can be wrong with a line, in the order of the kernel's codes."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
BLANKS = " \t\r\v\f"
KINDS = ("dropped", "target", "weight", "numeric", "categorical")
"""What `TableOf.columns` calls the kinds of columns, in the order of `layout`."""


@dataclass(frozen=True)
class Table:
    """How a table is read.

    Columns are named by the first line, and are numeric where the first thousand rows hold numbers, categorical
    otherwise. `numeric`, `categorical` and `drop` take names or patterns such as "I*".

    Args:
        target: the column of labels, numbers; without it, rows have no label.
        weight: the column of importances; without it, all are 1.
        numeric: columns that are features with a value.
        categorical: columns whose values are features.
        drop: columns that are left out.
        delimiter: between values, one character.
        quotes: whether a value may stand between double quotes; otherwise these are characters like any other.
        header: whether the first line of each file has the names; otherwise columns are called 1, 2, 3 and so on.
        names: of the columns, in place of those of the first line.
        missing: values that stand for none.
        fields: whether each entry has a field, the number of its column among the features' columns in the order of
            their names, from 0: the same in every file of the same columns.
        hashing: of features.
    """

    target: str | None = None
    weight: str | None = None
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    drop: Sequence[str] = ()
    delimiter: str = ","
    quotes: bool = True
    header: bool = True
    names: Sequence[str] | None = None
    missing: Sequence[str] = MISSING
    fields: bool = False
    hashing: Hashing = field(default_factory=Hashing)

    def __post_init__(self) -> None:
        for name in ("numeric", "categorical", "drop", "names", "missing"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name}: found {getattr(self, name)!r}, expected a list of strings")
        if self.target is not None and self.target == self.weight:
            raise ValueError(f"weight: found {self.weight!r}, expected another column than the target")
        for name in ("target", "weight"):
            if getattr(self, name) in self.drop:
                raise ValueError(f"drop: found {getattr(self, name)!r}, which is the {name}; expected other columns")
        byte = self.delimiter.encode()
        if len(byte) != 1 or self.delimiter.isalnum() or self.delimiter in '"\n\r.+-':
            raise ValueError(
                f"delimiter: found {self.delimiter!r}, expected one ASCII character that is in no number, such as ','"
            )

    def opened(self, files: list[Any]) -> tuple[TableOf, list[Any]]:
        """The format for these files, whose columns the beginning of the first one tells; and the files to read.

        Raises:
            DataError: a column that is asked for is not there, or the first line has no names.
        """
        name = sources.name_of(files[0])
        beginning, first = sources.beginning(files[0])
        rest = [first, *files[1:]]
        if beginning.startswith(sources.PARQUET):
            return self._of_parquet(first, name), rest
        lines = [line for line in self._lines(beginning) if line.strip()]
        if not lines:
            raise DataError(f"{name}: is empty, expected at least one line of data")
        head = self._values(lines[0])
        if self.header and all(_NUMBER.fullmatch(value) for value in head):
            raise DataError(
                f"{name}:1:1: found only numbers in the first line, expected names of columns; say that there is no "
                f"header, or give the names"
            )
        names = tuple(self.names or (head if self.header else map(str, range(1, len(head) + 1))))
        rows = [self._values(line) for line in lines[int(self.header) : SAMPLE]]
        numeric = [self._are_numbers([row[k] for row in rows if k < len(row)]) for k in range(len(names))]
        return TableOf(self, names, self._kinds(name, names, numeric), tuple(head) if self.header else None), rest

    def _lines(self, beginning: bytes) -> list[str]:
        """The whole lines, as text; the last one is whole where the file has no more."""
        text = beginning.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        cut = len(text) if len(beginning) < sources.BEGINNING else text.rfind("\n") + 1
        return text[:cut].split("\n")

    def _values(self, line: str) -> list[str]:
        """The values of a line; not to be trusted where it is faulty."""
        quoting = csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE
        try:
            found = next(csv.reader([line], delimiter=self.delimiter, skipinitialspace=True, quoting=quoting), [])
        except csv.Error:
            return []
        return [value.strip(BLANKS) for value in found]

    def _are_numbers(self, values: list[str]) -> bool:
        return all(value in self.missing or _NUMBER.fullmatch(value) for value in values)

    def _of_parquet(self, file: Any, name: str) -> TableOf:
        if self.names is not None:
            raise DataError(f"{name}: is a Parquet file, whose columns have names; leave out those given")
        fields = sources.parquet_columns(file, name)
        kinds = self._kinds(name, tuple(fields), [kind == "number" for kind in fields.values()])
        used = {column: kind for column, kind in zip(fields, kinds, strict=True) if kind != DROPPED}
        if nested := [column for column in used if fields[column] == "nested"]:
            raise DataError(f"{name}: column {nested[0]!r} holds lists or records, expected single values; drop it")
        return TableOf(replace(self, delimiter=","), tuple(used), tuple(used.values()), None)

    def _kinds(self, file: str, names: tuple[str, ...], numeric: Sequence[bool]) -> tuple[int, ...]:
        """What each column is, by what is asked for, and otherwise by what it holds."""
        if repeated := [name for name in names if names.count(name) > 1]:
            raise DataError(f"{file}: found several columns called {repeated[0]!r}, expected different names")
        kinds = {name: NUMERIC if number else CATEGORICAL for name, number in zip(names, numeric, strict=True)}
        for patterns, kind in ((self.numeric, NUMERIC), (self.categorical, CATEGORICAL), (self.drop, DROPPED)):
            for pattern in patterns:
                matching = [pattern] if pattern in kinds else fnmatch.filter(names, pattern)
                if not matching:
                    raise DataError(_no_column(file, pattern, names))
                kinds |= dict.fromkeys(matching, kind)
        for column, kind in ((self.weight, WEIGHT), (self.target, TARGET)):
            if column is not None and column not in kinds:
                raise DataError(_no_column(file, column, names))
            if column is not None:
                kinds[column] = kind
        return tuple(kinds.values())


@dataclass(frozen=True)
class TableOf(Plain):
    """How the lines of a table are read whose columns are known.

    Args:
        table: what was asked for.
        names: of the columns.
        kinds: what each column is, as in the kernel.
        head: the values of the first line of every file; None where it is data.
    """

    table: Table
    names: tuple[str, ...]
    kinds: tuple[int, ...]
    head: tuple[str, ...] | None

    reasons: ClassVar[dict[int, str]] = dict(enumerate(REASONS, start=1))

    @property
    def hashing(self) -> Hashing:
        return self.table.hashing

    @property
    def fields(self) -> bool:
        return self.table.fields

    @property
    def header(self) -> Callable[[bytes, str], None] | None:
        return None if self.head is None else self._check

    @property
    def parquet(self) -> Sequence[str]:
        return self.names

    def columns(self, kind: str) -> list[str]:
        """The names of the "numeric" or the "categorical" columns."""
        return [name for name, found in zip(self.names, self.kinds, strict=True) if KINDS[found] == kind]

    def _check(self, line: bytes, name: str) -> None:
        """Whether a file has the columns of the first one.

        Raises:
            DataError: it has others.
        """
        found = tuple(self.table._values(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")))
        if found != self.head:
            raise DataError(
                f"{name}:1:1: found the columns {', '.join(found[:8])}, expected those of the first file, "
                f"{', '.join((self.head or ())[:8])}"
            )

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """What the kernel has to know of the columns."""
        words = [name.encode() for name in (*self.names, NONE, *dict.fromkeys(["", *self.table.missing]), NONE)]
        bounds = np.cumsum([0, *map(len, words)])
        text = np.frombuffer(bytearray(b"".join(words) + bytes(PADDING)), np.uint8)
        columns = len(self.names)
        spaces = np.empty((columns, 2), np.uint64)
        missing = np.empty((columns, len(words) - columns - 1), np.uint64)
        compiled("table", "describe")(text, bounds, self.hashing.seed, spaces, missing)
        features = sorted(self.columns("numeric") + self.columns("categorical"))
        numbers = [features.index(name) if name in features else -1 for name in self.names]
        return np.array(self.kinds), np.array(numbers), spaces, missing, text, bounds

    def run(self, text: np.ndarray, end: int, space: Workspace) -> int:
        longest = max((len(value.encode()) for value in self.table.missing), default=0)
        return compiled("table", "lines")(
            text,
            end,
            (*self.hashing.settings, ord(self.table.delimiter), self.table.quotes, longest),
            *self._arrays,
            space.state,
            space.labels,
            space.weights,
            space.indptr,
            space.indices,
            space.values,
            space.fields,
            space.known,
            space.recent,
            space.found,
            space.arena,
            space.unquoted,
            space.faults,
            space.scratch,
            space.counts,
        )

    def said(self, code: int, line: bytes, offset: int) -> str:
        ends, values = _fields(line, self.table)
        place = sum(end <= offset for end in ends)
        column = self.names[place] if place < len(self.names) else ""
        found = shown(values[place] if place < len(values) else b"")
        match self.reasons[code]:
            case "number of values":
                return f"found {len(values)} values, expected {len(self.names)}, one for each column"
            case "quote":
                return (
                    "found a quoted value that does not end before a delimiter in its line, expected quotes in pairs; "
                    "or say that quotes are characters like any other"
                )
            case "target is not a number":
                return f"found {found} in the target's column {column!r}, expected a number"
            case "target is not finite":
                return f"found {found} in the target's column {column!r}, {FINITE}"
            case "weight is not a number of 0 or more" | "weight is not finite or negative":
                return f"found {found} in the weight's column {column!r}, expected a finite number of 0 or more"
            case "value is not a number":
                return f"found {found} in the numeric column {column!r}, expected a number; or make it categorical"
            case "value is not finite":
                return f"found {found} in the numeric column {column!r}, {FINITE}"
        text = f"a table of text with {self.table.delimiter!r} between values"
        return unreadable(line, text, "a table in UTF-8")


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


def _no_column(file: str, name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"{file}: has no column {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {some}")
