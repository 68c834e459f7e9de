"""Single values, as Python, NumPy and pandas have them: the number that each is, or its name as a category.

Names are what Python's csv module and pandas write into a CSV file, so that a value has the same name in a dict, in a
data frame, in Parquet and in text. The exceptions: a float that is whole is named as the integer, since a column of
integers becomes one of floats as soon as a value is missing; and missing values have no name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

_FLOATS = (float, np.floating)
_PLAIN = frozenset((int, float))
"""The types of most numbers, which are looked at first: the other questions take longer."""
_CLOCKS = (np.datetime64, np.timedelta64)


def is_none(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, and what NumPy and pandas have for times and other types."""
    if value is None:
        return True
    if isinstance(value, str):
        return False
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, (*_FLOATS, *_CLOCKS, date, timedelta)):
        return bool(value != value)
    pandas = sys.modules.get("pandas")
    return pandas is not None and value is pandas.NA


def is_number(value: Any) -> bool:
    """Whether a value is a number; truth values and spans of time are not."""
    return isinstance(value, (Real, Decimal)) and not isinstance(value, (bool, np.timedelta64))


def hold_numbers(values: Iterable[Any]) -> bool:
    """Whether all values of a column are numbers or missing."""
    return all(type(value) in _PLAIN or is_none(value) or is_number(value) for value in values)


def number_of(value: Any) -> float:
    """The float64 nearest to a number; NaN for none.

    >>> from decimal import Decimal
    >>> number_of(2**53 + 1), number_of(Decimal("0.1")), number_of(None), number_of(-10**400)
    (9007199254740992.0, 0.1, nan, -inf)
    """
    if type(value) not in _PLAIN and is_none(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_of(value: Any) -> str:
    """The name of a value that is there.

    >>> text_of(1.0), text_of(1e-7), text_of(np.float32(0.1)), text_of(2**53 + 1), text_of(True), text_of("x")
    ('1', '1e-07', '0.1', '9007199254740993', 'True', 'x')
    >>> text_of(np.datetime64("2020-01-01T03:00")), text_of(np.datetime64("2020-01-01T03:00:00.5"))
    ('2020-01-01 03:00:00', '2020-01-01 03:00:00.500000')
    """
    if isinstance(value, _CLOCKS):
        exact = value.astype(f"{value.dtype.kind}8[us]")
        # Python has no nanoseconds; what has any is named as pandas names it.
        value = exact.item() if exact == value else str(value).replace("T", " ")
    if isinstance(value, timedelta) and not getattr(value, "nanoseconds", 0):
        # Those of pandas, too, as Python writes them.
        return str(timedelta(value.days, value.seconds, value.microseconds))
    return str(value).removesuffix(".0") if isinstance(value, _FLOATS) else str(value)


def bytes_of(value: Any) -> bytes:
    """The name of a value in UTF-8, empty for none."""
    if is_none(value):
        return b""
    return value if isinstance(value, bytes) else text_of(value).encode()
