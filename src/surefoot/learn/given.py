"""Numbers, weights and values of columns as users give them for one example, checked."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from decimal import Decimal
from numbers import Complex, Real
from typing import Any

import numpy as np

MOST_BITS = 1 << 12
"""Of whole numbers: Python does not write down much longer ones."""


def numbers_of(x: Any) -> np.ndarray:
    """A row as an array of numbers.

    Raises:
        ValueError: it is something else.
    """
    try:
        values = np.asarray(x)
        if values.dtype.kind == "O":
            values = values.astype(np.float64)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        values = np.empty(0, object)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"x: found {shown(x)}, expected numbers, or a dict {{column: value}}")
    return values


def numbers_in(name: str, values: np.ndarray) -> np.ndarray:
    """An array of numbers; text that holds numbers is converted.

    Raises:
        ValueError: it holds something else.
    """
    try:
        if values.dtype.kind not in "mMc":
            return values if values.dtype.kind in "fiu" else values.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name}: found {shown(values.ravel()[0])}, an array of {values.dtype}; expected numbers")


def number_given(name: str, value: Any, expected: str, most: float = np.inf) -> float:
    """A finite number that a user gave.

    Raises:
        ValueError: it is something else, or larger in size.
    """
    if type(value) is float and abs(value) <= most and abs(value) < np.inf:
        return value
    try:
        found = float(value)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        found = np.nan
    if not (abs(found) <= most and abs(found) < np.inf):
        raise ValueError(f"{name}: found {shown(value)}, expected {expected}")
    return found


def weight_given(name: str, value: Any) -> float:
    """A weight that a user gave.

    Raises:
        ValueError: it is not one.
    """
    expected = "a finite number of at least 0"
    found = number_given(name, value, expected)
    if found < 0.0:
        raise ValueError(f"{name}: found {shown(value)}, expected {expected}")
    return found


def shown(value: Any) -> str:
    """What a user gave, in a few words."""
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:
        return "a whole number of thousands of digits"


def distinct(y: np.ndarray) -> np.ndarray:
    """The labels that there are, rising.

    Raises:
        ValueError: they are of types that have no order.
    """
    try:
        return np.unique(y)
    except TypeError:
        raise mixed(y) from None


def mixed(y: np.ndarray) -> ValueError:
    """The error about labels of types that have no order."""
    found = ", ".join(sorted({type(label).__name__ for label in y.tolist()}))
    return ValueError(f"y: found labels of the types {found}, expected labels of one type, and none missing")


def first_classes(y, classes) -> np.ndarray:
    """The classes of a model that begins with one example.

    Raises:
        ValueError: they are needed, or there is one alone.
    """
    if classes is not None:
        if len(found := np.unique(classes)) < 2:
            raise ValueError(f"classes: found {found.tolist()}, expected two classes or more")
        return found
    if isinstance(y, (bool, np.bool_)):
        return np.array([False, True])
    if isinstance(y, (int, np.integer)) and y in (0, 1):
        return np.array([0, 1])
    raise ValueError(
        f"classes: found None in the first call of learn_one, whose y is {y!r}; expected all classes that will ever "
        "occur, such as classes=['ham', 'spam']"
    )


def plain(name: Any, value: Any) -> Any:
    """The value of a column as what CSV files have values of: arrays and tensors without dimensions are numbers, and
    bytes text.

    Raises:
        ValueError: it has several values, or none that could be written down.

    >>> plain("wind", np.array(3.5)), plain("sky", b"clear")
    (3.5, 'clear')
    """
    if isinstance(value, str) or value is None:
        return value
    try:
        if getattr(value, "ndim", None) == 0 and not isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes):
            return value.decode()
    except (AttributeError, RuntimeError, ValueError):
        raise _strange(name, value) from None
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise _strange(name, value)
    kind = type(value)
    has_no_text = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    several = isinstance(value, (Complex, Iterable)) and not isinstance(value, (Real, Decimal))
    if several or has_no_text or callable(value):
        raise _strange(name, value)
    return value


def _strange(name: Any, value: Any) -> ValueError:
    return ValueError(f"x: found {shown(value)} for {name!r}, expected a number, text, a date, True or False, or None")
