"""Values that are numbers to people, but not to `float`: with decimal commas, thousands separators, signs of currency.

A column of such values is categorical, each value a feature of its own. That is reported once, as it is seldom meant.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence

from surefoot.data.stream.faults import DataWarning, shown

SAMPLE = 1000
"""Rows at the beginning that decide which columns are numeric."""
SHARE, DIFFERENT = 10, 10
"""One of this number of values, at most, is something else in a column that looks numeric; or else up to half are the
same word, which stands for none, among this many different numbers.
"""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_BLANK, _MINUS = " \u00a0\u2009\u202f", "\u2212\u2013"
_UNIT = "(?:[$€£¥₹%‰]|USD|EUR|GBP|JPY|CHF|INR|CNY)?"
_LIKE = re.compile(
    rf"[+{_MINUS}-]?{_UNIT}[{_BLANK}]?[+{_MINUS}-]?(?:"
    rf"[1-9]\d{{0,2}}(?:[{_BLANK}'\u2019_]\d{{3}})+(?:[.,]\d*)?"  # thousands separators that are in no other number
    r"|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?|[1-9]\d{0,2}(?:\.\d{3})+,\d*|[1-9]\d{0,2}(?:\.\d{3}){2,}"
    r"|\d*,\d+|\d+\.?\d*|\.\d+"
    rf")(?:[eE][+-]?\d+)?[{_BLANK}]?{_UNIT}"
)


def is_number_like(value: str) -> bool:
    """Whether a value that is not a number is one to people.

    >>> [is_number_like(text) for text in ("0,25", "1.234,5", "1 000 000", "€ 3.50", "12 %", "\u22121.5")]
    [True, True, True, True, True, True]
    >>> [is_number_like(text) for text in ("10.0.0.1", "2024-05-01", "030 123 456", "u7", "1,2,3", "A,5", "")]
    [False, False, False, False, False, False, False]
    """
    return _LIKE.fullmatch(value) is not None and NUMBER.fullmatch(value) is None


def are_words(values: Iterable[str], missing: Collection[str]) -> bool:
    """Whether labels are words rather than numbers: more than a few of those that are there are no numbers.

    >>> are_words(["ham", "spam", "NA"], ("NA",)), are_words(["True", "False"], ())
    (True, True)
    >>> are_words(["1", "0", "-1"], ()), are_words([*"0101010101", "x"], ()), are_words(["0,5", "1,5"], ())
    (False, False, False)
    """
    there = [value for value in values if value not in missing]
    words = sum(NUMBER.fullmatch(value) is None and not is_number_like(value) for value in there)
    return words * SHARE > len(there)


def advice(value: str) -> str:
    """What errors add where a number was expected and this was found.

    >>> advice("0,25"), advice("red")
    (', with a decimal point and no other signs, such as 1234.5', '')
    """
    return ", with a decimal point and no other signs, such as 1234.5" if is_number_like(value) else ""


def remark(values: Sequence[str], missing: Collection[str], numbers: bool) -> str | None:
    """Why a column of these values is not numeric, if that is seldom meant.

    Args:
        values: as text.
        missing: that stand for none.
        numbers: whether the column would be numeric if all its values were numbers; text elsewhere may be digits.

    >>> remark(["0,25", "3"], (), numbers=True)
    "'0,25' is not a number; write numbers with a decimal point and no other signs, such as 1234.5"
    >>> remark(["1", "12a", *map(str, range(20))], (), numbers=True)
    "'12a' is not a number; write it as one"
    >>> remark(["1", "-", *map(str, range(20))], (), numbers=True)
    "'-' is not a number; leave values that are missing empty"
    """
    like, words, others, seen, most = None, set(), 0, [], len(values)
    for value in values:
        if value in missing:
            continue
        if NUMBER.fullmatch(value):
            seen.append(value)
        elif is_number_like(value):
            seen.append(value)
            like = like or value
        else:
            words.add(value)
            others += 1
            if others * (2 if len(words) == 1 else SHARE) > most:  # most columns of categories end here
                return None
    share = 2 if len(words) == 1 and len({*seen}) >= DIFFERENT else SHARE
    if others * share > others + len(seen):
        return None
    if like is not None:
        found = shown(like.encode())
        return f"{found} is not a number; write numbers with a decimal point and no other signs, such as 1234.5"
    if words and numbers:
        word = min(words)
        remedy = "write it as one" if any(map(str.isdigit, word)) else "leave values that are missing empty"
        return f"{shown(word.encode())} is not a number; {remedy}"
    return None


def warn_of(
    file: str,
    columns: Iterable[str],
    values: Callable[[str], Sequence[str]],
    missing: Iterable[str],
    numbers: bool,
) -> None:
    """Warns of columns of a file that were found to be categorical though they look numeric; see `remark`."""
    for column in columns:
        if said := remark(values(column), frozenset(missing), numbers):
            called = shown(column.encode())
            message = f"{file}: column {called} looks numeric, but is categorical: {said}, or list it as categorical"
            warnings.warn(message, DataWarning, stacklevel=4)
