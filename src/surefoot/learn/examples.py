"""From blocks of a stream to the examples that a learner takes, in whole mini-batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from surefoot.data.stream import Block, joined
from surefoot.data.stream.blocks import part_of
from surefoot.data.stream.usable import Source, usable
from surefoot.engines.examples import Examples
from surefoot.learn.expansion import expanded
from surefoot.learn.targets import Targets
from surefoot.models import Architecture

AT_ONCE = 1 << 13
"""Examples that are learned from at once, at most; between them progress is reported and interrupts are noticed."""


def for_model(architecture: Architecture, source: Source, targets: Targets, block: Block, missing: bool) -> Block:
    """The rows of the latest block that have a target, expanded as the model sees them; `missing`: see `expanded`.

    Raises:
        DataError: a row has no target, which the source's policy does not allow.
    """
    return usable(source, targets, expanded(architecture, block, missing))


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


def until(rows: int, blocks: Iterator[Block]) -> list[Block]:
    """The next blocks that have at least this number of rows together, or all."""
    found: list[Block] = []
    while rows > 0 and (block := next(blocks, None)) is not None:
        found.append(block)
        rows -= len(block)
    return found


def examples_of(block: Block, targets: Targets) -> Examples:
    """A block as a learner takes it."""
    indptr = block.indptr - block.indptr[0]
    weights = block.weights.astype(np.float64)
    # The largest index of a row is its last one; where rows are empty, it is that of some other row.
    features = int(block.indices[indptr[1:] - 1].max()) + 1 if len(block.indices) else 0
    wanted = targets.of(block.labels)
    more = block.bases, block.fields, block.groups
    return Examples(indptr, block.indices, block.values, wanted, weights, *more, features=features)
