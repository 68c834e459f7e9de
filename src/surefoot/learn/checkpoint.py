"""Checkpoints: all that a training has learned so far, in one file that is replaced at intervals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.data import DataError
from surefoot.learn import storage
from surefoot.learn.cursor import Cursor
from surefoot.learn.divergence import Window
from surefoot.learn.targets import Inferred

KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        plan: what decides the bits of the model, as `Plan.record` has it.
        sizes: of the files, in bytes, by name.
        arrays, learner: the learner's state.
        targets: what is known of the labels so far.
        cursor: where the training is.
        window: what the loss is compared over, to notice divergence.
        first_loss: the mean progressive loss of the first pass, once that is over.
        skipped: lines that could not be used in the last pass that is over, by reason.
        seconds: that the training has taken.
    """

    plan: Mapping[str, Any]
    sizes: Mapping[str, int]
    arrays: Mapping[str, np.ndarray]
    learner: Mapping[str, Any]
    targets: Inferred
    cursor: Cursor
    window: Window
    first_loss: float | None
    skipped: Mapping[str, int]
    seconds: float

    def write(self, path: Path) -> None:
        """Writes it to a file.

        Raises:
            FileError: that is not possible; the one before is still there.
        """
        facts = {name: value for name, value in vars(self).items() if name != "arrays"}
        records = {name: asdict(facts[name]) for name in ("cursor", "targets")}
        storage.write(path, KIND, self.arrays, facts | records)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint in a file.

        Raises:
            FileError: it is not one, or is corrupt.
        """
        arrays, facts = storage.read(path, KIND)
        with storage.as_written(path):
            facts |= {name: dict(facts[name]) for name in ("plan", "sizes", "learner")}
            begin, lost, constant = facts["window"]
            first = facts["first_loss"]
            facts |= {
                "cursor": Cursor.of(facts["cursor"]),
                "targets": Inferred.of(facts["targets"]),
                "window": Window(int(begin), float(lost), float(constant)),
                "first_loss": None if first is None else float(first),
                "skipped": {reason: int(lines) for reason, lines in facts["skipped"].items()},
                "seconds": float(facts["seconds"]),
            }
            return cls(arrays=arrays, **facts)

    def check(self, path: Path, plan: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        """Whether a training may continue from it.

        Raises:
            DataError: it was made with other settings or files.
        """
        for name in sorted({*self.plan, *plan}):
            made, found = self.plan.get(name), plan.get(name)
            if made != found:
                option = name.removeprefix("reading.").replace("_", "-")
                raise DataError(
                    f"{path}: was made with {option} {made!r}, found {found!r}; give the same to continue, or start "
                    "again in another folder"
                )
        for file, size in sizes.items():
            if (before := self.sizes.get(file, size)) != size:
                raise DataError(
                    f"{file}: had {before:,} bytes when the checkpoint was made, found {size:,}; start again in "
                    "another folder"
                )


class Checkpointer:
    """Replaces the checkpoint of a training when it is time to.

    Args:
        path: of the file. Its folder is made if there is none.
        every: examples (an int) or seconds (a float) between checkpoints, at least.

    Raises:
        FileError: files cannot be written there.
    """

    def __init__(self, path: Path, every: int | float):
        storage.check_place(path)
        self.path, self.every = path, every
        self.examples, self._moment = 0, time.perf_counter()

    def due(self, examples: int) -> bool:
        """Whether it is time for another one, after this many examples."""
        if isinstance(self.every, int):
            return examples >= self.examples + self.every
        return time.perf_counter() >= self._moment + self.every

    def save(self, checkpoint: Checkpoint, examples: int) -> None:
        """Replaces the checkpoint, after this many examples.

        Raises:
            FileError: that is not possible; the one before is still there.
        """
        checkpoint.write(self.path)
        self.kept(examples)

    def kept(self, examples: int) -> None:
        """From now on counts from the checkpoint after this many examples."""
        self.examples, self._moment = examples, time.perf_counter()


def sizes(files: Iterable[Any]) -> dict[str, int]:
    """Bytes of those that are files on a disk, by name."""
    names = [file for file in files if isinstance(file, str) and os.path.isfile(file)]
    return {name: os.path.getsize(name) for name in names}
