"""Which cases of a large table run by default: a few in which every pair of values occurs; the others are slow."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import pytest

Case = TypeVar("Case", bound=Iterable)


def pairs(case: Iterable) -> set[tuple]:
    """Each two values of a case, with their places."""
    return set(itertools.combinations(enumerate(case), 2))


def covering(cases: Sequence[Case]) -> list[Case]:
    """Few of the cases, in which every pair of values occurs that occurs in any of them.

    Greedy, as in Cohen, Dalal, Fredman & Patton (1997), The AETG system: the next case is the one with the most pairs
    that are still missing, the first of several.
    """
    missing, chosen = set().union(*map(pairs, cases)), []
    while missing:
        best = max(cases, key=lambda case: len(pairs(case) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def unpacked(cases: Iterable[tuple], fast: Collection) -> list:
    """As `marked`, for a test that takes the values of a case one by one."""
    return [pytest.param(*case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def marked(cases: Iterable, fast: Collection) -> list:
    """Parameters of a test; those that are not among the fast ones are marked as slow."""
    return [pytest.param(case, id=str(case), marks=() if case in fast else pytest.mark.slow) for case in cases]
