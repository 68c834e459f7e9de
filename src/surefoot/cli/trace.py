"""surefoot trace: rules on a function of two numbers, as a table, a figure and an animation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from surefoot.lab.tracing import Trace


def complete_problems(incomplete: str) -> list[str]:
    from surefoot.lab.problems import PROBLEMS

    return options.starting(incomplete, PROBLEMS)


def trace(
    rules: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE...",
            help="Names of rules, or path/to/file.py:name for your own.",
            autocompletion=options.complete_all_rules,
        ),
    ],
    problem: Annotated[
        str,
        typer.Option(help="elongated, bowl, rotated, rosenbrock or beale.", autocompletion=complete_problems),
    ] = "elongated",
    lr: Annotated[
        str | None,
        typer.Option(
            help="Learning rate: 0.4, a schedule: polynomial:0.4:0.1, several: 0.4,2 or by rule: adagrad=0.4,sgd=0.1. "
            "Default: each rule's."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 20,
    start: Annotated[str | None, typer.Option(metavar="X1,X2", help="Where to start. Default: the problem's.")] = None,
    noise: Annotated[float, typer.Option(help="Standard deviation of noise added to the gradient.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="A schedule without its first RATE, which --lr gives: constant, exponential:DECAY, polynomial"
            "[:DECAY[:POWER]], piecewise:STEP:RATE…, warmup:STEPS[:SCHEDULE], chain:SCHEDULE/STEPS/SCHEDULE…; "
            "or horizon:RADIUS:LIPSCHITZ:STEPS, which has none."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter; may be given several times."),
    ] = None,
    convention: Annotated[
        str | None, typer.Option(help="Take the defaults of pytorch, keras, optax, fbgemm or textbook.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figure: .png, .svg or .pdf.", dir_okay=False)] = None,
    gif: Annotated[Path | None, typer.Option(help="Write an animation: .gif.", dir_okay=False)] = None,
    as_json: options.JsonOrTable = False,
) -> None:
    """Follow rules over a function of two numbers."""
    from surefoot.lab.figures import check_suffix, save
    from surefoot.lab.tracing import trace as follow

    # A wrong suffix is reported before anything is computed.
    check_suffix(out, gif)
    chosen = resolve(rules)
    given = None if lr is None else options.parse_rates(lr)
    rates = with_schedule(given, schedule, chosen, convention)
    hyper = dict(parse_setting(text) for text in settings or [])
    result = follow(chosen, problem, rates, steps, parse_start(start), noise, seed, convention, **hyper)
    if out is not None:
        save(result.figure(), out)
    if gif is not None:
        result.gif(gif)
    if as_json:
        output.write_json(result.record())
    else:
        show(result, [path for path in (out, gif) if path is not None])


def resolve(rules: list[str]) -> list[Any]:
    """The rules that were named."""
    from surefoot.rules import resolve as resolved

    names = [name.strip() for text in rules for name in text.split(",") if name.strip()]
    return [resolved(name, matrices=True) for name in names]


def with_schedule(lr: Any, schedule: str | None, rules: list[Any], convention: str | None) -> Any:
    """The learning rates of each rule as schedules that start from them."""
    from surefoot.rules import by_name
    from surefoot.schedules import has_rate, parse

    if schedule is None:
        return lr
    if lr is not None and not has_rate(schedule):
        raise ValueError(f"--schedule {schedule} has no rate that --lr could give; leave out one of them")
    lr = by_name(lr, rules) if isinstance(lr, dict) else lr
    rates = {}
    for rule in rules:
        default: Any = rule.settings(convention)["lr"]
        given = lr.get(rule.name) if isinstance(lr, dict) else lr
        bases = [default] if given is None else given if isinstance(given, list) else [given]
        if any(map(callable, bases)):
            raise ValueError(f"--schedule {schedule}: --lr gives a schedule already; leave one of them out")
        rates[rule.name] = [parse(schedule, base) for base in bases]
    return rates


def parse_start(text: str | None) -> tuple[float, ...] | None:
    """Two numbers with a comma between them.

    >>> parse_start("-5,-2")
    (-5.0, -2.0)
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 2:
        raise ValueError(f"--start takes two numbers, such as -5,-2; got {text!r}")
    return numbers


def parse_setting(text: str) -> tuple[str, float | bool | str]:
    """A hyperparameter and its value; what has an option of its own is not set so."""
    name, value = options.parse_setting(text)
    if name in ("lr", "rules", "problem", "steps", "start", "noise", "seed", "convention"):
        raise ValueError(f"--set {text}: give {name} as " + ("arguments" if name == "rules" else f"--{name}"))
    return name, value


def show(result: Trace, written: list[Path]) -> None:
    """The table of where every path ends."""
    from surefoot.lab.tracing import ENDS

    console = output.console()
    console.print(f"f(x) = {result.problem.formula}\n", style="italic")
    output.table(ENDS, result.ends(), {})
    for file in written:
        console.print(f"written: {file}", soft_wrap=True)
    if not written:
        console.print("a figure: --out trace.png; an animation: --gif trace.gif", style="dim")
