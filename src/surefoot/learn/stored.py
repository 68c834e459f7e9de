"""Tables of numbers and names of features as the arrays of a model file, and back: small, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.data.stream import Names

LARGEST_SIZE = 10**18
"""Of a table that has rows of some features only. Such of larger ids have the id of each row."""


def check_finite(name: str, array: np.ndarray) -> None:
    """Raises ValueError unless all numbers of an array are finite."""
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{name}: found {array.dtype} with NaN or infinity, expected finite numbers")


def check_rising(name: str, array: np.ndarray) -> None:
    """Raises ValueError unless an array holds whole numbers from 0 on that rise, each once."""
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(f"{name}: found {array.dtype} of shape {array.shape}, expected whole numbers in a row")
    if len(array) and (array[0] < 0 or (array[1:] <= array[:-1]).any()):
        raise ValueError(f"{name}: found a negative number, or one that is not above the one before; expected neither")


def narrow(array: np.ndarray) -> np.ndarray:
    """Whole numbers in 32 bits where they fit."""
    if array.dtype == np.int64 and array.max(initial=0) <= np.iinfo(np.int32).max:
        return array.astype(np.int32)
    return array


def array_name(part: str) -> str:
    """What a file calls the numbers of a part.

    >>> array_name("weight"), array_name("bias")
    ('weights', 'biases')
    """
    return f"{part}{'es' if part.endswith('s') else 's'}"


def compact(name: str, table: np.ndarray, ids: np.ndarray | None, size: int | None) -> dict[str, np.ndarray]:
    """A table of numbers, as rows that are not zero and their places where that is smaller.

    Args:
        name: what its arrays are called.
        table: the numbers.
        ids, size: of the table that these are rows of; None for one that has all rows.
    """
    there = table.any(axis=1)
    rows: Any = slice(None) if there.all() else np.flatnonzero(there)  # a slice copies nothing
    places = np.arange(len(table))[rows] if size is None or ids is None else ids[rows]
    shape = (len(table) if size is None else size, table.shape[1])
    of_row = table.shape[1] * table.itemsize
    if len(places) * (of_row + 4) >= shape[0] * of_row:
        whole = np.zeros(shape, table.dtype)
        whole[places] = table[rows]
        return {name: whole}
    return {f"{name}.rows": narrow(places), f"{name}.values": table[rows], f"{name}.shape": narrow(np.array(shape))}


@dataclass(frozen=True)
class Stored:
    """A table in a file, as `compact` writes it.

    Attributes:
        name: what its arrays are called.
        values: rows of numbers.
        size: rows of the table.
        rows: their places in it, rising; None where all rows are there.
    """

    name: str
    values: np.ndarray
    size: int
    rows: np.ndarray | None

    @classmethod
    def of(cls, name: str, arrays: Mapping[str, np.ndarray], columns: int) -> Stored:
        """The table of that name, of this many columns.

        Raises:
            KeyError, ValueError: it is missing, or is not a table of finite numbers.
        """
        values = arrays[name] if name in arrays else arrays[f"{name}.values"]
        check_finite(name, values)
        if values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] != columns:
            raise ValueError(f"{name}: found {values.dtype} of shape {values.shape}, expected {columns} columns")
        if name in arrays:
            return cls(name, values, len(values), None)
        places, shape = arrays[f"{name}.rows"], arrays[f"{name}.shape"]
        if shape.shape != (2,) or shape.dtype.kind not in "iu":
            raise ValueError(f"{name}.shape: found {shape.dtype} of shape {shape.shape}, expected two whole numbers")
        size, claimed = shape.tolist()
        check_rising(f"{name}.rows", places)
        if not len(places) <= size <= LARGEST_SIZE or (len(places) and places[-1] >= size):
            raise ValueError(f"{name}: found {len(places)} rows of {size}, or one beyond")
        if values.shape != (len(places), claimed):
            raise ValueError(f"{name}: found values of shape {values.shape}, expected ({len(places)}, {claimed})")
        return cls(name, values, size, places)

    def at(self, rows: np.ndarray | None) -> np.ndarray:
        """These rows of the table, which have all that are not zero; None for all."""
        if self.rows is None:
            return self.values
        table = np.zeros((self.size if rows is None else len(rows), self.values.shape[1]), self.values.dtype)
        table[self.rows if rows is None else np.searchsorted(rows, self.rows)] = self.values
        return table


def written(names: Mapping[int, str]) -> dict[str, np.ndarray]:
    """Names as arrays: features, where the name of each ends, and all names one after the other in UTF-8."""
    if isinstance(names, Written):
        return names.arrays
    arrays = names.arrays() if isinstance(names, Names) else None
    if arrays is None:
        texts = [name.encode() for name in names.values()]
        ends = np.cumsum([len(text) for text in texts])
        features, text = np.array([*names], np.int64), np.frombuffer(b"".join(texts), np.uint8)
    else:
        features, ends, text = arrays["slots"], arrays["ends"], arrays["text"]
    return {"names.features": narrow(features), "names.ends": narrow(ends), "names.text": text}


class Written(Mapping[int, str]):
    """Names from a file, which are decoded when they are asked for.

    Raises:
        KeyError, ValueError: arrays are missing, or do not fit together.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = {name: arrays[name] for name in ("names.features", "names.ends", "names.text")}
        if self.arrays["names.features"].ndim != 1:
            raise ValueError(f"names.features: found shape {self.arrays['names.features'].shape}, expected one row")
        self._order = np.argsort(self.arrays["names.features"], kind="stable")
        self._sorted = self.arrays["names.features"][self._order]
        self._check()

    def _check(self) -> None:
        features, ends, text = self.arrays.values()
        check_rising("names.features", self._sorted)
        if ends.dtype.kind not in "iu" or ends.shape != features.shape or text.dtype != np.uint8 or text.ndim != 1:
            raise ValueError(f"names: found {ends.shape} ends of {features.shape} features, in {text.dtype}")
        if (np.diff(ends, prepend=0) < 0).any() or ends[-1:].sum() != len(text):
            raise ValueError(f"names.ends: found ends that do not rise to {len(text)}, where the text ends")

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self):
        return iter(self.arrays["names.features"].tolist())

    def __getitem__(self, feature: int) -> str:
        place = int(np.searchsorted(self._sorted, feature))
        if place == len(self._sorted) or self._sorted[place] != feature:
            raise KeyError(feature)
        number = int(self._order[place])
        ends = self.arrays["names.ends"]
        begin = int(ends[number - 1]) if number else 0
        return self.arrays["names.text"][begin : int(ends[number])].tobytes().decode("utf-8", "replace")
