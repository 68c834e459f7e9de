"""From files to a model: passes, checkpoints, and what happens to examples, losses and signals on the way."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext, suppress
from itertools import chain

import numpy as np

import surefoot
from surefoot import losses, schedules
from surefoot.data import DataError
from surefoot.data.stream import Block, joined, sources
from surefoot.data.stream.blocks import part_of
from surefoot.engines.examples import Examples
from surefoot.engines.feature_table import TooLargeError
from surefoot.engines.hashed_rows import HashedRows
from surefoot.learn import storage
from surefoot.learn.checkpoint import KIND, Checkpoint, Checkpointer
from surefoot.learn.cursor import Cursor
from surefoot.learn.divergence import Divergence
from surefoot.learn.evaluation import Evaluation
from surefoot.learn.examples import examples_of, for_model, in_batches, until
from surefoot.learn.facts import Facts, MethodFacts, NameFacts, RateFacts
from surefoot.learn.interrupts import deferred_interrupts
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.model import Model
from surefoot.learn.outliers import Outliers
from surefoot.learn.plan import Outcome, Plan, Progress
from surefoot.learn.remarks import FIRST, Past, in_runs, of_order, of_runs, of_sizes, of_targets, of_units
from surefoot.learn.settings import Settings
from surefoot.learn.targets import Targets, odd_among
from surefoot.learn.validation import evaluate
from surefoot.schedules import Rate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while learning; the message says what was saved and how to continue."""


class Training:
    """A training that can be interrupted at any moment, and resumed where the plan has checkpoints.

    Args:
        plan: what is to be learned.
        progress: is called with how far it is, after every few examples.
        note: is called with what people should know.

    Raises:
        DataError, FileError: files are missing, or checkpoints cannot be written.
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
        (self.targets.decided or losses.FOR_TWO_CLASSES).settings(plan.parameter)  # those of "auto" do not have one
        self.checkpointer = None if plan.place is None else Checkpointer(plan.place, plan.every)
        for file in sources.names(plan.test) if plan.test else ():
            if not sources.is_read_once(file):  # a missing file is reported before anything is learned
                sources.opened(file, sources.name_of(file)).close()
        self.stream = plan.reading.open(plan.files, on_error=plan.on_error, max_errors=plan.max_errors)
        self.targets.words = self.stream.words
        self.files = [sources.Identity.of(file) for file in self.stream.files]
        self.learner: Learner | None = None
        self.first: Block | None = None
        self.past: Past | None = None
        self.outliers: Outliers | None = None
        self.in_runs = False
        self.cursor = self.over = Cursor()
        self.divergence = Divergence(watch=not plan.method.auto)
        self.evaluation: Evaluation | None = None
        self.first_loss: float | None = None
        self.skipped: dict[str, int] = {}
        self.clock = Clock()
        self._is_whole = True
        self._written = ""

    # Learning

    def run(self, keep: Callable[[Model], None] | None = None) -> Outcome:
        """Learns, and measures the loss on the test part.

        Args:
            keep: is called with the model before it is tested, which may fail; then the checkpoint is removed.

        Raises:
            DataError: the files cannot be learned from.
            Interrupted: Ctrl-C; a checkpoint was made if there is a folder for it.
            FileError: a checkpoint could not be written or does not fit, or another training uses its folder.
        """
        with nullcontext() if self.checkpointer is None else self.checkpointer.locked(self.note):
            return self._run(keep)

    def _run(self, keep: Callable[[Model], None] | None) -> Outcome:
        diverged = remark = None
        self._resume()
        try:
            while self.cursor.number < self.plan.passes:
                self._pass()
            if labels := self.targets.remark():
                self.note(labels)
            if self.learner is not None and (remark := of_targets(self.learner, self.outliers, "lines", is_end=True)):
                self.note(remark)
        except DivergedError as error:
            diverged = str(error)
            self.learner = self.divergence.last_good(self._settings(), diverged)
        except KeyboardInterrupt:
            self._interrupted()
        model = self.model(diverged)
        if self.learner is not None and (sizes := of_sizes(self.learner)):
            self.note(sizes)
        if self.learner is not None and (units := of_units(self.learner)):
            self.note(units)
        elif diverged is None and not remark and not (self.learner and self.learner.before.examples):
            self._note_order(model)
        if keep is not None:
            try:
                keep(model)
            except storage.FileError as error:
                raise storage.FileError(f"{error}; {self._rescued(model, diverged)}") from None
            if self.checkpointer is not None:
                self.checkpointer.remove()
        test = self._test(model) if self.plan.test and diverged is None else None
        return Outcome(model, self.clock.total, self.evaluation, test, diverged)

    def _pass(self) -> None:
        """The rest of the present pass."""
        if self.learner is not None and self.cursor.done == 0:
            self.learner.freeze()
        with deferred_interrupts() as deferred, closing(self._chunks()) as chunks:
            for examples in chunks:
                with deferred:
                    self._learn(examples)
        self.skipped = dict(self.stream.policy.counts)
        if self.learner is None:
            raise DataError(
                f"{self._names()}: found no example to learn from; lines skipped: {self.stream.policy.summary()}"
            )
        self.cursor.check_pass(self._source)
        if self.first_loss is None:
            self.first_loss = self.learner.loss
            self.in_runs = in_runs(self.learner)
        self.over, self.cursor = self.cursor, self.cursor.next_pass(self.learner.lost, self.learner.weight)

    def _note_order(self, model: Model) -> None:
        """Says what is to be known of the order of the examples, by the loss of the model on the first ones.

        A training that was resumed does not have these.
        """
        names = "lines", "targets" if self.targets.classes is None else "labels"
        if self.first is None or self.past is None:
            if self.in_runs:
                self.note(of_runs(self.first_loss or math.nan, None, *names))
            return
        block, loss = part_of(self.first, 0, min(len(self.first), len(self.past.losses))), model.targets.loss
        losses = loss.reported(model.scores(block), model.targets.of(block.labels), model.parameter)
        if remark := of_order(self.in_runs, self.first_loss or math.nan, self.past, losses, names):
            self.note(remark)

    def _chunks(self) -> Generator[Examples, None, None]:
        """The examples of the present pass that were not learned from yet."""
        with closing(iter(self.stream)) as blocks:
            rest = self.cursor.remaining(map(self._usable, blocks), self.targets, self._source)
            opening = until(1, rest)  # which decides what the labels are
            if self.learner is None and opening:
                settings = self._settings()
                weighs = self.plan.reading.resolved(self.stream).weighs
                first = max(settings.first_targets, settings.first_weights if weighs else 1)
                opening += until(first - len(opening[0]), rest)
                self.first = joined(opening)
            for block in in_batches(chain(opening, rest), self.plan.method.batch_size):
                yield examples_of(block, self.targets)

    def _usable(self, block: Block) -> Block:
        if self.targets.decided is None or (self.targets.classes is None and self.learner is None):
            self._begin_targets(block)
        return for_model(self.plan.method.architecture, self.stream, self.targets, block, self._missing)

    @property
    def _missing(self) -> bool:
        """Whether absent numbers are missing, rather than 0."""
        return self.plan.reading.resolved(self.stream).is_table

    @property
    def _source(self) -> str:
        """The checkpoint and the files that were written since it was made, for messages."""
        return f"{self.plan.place}{self._written}"

    def _names(self) -> str:
        """The files as they were given, for messages."""
        return ", ".join(map(sources.name_of, self.plan.files))

    def _begin_targets(self, block: Block) -> None:
        is_known = self.targets.decided is not None
        try:
            self.targets.begin(block.labels)
        except DataError as error:
            raise DataError(f"{self._names()}: {error}") from None
        if not is_known and self.targets.classes is None and (remark := odd_among(block.labels)):
            self.note(remark)
        if self.targets.classes is not None and len(block) > 1 and (block.labels == block.labels[0]).all():
            self.note(
                f"The first {len(block):,} examples all have the same label. Little can be learned from examples "
                "sorted by label: shuffle the lines."
            )

    def _learn(self, examples: Examples) -> None:
        """Learns from a chunk; afterwards, and only then, the training can be saved."""
        self._is_whole = False
        learner = self.learner = self.learner or self._begun()
        try:
            predictions = learner.learn(examples)
        except TooLargeError as error:
            raise DataError(f"{self._names()}: {error} with --bits, such as --bits 22") from None
        if self.past is None:
            self.past = Past.of(learner.settings, predictions, examples)
        if self.outliers is not None and self.cursor.number == 0:
            self.outliers.add(examples.targets)
        if self.evaluation is not None and self.cursor.number == 0:
            self.evaluation.add(predictions, examples.targets, examples.weights)
        sums = self.cursor.sums
        if self.checkpointer is not None:
            sums = sums.add(examples)
        self.cursor = self.cursor.advanced(len(examples), sums)
        self._is_whole = True
        self.divergence.look(learner, examples, predictions)
        if self.checkpointer is not None and self.checkpointer.due(learner.examples):
            self.save()
        self._report(learner)

    def _report(self, learner: Learner) -> None:
        """Reports how far the training is."""
        cursor, stream = self.cursor, self.stream
        loss = (learner.lost - cursor.lost) / max(learner.weight - cursor.weight, 1e-300)
        seconds, fresh = self.clock.seconds, learner.examples - self.clock.examples
        place = stream.position, stream.size, cursor.number, self.plan.passes
        self.progress(Progress(learner.examples, loss, seconds, fresh, *place))

    def _begun(self) -> Learner:
        """A learner for what the first labels ask for."""
        settings = self._settings()
        if self.plan.evaluate:
            self.evaluation = Evaluation(settings.loss, settings.outputs, settings.parameter)
        assert self.first is not None
        learner = Learner(settings, row_map=HashedRows(), missing=self._missing)
        first = self.targets.of(self.first.labels)
        self.outliers = Outliers.of(first, settings.loss) if self.targets.classes is None else None
        learner.begin(first, self.first.weights.astype(np.float64))
        self.first = copy.deepcopy(first_of(self.first))  # no more of it is held
        return learner

    def _settings(self) -> Settings:
        return self.plan.method.learning(self.targets.loss, self.plan.parameter, self.targets.outputs)

    # Checkpoints

    def save(self) -> None:
        """Replaces the checkpoint.

        Raises:
            FileError: it could not be written; the one before is still there.
        """
        assert self.learner is not None
        assert self.checkpointer is not None
        arrays, numbers = self.learner.state()
        checkpoint = Checkpoint(
            plan=self.plan.record(),
            files=tuple(self.files),
            arrays=arrays,
            learner=numbers,
            targets=self.targets.inferred(),
            cursor=self.cursor,
            window=self.divergence.window,
            first_loss=self.first_loss,
            skipped=self.skipped,
            seconds=self.clock.total,
        )
        self.checkpointer.save(checkpoint, self.learner.examples)

    def _resume(self) -> None:
        """Continues from the checkpoint, if there is one.

        Raises:
            FileError: it is corrupt, or the plan does not say to resume.
            DataError: it was made with other files or settings.
        """
        if self.checkpointer is None:
            return
        path = self.checkpointer.path
        if not path.exists():
            if self.plan.resume:
                self.note(f"There is no checkpoint in {self.plan.checkpoint} yet: starting from the beginning.")
            return
        if not self.plan.resume:
            raise storage.FileError(
                f"{path}: a checkpoint already exists here; continue with --resume, or remove the file to start again"
            )
        saved = Checkpoint.read(path)
        saved.check(path, self.plan.record(), self.files)
        self._written = written_since(saved.files, self.files)
        with storage.as_written(path, KIND):
            self.targets.restore(saved.targets)
            settings = self._settings()
            learner = self.learner = Learner.from_state(settings, saved.arrays, saved.learner)
            saved.cursor.check(learner, self.plan.passes)
            if learner.missing != self._missing:
                raise ValueError(f"missing: found {learner.missing}, expected {self._missing}, as the files are read")
        self.cursor, self.first_loss, self.skipped = saved.cursor, saved.first_loss, dict(saved.skipped)
        self.divergence.window, self.divergence.good = saved.window, (saved.arrays, saved.learner)
        self.clock = Clock(saved.seconds, learner.examples)
        self.checkpointer.kept(learner.examples)
        self.note(f"Resuming after {learner.examples:,} examples.")
        if self.plan.evaluate:
            self.note("The report's training curves begin at the checkpoint.")
            self.evaluation = Evaluation(settings.loss, settings.outputs, settings.parameter)

    def _interrupted(self) -> None:
        """Saves what was learned, and says how to continue.

        Raises:
            Interrupted: always.
        """
        kept = self.checkpointer
        if kept is None:
            raise Interrupted("Interrupted: nothing was saved; use --checkpoint DIR to make training resumable.")
        if self._is_whole and self.learner is not None and self.learner.examples > kept.examples:
            self.save()
        if not kept.path.exists():
            raise Interrupted("Interrupted before the first example; nothing is lost.")
        raise Interrupted(
            f"Interrupted: {kept.path} holds what was learned from {kept.examples:,} examples; repeat the command with "
            "--resume to continue."
        )

    def _rescued(self, model: Model, diverged: str | None) -> str:
        """Saves a model that could not be written where it should be, and says where it is."""
        kept = self.checkpointer
        if kept is not None and diverged is None and self.learner is not None:
            # As at the end of its last pass, which is read again for the names of features.
            self.cursor, self.first_loss = self.over, self.first_loss if self.over.number else None
            with suppress(storage.FileError):
                if self.learner.examples > kept.examples:
                    self.save()
            if kept.path.exists():
                return (
                    f"{kept.path} holds what was learned from {kept.examples:,} examples; repeat the command with "
                    "--resume, when there is room or with another --model"
                )
        found = storage.write_elsewhere(model.save)
        return "it could not be written elsewhere either" if found is None else f"the model is in {found} instead"

    # Results

    def model(self, diverged: str | None = None) -> Model:
        """The model as it is now."""
        assert self.learner is not None
        targets = Targets(self.targets.loss, self.targets.classes)  # which infer nothing from further labels
        names, reading = self.stream.names or {}, self.plan.reading.resolved(self.stream)
        known = {"names": names, "reading": reading, "facts": self._facts(self.learner, diverged)}
        return Model.of(self.learner, targets, self.plan.save_resume, **known)

    def _facts(self, learner: Learner, diverged: str | None) -> Facts:
        """How the model was learned, and with what success."""
        best, names = learner.learning_rate, self.stream.names
        return Facts(
            version=surefoot.__version__,
            files=tuple(map(sources.name_of, self.plan.files)),
            settings=MethodFacts(**self.plan.method.record(), parameter=self.plan.parameter),
            passes=self.plan.passes,
            examples=learner.examples,
            progressive_loss=learner.loss if self.first_loss is None else self.first_loss,
            history=tuple(learner.history),
            learning_rate=number_or_text(best.lr),
            implicit=best.implicit,
            rates=tuple(
                RateFacts(number_or_text(rate.lr), rate.implicit, float(weight))
                for rate, weight in zip(learner.rates, learner.shares(), strict=True)
                if rate.lasting
            ),
            skipped=self.skipped or dict(self.stream.policy.counts),
            diverged=diverged,
            names=None if names is None else NameFacts(len(names), names.collisions, names.left_out),
        )

    def _test(self, model: Model) -> Evaluation:
        """How well the model predicts the test part."""
        reading = self.plan.reading.resolved(self.stream)
        return evaluate(model, reading, self.plan.test, self.plan.on_error, self.plan.max_errors)


class Clock:
    """How long a training takes.

    Args:
        before: seconds that it took before it was resumed.
        examples: that it had learned from before it was resumed.
    """

    def __init__(self, before: float = 0.0, examples: int = 0):
        self.before, self.examples = before, examples
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it began or was resumed."""
        return time.perf_counter() - self._began

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return self.before + self.seconds


def written_since(before: Sequence[sources.Identity], now: Sequence[sources.Identity]) -> str:
    """The files whose time has changed, in parentheses."""
    changed = [new.name for old, new in zip(before, now, strict=True) if old.modified != new.modified]
    return f" ({', '.join(changed)} {'was' if len(changed) == 1 else 'were'} written since)" if changed else ""


def number_or_text(lr: Rate) -> float | str:
    """A learning rate as JSON holds it: a schedule by its written form or its name."""
    return str(schedules.name_of(lr)) if callable(lr) else lr


def first_of(block: Block) -> Block:
    """The first examples, by which models of files whose labels come in runs are judged."""
    return part_of(block, 0, min(len(block), FIRST))
