"""Tables: a row per example, a column for the target, and how columns become features, whatever files hold them.

A numeric column is one feature, `column`; a categorical one is a feature `column=value`, with the value 1, for each of
its values. Where there is no value (an empty one, NA, null, NaN and the like), the feature is `column=missing` in both
cases, so that a model can learn what it means; a row without a target has no label. All these names are hashed.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.arrays import Strings
from surefoot.data.stream.faults import FINITE, shown
from surefoot.data.stream.hashing import MOST_BITS, MOST_BITS_OF_A_FIELD, Hashing
from surefoot.data.stream.kernels import compiled
from surefoot.data.stream.kernels.layout import CATEGORICAL, CLASS, DROPPED, NUMERIC, PADDING, TARGET, WEIGHT
from surefoot.data.stream.number_like import advice

MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NaT", "null", "NULL", "None", "?", "-", ".", "\\N",
)  # fmt: skip
"""Values that stand for none, besides the empty one: what statistics, spreadsheets, databases and UCI's files write."""
NONE = "missing"
"""What features are called that say so."""
DELIMITERS = ";\t|,"
"""That a table of one column was perhaps written with."""
KINDS = ("dropped", "target", "weight", "numeric", "categorical", "class")
"""What `Schema.columns` calls the kinds of columns, in the order of `layout`."""
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


@dataclass(frozen=True)
class Table:
    """How a table is read.

    Columns are named by the first line, and are numeric where the first thousand rows hold numbers, categorical
    otherwise. `numeric`, `categorical` and `drop` take names or patterns such as "I*".

    Args:
        target: the column of labels; without it, rows have no label.
        weight: the column of example weights; without it, all are 1.
        numeric: columns that are features with a value.
        categorical: columns whose values are features.
        drop: columns that are ignored.
        delimiter: between values, one character.
        quotes: whether a value may stand between double quotes; otherwise these are characters like any other.
        header: whether the first line of each file has the names; otherwise columns are called 1, 2, 3 and so on.
        names: of the columns, in place of those of the first line.
        missing: values that stand for none, as the empty one always does.
        fields: whether each entry has a field, the number of its column among the features' columns in the order of
            their names, from 0: the same in every file of the same columns.
        word_labels: whether labels are words, the names of classes, and not numbers; None: what the first thousand rows
            say. A word's label is a number that stands for it, see `Parsed.words`.
        hashing: of features; with fields, indices have at most 43 bits, and these unless given.
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
    word_labels: bool | None = None
    hashing: Hashing = field(default_factory=Hashing)

    def __post_init__(self) -> None:
        for name in ("numeric", "categorical", "drop", "names", "missing"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name}: found {getattr(self, name)!r}, expected a list of strings")
        if self.target is not None and self.target == self.weight:
            raise ValueError(f"weight: found {self.weight!r}, expected a column other than the target")
        for name in ("target", "weight"):
            if getattr(self, name) in self.drop:
                raise ValueError(f"drop: found {getattr(self, name)!r}, which is the {name}; expected other columns")
        if self.fields and self.hashing.bits > MOST_BITS_OF_A_FIELD:
            if self.hashing.bits != MOST_BITS:
                raise ValueError(
                    f"bits: found {self.hashing.bits}, expected at most {MOST_BITS_OF_A_FIELD} for entries with fields"
                )
            object.__setattr__(self, "hashing", replace(self.hashing, bits=MOST_BITS_OF_A_FIELD))
        byte = self.delimiter.encode()
        if len(byte) != 1 or self.delimiter.isalnum() or self.delimiter in '"\n\r.+-':
            raise ValueError(
                f"delimiter: found {self.delimiter!r}, expected one ASCII character that is in no number, such as ','"
            )

    def without_unknown(self, names: Sequence[str]) -> Table:
        """This table for files that a trained model reads: without the target and weights that they lack, and without
        the columns that it does not name.
        """
        known = {*self.numeric, *self.categorical, self.target, self.weight}
        drop = tuple(name for name in names if name not in known)
        target, weight = (column if column in names else None for column in (self.target, self.weight))
        return replace(self, drop=drop, target=target, weight=weight)

    def schema(self, file: str, names: Sequence[str], numeric: Sequence[bool]) -> Schema:
        """What the columns of a table are, by what is requested, and otherwise by what they hold.

        Args:
            file: for messages.
            names: of the columns.
            numeric: whether each holds numbers.

        Raises:
            DataError: a column that is requested is not there, or two have the same name.
        """
        return Schema(self, tuple(names), self._kinds(file, tuple(names), numeric))

    def _kinds(self, file: str, names: tuple[str, ...], numeric: Sequence[bool]) -> tuple[int, ...]:
        """What each column is, by what is requested, and otherwise by what it holds."""
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{file}: found several columns called {repeated[0]!r}, expected different names")
        kinds = {name: NUMERIC if number else CATEGORICAL for name, number in zip(names, numeric, strict=True)}
        for patterns, kind in ((self.numeric, NUMERIC), (self.categorical, CATEGORICAL), (self.drop, DROPPED)):
            for pattern in patterns:
                matching = [pattern] if pattern in kinds else fnmatch.filter(names, pattern)
                if not matching:
                    raise DataError(_no_column(file, pattern, names))
                kinds |= dict.fromkeys(matching, kind)
        for column, kind in ((self.weight, WEIGHT), (self.target, CLASS if self.word_labels else TARGET)):
            if column is not None and column not in kinds:
                raise DataError(_no_column(file, column, names))
            if column is not None:
                kinds[column] = kind
        return tuple(kinds.values())


@dataclass(frozen=True)
class Schema:
    """The columns of a table, and what they are.

    Args:
        table: what was requested.
        names: of the columns.
        kinds: what each column is, as in `layout`.
    """

    table: Table
    names: tuple[str, ...]
    kinds: tuple[int, ...]

    def columns(self, kind: str) -> list[str]:
        """The names of the columns of a kind, such as "numeric" or "categorical"."""
        return [name for name, found in zip(self.names, self.kinds, strict=True) if KINDS[found] == kind]

    @property
    def guessed(self) -> list[str]:
        """The columns that are categorical by what they hold, not by what was requested."""
        columns = self.columns("categorical")
        asked = {*self.table.categorical}
        for pattern in asked - {*columns}:
            asked = asked.union(fnmatch.filter(columns, pattern))
        return [name for name in columns if name not in asked]

    @property
    def class_column(self) -> int | None:
        """The place of the target where its values are words."""
        return self.kinds.index(CLASS) if CLASS in self.kinds else None

    @property
    def used(self) -> Schema:
        """Without the columns that are dropped."""
        used = [(name, kind) for name, kind in zip(self.names, self.kinds, strict=True) if kind != DROPPED]
        return Schema(self.table, tuple(name for name, _ in used), tuple(kind for _, kind in used))

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What kernels have to know of the columns: kinds, fields, hashes of names and of missing values, names."""
        words = [name.encode() for name in (*self.names, NONE, *dict.fromkeys(["", *self.table.missing]), NONE)]
        bounds = np.cumsum([0, *map(len, words)])
        text = np.frombuffer(bytearray(b"".join(words) + bytes(PADDING)), np.uint8)
        columns = len(self.names)
        spaces = np.empty((columns, 2), np.uint64)
        missing = np.empty((columns, len(words) - columns - 1), np.uint64)
        compiled("table", "describe")(text, bounds, self.table.hashing.seed, spaces, missing)
        features = {name: k for k, name in enumerate(sorted(self.columns("numeric") + self.columns("categorical")))}
        fields = [features.get(name, -1) for name in self.names]
        return np.array(self.kinds), np.array(fields), spaces, missing, text, bounds

    def name_of(self, column: int) -> Strings:
        """The name of a column, as a string that no row has."""
        text = np.frombuffer(self.names[column].encode(), np.uint8)
        return Strings(np.empty(0, np.int32), text, np.array([0, len(text)]))

    @property
    def none(self) -> np.ndarray:
        """The bytes of the value that says that there is none."""
        return np.frombuffer(NONE.encode(), np.uint8)

    @property
    def longest_missing(self) -> int:
        """Bytes of a value that stands for none, at most."""
        return max((len(value.encode()) for value in self.table.missing), default=0)

    def said(self, reason: str, column: str, found: str) -> str:
        """What was found in a column, and what was expected, for the reasons that concern one value."""
        how = advice(ast.literal_eval(found))
        match reason:
            case "target is not a number":
                return f"found {found} in the target's column {column!r}, expected a number{how}"
            case "target is not finite":
                return f"found {found} in the target's column {column!r}, {FINITE}"
            case "weight is not a number of 0 or more" | "weight is not finite or negative":
                return f"found {found} in the weight's column {column!r}, expected a finite number of 0 or more"
            case "value is not a number":
                return f"found {found} in the numeric column {column!r}, expected a number{how}; or make it categorical"
            case "value is not finite":
                return f"found {found} in the numeric column {column!r}, {FINITE}"
        return f"found {found} in the column {column!r}, expected text without control characters"


def _no_column(file: str, name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    said = f"did you mean {near[0]!r}?" if near else f"there are {some}"
    if len(names) == 1 and (mark := next((mark for mark in DELIMITERS if mark in names[0]), None)):
        said = f"its first line is {shown(names[0].encode())}: give the delimiter, perhaps {mark!r}"
    return f"{file}: has no column {name!r}; {said}"
