"""One example as users have it, a dict, a line of text or a row of a matrix, as ids and values of its features."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np

from surefoot.data.stream.table import MISSING, NONE
from surefoot.data.stream.values import is_none, is_number, number_of, text_of
from surefoot.learn.given import numbers_of, plain
from surefoot.native import kernel

LARGEST = float(np.finfo(np.float32).max)
MISSING_TEXT = frozenset(MISSING)
SORTED_BY_KERNEL = 256
"""Entries that are sorted by insertion, at most."""
OUT_OF_RANGE, NOT_FINITE, TOO_MANY = -1, -2, -3
"""What `kept` returns for a row that cannot be used."""

NUMBERS = frozenset((int, float))

Entries = tuple[Any, Any]
"""Ids of features and their values, two arrays or two collections."""


class OutOfRangeError(ValueError):
    """A value of an example is not finite, or beyond float32.

    Args:
        feature: whose; None where its values are in range, and their sum is not.
        value: the value.
        name: of the feature, where users know it by one.
    """

    def __init__(self, feature: int | None, value: float = 0.0, name: Any = None):
        self.feature, self.value, self.name = feature, value, name
        of = f"feature {feature}" if name is None else repr(name)
        found = "values of a feature that sum to more" if feature is None else f"{value} for {of}"
        super().__init__(f"x: found {found}, expected finite numbers of at most {LARGEST:.4g}")

    def named(self, names: Mapping[Any, int]) -> OutOfRangeError:
        """The same error, with the name of the feature if these, {name: feature}, have it."""
        found = next((name for name, feature in names.items() if feature == self.feature), self.name)
        return OutOfRangeError(self.feature, self.value, found)


def entries_of(ids: Any, values: Any, features: int, zeros: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The entries of rising ids: what kernels may read.

    Args:
        ids: below `features`, in any order; values of the same id are summed.
        values: one for each.
        features: how many there are.
        zeros: whether those of value 0 are among them, as in tables, or are dropped.

    Raises:
        ValueError: an id is out of range, or a value is not finite.
    """
    if not isinstance(ids, np.ndarray):
        ids, values = numbers_from(ids, features), np.array([*map(number_of, values)])
    ids, values = ids.astype(np.int64, copy=False), np.asarray(values, np.float64)
    rows, own = np.empty(len(ids), np.int64), np.empty(len(ids))
    size = KEPT(ids, values, features - 1, LARGEST, SORTED_BY_KERNEL, zeros, rows, own)
    if size == TOO_MANY:
        ids, place = np.unique(ids, return_inverse=True)
        return entries_of(ids, np.bincount(place, values), features, zeros)
    if size == OUT_OF_RANGE:
        wrong = ids[(ids < 0) | (ids >= features)][0]
        raise ValueError(f"x: found feature {wrong}, expected 0 … {features - 1}")
    if size == NOT_FINITE:
        wrong = np.flatnonzero(~(np.abs(values) <= LARGEST))
        if len(wrong):
            raise OutOfRangeError(int(ids[wrong[0]]), float(values[wrong[0]]))
        raise OutOfRangeError(None)
    return rows[:size], own[:size]


def numbers_from(ids: Iterable, features: int) -> np.ndarray:
    """Ids as Python has them, which may be anything.

    Raises:
        ValueError: one is not that of a feature.
    """
    found = [*ids]
    for j in found:
        if not (isinstance(j, (int, np.integer)) and 0 <= j < features):
            raise ValueError(f"x: found feature {j!r}, expected whole numbers from 0 to {features - 1}")
    return np.array(found, np.int64)


def kept(ids, values, last, largest, most, zeros, rows, own):
    """Copies the entries, without those that are 0 unless `zeros`, sorted by id, those of the same id summed; returns
    how many there are, or what is wrong with them: more than `most` are only copied if they are sorted."""
    size, summed = 0, False
    for e in range(ids.size):
        j, value = ids[e], values[e]
        if j < 0 or j > last:
            return -1
        if not np.abs(value) <= largest:
            return -2
        k = size
        while k > 0 and rows[k - 1] > j:
            k -= 1
        if k < size and ids.size > most:
            return -3
        if k > 0 and rows[k - 1] == j:
            own[k - 1] += value
            summed = True
        elif value != 0.0 or zeros:
            for m in range(size, k, -1):
                rows[m], own[m] = rows[m - 1], own[m - 1]
            rows[k], own[k] = j, value
            size += 1
    if summed:
        count = 0
        for e in range(size):
            if not np.abs(own[e]) <= largest:
                return -2
            if own[e] != 0.0 or zeros:
                rows[count], own[count] = rows[e], own[e]
                count += 1
        size = count
    return size


def entered(given, given_values, bounds, keeps, largest, most, zeros, indptr, ids, values):
    """`kept` for a RowBuffer, followed by a 0 for every one of `zeros` that the row does not have, as `Zeros` has it;
    indptr[1] is how many entries there are, bounds[1] how many features the row needs."""
    last = 1 + given[0]
    size = kept(given[1:last], given_values[: last - 1], bounds[0], largest, most, keeps[0] != 0, ids, values)
    if size >= 0:
        k, row = 0, size
        bounds[1] = ids[size - 1] + 1 if size > 0 else 0
        for z in range(zeros.size):
            while k < row and ids[k] < zeros[z]:
                k += 1
            if k == row or ids[k] != zeros[z]:
                ids[size], values[size] = zeros[z], 0.0
                size += 1
        indptr[1] = size
    return size


KEPT, ENTERED = kernel(kept), kernel(entered, kept)


class RowBuffer:
    """Where rows are written to, one after the other, for calls that are laid out once.

    Args:
        entries: that a row may have.

    Attributes:
        arguments: the first ones of `entered`.
    """

    def __init__(self, entries: int):
        self.entries = entries
        self._ids, self._values = np.zeros(1 + entries, np.int64), np.zeros(entries)
        self._bounds, self._keeps = np.zeros(2, np.int64), np.zeros(1, np.int64)
        self._settings = 1, False
        self.arguments = self._ids, self._values, self._bounds, self._keeps, LARGEST, SORTED_BY_KERNEL

    @property
    def needed(self) -> int:
        """How many features the latest row needs that was entered."""
        return self._bounds.item(1)

    def write(self, ids: Any, values: Any, features: int, zeros: bool) -> bool:
        """Writes a row, see `entries_of`, unless it is too long or has what is not a number."""
        size = len(ids)
        if size > self.entries:
            return False
        if self._settings != (features, zeros):
            self._settings = features, zeros
            self._bounds[0], self._keeps[0] = features - 1, zeros
        if type(ids) is np.ndarray:
            self._ids[0] = size
            self._ids[1 : size + 1], self._values[:size] = ids, values
        else:
            write_ids, write_values = writing(size)
            try:
                write_ids(self._ids, 0, size, *ids)
                write_values(self._values, 0, *values)
            except struct.error:
                return False
        return True


@cache
def writing(size: int) -> tuple[Callable, Callable]:
    """What writes the number of entries and their ids, and what writes their values."""
    return struct.Struct(f"={1 + size}q").pack_into, struct.Struct(f"={size}d").pack_into


def of_array(x: Any, features: int | None) -> tuple[Entries, int]:
    """Ids and values of a row of a matrix, as they are, and how many features it has.

    Args:
        x: a CSR matrix of one row, or numbers, (features,) or (1, features).
        features: how many it has to have; None for any number.

    Raises:
        ValueError: it has another number, or several rows.
    """
    scipy = sys.modules.get("scipy.sparse")  # without which there is no such matrix
    if scipy is not None and scipy.issparse(x):
        shape = x.shape
        x = x if x.format == "csr" else x.tocsr()
        ids, values, size = x.indices, x.data, x.indptr.item(-1)
        if not len(ids) == len(values) == size:
            ids, values = ids[:size], values[:size]
    else:
        values = numbers_of(x)
        shape = values.shape
        values = values.ravel()
        ids = np.arange(values.size)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1):
        raise ValueError(f"x: found an array of shape {shape}, expected one row; fit and partial_fit take several")
    if features is not None and shape[-1] != features:
        raise ValueError(f"x: found a row of {shape[-1]} features, expected {features}")
    return (ids, values), shape[-1]


def is_named(x: Any) -> bool:
    """Whether features have names, as in a text, a dict, or a row of a data frame."""
    return are_named(type(x)) or (hasattr(x, "items") and getattr(x, "ndim", 0) == 1)


@lru_cache(maxsize=64)
def are_named(kind: type) -> bool:
    """Whether features have names in all examples of this type."""
    return issubclass(kind, (dict, str, Mapping))


def named(x: Mapping[Any, Any]) -> tuple[list[Any], list[float]]:
    """The names of the features of a dict {column: value}, and their values.

    A number is the value of the feature `column`; anything else is the feature `column=value`, with the value 1; where
    there is none, the feature is `column=missing`. So a dict is what a row of a CSV file with these columns is.

    >>> named({"wind": 3, "sky": "clear", "rain": None})
    (['wind', 'sky=clear', 'rain=missing'], [3, 1.0, 1.0])
    """
    names, values = [], []
    for name, value in x.items():
        kind = type(value)
        if (kind is float and value == value) or kind is int:
            names.append(name)
            values.append(value)
        elif kind is str and value not in MISSING_TEXT:
            names.append(f"{name}={value}")
            values.append(1.0)
        else:
            own, number = name_of(name, value)
            names.append(own)
            values.append(number)
    return names, values


def are_numbers(values: Collection) -> bool:
    """Whether all are finite numbers, and so the values of the features that they are named by."""
    try:
        return NUMBERS.issuperset(map(type, values)) and isfinite(sum(values))
    except OverflowError:  # of an integer that is too large for a float
        return False


def name_of(name: Any, value: Any) -> tuple[Any, float]:
    """The name of a column's feature, and its value."""
    own, text, number = name_and_text(name, value)
    return (own, number) if text is None else (f"{own}={text}", number)


def name_and_text(name: Any, value: Any) -> tuple[Any, str | None, float]:
    """The column of a feature, the text that it is of, or None for a number, and its value.

    Raises:
        ValueError: the value is neither a number nor something that has a name, such as a list.
    """
    value = plain(name, value)
    if is_none(value) or (isinstance(value, str) and value in MISSING_TEXT):
        return name, NONE, 1.0
    if is_number(value):
        return name, None, number_of(value)
    return name, text_of(value), 1.0


def worded(text: str) -> tuple[list[str], list[float]]:
    """The names of the features of a text, and their values: words, each as often as it occurs, or Vowpal Wabbit's
    `|namespace name:value …`.

    Raises:
        ValueError: what stands before the first bar, or a value, cannot be read.

    >>> worded("free prize"), worded("|a rain wind:3")
    ((['free', 'prize'], [1.0, 1.0]), (['a^rain', 'a^wind'], [1.0, 3.0]))
    """
    if "|" not in text:
        words = text.split()
        return words, [1.0] * len(words)
    before, *spaces = text.split("|")
    if before.strip():
        raise ValueError(f"x: found {before.strip()!r} before |, expected features alone; the label is y")
    names, values = [], []
    for space in spaces:
        prefix, factor, words = "", 1.0, space.split()
        if words and not space[0].isspace():
            own, factor = valued(words.pop(0))
            prefix = f"{own}^"
        for word in words:
            name, value = valued(word) if ":" in word else (word, 1.0)
            names.append(prefix + name)
            values.append(value * factor)
    return names, values


def valued(word: str) -> tuple[str, float]:
    """The name and the value of NAME:VALUE or NAME."""
    name, colon, value = word.partition(":")
    try:
        number = float(value) if colon else 1.0
    except ValueError:
        number = np.nan
    if not name or number != number:
        raise ValueError(f"x: found {word!r}, expected NAME:VALUE or NAME")
    return name, number


class Numbered(Mapping):
    """The columns of features that are named by their numbers, as a dict {number: number} has them.

    >>> Numbered(3).get(2), Numbered(3).get(3), Numbered(3).get("a"), list(Numbered(2))
    (2, None, None, [0, 1])
    """

    def __init__(self, size: int):
        self.size = size

    def __getitem__(self, name: Any) -> int:
        if not (isinstance(name, (int, np.integer)) and 0 <= name < self.size):
            raise KeyError(name)
        return int(name)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


class Vocabulary:
    """The columns that names of features have, in the order in which they were first learned from.

    Args:
        columns: of the names that are known.
        fixed: whether there are no others.
    """

    def __init__(self, columns: Any, fixed: bool):
        self.columns, self.fixed = columns, fixed

    def __len__(self) -> int:
        return len(self.columns)

    def entries(self, x: Any, grow: bool = False) -> Entries:
        """Columns and values of a dict or a text, in any order, some perhaps twice.

        Args:
            x: a mapping {column: value}, or a string; see `named` and `worded`.
            grow: whether new names get columns, as in training; otherwise they add nothing.

        Raises:
            ValueError: a name is not known where there are no others, or a value is not finite; nothing is added then.
        """
        if type(x) is dict and are_numbers(x.values()):
            names, values = x.keys(), x.values()
            if type(self.columns) is Numbered:  # they are checked where they are used
                return names, values
        else:
            names, values = worded(x) if isinstance(x, str) else named(x)
        try:
            return [*map(self.columns.__getitem__, names)], values
        except KeyError:
            return self._with_new([*names], [*values], grow)

    def _with_new(self, names: list, values: list, grow: bool) -> tuple[list, list]:
        """Columns and values where some names do not have a column yet."""
        columns = [*map(self.columns.get, names)]
        if self.fixed:
            new = names[columns.index(None)]
            known = ", ".join(map(repr, list(islice(self.columns, 6)))) + (", …" if len(self.columns) > 6 else "")
            raise ValueError(f"x: found the feature {new!r}, expected those that the model began with: {known}")
        for name, value in zip(names, values, strict=True):
            if not abs(value) <= LARGEST:
                raise OutOfRangeError(0, value, name)
        if grow:
            for name in names:
                self.columns.setdefault(name, len(self.columns))
            return [self.columns[name] for name in names], values
        there = [k for k, column in enumerate(columns) if column is not None]
        return [columns[k] for k in there], [values[k] for k in there]

    @property
    def names(self) -> Mapping[Any, int]:
        """The column of each name; none where columns have numbers only."""
        return {} if isinstance(self.columns, Numbered) else self.columns

    def forget(self, size: int) -> None:
        """Takes columns from the names that were the last to get any, until there are this number."""
        while len(self.columns) > size:
            self.columns.popitem()
