"""Which cases of a large table run by default: a few in which every pair of values occurs; the others are slow."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import pytest

Case = TypeVar("Case", bound=Iterable)


def pairs(case: Iterable, apart: Collection[tuple[int, int]] = ()) -> set[tuple]:
    """Each two values of a case, with their places; but those of places that are apart."""
    found = itertools.combinations(enumerate(case), 2)
    return {(a, b) for a, b in found if (a[0], b[0]) not in apart}


def covering(cases: Sequence[Case], apart: Collection[tuple[int, int]] = (), most: int | None = None) -> list[Case]:
    """Few of the cases, in which every pair of values occurs that occurs in any of them.

    Greedy, as in Cohen, Dalal, Fredman & Patton (1997), The AETG system: the next case is the one with the most pairs
    that are still missing, the first of several.

    Args:
        cases: the whole table.
        apart: places whose values need not meet.
        most: cases that are chosen, with which some pairs may be missing.
    """
    of = [pairs(case, apart) for case in cases]
    missing, chosen = set().union(*of), []
    while missing and len(chosen) != most:
        best = max(range(len(cases)), key=lambda k: len(of[k] & missing))
        missing -= of[best]
        chosen.append(cases[best])
    return chosen


def unpacked(cases: Iterable[tuple], fast: Collection) -> list:
    """As `marked`, for a test that takes the values of a case one by one."""
    return [pytest.param(*case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def marked(cases: Iterable, fast: Collection) -> list:
    """Parameters of a test; those that are not among the fast ones are marked as slow."""
    return [pytest.param(case, id=str(case), marks=() if case in fast else pytest.mark.slow) for case in cases]
