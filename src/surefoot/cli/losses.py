"""surefoot losses: the losses of linear models as a table, or one of them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from surefoot.losses import Loss


def losses(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One loss: a name, or path/to/file.py:name for your own.", autocompletion=options.complete_losses
        ),
    ] = None,
    as_json: options.JsonOrTable = False,
) -> None:
    """Show the losses of linear models, or one of them with its formula, paper, parameter and metric."""
    from surefoot.losses import REGISTRY, resolve

    chosen = [resolve(name)] if name else list(REGISTRY.values())
    if as_json:
        records = [record(loss) for loss in chosen]
        output.write_json(records[0] if name else records)
    elif name:
        show_loss(chosen[0])
    else:
        titles = ["loss", "target", "metric", "probabilities", "formula"]
        output.table(titles, [row(loss) for loss in chosen], {})


def record(loss: Loss) -> dict[str, Any]:
    """A loss as plain words and numbers."""
    parameter = None
    if loss.parameter is not None:
        hyper = loss.parameter.hyper
        parameter = {
            "name": loss.parameter.name,
            "default": hyper.default,
            "allowed": hyper.interval(),
            "meaning": hyper.meaning,
        }
    return {
        "name": loss.name,
        "summary": loss.summary,
        "formula": loss.formula,
        "source": loss.source,
        "target": loss.target,
        "metric": loss.metric.name,
        "parameter": parameter,
        "probabilities": loss.probability is not None,
        "convex": loss.convex,
    }


def row(loss: Loss) -> list[str]:
    """A line of the table."""
    return [loss.name, loss.target, loss.metric.name, "yes" if loss.probability is not None else "", loss.formula]


def show_loss(loss: Loss) -> None:
    facts = record(loss)
    parameter = facts.pop("parameter")
    lines = {key: str(value) for key, value in facts.items() if value not in ("", False)}
    if parameter is not None:
        lines["parameter"] = "{name} = {default:g} by default, in {allowed}: {meaning}".format(**parameter)
    output.facts(lines.items())
