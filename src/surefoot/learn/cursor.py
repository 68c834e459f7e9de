"""Where a training is in its files, and check sums of what has been read up to there."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from surefoot.data import DataError
from surefoot.data.stream import Block
from surefoot.data.stream.blocks import part_of
from surefoot.learn import storage
from surefoot.learn.learner import Learner
from surefoot.learn.targets import Targets
from surefoot.records.restored import Count


class CheckSums(NamedTuple):
    """Check sums of examples from the first on: the same however they are divided.

    >>> rows = np.array([1.0, 0.0]), np.array([3, 4, 5]), np.array([1, 2, 3], np.float32)
    >>> whole = CheckSums().add(*rows)
    >>> CheckSums().add(rows[0][:1], rows[1][:2], rows[2][:2]).add(rows[0][1:], rows[1][2:], rows[2][2:]) == whole
    True
    """

    targets: Count = 0
    features: Count = 0
    values: Count = 0

    def add(self, targets: np.ndarray, indices: np.ndarray, values: np.ndarray) -> CheckSums:
        """Those with further examples."""
        bits = values.view(np.uint32 if values.itemsize == 4 else np.uint64)
        return CheckSums(
            zlib.crc32(storage.raw(targets), self.targets),
            (self.features + int(indices.sum(dtype=np.int64))) % (1 << 63),
            (self.values + int(bits.sum(dtype=np.uint64))) % (1 << 63),
        )


@dataclass(frozen=True)
class Cursor:
    """How far the training has come.

    Attributes:
        number: the pass it is in; 0 for the first.
        done: examples of this pass that were learned from.
        sums: their check sums, for a training that makes checkpoints.
        lost, weight: what was lost before this pass, and the weight of the examples before it.
    """

    number: Count = 0
    done: Count = 0
    sums: CheckSums = field(default_factory=CheckSums)
    lost: float = 0.0
    weight: float = 0.0

    def check(self, learner: Learner, passes: int) -> None:
        """Whether a learner has come so far in a training of this number of passes.

        Raises:
            ValueError: it has not.
        """
        number, done, first = self.number, self.done, learner.first_pass
        if number > passes or (number == passes and done):
            raise ValueError(f"cursor.number: found {number}, expected passes up to {passes}")
        before = learner.examples - done
        if before != (number * first if first else 0) and not (number == 1 and done == first == 0):
            raise ValueError(f"cursor.done: found {done} in pass {number}, after {learner.examples} examples")
        if self.weight > learner.weight:
            raise ValueError(f"cursor.weight: found {self.weight}, expected at most {learner.weight}")

    def advanced(self, examples: int, sums: CheckSums) -> Cursor:
        """After this many further examples of the pass."""
        return replace(self, done=self.done + examples, sums=sums)

    def next_pass(self, lost: float, weight: float) -> Cursor:
        """At the beginning of the next pass."""
        return Cursor(self.number + 1, lost=lost, weight=weight)

    def remaining(self, blocks: Iterable[Block], targets: Targets, checkpoint: Path | None) -> Iterator[Block]:
        """The examples of the pass that were not learned from yet.

        Args:
            blocks: of the whole pass.
            targets: of their labels.
            checkpoint: the file that this cursor came from, for messages.

        Raises:
            DataError: those that were are not the ones that the check sums are of.
        """
        skip, sums = self.done, CheckSums()
        for block in blocks:
            if skip:
                done = part_of(block, 0, min(skip, len(block)))
                sums = sums.add(targets.of(done.labels), done.indices, done.values)
                skip, block = skip - len(done), part_of(block, len(done), len(block))
                if skip == 0 and sums != self.sums:
                    raise _other_examples(checkpoint)
            if len(block):
                yield block
        if skip:
            raise _other_examples(checkpoint)


def _other_examples(checkpoint: Path | None) -> DataError:
    return DataError(
        f"{checkpoint}: the files do not hold the examples that the checkpoint was made with; train again without "
        "--resume, in another folder"
    )
