"""Lines that cannot be used: messages about them, how many there may be, and counts by reason."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

from surefoot.data.errors import DataError
from surefoot.data.stream.kernels.layout import LARGEST_FLOAT32

OnError: TypeAlias = Literal["stop", "warn", "skip"]

SHOWN = 40
"""Bytes of a faulty token that a message shows at most."""
FINITE = f"expected a finite number (at most {LARGEST_FLOAT32:.2g})"


class DataWarning(UserWarning):
    """Something about the data that people should know: a line was skipped, a file grew while it was read, targets come
    in runs, or the like; the message says what was found, and what to do."""


class Fault(NamedTuple):
    """What is wrong with a line: its number in the piece (from 0), the column (from 1), the reason and what to say.

    Rows of columns have no column.
    """

    line: int
    column: int | None
    reason: str
    said: str


@dataclass
class Policy:
    """What happens to lines that cannot be used.

    Args:
        on_error: "stop" raises an error at the first, "warn" skips each with a warning, "skip" skips them.
        max_errors: how many may be skipped before reading stops with an error; None for no limit.
    """

    on_error: OnError = "stop"
    max_errors: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.on_error not in get_args(OnError):
            raise ValueError(f"on_error: found {self.on_error!r}, expected one of {', '.join(get_args(OnError))}")
        if self.max_errors is not None and self.max_errors < 0:
            raise ValueError(f"max_errors: found {self.max_errors}, expected 0 or more, or None for any number")

    @property
    def needs(self) -> int | None:
        """How many faults of a piece have to be put into words; None for all."""
        return {"stop": 1, "warn": None, "skip": 1}[self.on_error]

    def take(self, name: str, first_line: int, counts: Counter[str], faults: list[Fault]) -> None:
        """Deals with the faults of one piece, whose first line has this number in the file.

        Raises:
            DataError: the first fault, or one too many.
        """
        if not counts:
            return
        self.counts.update(counts)
        messages = [f"{place(name, first_line + fault.line, fault.column)}: {fault.said}" for fault in faults]
        if self.on_error == "stop":
            raise DataError(messages[0])
        if self.on_error == "warn":
            for message in messages:
                warnings.warn(message, DataWarning, stacklevel=4)
        if self.max_errors is not None and self.counts.total() > self.max_errors:
            raise DataError(
                f"{messages[-1]}; with that, {self.counts.total():,} lines could not be used ({self.summary()}), "
                f"more than the {self.max_errors:,} allowed"
            )

    def summary(self) -> str:
        """How many lines were skipped for which reason.

        >>> Policy("skip", counts=Counter({"label": 2, "value": 1})).summary()
        'label: 2, value: 1'
        """
        return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(self.counts.items()))


def place(name: str, line: int, column: int | None) -> str:
    """Where something is, as messages begin.

    >>> place("a.svm", 3, 7), place("a.parquet", 3, None)
    ('a.svm:3:7', 'a.parquet: row 3')
    """
    return f"{name}: row {line:,}" if column is None else f"{name}:{line}:{column}"


def shown(token: bytes) -> str:
    """A token as messages quote it.

    >>> shown(b"5:x")
    "'5:x'"
    """
    text = token[:SHOWN].decode("utf-8", "replace")
    return repr(text if len(token) <= SHOWN else text + "…")


FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet, expected text; unpack it, or save the table as CSV or Parquet",
    b"\xfd7zXZ": "an xz archive, expected text or gzip, bzip2 or zstd; unpack it",
    b"7z\xbc\xaf": "a 7z archive, expected text; unpack it",
    b"\xff\xfe": "text in UTF-16, expected UTF-8; convert it, for instance with iconv",
    b"\xfe\xff": "text in UTF-16, expected UTF-8; convert it, for instance with iconv",
}
"""What files are that no format reads as they are, by their first bytes."""


def check_text(name: str, beginning: bytes) -> None:
    """Raises DataError for a file that begins as none that is text."""
    for start, what in FOREIGN.items():
        if beginning.startswith(start):
            raise DataError(f"{name}: is {what}")


def unreadable(line: bytes, expected: str, encoded: str) -> str:
    """The message about a line that is not text; `encoded` is what was expected, and its encoding.

    >>> unreadable(b"\\xff\\xfe1", "numbers", "numbers in UTF-8")
    'found UTF-16, expected numbers in UTF-8; convert it, for instance with iconv'
    """
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return f"found UTF-16, expected {encoded}; convert it, for instance with iconv"
    return f"found binary data, expected {expected}"
