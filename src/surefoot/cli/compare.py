"""`surefoot compare`: race rules on real data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from surefoot.lab.comparison import Comparison

OUT = Path("surefoot-report")


def complete_data(incomplete: str) -> list[tuple[str, str]]:
    from surefoot.data import BUILT_IN

    return [(name, data.about) for name, data in BUILT_IN.items() if name.startswith(incomplete)]


def complete_rules(incomplete: str) -> list[str]:
    """The last name of a list is still being typed."""
    before, comma, last = incomplete.rpartition(",")
    names = [*options.starting(last, ["all"]), *options.complete_rules(last)]
    return [f"{before}{comma}{name}" for name in names]


def complete_engine() -> list[str]:
    from surefoot.engines import registry

    return registry.names("banks")


def complete_convention() -> list[str]:
    from surefoot.rules import REGISTRY

    return sorted({name for rule in REGISTRY.values() for name in rule.conventions})


def compare(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A built-in data set (docstrings, airfoil), or the path of an svmlight or .npz file.",
            autocompletion=complete_data,
        ),
    ] = "docstrings",
    rules: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Rules, separated by commas: names, path/to/file.py:name, or all (default: a selection of eight). Can "
            "be repeated.",
            autocompletion=complete_rules,
        ),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Learning rate or schedule of all rules, or of some: adagrad=0.1,sgd=polynomial:0.5. A search finds "
            "those not given.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A loss of surefoot losses, or path/to/file.py:name; logistic for classes, squared for numbers by "
            "default.",
            autocompletion=options.complete_losses,
        ),
    ] = None,
    loss_parameter: options.LossParameter = None,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = 1,
    epochs: Annotated[int, typer.Option(help="Epochs over the training part.")] = 10,
    seeds: Annotated[int, typer.Option(help="Orders of the examples to average over.")] = 3,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Engine (default: the fastest; see surefoot.engines).", autocompletion=complete_engine
        ),
    ] = None,
    granularity: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="coordinate: a rate for each; or tensor: one for all.",
            autocompletion=lambda: ["coordinate", "tensor"],
        ),
    ] = "coordinate",
    l1: Annotated[float, typer.Option(help="L1 penalty.")] = 0.0,
    l2: Annotated[float, typer.Option(help="L2 penalty.")] = 0.0,
    convention: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Take the defaults of a library: textbook, pytorch, keras, optax, fbgemm.",
            autocompletion=complete_convention,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help=f"Where report.html and results.json go (default: {OUT}; nowhere with --json).",
        ),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Race rules on the same data in the same order.

    Every rule trains a linear model. Prints a table, and writes report.html (loss by epoch and by time, effective
    learning rates, traces) and results.json. Ctrl-C keeps what is finished.
    """
    from surefoot.engines import registry
    from surefoot.lab.comparison import compare as race

    folder = out if out or as_json else OUT
    with output.progress(quiet) as bar:
        result = race(
            data,
            ",".join(rules) if rules else None,
            None if lr is None else parse_rates(lr),
            loss=loss,
            loss_parameter=loss_parameter,
            batch_size=batch_size,
            epochs=epochs,
            seeds=seeds,
            engine=engine or registry.DEFAULT,
            granularity=granularity,
            convention=convention,
            l1=l1,
            l2=l2,
            out=folder,
            progress=bar,
            command=command_line(context),
        )
    if as_json:
        output.write_json(result.to_dict())
    elif not quiet:
        show(result, folder)
    if result.unfinished:
        if not quiet:
            output.note(f"Interrupted: {', '.join(result.unfinished)} did not finish.")
        raise typer.Exit(130)


def command_line(context: Any) -> str:
    """What has to be typed to get these results again: the options that were, without those of what is printed."""
    words = []
    for option in context.command.params:
        value = context.params.get(option.name)
        if option.name == "data":
            words.insert(0, value)
        elif not isinstance(value, bool) and context.get_parameter_source(option.name).name == "COMMANDLINE":
            words.append(f"{option.opts[0]}={','.join(value) if isinstance(value, list | tuple) else value}")
    return shlex.join(["surefoot", "compare", *words])


def parse_rates(text: str) -> Any:
    """A learning rate for all rules, or one for each by name."""
    rates = options.parse_rates(text)
    if isinstance(rates, list) and len(rates) > 1:
        raise ValueError(f"--lr takes one rate for all rules, or rule=rate pairs separated by commas; got {text!r}")
    return rates[0] if isinstance(rates, list) else rates


def show(result: Comparison, folder: Path | None) -> None:
    """The table, a summary in words, and the path of the report."""
    from surefoot.lab import standings

    rows = result.table()
    columns = standings.columns(rows)
    cells = [[column.text(row) for column in columns] for row in rows]
    styles = {}
    for c, column in enumerate(columns):
        best = column.best(rows)
        for r, row in enumerate(rows):
            if row["diverged"]:
                styles[r, c] = "red" if column.key == "test_loss" else "dim"
            elif best is not None and row[column.key] == best:
                styles[r, c] = "bold green"
    out = output.console()
    out.print(f"{result.data.describe()}; loss: {result.loss.metric.name}", style="dim")
    out.print()
    output.table([column.title for column in columns], cells, styles)
    out.print(standings.headline(rows), style="bold")
    out.print(standings.runners_up(rows))
    out.print(f"Learning rates: {standings.how_rates_were_found(result.entries)}")
    for reason in result.left_out.values():
        out.print(f"Skipped: {reason}.")
    if folder is not None:
        for name in ("report.html", "results.json"):
            out.print(str(folder / name), soft_wrap=True)
