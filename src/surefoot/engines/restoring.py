"""What a state was written down as, checked: files can be edited, and kernels do not check bounds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from surefoot.records.restored import is_real

LARGEST = 1 << 62
PIECE = 1 << 15
"""Rows that are looked at at once."""


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """While a state is taken apart that may be anything.

    Raises:
        ValueError: it is not a state.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"state: found something that is not a learner's ({type(error).__name__}: {error})") from None


def array(arrays: Mapping[str, np.ndarray], name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array of that name, of this type and shape, of which None stands for any length.

    Raises:
        ValueError: there is none, or it is another.

    >>> array({"last": np.zeros(3)}, "last", np.float64, (None,))
    array([0., 0., 0.])
    """
    expected = f"{np.dtype(dtype)} of shape ({', '.join('any' if n is None else str(n) for n in shape)})"
    if name not in arrays:
        raise ValueError(f"{name}: found nothing, expected {expected}")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(n is None or n == m for n, m in zip(shape, found.shape, strict=True))
    if not fits or found.dtype != dtype:
        raise ValueError(f"{name}: found {found.dtype} of shape {found.shape}, expected {expected}")
    return found


def ids(arrays: Mapping[str, np.ndarray], name: str, count: int, features: int) -> np.ndarray:
    """The ids of that name, as many, rising, each below the number of features.

    Raises:
        ValueError: there are none, or they are others.

    >>> ids({"zeros.ids": np.array([2, 5])}, "zeros.ids", 2, 6)
    array([2, 5])
    """
    found = array(arrays, name, np.int64, (count,))
    if len(found) and (np.any(np.diff(found) <= 0) or found[0] < 0 or found[-1] >= features):
        raise ValueError(f"{name}: found ids that do not rise, or a feature that did not occur, expected others")
    return found


def whole(numbers: Mapping[str, Any], name: str, most: int = LARGEST) -> int:
    """The whole number of that name, from 0 to `most`.

    Raises:
        ValueError: there is none, or it is another.
    """
    found = numbers.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, np.integer)) or not 0 <= found <= most:
        raise ValueError(f"{name}: found {found!r}, expected a whole number from 0 to {most}")
    return int(found)


def real(numbers: Mapping[str, Any], name: str) -> float:
    """The finite number of that name.

    Raises:
        ValueError: there is none, or it is another.
    """
    found: Any = numbers.get(name)
    if not is_real(found):
        raise ValueError(f"{name}: found {found!r}, expected a number")
    return float(found)


def numbers(arrays: Mapping[str, np.ndarray], name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """A copy of `array`, all of whose numbers are finite.

    Raises:
        ValueError: there is none, or it is another.
    """
    return finite(name, array(arrays, name, dtype, shape)).copy()


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """The numbers, all of which are finite.

    Raises:
        ValueError: some are not.
    """
    most = float(np.finfo(values.dtype).max)
    between(name, values, -most, most)
    return values


def between(name: str, values: np.ndarray, least: float, most: float) -> None:
    """Whether all numbers are in this range, looked at in pieces.

    Raises:
        ValueError: some are not, or are not numbers.

    >>> between("upto", np.array([0.5]), 0.0, 1.0)
    """
    for first in range(0, len(values), PIECE):
        own = values[first : first + PIECE]
        wrong = ~((own >= least) & (own <= most))
        if wrong.any():
            expected = f"at least {least:g}" if most == np.inf else f"numbers from {least:.4g} to {most:.4g}"
            raise ValueError(f"{name}: found {own[wrong][0]}, expected {expected}")
