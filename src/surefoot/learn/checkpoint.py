"""Checkpoints: all that a training has learned so far, in one file that is replaced at intervals."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surefoot import locks
from surefoot.data import DataError
from surefoot.data.stream.sources import Identity
from surefoot.learn import storage
from surefoot.learn.cursor import Cursor
from surefoot.learn.divergence import Window
from surefoot.learn.targets import Inferred
from surefoot.records.restored import Count, restored

KIND = "checkpoint"
LOCK = ".lock"
"""The ending of the file that says which process trains with a checkpoint."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds besides arrays.

    Attributes:
        plan: what decides the bits of the model besides the files, as `Plan.record` has it.
        files: what they are, in their order.
        learner: the numbers of the learner's state.
        targets: what is known of the labels so far.
        cursor: where the training is.
        window: what the loss is compared over, to notice divergence.
        first_loss: the mean progressive loss of the first pass, once that is over.
        skipped: lines that could not be used in the last pass that is over, by reason.
        seconds: that the training has taken.
    """

    plan: Mapping[str, Any]
    files: tuple[Identity, ...]
    learner: Mapping[str, Any]
    targets: Inferred
    cursor: Cursor
    window: Window
    first_loss: float | None
    skipped: Mapping[str, Count]
    seconds: float


@dataclass(frozen=True)
class Checkpoint(Saved):
    """What a checkpoint holds; `arrays`: of the learner's state."""

    arrays: Mapping[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Writes it to a file.

        Raises:
            FileError: that is not possible; the one before is still there.
        """
        facts = {name: value for name, value in vars(self).items() if name != "arrays"}
        records: dict[str, Any] = {name: asdict(facts[name]) for name in ("cursor", "targets")}
        records["files"] = [asdict(file) for file in self.files]
        storage.write(path, KIND, self.arrays, facts | records)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint in a file.

        Raises:
            FileError: it is not one, or is corrupt.
        """
        arrays, facts = storage.read(path, KIND)
        with storage.as_written(path, KIND):
            saved = restored(Saved, facts, "checkpoint")
            saved.targets.check()
            if wrong := [file.size for file in saved.files if file.size is not None and file.size < 0]:
                raise ValueError(f"files.size: found {wrong[0]}, expected at least 0")
            if (saved.first_loss is None) != (saved.cursor.number == 0):
                raise ValueError(f"first_loss: found {saved.first_loss} in pass {saved.cursor.number}")
            return cls(arrays=arrays, **vars(saved))

    def check(self, path: Path, plan: Mapping[str, Any], files: Sequence[Identity]) -> None:
        """Whether a training may continue from it.

        Raises:
            DataError: it was made with other settings or files.
        """
        for name in sorted({*self.plan, *plan}):
            made, found = self.plan.get(name), plan.get(name)
            if made != found:
                option = name.removeprefix("reading.").replace("_", "-")
                raise _other(path, option, repr(made), repr(found))
        if len(files) != len(self.files) or not all(map(Identity.is_same, self.files, files)):
            raise _other(path, "files", *(", ".join(file.name for file in each) for each in (self.files, files)))
        for before, now in zip(self.files, files, strict=True):
            if None not in (before.size, now.size) and before.size != now.size:
                raise DataError(
                    f"{now.name}: had {before.size:,} bytes when the checkpoint was made, found {now.size:,}; start "
                    "again in another folder"
                )


def _other(path: Path, option: str, made: str, found: str) -> DataError:
    return DataError(
        f"{path}: was made with {option} {made}, found {found}; give the same to continue, or start again in another "
        "folder"
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

    @contextlib.contextmanager
    def locked(self, note: Callable[[str], None]) -> Iterator[None]:
        """While a training uses the folder, no other one may: each would replace what the other has learned.

        Args:
            note: is called where the file system does not support locks.

        Raises:
            FileError: another process uses it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.held(self.path.with_suffix(LOCK)))
            except locks.HeldError as held:
                raise storage.FileError(
                    f"{self.path.parent}: is in use by another training, {held}; wait until it ends, or give another "
                    "folder"
                ) from None
            except OSError as error:
                note(
                    f"{self.path.parent} cannot be locked ({storage.reason(error)}): do not start another training "
                    "with this folder."
                )
            yield

    def remove(self) -> None:
        """Removes the checkpoint, which is not needed once the model is written."""
        self.path.unlink(missing_ok=True)

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
