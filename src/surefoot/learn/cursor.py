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
from surefoot.native import kernel
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
        entries, of_rows = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        given = examples.indptr, examples.indices, entries if examples.fields is None else examples.fields
        indptr, indices, fields = (np.ascontiguousarray(array, np.int64) for array in given)
        bases = of_rows if examples.bases is None else _bits(examples.bases)
        groups = (
            of_rows if examples.groups is None else (examples.groups + 1).astype(np.uint64)
        )  # 0 where there is none
        words = (_bits(numbers) for numbers in (examples.values, examples.targets, examples.weights))
        added = sum_rows(indptr, indices, fields, *words, bases, groups, 2 * self.rows + 1)
        return CheckSums(self.rows + len(examples), (self.sum + added) % (1 << 63))


MIXER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, as in multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
HALF, ONE = np.uint64(32), np.uint64(1)


def _bits(numbers: np.ndarray) -> np.ndarray:
    """The bits of numbers as float64."""
    return np.ascontiguousarray(numbers, np.float64).view(np.uint64)


def summed(indptr, indices, fields, values, targets, weights, bases, groups, first):
    """The sum of rows, each times the odd number of its place, from `first` on."""
    total, place = np.uint64(0), np.uint64(first)
    for i in range(targets.size):
        entries = slice(indptr[i], indptr[i + 1])
        row, ids, bits = np.uint64(0), indices[entries], values[entries]
        for e in range(ids.size):
            of_feature = np.uint64(ids[e]) * MIXER  # mixed: by ids as they are, 1:1 4:1 would be as 2:1 3:1
            of_feature ^= of_feature >> HALF
            # The low bits of most numbers are 0, and a product keeps only low bits.
            word = (bits[e] ^ (bits[e] >> HALF)) * (of_feature | ONE)
            row += word ^ np.uint64(fields[indptr[i] + e]) * MIXER if fields.size else word
        row = mixed(row ^ np.uint64(indptr[i + 1] - indptr[i]))
        row = mixed(mixed(row ^ targets[i]) ^ weights[i])
        row = mixed(row ^ bases[i] if bases.size else row)
        row = mixed(row ^ groups[i] if groups.size else row)
        total += row * place
        place += np.uint64(2)
    return np.int64(total & np.uint64(0x7FFFFFFFFFFFFFFF))


def mixed(word):
    """A word multiplied, so that its bits depend on one another."""
    return (word ^ (word >> HALF)) * MIXER


sum_rows = kernel(summed, mixed)


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
