"""Options that several commands have, and what completes and parses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from surefoot.schedules import Rate

AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
JsonOrTable = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LossParameter = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="The loss's own, such as δ of huber; its default otherwise.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors, and JSON if requested.")]


def starting(incomplete: str, names: Iterable[str]) -> list[str]:
    """The names that what was typed so far may become.

    >>> starting("ada", ["adagrad", "sgd", "adam"])
    ['adagrad', 'adam']
    """
    return [name for name in names if name.startswith(incomplete)]


def complete_rules(incomplete: str) -> list[str]:
    from surefoot.rules import REGISTRY

    return starting(incomplete, REGISTRY)


def complete_all_rules(incomplete: str) -> list[str]:
    """Those of whole arrays, too."""
    from surefoot.rules import everything

    return starting(incomplete, everything())


def complete_losses(incomplete: str) -> list[str]:
    from surefoot.losses import REGISTRY

    return starting(incomplete, REGISTRY)


def parse_rates(text: str) -> list[Rate] | dict[str, Rate]:
    """Learning rates separated by commas, each a number or a schedule; or such by rule.

    >>> parse_rates("0.1,2"), parse_rates("sgd=1,adagrad=0.3")
    ([0.1, 2.0], {'sgd': 1.0, 'adagrad': 0.3})
    """
    from surefoot.schedules import resolve

    parts = [part.rpartition("=") for part in text.split(",")]
    if len({bool(equals) for _, equals, _ in parts}) > 1:
        raise ValueError(f"--lr takes rates for all rules, or rule=rate for each of some; got {text!r}")
    names = [name.strip() for name, equals, _ in parts if equals]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--lr has more than one rate for {', '.join(twice)}; got {text!r}")
    try:
        if parts[0][1]:
            return {name.strip(): resolve(rate.strip()) for name, _, rate in parts}
        return [resolve(rate.strip()) for _, _, rate in parts]
    except ValueError as error:
        raise ValueError(f"--lr {text}: {error}") from None


def parse_setting(text: str, example: str = "gamma=0.9") -> tuple[str, float | bool | str]:
    """A hyperparameter and its value: a number, true or false, or a word.

    >>> parse_setting("gamma=0.9"), parse_setting("nesterov=true")
    (('gamma', 0.9), ('nesterov', True))
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name.isidentifier() and equals and value):
        raise ValueError(f"--set takes NAME=VALUE, such as {example}; got {text!r}")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value
