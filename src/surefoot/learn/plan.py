"""What is to be trained on which files, how far that is, and what comes of it, as records."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surefoot import losses, schedules
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import OnError, sources
from surefoot.learn.classes import Label
from surefoot.learn.evaluation import Evaluation
from surefoot.learn.facts import Facts
from surefoot.learn.model import Model
from surefoot.learn.settings import AUTO, Method
from surefoot.losses import Loss

CHECKPOINT, EVERY = "checkpoint.safetensors", 60.0
DECIDE = ("loss", "parameter", "classes", "passes", "on_error", "max_errors")
"""What of a plan, besides the files, how they are read and the method, decides the bits of the model."""


@dataclass(frozen=True)
class Plan:
    """What is to be learned from which files.

    Args:
        files: paths, globs, URLs, or "-" for standard input.
        reading: how they are read.
        loss: a loss, its name or `path/to/file.py:name`, or "auto", see `Targets`.
        parameter: the loss's own number; None: its default.
        classes: the labels there may be.
        method: how weights are learned.
        passes: through the files.
        test: files whose loss is measured in the end.
        on_error, max_errors: lines that cannot be used.
        checkpoint: the folder for checkpoints, one of which is kept.
        every: examples (an int) or seconds (a float) between checkpoints, at least.
        resume: continue from the checkpoint in the folder if there is one.
        save_resume: keep the learner's state in the model, so that it can learn on.
        evaluate: gather what a report shows.

    Raises:
        ValueError: they do not fit together.
    """

    files: tuple[str, ...]
    reading: ReadOptions = field(default_factory=ReadOptions)
    loss: str | Loss = AUTO
    parameter: float | None = None
    classes: tuple[Label, ...] | None = None
    method: Method = field(default_factory=Method)
    passes: int = 1
    test: tuple[str, ...] = ()
    on_error: OnError = "stop"
    max_errors: int | None = None
    checkpoint: str | None = None
    every: int | float = EVERY
    resume: bool = False
    save_resume: bool = False
    evaluate: bool = False

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes: found {self.passes}, expected at least 1")
        once = [file for file in self.files if sources.is_read_once(file)]
        if self.passes > 1 and once:
            raise ValueError(
                f"passes: {sources.name_of(once[0])} can be read only once; save it to a file, or convert it to a "
                "block cache first"
            )
        if again := set(once).intersection(self.test):
            raise ValueError(
                f"test: {sources.name_of(*again)} can be read only once, and is read for training; save the test part "
                "to a file"
            )
        if self.resume and self.checkpoint is None:
            raise ValueError("resume: needs the folder of the checkpoint; give --checkpoint DIR")
        if self.every <= 0:
            raise ValueError(f"every: found {self.every}, expected more than 0")
        if self.loss != AUTO:
            object.__setattr__(self, "loss", losses.resolve(self.loss))
        lr = self.method.lr
        if self.checkpoint is not None and callable(lr) and schedules.written(lr) is None:
            raise ValueError(
                f"checkpoint: the learning rate is {schedules.name_of(lr)}, a function without a written form, so that "
                f"training could not be resumed; use a number or one of {', '.join(schedules.FORMS.values())}"
            )

    @property
    def place(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.checkpoint is None else Path(self.checkpoint) / CHECKPOINT

    def record(self) -> dict[str, Any]:
        """What decides the bits of the model besides the files, as JSON gives it back."""
        reading = {f"reading.{name}": value for name, value in self.reading.record().items()}
        known = {name: getattr(self, name) for name in DECIDE} | reading | self.method.record()
        known["loss"] = self.loss if self.loss == AUTO else losses.described(self.loss)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}


@dataclass(frozen=True)
class Progress:
    """How far the training has come.

    Attributes:
        examples: learned from, of all passes.
        loss: the mean progressive loss of the present pass.
        seconds: since the training began, or was resumed.
        fresh: examples since then.
        position, size: bytes of the files; None where their size is not known.
        number, passes: of the pass.
    """

    examples: int
    loss: float
    seconds: float
    fresh: int
    position: int
    size: int | None
    number: int
    passes: int


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        model: what was learned.
        seconds: that the training took, with those before it was resumed.
        progressive, test: evaluations for a report, where the plan has them.
        diverged: why the training stopped early; the model is then the last good one.
    """

    model: Model
    seconds: float
    progressive: Evaluation | None = None
    test: Evaluation | None = None
    diverged: str | None = None

    @property
    def facts(self) -> Facts:
        """How the model was learned, which models that were learned from files have."""
        assert self.model.facts is not None
        return self.model.facts
