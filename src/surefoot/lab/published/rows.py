"""What a published result is: where it stands, what is claimed, and the function that measures it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

clock = time.perf_counter if sys.platform == "win32" else time.thread_time
"""Seconds this thread has computed: other work on the machine does not lengthen them (Windows counts too coarsely)."""


class Skipped(Exception):
    """A row that cannot be measured here; the message is the reason."""


@dataclass(frozen=True)
class Finding:
    """What was measured.

    Args:
        measured: in words and numbers, to be compared with the published ones.
        passed: whether it agrees with what was published.
        numbers: the numbers alone, for programs.
    """

    measured: str
    passed: bool
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One published result.

    Args:
        id: what it is called on the command line.
        section: of the checklist: "2 schedules", "3 traces", "4 airfoil", "5 theory" or "6 figures".
        claim: what is claimed, and in which setting.
        published: the published number or word.
        measure: measures it; it raises Skipped where it cannot.
    """

    id: str
    section: str
    claim: str
    published: str
    measure: Callable[[], Finding]


ROWS: dict[str, Row] = {}
"""All rows by id, as the modules that measure them are loaded."""


def row(id: str, section: str, claim: str, published: str):
    """Decorates the function that measures a row; every argument of it has a default, the published setting."""

    def attach(measure: Callable[..., Finding]) -> Callable[..., Finding]:
        ROWS[id] = Row(id, section, claim, published, measure)
        return measure

    return attach


def signed(value: float, digits: int = 6) -> str:
    """A number with a true minus sign.

    >>> signed(-0.5, 2)
    '−0.50'
    """
    return f"{value:.{digits}f}".replace("-", "−")
