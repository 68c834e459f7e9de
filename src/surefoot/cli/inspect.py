"""surefoot inspect: the largest weights of a model, its effective learning rates, and how it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from surefoot.learn.inspection import Summary


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by surefoot train.")],
    top: Annotated[int, typer.Option(metavar="N", help="The number of largest weights to show.", min=0)] = 20,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot them and the effective rates: .png, .svg or .pdf.", dir_okay=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the largest weights of a model, its effective learning rates, and how it was trained."""
    from surefoot.learn.inspection import summary
    from surefoot.learn.model import Model

    if figure is not None:
        from surefoot.lab.figures import check_suffix

        check_suffix(figure)
    learned = Model.load(model)
    found = summary(learned, top)
    if figure is not None:
        from surefoot.lab.figures import save
        from surefoot.lab.model_figures import weights_and_rates

        save(weights_and_rates(learned, list(found.largest)), figure)
    if as_json:
        output.write_json(found.record())
        return
    show(found)
    if figure is not None:
        output.console().print(f"written: {figure}", soft_wrap=True)


def show(found: Summary) -> None:
    """The table of weights, and the rest in lines."""
    from surefoot.learn.classes import shown
    from surefoot.learn.inspection import described

    several = any(row.label is not None for row in found.largest)
    titles = ["feature", *(["class"] if several else []), "weight", "examples", "rate"]
    cells = [
        [
            row.name,
            *([] if row.label is None else [shown(row.label)]),
            f"{row.weight:+.4g}",
            "" if row.count is None else f"{row.count:,}",
            "" if row.rate is None else f"{row.rate:.3g}",
        ]
        for row in found.largest
    ]
    if cells:
        output.table(titles, cells, {})
    output.facts(described(found))
