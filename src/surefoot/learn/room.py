"""Memory for features before they are learned from: in steps, and no more than the machine has."""

from __future__ import annotations

from surefoot import system
from surefoot.data import DataError
from surefoot.learn.learner import Learner

LARGEST_SHARE = 0.9
"""Of the machine's memory, for the learner's table."""


def make_room(learner: Learner, features: int, bits: int | None = None) -> None:
    """Makes room for these features, and for as many again: then the table is seldom copied.

    Args:
        learner: whose table it is.
        features: that are needed.
        bits: features are hashed to these, so that there are never more than 2^bits.

    Raises:
        DataError: the machine has too little memory.
    """
    if features <= learner.room:
        return
    each, memory = learner.bytes_per_feature, system.memory()
    most = LARGEST_SHARE * memory
    if features * each > most:
        raise DataError(
            f"found feature {features - 1}, whose table would take {features * each / 1e9:,.1f} GB of the "
            f"{memory / 1e9:,.1f} GB of memory; map features to fewer indices with --bits, such as --bits 22"
        )
    room = 1 << bits if bits is not None else min(2 * features, int(most / each))
    learner.make_room(max(room, features))
