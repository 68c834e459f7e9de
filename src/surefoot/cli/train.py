"""surefoot train: a linear model from files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import options, output
from surefoot.cli import reading as given
from surefoot.cli.training import Results, show, showing

if TYPE_CHECKING:
    from surefoot.learn.classes import Label
    from surefoot.learn.plan import Outcome, Plan

FAILED, INTERRUPTED = 1, 130
SETTING = "eps=1e-8"
"""What errors give as an example of --set."""


def complete_losses(incomplete: str) -> list[str]:
    return [*options.starting(incomplete, ["auto"]), *options.complete_losses(incomplete)]


def train(
    files: given.Files,
    model: Annotated[
        Path,
        typer.Option("--model", "-m", metavar="FILE", help="The file to write: M.safetensors.", dir_okay=False),
    ],
    test: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Measure the loss on this file too; may be repeated.")
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, a loss of surefoot losses, or path/to/file.py:name.",
            autocompletion=complete_losses,
        ),
    ] = "auto",
    loss_parameter: options.LossParameter = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="The classes: ham,spam or 1,2,3 or 0-9; inferred by default."),
    ] = None,
    optimizer: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="A rule of surefoot rules, or path/to/file.py:name.",
            autocompletion=options.complete_rules,
        ),
    ] = "adagrad",
    lr: Annotated[
        str,
        typer.Option(
            metavar="RATE",
            help="A learning rate; a schedule: polynomial:RATE[:DECAY[:POWER]], exponential:RATE:DECAY, "
            "piecewise:RATE:STEP:RATE…, horizon:RADIUS:LIPSCHITZ:STEPS, warmup:STEPS:RATE; or auto: several rates at "
            "once, weighted by their progressive loss.",
        ),
    ] = "auto",
    l1: Annotated[float, typer.Option(help="L1 penalty: many weights become exactly 0.")] = 0.0,
    l2: Annotated[float, typer.Option(help="L2 penalty.")] = 0.0,
    passes: Annotated[int, typer.Option(help="Passes through the files.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = 1,
    average: Annotated[bool, typer.Option("--average", help="Predict with the average of the weights.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter of the rule; may be repeated."),
    ] = None,
    format: given.Format = "auto",
    bits: given.Bits = None,
    seed: given.Seed = 0,
    label_weights: given.LabelWeights = False,
    target: given.Target = None,
    weight: given.Weight = None,
    numeric: given.Numeric = None,
    categorical: given.Categorical = None,
    drop: given.Drop = None,
    missing: given.Missing = None,
    delimiter: given.Delimiter = None,
    header: given.Header = True,
    quotes: given.Quotes = True,
    on_error: given.OnError = "stop",
    max_errors: given.MaxErrors = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write checkpoints to this folder.", file_okay=False)
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="N|SECONDSs", help="Checkpoint interval: 100000 (examples) or 30s; 60s by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint, if there is one.")] = False,
    save_resume: Annotated[
        bool, typer.Option("--save-resume", help="Keep the state of training in the model, so that it can learn on.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML report.", dir_okay=False)] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a linear model on files of any size.

    By default, one pass with a step for each example. The labels decide the loss: words and two distinct numbers are
    classes; numbers that are not all integers are regression targets. With --checkpoint, training can be resumed after
    Ctrl-C or a crash.
    """
    from surefoot.data.reading import ReadOptions
    from surefoot.learn.classes import are_words
    from surefoot.learn.plan import EVERY, Plan
    from surefoot.learn.settings import Method

    listed = parse_classes(classes)
    if every is not None and checkpoint is None:
        raise ValueError("--every is the interval of checkpoints; give their folder with --checkpoint DIR")
    chosen = ReadOptions(
        format=given.format_named(format), bits=bits, seed=seed, label_weights=label_weights, target=target,
        weight=weight, numeric=given.columns(numeric), categorical=given.columns(categorical), drop=given.columns(drop),
        missing=None if missing is None else given.columns(missing),
        delimiter=given.character(delimiter), header=header, quotes=quotes,
        word_labels=None if listed is None or target is None else are_words(listed),
    )  # fmt: skip
    plan = Plan(
        files=tuple(files),
        reading=chosen,
        loss=loss,
        classes=listed,
        passes=passes,
        test=tuple(test or ()),
        on_error=on_error,  # pyright: ignore[reportArgumentType]
        max_errors=max_errors,
        parameter=loss_parameter,
        method=Method(
            optimizer=optimizer,
            lr=lr,
            l1=l1,
            l2=l2,
            batch_size=batch_size,
            average=average,
            hyper=dict(map(parse_setting, settings or [])),
        ),
        checkpoint=None if checkpoint is None else str(checkpoint),
        resume=resume,
        save_resume=save_resume,
        evaluate=report is not None,
        every=EVERY if every is None else parse_every(every),
    )
    check_outputs(plan, model, report)
    results = run(plan, model, report, quiet)
    if as_json:
        output.write_json(results.record())
    elif not quiet:
        show(results)
    if (diverged := results.outcome.diverged) is not None:
        examples = results.outcome.facts.examples
        output.error(f"{diverged}; {model} holds the last good model, after {examples:,} examples")
        raise typer.Exit(FAILED)


def check_outputs(plan: Plan, model: Path, report: Path | None) -> None:
    """Raises ValueError or OSError where one of the files cannot be written, before anything is trained."""
    from surefoot.learn import storage

    read = [*plan.files, *plan.test, *([] if plan.place is None else [plan.place])]
    given.check_apart(model, read)
    given.check_apart(report, read)
    if report is not None:
        if os.path.realpath(report) == os.path.realpath(model):
            raise ValueError(f"{report}: given as --model and as --report; write them to different files")
        from surefoot.lab.page import check_installed

        check_installed()
        storage.check_place(report)
    storage.check_place(model)


def run(plan: Plan, model: Path, report: Path | None, quiet: bool) -> Results:
    """Trains, and writes the model and the report."""
    began = time.perf_counter()
    outcome = trained(plan, model, quiet)
    if report is not None:
        from surefoot.lab.learning_report import write

        write(outcome, report, model)
    return Results(outcome, model, report, time.perf_counter() - began)


def trained(plan: Plan, model: Path, quiet: bool) -> Outcome:
    """Trains, and writes the model; ends the command where there is none."""
    from surefoot.learn.learner import DivergedError
    from surefoot.learn.training import Interrupted, Training

    note = (lambda _: None) if quiet else output.note
    try:
        with given.telling(quiet), showing(quiet) as progress:
            return Training(plan, progress, note).run(keep=lambda learned: learned.save(model))
    except Interrupted as stopped:
        output.note(str(stopped))
        raise typer.Exit(INTERRUPTED) from None
    except DivergedError as error:
        output.error(str(error))
        raise typer.Exit(FAILED) from None


# Options


def parse_classes(text: str | None) -> tuple[Label, ...] | None:
    """Labels separated by commas, or a range of whole numbers; in their order, words in that of the alphabet.

    >>> parse_classes("0-3"), parse_classes("-1,1"), parse_classes("spam, ham")
    ((0.0, 1.0, 2.0, 3.0), (-1.0, 1.0), ('ham', 'spam'))
    """
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if dash and first.strip().isdigit() and last.strip().isdigit():
        return tuple(float(label) for label in range(int(first), int(last) + 1))
    found = [label.strip() for label in text.split(",")]
    try:
        return tuple(float(label) for label in found)
    except ValueError:
        pass
    if not all(found):
        raise ValueError(f"--classes takes labels, such as ham,spam or 1,2,3 or 0-9; got {text!r}")
    return tuple(sorted(found))


def parse_every(text: str) -> int | float:
    """Examples, or seconds with an s.

    >>> parse_every("100000"), parse_every("30s")
    (100000, 30.0)
    """
    try:
        every = float(text[:-1]) if text.endswith("s") else int(text.replace(",", "").replace("_", ""))
    except ValueError:
        every = float("nan")
    if not every < float("inf"):
        raise ValueError(f"--every takes a number of examples, or seconds such as 30s; got {text!r}")
    return every


def parse_setting(text: str) -> tuple[str, float]:
    """A hyperparameter: a number, true or false; what has an option of its own is not set so."""
    name, value = options.parse_setting(text, SETTING)
    if name in ("lr", "l1", "l2"):
        raise ValueError(f"--set {text}: give {name} as --{name}")
    if isinstance(value, str):
        raise ValueError(f"--set takes NAME=VALUE, such as {SETTING}; got {text!r}")
    return name, value
