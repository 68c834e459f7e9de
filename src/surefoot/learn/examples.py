"""From blocks of a stream to the examples that a linear learner takes, in whole mini-batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from surefoot.data import DataError
from surefoot.data.stream import Block, joined
from surefoot.data.stream.blocks import part_of, without_fields
from surefoot.data.stream.usable import Source, usable
from surefoot.engines.lanes import Examples
from surefoot.learn.targets import Targets

AT_ONCE = 1 << 13
"""Examples that are learned from at once, at most; between them progress is reported and interrupts are noticed."""


def for_linear_model(source: Source, targets: Targets, block: Block) -> Block:
    """The rows of the latest block that have a target, each feature once whatever its field.

    Raises:
        DataError: there is an initial prediction, or a row without a target that the source's policy does not allow.
    """
    if block.bases is not None and block.bases.any():
        row = int(np.flatnonzero(block.bases)[0])
        raise DataError(
            f"{source.where(row)}: found an initial prediction, which is not used here; remove the third number before "
            "the bar"
        )
    return usable(source, targets, block if block.fields is None else without_fields(block))


def in_batches(blocks: Iterable[Block], batch_size: int) -> Iterator[Block]:
    """Blocks of whole mini-batches, at most AT_ONCE rows or one mini-batch each; only the last row may end one early.

    >>> row = Block(np.array([0, 1]), np.array([7]), np.ones(1), np.ones(1), np.ones(1))
    >>> [len(block) for block in in_batches([joined([row] * 5), joined([row] * 6)], 4)]
    [4, 4, 3]
    """
    at_once = max(AT_ONCE // batch_size, 1) * batch_size
    held: list[Block] = []
    for block in blocks:
        block = joined([*held, block]) if held else block
        whole = len(block) // batch_size * batch_size
        held = [part_of(block, whole, len(block))] if whole < len(block) else []
        for first in range(0, whole, at_once):
            yield part_of(block, first, min(first + at_once, whole))
    yield from held


def examples_of(block: Block, targets: Targets) -> Examples:
    """A block as a learner takes it."""
    indptr = block.indptr - block.indptr[0]
    weights = block.weights.astype(np.float64)
    # The largest index of a row is its last one; where rows are empty, it is that of some other row.
    features = int(block.indices[indptr[1:] - 1].max()) + 1 if len(block.indices) else 0
    return Examples(indptr, block.indices, block.values, targets.of(block.labels), weights, features)
