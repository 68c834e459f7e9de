"""surefoot inspect: the largest weights of a model, its effective learning rates, and how it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from surefoot.cli import options, output


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
    from surefoot.learn.inspection import largest, summary
    from surefoot.learn.model import Model

    if figure is not None:
        from surefoot.lab.figures import check_suffix

        check_suffix(figure)
    learned = Model.load(model)
    facts = summary(learned, top)
    if figure is not None:
        from surefoot.lab.figures import save
        from surefoot.lab.model_figures import weights_and_rates

        save(weights_and_rates(learned, largest(learned, top)), figure)
    if as_json:
        output.write_json(facts)
        return
    show(facts)
    if figure is not None:
        output.console().print(f"written: {figure}", soft_wrap=True)


def show(facts: dict[str, Any]) -> None:
    """The table of weights, and the rest in lines."""
    from surefoot.learn.targets import shown

    rows = facts["largest"]
    several = any(row["label"] is not None for row in rows)
    titles = ["feature", *(["class"] if several else []), "weight", "examples", "rate"]
    cells = [
        [
            row["name"],
            *([shown(row["label"])] if several else []),
            f"{row['weight']:+.4g}",
            "" if row["count"] is None else f"{row['count']:,}",
            "" if row["rate"] is None else f"{row['rate']:.3g}",
        ]
        for row in rows
    ]
    if cells:
        output.table(titles, cells, {})
    from surefoot.learn.inspection import described

    lines = dict(described(facts))
    width = max(map(len, lines))
    out = output.console()
    for name, text in lines.items():
        out.print(f"{name:<{width}}  {text}", soft_wrap=True)
