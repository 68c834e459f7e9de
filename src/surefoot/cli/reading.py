"""Options that say how files are read, for the commands that read them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import output

if TYPE_CHECKING:
    from surefoot.data.reading import ReadOptions

FORMATS = ("auto", "svmlight", "libffm", "vw", "csv", "tsv", "parquet")
ERRORS = ("stop", "warn", "skip")
READING = "Reading"

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES...",
        help="Paths, globs, URLs, or - for standard input; plain, or compressed by gzip, bzip2 or zstd.",
    ),
]
Format = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"{', '.join(FORMATS)}.",
        autocompletion=lambda: list(FORMATS),
        rich_help_panel=READING,
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Map features to 2^N places; 20 for names, and no mapping of numbers, unless given."
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the hash of names: another one gives other places.", min=0)]
LabelWeights = Annotated[
    bool, typer.Option("--label-weights", help="svmlight, libffm: a weight may follow the label, as in 1:0.25.")
]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help="Tables: the column to predict.")]
Weight = Annotated[str | None, typer.Option(metavar="COLUMN", help="Tables: the column of importances.")]
Numeric = Annotated[
    str | None,
    typer.Option(metavar="COLUMNS", help="Tables: columns of numbers, names or patterns separated by commas."),
]
Categorical = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Tables: columns whose values are features.")]
Drop = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Tables: columns to leave out.")]
Delimiter = Annotated[str | None, typer.Option(metavar="CHARACTER", help="Tables: what stands between values.")]
Header = Annotated[bool, typer.Option(help="Tables: whether the first line names the columns.")]
Quotes = Annotated[bool, typer.Option(help="Tables: whether values may stand between double quotes.")]
Fields = Annotated[
    bool, typer.Option("--fields", help="Tables: keep the column of each entry, for models that use fields.")
]
OnError = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        help="At a line that cannot be used: stop; warn and leave it out; or skip it, and count.",
        autocompletion=lambda: list(ERRORS),
    ),
]
MaxErrors = Annotated[
    int | None, typer.Option(metavar="N", help="Stop after all if more lines than that are left out.")
]


def reading(**given: Any) -> ReadOptions:
    """The record for options as they were given."""
    from surefoot.data.reading import ReadOptions

    for name in ("numeric", "categorical", "drop"):
        text = given[name] or ""
        given[name] = tuple(part.strip() for part in text.split(",") if part.strip())
    if given["delimiter"] is not None:
        given["delimiter"] = given["delimiter"].replace("\\t", "\t")
    return ReadOptions(**given)


def check_apart(place: Path | None, files: Iterable[Path | str]) -> None:
    """Raises ValueError where what is to be written would take the place of a file that is read."""
    from surefoot.data.stream import sources

    local = [str(file) for file in files if "://" not in str(file)]
    if place is None or not local:
        return
    for file in sources.names(local):
        if os.path.realpath(file) == os.path.realpath(place):
            raise ValueError(f"{place}: is a file that is read, expected another to write to; nothing was written")


@contextmanager
def telling(quiet: bool = False) -> Iterator[None]:
    """Warnings about data become lines on standard error, and so does the compiling of kernels, which is done once."""
    from surefoot.data.stream import DataWarning
    from surefoot.native import compilation

    told = (lambda _: None) if quiet else output.note
    compiling = compilation(
        lambda: told("Compiling kernels, which this machine has to do once …"),
        lambda seconds: told(f"Compiled kernels in {seconds:.0f} s; from now on they come from the cache."),
    )

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        output.note(f"warning: {message}")

    with warnings.catch_warnings(), compiling:
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield
