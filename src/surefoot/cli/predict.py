"""surefoot predict: the predictions of a model, one per line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from surefoot.atomic_write import atomic_write
from surefoot.cli import options, output
from surefoot.cli import reading as given

if TYPE_CHECKING:
    from surefoot.data.stream import Block
    from surefoot.learn.model import Model


PRECISION = "%.9g"
"""Digits that tell numbers of float32, in which surefoot train keeps weights, apart."""


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by surefoot train.")],
    files: given.Files,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", "-p", help="Print probabilities: of the larger label, or of every class."),
    ] = False,
    scores: Annotated[bool, typer.Option("--scores", help="Print raw scores (w·x + b).")] = False,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="The loss of your own that the model was trained with, for probabilities and means; its file is run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write to this file instead of standard output.", dir_okay=False
        ),
    ] = None,
    format: given.Format = "auto",
    on_error: given.OnError = "stop",
    max_errors: given.MaxErrors = None,
    quiet: options.Quiet = False,
) -> None:
    """Predict the labels of examples, one line for each.

    Files are read in the same way as those that the model was trained on. Labels are ignored; lines of svmlight and
    libffm must begin with one, while tables and Vowpal Wabbit's text need none.
    """
    from dataclasses import replace

    from surefoot.data.reading import ReadOptions
    from surefoot.learn.model import Model

    if probabilities and scores:
        raise ValueError("--probabilities and --scores are mutually exclusive; give one of them")
    given.check_apart(out, [model, *files])
    learned = Model.load(model, loss)
    reading = learned.reading or ReadOptions()
    if format != "auto":
        reading = replace(reading, format=given.format_named(format))
    elif reading.format != "auto":
        check_format(model, reading.format)
    if probabilities:
        learned.check_probabilities()
    lines = lines_of(learned, probabilities, scores)
    with given.telling(quiet):
        stream = reading.open(files, on_error=on_error, max_errors=max_errors, trained=True)  # pyright: ignore[reportArgumentType]
        with written(out) as file:
            for block in stream:
                file.write(lines(block))
    if stream.policy.counts and not quiet:
        output.note(f"Lines skipped, which have no prediction: {stream.policy.summary()}.")


def check_format(model: Path, name: str) -> None:
    """Raises ValueError for a model whose format is not known here: one of the user's own, whose file is not named."""
    from surefoot.data.stream import formats

    try:
        formats.named(name)
    except ValueError as error:
        raise ValueError(f"{model}: {error}; for a format of your own, give --format FILE.py:NAME") from None


def lines_of(model: Model, probabilities: bool, scores: bool) -> Callable[[Block], str]:
    """What turns a block into lines."""
    from surefoot.learn.classes import shown

    classes = {label: shown(label) for label in model.targets.classes or ()}

    def lines(block: Block) -> str:
        if probabilities:
            table = model.probabilities(block)
            table = table[:, 1:] if model.targets.outputs == 1 else table
        elif scores:
            table = model.scores(block)
        elif classes:
            return "".join([f"{classes[label]}\n" for label in model.predict(block).tolist()])
        else:
            table = model.predict(block)[:, None]
        row = " ".join([PRECISION] * table.shape[1]) + "\n"
        return row * len(table) % tuple(table.ravel().tolist())

    return lines


@contextlib.contextmanager
def written(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is put in its place when it is complete."""
    if path is None:
        yield sys.stdout
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            yield file
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from None
