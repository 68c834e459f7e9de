"""Skipped updates, and the one sentence that reports them, however many parameters they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from surefoot.engines import NonFiniteError
from surefoot.engines.settings import Settings
from surefoot.optim.memory import Memory

NAMED = 3
"""Parameters that a message names, at most."""


class Fault(NamedTuple):
    """Coordinates of a parameter that were skipped.

    Attributes:
        name: what errors call the parameter.
        skipped: how many.
        size: of how many.
        when: "at step 3", or "in earlier steps".
    """

    name: str
    skipped: int
    size: int
    when: str


def fault(step: Settings, memory: Memory, skipped: int, when: str) -> list[Fault]:
    """Counts skipped coordinates; returns what is to be reported, if they are not only counted."""
    memory.skipped += skipped
    return [Fault(memory.name, skipped, memory.size, when)] if step.nonfinite == "raise" else []


def named(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are.

    >>> named(["a", "b"]), named(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{others}"


def sentence(faults: Sequence[Fault]) -> str:
    """What was skipped, where, and the likely cause where it was everything.

    >>> sentence([Fault("w", 1, 4, "at step 3")])[:72]
    'w: 1 of 4 coordinates had a gradient, square or step that is not finite '
    >>> sentence([Fault("w", 4, 4, "at step 3"), Fault("b", 2, 2, "at step 3")])[-55:]
    'all coordinates of all of them: the loss was not finite'
    """
    counts = [f"{each.name}: {each.skipped:,} of {each.size:,}" for each in faults]
    others, when = faults[NAMED:], " and ".join(dict.fromkeys(each.when for each in faults))
    more = f": {sum(each.skipped for each in others):,} of {sum(each.size for each in others):,}" if others else ""
    text = (
        f"{named(counts)}{more} coordinates had a gradient, square or step that is not finite {when}; these "
        "coordinates were skipped; the rest were updated (nonfinite='skip' only counts them)"
    )
    everything = len(faults) > 1 and all(each.skipped == each.size for each in faults)
    return f"{text}; all coordinates of all of them: the loss was not finite" if everything else text


def raise_if_any(faults: Sequence[Fault]) -> None:
    """Raises NonFiniteError for skipped coordinates."""
    if faults:
        raise NonFiniteError(sentence(faults))
