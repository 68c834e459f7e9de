"""surefoot inspect: what there is to see in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from surefoot.cli import output
from surefoot.cli import reading as given


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What surefoot train has written.")],
    top: Annotated[int, typer.Option(metavar="N", help="How many of the largest weights to show.", min=0)] = 20,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw them, and effective rates: .png, .svg or .pdf.", dir_okay=False),
    ] = None,
    as_json: given.AsJson = False,
) -> None:
    """Show the largest weights of a model, its effective learning rates, and how it was made."""
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
    rows = facts["largest"]
    several = any(row["label"] is not None for row in rows)
    titles = ["feature", *(["class"] if several else []), "weight", "examples", "rate"]
    cells = [
        [
            row["name"],
            *([f"{row['label']:g}"] if several else []),
            f"{row['weight']:+.4g}",
            "" if row["count"] is None else f"{row['count']:,}",
            "" if row["rate"] is None else f"{row['rate']:.3g}",
        ]
        for row in rows
    ]
    if cells:
        output.table(titles, cells, {})
    lines = dict(described(facts))
    width = max(map(len, lines))
    out = output.console()
    for name, text in lines.items():
        out.print(f"{name:<{width}}  {text}", soft_wrap=True)


def described(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What is said below the table."""
    training, reading = facts["training"], facts["reading"]
    classes = "" if facts["classes"] is None else f", classes {', '.join(f'{label:g}' for label in facts['classes'])}"
    lines = [("loss", facts["loss"] + classes), ("bias", ", ".join(f"{bias:+.4g}" for bias in facts["biases"]))]
    lines.append(
        (
            "weights",
            f"{facts['nonzero_weights']:,} that are not 0; {facts['sparsity']:.1%} are 0",
        )
    )
    if "seen" in facts:
        lines.append(
            (
                "features",
                f"{facts['seen']:,} have occurred, {facts['never_seen']:,} never, {facts['frozen']:,} are frozen",
            )
        )
    if "effective_rates" in facts:
        lines.append(
            ("effective rates", ", ".join(f"{name} {rate:.3g}" for name, rate in facts["effective_rates"].items()))
        )
    if training:
        step = " (implicit steps)" if training["implicit"] else ""
        lines.append(("learning rate", f"{training['learning_rate']:g}{step}"))
        lines.append(("trained on", f"{training['examples']:,} examples of {', '.join(training['files'])}"))
        lines.append(("progressive loss", f"{training['progressive_loss']:.4f}"))
        if training.get("names"):
            names = training["names"]
            lines.append(("names", f"{names['kept']:,}; shared places: {names['collisions']:,}"))
        if training["skipped"]:
            lines.append(("left out", ", ".join(f"{why}: {n:,}" for why, n in sorted(training["skipped"].items()))))
        given = [f"{name} {value}" for name, value in training["settings"].items() if value not in ({}, 0.0, False)]
        lines.append(("settings", ", ".join([*given, f"passes {training['passes']}"])))
    if reading:
        told = [f"{name} {value}" for name, value in reading.items() if name == "format" or (name == "bits" and value)]
        lines.append(("read as", ", ".join(told)))
    return lines
