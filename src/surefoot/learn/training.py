"""From files to a model: passes, checkpoints, and what happens to examples, losses and signals on the way."""

from __future__ import annotations

import os
import time
import warnings
import zlib
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import surefoot
from surefoot.data import DataError
from surefoot.data.cache import Cached
from surefoot.data.reading import Reading
from surefoot.data.stream import Block, DataWarning, OnError, Stream, joined, sources
from surefoot.data.stream.blocks import part_of, rows_of, without_fields
from surefoot.engines.lanes import Examples
from surefoot.learn import storage
from surefoot.learn.evaluation import Evaluation, each
from surefoot.learn.interrupts import deferred_interrupts
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.model import Model
from surefoot.learn.settings import Method, Settings
from surefoot.learn.targets import Targets

AT_ONCE = 1 << 13
"""Examples between which progress is told, signals are heard and checkpoints are made, at most."""
CHECKPOINT, EVERY = "checkpoint.safetensors", 60.0
KIND = "checkpoint"
WARNED = 5
"""Rows of a block without a usable label that are named in warnings."""
WITHOUT_BOUND = 1e4
"""Times what a constant loses: more than that over twice as many examples as before is divergence."""
FIRST_LOOK = 1024
"""Examples before the loss is looked at for that."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may take."""
Sums = tuple[int, int, int]
NOTHING: Sums = (0, 0, 0)
LARGEST_SHARE = 0.9
"""Of the machine's memory, for the learner's table."""


@dataclass(frozen=True)
class Plan:
    """What is to be learned from which files.

    Args:
        files: paths, globs, URLs, or "-" for standard input.
        reading: how they are read.
        loss: a key of losses.SLOPES, or "auto", see `Targets`.
        parameter: the loss's own number.
        classes: the labels there may be.
        passes: through the files.
        test: files whose loss is measured in the end.
        on_error, max_errors: lines that cannot be used.
        method: how weights are learned.
        checkpoint: the folder for checkpoints, one of which is kept.
        every: at least so many examples (a whole number) or seconds (a fraction) between checkpoints.
        resume: go on from the checkpoint in the folder where there is one.
        evaluate: gather what a report shows.
    """

    files: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)
    loss: str = "auto"
    parameter: float = 0.0
    classes: tuple[float, ...] | None = None
    passes: int = 1
    test: tuple[str, ...] = ()
    on_error: OnError = "stop"
    max_errors: int | None = None
    method: Method = field(default_factory=Method)
    checkpoint: str | None = None
    every: int | float = EVERY
    resume: bool = False
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
                f"test: {sources.name_of(*again)} can be read only once, and is learned from; save the test part to a "
                "file"
            )
        if self.resume and self.checkpoint is None:
            raise ValueError("resume: needs the folder of the checkpoint; give --checkpoint DIR")
        if self.every <= 0:
            raise ValueError(f"every: found {self.every}, expected more than 0")

    @property
    def place(self) -> Path | None:
        """Where the checkpoint is."""
        return None if self.checkpoint is None else Path(self.checkpoint) / CHECKPOINT

    def record(self) -> dict[str, Any]:
        """What decides the bits of the model, as JSON gives it back."""
        decides = ("loss", "parameter", "passes", "on_error", "max_errors")
        classes = None if self.classes is None else list(self.classes)
        reading = {name: list(v) if isinstance(v, tuple) else v for name, v in self.reading.record().items()}
        return {name: getattr(self, name) for name in decides} | {
            "files": list(self.files),
            "classes": classes,
            **{f"reading.{name}": value for name, value in reading.items()},
            **self.method.record(),
        }


@dataclass(frozen=True)
class Progress:
    """How far the training has come.

    Attributes:
        examples: learned from, of all passes.
        loss: the mean progressive loss of the present pass.
        seconds: since the training began, or went on.
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
        model: with everything that is known of how it was learned in `model.facts`.
        progressive, test: evaluations for a report, where they were asked for.
        diverged: why the training stopped early; the model is then the last good one.
    """

    model: Model
    progressive: Evaluation | None = None
    test: Evaluation | None = None
    diverged: str | None = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while learning; the message says what is kept and how to go on."""


class Training:
    """A training that can be interrupted at any moment and gone on with.

    Args:
        plan: what is to be learned.
        progress: is told how far it is, after every few examples.
        note: is told what people should know.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ):
        self.plan, self.progress = plan, progress or (lambda _: None)
        self.note = note or (lambda _: None)
        self.targets = Targets(plan.loss, plan.classes)
        if plan.place is not None:
            storage.check_place(plan.place)
        for file in sources.names(plan.test) if plan.test else ():
            if not sources.is_read_once(file):  # what is missing is said before anything is learned
                sources.opened(file, sources.name_of(file)).close()
        self.stream = plan.reading.open(plan.files, on_error=plan.on_error, max_errors=plan.max_errors)
        self.learner: Learner | None = None
        self.number, self.done, self.crc = 0, 0, NOTHING
        self.first_pass: dict[str, float] = {}
        self.pass_began = (0.0, 0.0)
        self.skipped: dict[str, int] = {}
        self.seconds_before = 0.0
        self.began = time.perf_counter()
        self.fresh = 0
        self.whole = True
        self.saved_at: tuple[int, float] = (0, self.began)
        self.evaluation: Evaluation | None = None
        self.good: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self.looked = (FIRST_LOOK // 2, 0.0, 0.0)

    # Learning

    def run(self, keep: Callable[[Model], None] | None = None) -> Outcome:
        """Learns, and measures the loss on the test part.

        Args:
            keep: is given the model before it is tested, which may fail.

        Raises:
            DataError: the files cannot be learned from.
            Interrupted: Ctrl-C; a checkpoint was made if there is a folder for it.
            FileError: a checkpoint could not be written or does not fit.
        """
        diverged = None
        self._resume()
        try:
            while self.number < self.plan.passes:
                self._pass()
                self.number, self.done, self.crc = self.number + 1, 0, NOTHING
            self.targets.end()
        except DivergedError as error:
            diverged = str(error)
            self._go_back(diverged)
        except KeyboardInterrupt:
            self._interrupted()
        model = self.model(diverged)
        if keep is not None:
            keep(model)
        test = self._test(model) if self.plan.test and diverged is None else None
        return Outcome(model, self.evaluation, test, diverged)

    def _pass(self) -> None:
        """The rest of the present pass."""
        learner = self.learner
        if learner is not None and self.done == 0:
            self.pass_began = (learner.lost, learner.weight)
            learner.freeze()
        with deferred_interrupts() as calm, closing(self._chunks()) as chunks:
            for examples in chunks:
                with calm:
                    self._learn(examples)
        self.skipped = dict(self.stream.policy.counts)
        if self.number == 0 and self.learner is not None:
            self.first_pass = {"loss": self.learner.loss, "examples": self.learner.examples}

    def _learn(self, examples: Examples) -> None:
        """Learns from a chunk; afterwards, and only then, the training can be saved."""
        self.whole = False
        learner = self.learner or self._begun()
        self._make_room(learner, examples)
        predictions = learner.learn(examples)
        if self.evaluation is not None and self.number == 0:
            self.evaluation.add(predictions, examples.targets, examples.weights)
        self.done += len(examples)
        self.fresh += len(examples)
        self.crc = self._sum_of(examples.targets, examples.indices, examples.values, self.crc)
        self.whole = True
        self._look(learner, examples, predictions)
        if self.plan.place is not None and self._due():
            self.save()
        seconds = time.perf_counter() - self.began
        lost, weight = self.pass_began
        mean = (learner.lost - lost) / max(learner.weight - weight, 1e-300)
        stream = self.stream
        self.progress(
            Progress(
                learner.examples, mean, seconds, self.fresh, stream.position, stream.size, self.number, self.plan.passes
            )
        )

    def _begun(self) -> Learner:
        """A learner for what the first labels ask for."""
        settings = self._settings()
        self.learner = Learner(settings)
        if self.plan.evaluate:
            self.evaluation = Evaluation(settings.loss, settings.outputs, settings.parameter)
        return self.learner

    def _settings(self) -> Settings:
        return self.plan.method.learning(self.targets.loss, self.plan.parameter, self.targets.outputs)

    def _make_room(self, learner: Learner, examples: Examples) -> None:
        """Room for the features of a chunk, and for as many again: it is seldom copied then.

        Raises:
            DataError: there is not so much memory in the machine.
        """
        needed = examples.features_needed
        if needed <= learner.room:
            return
        each_row, memory = learner.bytes_per_feature, memory_of_machine()
        if needed * each_row > LARGEST_SHARE * memory:
            raise DataError(
                f"found feature {needed - 1}, whose table would take {needed * each_row / 1e9:,.1f} GB of the "
                f"{memory / 1e9:,.1f} GB of memory; map features to fewer places with --bits, such as --bits 22"
            )
        hashed = self.stream.names.bits if self.stream.names is not None else None
        room = 1 << hashed if hashed is not None else min(2 * needed, int(LARGEST_SHARE * memory / each_row))
        learner.make_room(max(room, needed))

    # Examples

    def _chunks(self) -> Generator[Examples, None, None]:
        """The examples of the present pass that are not done yet, in whole mini-batches."""
        skip, crc = self.done, NOTHING
        size = self.plan.method.batch_size
        at_once = max(AT_ONCE // size, 1) * size
        held: list[Block] = []
        with closing(iter(self.stream)) as blocks:
            for block in map(self._usable, blocks):
                if skip:
                    done = part_of(block, 0, min(skip, len(block)))
                    crc = self._sum_of(self.targets.of(done.labels), done.indices, done.values, crc)
                    skip, block = skip - len(done), part_of(block, len(done), len(block))
                    if skip == 0 and crc != self.crc:
                        raise self._other_files()
                if len(block) == 0:
                    continue
                block = joined([*held, block]) if held else block
                whole = len(block) // size * size
                held = [part_of(block, whole, len(block))] if whole < len(block) else []
                for first in range(0, whole, at_once):
                    yield self._examples(part_of(block, first, min(first + at_once, whole)))
        if skip:
            raise self._other_files()
        for block in held:
            yield self._examples(block)

    def _sum_of(self, targets, indices, values, before: Sums) -> Sums:
        """Check sums, for checkpoints, of examples from the first on: the same however they are divided."""
        if self.plan.place is None:
            return before
        of_targets, of_features, of_values = before
        bits = values.view(np.uint32 if values.itemsize == 4 else np.uint64)
        return (
            zlib.crc32(storage.raw(targets), of_targets),
            (of_features + int(indices.sum(dtype=np.int64))) % (1 << 63),
            (of_values + int(bits.sum(dtype=np.uint64))) % (1 << 63),
        )

    def _other_files(self) -> DataError:
        return DataError(
            f"{self.plan.place}: the files hold other examples than those the checkpoint was made with; train again "
            "without --resume, in another folder"
        )

    def _examples(self, block: Block) -> Examples:
        indptr = block.indptr - block.indptr[0]
        weights = block.weights.astype(np.float64)
        # The largest index of a row is its last one; where rows are empty, it is that of some other row.
        features = int(block.indices[indptr[1:] - 1].max()) + 1 if len(block.indices) else 0
        return Examples(indptr, block.indices, block.values, self.targets.of(block.labels), weights, features)

    def _usable(self, block: Block) -> Block:
        if self.targets.loss == "auto" or (self.targets.classes is None and self.learner is None):
            self._begin_targets(block)
        return usable(self.stream, self.targets, block)

    def _begin_targets(self, block: Block) -> None:
        try:
            self.targets.begin(block.labels)
        except DataError as error:
            raise DataError(f"{', '.join(map(str, self.plan.files))}: {error}") from None
        if self.targets.classes is not None and len(block) > 1 and (block.labels == block.labels[0]).all():
            self.note(
                f"The first {len(block):,} examples all have the same label: in an order by label little can be "
                "learned; shuffle the lines."
            )

    # Divergence

    def _look(self, learner: Learner, examples: Examples, predictions: np.ndarray) -> None:
        """Whether the loss grows without bound: whenever examples have doubled, beside what a constant would lose.

        Raises:
            DivergedError: it does.
        """
        if self.plan.method.auto:
            return  # rates that diverge are dropped
        upto, lost, constant = self.looked
        settings = learner.settings
        still = np.full((len(examples), settings.outputs), learner.center)
        constant += float((each(settings.loss, still, examples.targets, settings.parameter) * examples.weights).sum())
        lost += float((each(settings.loss, predictions, examples.targets, settings.parameter) * examples.weights).sum())
        self.looked = upto, lost, constant
        if learner.examples < 2 * upto:
            return
        if not np.isfinite(lost) or lost > WITHOUT_BOUND * max(constant, 1e-30):
            raise DivergedError(
                f"the loss grew without bound: over the last {learner.examples - upto:,} of {learner.examples:,} "
                f"examples it was {lost / max(constant, 1e-300):.2g} times that of a constant; use --lr auto or a "
                "smaller learning rate"
            )
        self.looked = learner.examples, 0.0, 0.0
        arrays, numbers = learner.state()
        self.good = {name: array.copy() for name, array in arrays.items()}, numbers

    def _go_back(self, reason: str) -> None:
        """To the last state that was good.

        Raises:
            DivergedError: there was none.
        """
        if self.good is None or self.learner is None:
            raise DivergedError(f"{reason}; no model is written")
        arrays, numbers = self.good
        self.learner = Learner.from_state(self.learner.settings, arrays, numbers)

    # Checkpoints

    def _due(self) -> bool:
        examples, moment = self.saved_at
        if isinstance(self.plan.every, int):
            return self._total >= examples + self.plan.every
        return time.perf_counter() >= moment + self.plan.every

    @property
    def _total(self) -> int:
        return self.learner.examples if self.learner is not None else 0

    def save(self) -> None:
        """Writes the checkpoint.

        Raises:
            FileError: it could not be written; the one before is still there.
        """
        assert self.learner is not None
        assert self.plan.place is not None
        arrays, numbers = self.learner.state()
        facts = {
            "plan": self.plan.record(),
            "sizes": self._sizes(),
            "learner": numbers,
            "targets": [self.targets.loss, self.targets.classes, self.targets.single],
            "seconds": self.seconds_before + time.perf_counter() - self.began,
            "looked": self.looked,
        }
        facts |= {name: getattr(self, name) for name in SAVED}
        storage.write(self.plan.place, KIND, arrays, facts)
        self.saved_at = self._total, time.perf_counter()

    def _sizes(self) -> dict[str, int]:
        return {
            file: os.path.getsize(file) for file in self.stream.files if isinstance(file, str) and os.path.isfile(file)
        }

    def _resume(self) -> None:
        """Goes on from the checkpoint.

        Raises:
            FileError: it is damaged, or there is one that was not to be gone on from.
            DataError: it was made with other files or settings.
        """
        place = self.plan.place
        if place is None:
            return
        if not place.exists():
            if self.plan.resume:
                self.note(f"There is no checkpoint in {self.plan.checkpoint} yet: starting at the beginning.")
            return
        if not self.plan.resume:
            raise storage.FileError(
                f"{place}: a training has got so far already; go on with --resume, or remove the file to begin anew"
            )
        arrays, facts = storage.read(place, KIND)
        self._check_plan(facts)
        loss, classes, single = facts["targets"]
        self.targets.loss, self.targets.single = loss, single
        self.targets.classes = None if classes is None else tuple(classes)
        learner = Learner.from_state(self._settings(), arrays, facts["learner"])
        self.learner = learner
        for name in SAVED:
            setattr(self, name, facts[name])
        of_targets, of_features, of_values = self.crc
        self.crc = of_targets, of_features, of_values
        self.pass_began, self.looked = tuple(self.pass_began), tuple(facts["looked"])
        self.seconds_before = facts["seconds"]
        self.saved_at = learner.examples, time.perf_counter()
        self.good = {name: array.copy() for name, array in arrays.items()}, facts["learner"]
        self.note(f"Going on after {learner.examples:,} examples.")
        if self.plan.evaluate:
            self.note("The report's curves of the training part begin at the checkpoint.")
            self.evaluation = Evaluation(loss, self.targets.outputs, learner.settings.parameter)

    def _check_plan(self, facts: dict[str, Any]) -> None:
        made, now = facts["plan"], self.plan.record()
        for name in sorted({*made, *now}):
            if made.get(name) != now.get(name):
                option = name.removeprefix("reading.").replace("_", "-")
                raise DataError(
                    f"{self.plan.place}: was made with {option} {made.get(name)!r}, found {now.get(name)!r}; give the "
                    "same to go on, or begin anew in another folder"
                )
        for file, size in self._sizes().items():
            if facts["sizes"].get(file, size) != size:
                raise DataError(
                    f"{file}: had {facts['sizes'][file]:,} bytes when the checkpoint was made, found {size:,}; begin "
                    "anew in another folder"
                )

    def _interrupted(self) -> None:
        if self.plan.place is None:
            raise Interrupted("Interrupted: nothing is kept; with --checkpoint DIR it could be gone on with.")
        if self.whole and self.learner is not None and self._total > self.saved_at[0]:
            self.save()
        if not self.plan.place.exists():
            raise Interrupted("Interrupted before the first example; nothing is lost.")
        raise Interrupted(
            f"Interrupted: {self.plan.place} holds what was learned from {self.saved_at[0]:,} examples; give the same "
            "command with --resume to go on from there."
        )

    # Results

    def model(self, diverged: str | None = None) -> Model:
        """The model as it is now."""
        assert self.learner is not None
        learner, names = self.learner, self.stream.names
        best = learner.learning_rate
        facts = {
            "version": surefoot.__version__,
            "files": [str(file) if isinstance(file, str) else "an open file" for file in self.plan.files],
            "settings": self.plan.method.record() | {"parameter": self.plan.parameter},
            "passes": self.plan.passes,
            "examples": learner.examples,
            "progressive_loss": self.first_pass.get("loss", learner.loss),
            "history": learner.history,
            "learning_rate": best.lr,
            "implicit": best.implicit,
            "rates": [
                {"lr": rate.lr, "implicit": rate.implicit, "weight": float(weight)}
                for rate, weight in zip(learner.rates, learner.shares(), strict=True)
            ],
            "skipped": self.skipped or dict(self.stream.policy.counts),
            "diverged": diverged,
            "seconds": self.seconds_before + time.perf_counter() - self.began,
        }
        if names is not None:
            facts["names"] = {"kept": len(names), "collisions": names.collisions, "left_out": names.left_out}
        reading = self.plan.reading.resolved(self.stream).record()
        known = {"names": names or {}, "reading": reading, "facts": facts}
        targets = Targets(self.targets.loss, self.targets.classes)  # of which nothing is left open any more
        return Model.of(learner, targets, **known)

    def _test(self, model: Model) -> Evaluation:
        """How well the model predicts the test part."""
        reading = self.plan.reading.resolved(self.stream)
        return evaluate(model, reading, self.plan.test, self.plan.on_error, self.plan.max_errors)


SAVED = ("number", "done", "crc", "first_pass", "pass_began", "skipped")
"""What of a training a checkpoint holds as it is."""


def evaluate(
    model: Model, reading: Reading, files: tuple[str, ...], on_error: OnError = "stop", max_errors: int | None = None
) -> Evaluation:
    """How well a model predicts the labels of files.

    Raises:
        DataError: they cannot be read, or have labels that the model does not know.
    """
    stream = reading.open(files, on_error=on_error, max_errors=max_errors, trained=True)
    found = Evaluation(model.targets.loss, model.targets.outputs, model.parameter)
    for block in stream:
        block = usable(stream, model.targets, block)
        found.add(model.scores(block), model.targets.of(block.labels), block.weights.astype(np.float64))
    found.skipped = dict(stream.policy.counts)
    return found


# Blocks


def usable(stream: Stream | Cached, targets: Targets, block: Block) -> Block:
    """The rows that have a target, each feature once; others are dealt with like lines that cannot be used.

    Raises:
        DataError: for an initial prediction, and for rows without a target that the policy does not allow.
    """
    if block.bases is not None and block.bases.any():
        row = int(np.flatnonzero(block.bases)[0])
        raise DataError(
            f"{stream.where(row)}: found an initial prediction, which is not used here; remove the third number before "
            "the bar"
        )
    if block.fields is not None:
        block = without_fields(block)
    fits = np.isfinite(targets.of(block.labels))
    if fits.all():
        return block
    leave_out(stream, targets, block, np.flatnonzero(~fits))
    return rows_of(block, fits)


def leave_out(stream: Stream | Cached, targets: Targets, block: Block, rows: np.ndarray) -> None:
    """Counts rows without a target, and stops or warns as the stream's policy says.

    Raises:
        DataError: the first one, or one too many.
    """
    policy = stream.policy
    for row in rows.tolist():
        reason, found = targets.fault(float(block.labels[row]))
        policy.counts[reason] += 1
        over = policy.max_errors is not None and policy.counts.total() > policy.max_errors
        warned = policy.on_error == "warn" and np.searchsorted(rows, row) < WARNED
        if not (policy.on_error == "stop" or over or warned):
            continue
        message = f"{stream.where(row)}: {found}"
        if policy.on_error == "stop":
            raise DataError(message)
        if over:
            raise DataError(
                f"{message}; with that, {policy.counts.total():,} lines could not be used ({policy.summary()}), "
                f"more than the {policy.max_errors:,} allowed"
            )
        warnings.warn(message, DataWarning, stacklevel=2)


def memory_of_machine() -> float:
    """Bytes, or of the container that this runs in; a large number where the system does not tell."""
    known = [1e15]
    with suppress(AttributeError, ValueError, OSError):
        known.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    for limit in LIMITS:
        with suppress(ValueError, OSError):  # "max": there is none
            known.append(float(int(Path(limit).read_text())))
    return min(known)
