"""Where a training is in its files, and check sums of what has been read up to there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from surefoot.data import DataError
from surefoot.data.stream import Block
from surefoot.data.stream.blocks import part_of
from surefoot.engines.examples import Examples
from surefoot.learn.examples import examples_of
from surefoot.learn.learner import Learner
from surefoot.learn.targets import Targets
from surefoot.records.restored import Count


class CheckSums(NamedTuple):
    """A check sum of examples from the first on, in their order: the same however they are divided.

    Attributes:
        rows: how many.
        sum: of all that is learned from: features, values and fields of each row, its target, weight, base and group.

    >>> rows = [Examples.one(np.array([3, 4]), np.array([1.0, 2.0]), target, 1.0) for target in (0.0, 1.0)]
    >>> CheckSums().add(rows[0]).add(rows[1]) == CheckSums().add(rows[1]).add(rows[0])
    False
    """

    rows: Count = 0
    sum: Count = 0

    def add(self, examples: Examples) -> CheckSums:
        """That with further examples.

        Sums of products of features and values, mixed with the numbers of their row, and multiplied by odd numbers
        that stand for the row's place: rows that are exchanged change it, as do values within a row.
        """
        step = max(1, AT_ONCE * len(examples) // max(len(examples.indices), 1))
        found = self
        for first in range(0, len(examples), step):
            found = found._added(examples.part(first, min(first + step, len(examples))))
        return found

    def _added(self, examples: Examples) -> CheckSums:
        sums = _mixed(_sums_of_rows(examples) ^ np.diff(examples.indptr).astype(np.uint64))
        groups = None if examples.groups is None else (examples.groups + 1).astype(np.uint64)  # 0 where there is none
        bases = None if examples.bases is None else _bits(examples.bases)
        for words in (_bits(examples.targets), _bits(examples.weights), bases, groups):
            sums = _mixed(sums if words is None else sums ^ words)
        places = np.arange(2 * self.rows + 1, 2 * (self.rows + len(examples)) + 1, 2, dtype=np.uint64)
        return CheckSums(self.rows + len(examples), (self.sum + int(np.dot(places, sums))) % (1 << 63))


AT_ONCE = 1 << 14
"""Entries that are summed at once: for larger arrays the system would have to find memory, which takes longer."""
MIXER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, as in multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
HALF = np.uint64(32)


def _sums_of_rows(examples: Examples) -> np.ndarray:
    """A sum of the entries of each row; a few operations for each entry, as they are most of the work."""
    bits = _bits(examples.values)
    words = bits >> HALF  # the low bits of most numbers are 0, and a product keeps only low bits
    words ^= bits
    of_features = examples.indices.astype(np.uint64)  # mixed: by ids as they are, 1:1 4:1 would be as 2:1 3:1
    of_features *= MIXER
    of_features ^= of_features >> HALF
    of_features |= np.uint64(1)
    words *= of_features
    if examples.fields is not None:
        words ^= examples.fields.astype(np.uint64) * MIXER
    sums = np.zeros(len(examples), np.uint64)
    filled = examples.indptr[1:] > examples.indptr[:-1]
    if len(words):
        sums[filled] = np.add.reduceat(words, examples.indptr[:-1][filled])
    return sums


def _mixed(words: np.ndarray) -> np.ndarray:
    """Each word multiplied, so that its bits depend on one another."""
    mixed = words >> HALF
    mixed ^= words
    mixed *= MIXER
    return mixed


def _bits(numbers: np.ndarray) -> np.ndarray:
    """The bits of numbers as float64."""
    return np.ascontiguousarray(numbers, np.float64).view(np.uint64)


@dataclass(frozen=True)
class Cursor:
    """How far the training has come.

    Attributes:
        number: the pass it is in; 0 for the first.
        done: examples of this pass that were learned from.
        sums: their check sums, for a training that makes checkpoints.
        lost, weight: what was lost before this pass, and the weight of the examples before it.
        first: the check sums of the first pass, once that is over.
    """

    number: Count = 0
    done: Count = 0
    sums: CheckSums = field(default_factory=CheckSums)
    lost: float = 0.0
    weight: float = 0.0
    first: CheckSums | None = None

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
        if self.sums.rows != done or (self.first is None) != (number == 0):
            raise ValueError(f"cursor.sums: found those of {self.sums.rows} examples, after {done} in pass {number}")

    def advanced(self, examples: int, sums: CheckSums) -> Cursor:
        """After this many further examples of the pass."""
        return replace(self, done=self.done + examples, sums=sums)

    def next_pass(self, lost: float, weight: float) -> Cursor:
        """At the beginning of the next pass."""
        return Cursor(self.number + 1, lost=lost, weight=weight, first=self.first or self.sums)

    def check_pass(self, source: str) -> None:
        """Whether the pass that is over had the examples of the first one, whose files may have been replaced since.

        Args:
            source: of this cursor, and of what may be the cause, for messages.

        Raises:
            DataError: it had others. More examples are another matter: the file grew.
        """
        if self.first is not None and self.sums.rows <= self.first.rows and self.sums != self.first:
            raise _other_examples(source)

    def remaining(self, blocks: Iterable[Block], targets: Targets, source: str) -> Iterator[Block]:
        """The examples of the pass that were not learned from yet.

        Args:
            blocks: of the whole pass.
            targets: of their labels.
            source: as in `check_pass`.

        Raises:
            DataError: those that were are not the ones that the check sums are of.
        """
        skip, sums = self.done, CheckSums()
        for block in blocks:
            if skip:
                done = part_of(block, 0, min(skip, len(block)))
                sums = sums.add(examples_of(done, targets))
                skip, block = skip - len(done), part_of(block, len(done), len(block))
                if skip == 0 and sums != self.sums:
                    raise _other_examples(source)
            if len(block):
                yield block
        if skip:
            raise _other_examples(source)


def _other_examples(source: str) -> DataError:
    return DataError(
        f"{source}: the files do not hold the examples that the checkpoint was made with, in their order; train again "
        "without --resume, in another folder"
    )
