"""surefoot rules: the family as a table, or one rule in full."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from surefoot.rules import Rule, Slot

BYTES = 4
"""Of one number of memory, in float32."""

FORMULA_FROM, PAPER_FROM = 70, 110
"""Columns of a terminal from which the family's table has formulas and papers."""


def rules(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One rule: a name, or path/to/file.py:name for your own.", autocompletion=options.complete_all_rules
        ),
    ] = None,
    as_json: options.JsonOrTable = False,
) -> None:
    """Show the family of rules, or one of them with its formula, paper, memory and hyperparameters."""
    from surefoot.rules import everything, resolve

    chosen = [resolve(name, matrices=True)] if name else list(everything().values())
    if as_json:
        records = [record(rule) for rule in chosen]
        output.write_json(records[0] if name else records)
    elif name:
        show_rule(chosen[0])
    else:
        show_family(chosen)


def record(rule: Rule) -> dict[str, Any]:
    """A rule as plain words and numbers."""
    return {
        "name": rule.name,
        "summary": rule.summary,
        "formula": rule.formula,
        "source": rule.source,
        "memory_bytes_per_coordinate": size(rule),
        "slots": {
            key: {"kind": slot.kind, "initial": slot.initial, "over": extent(slot)} for key, slot in rule.slots.items()
        },
        "statistics": {
            key: {"reduction": each.reduction, "of": each.of.__name__, "over": each.over}
            for key, each in rule.statistics.items()
        },
        "hyperparameters": {
            key: {"default": hyper.default, "allowed": hyper.interval(), "meaning": hyper.meaning}
            for key, hyper in rule.hyper.items()
        },
        "conventions": {library: dict(values) for library, values in rule.conventions.items()},
        "options": dict(rule.options),
        "variants": variants(rule),
        "rows": rows(rule),
    }


def size(rule: Rule) -> int | None:
    """Bytes of memory for each coordinate; None where that depends on how many there are."""
    extents = list(map(extent, rule.slots.values()))
    return None if "matrix" in extents else BYTES * extents.count("coordinate")


def extent(slot: Slot) -> str:
    """What a slot has one number of, unless a granularity says otherwise; "matrix" for one that is a matrix."""
    return "matrix" if slot.kind == "matrix" else slot.over or "coordinate"


def variants(rule: Rule) -> list[dict[str, Any]]:
    """What the rule becomes when options are on, and its memory then."""
    return [
        {"when": sorted(options), "memory_bytes_per_coordinate": size(variant)}
        for options, variant in sorted(rule.variants.items(), key=lambda item: sorted(item[0]))
    ]


def rows(rule: Rule) -> str:
    """What happens to the rows that a sparse gradient does not name."""
    if rule.whole or rule.dense:
        return "are not supported: gradients must be dense"
    if (rule.lazy_exact or rule.zero_grad_steps == "still") and not rule.follows_rate:
        return "stay as they are: a zero gradient is not a step"
    if rule.follows_rate:
        return "catch up exactly: they are a function of the memory"
    if rule.zero_grad_steps is not None:
        return "catch up exactly, in closed form, when next touched"
    return "have no closed form for what they miss; skipped with lazy='touched'"


def short(source: str) -> str:
    """Authors and year of a source.

    >>> short("Duchi, Hazan & Singer (2011), Adaptive subgradient methods")
    'Duchi, Hazan & Singer (2011)'
    """
    found = re.match(r".*?\(\d{4}\)|[^&]*& \w+", source)
    return found.group() if found else source


def show_family(chosen: list[Rule]) -> None:
    from rich import box
    from rich.table import Table

    console = output.console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.add_column("rule", no_wrap=True, style="bold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("η", justify="right", no_wrap=True)
    if console.width >= FORMULA_FROM:
        table.add_column("formula", ratio=3)
    if console.width >= PAPER_FROM:
        table.add_column("paper", ratio=2)
    for rule in chosen:
        lr = rule.hyper["lr"].default
        needed = "matrix" if size(rule) is None else str(size(rule))
        cells = (rule.name, needed, f"{lr:g}", rule.formula, short(rule.source))
        table.add_row(*cells[: len(table.columns)])
    table.caption = (
        "x ← x − rate · direction. bytes: memory per coordinate in float32; η: the default learning rate. One rule in "
        "full: surefoot rules NAME. Rules with a matrix are for small problems: surefoot trace, engines.Step."
    )
    console.print(table)


def show_rule(rule: Rule) -> None:
    from rich.table import Table

    console = output.console()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    facts.add_row(rule.name, rule.summary)
    facts.add_row("formula", rule.formula or "not given")
    facts.add_row("paper", rule.source or "not given")
    facts.add_row("memory", memory(rule))
    if rule.statistics:
        facts.add_row("statistics", statistics(rule))
    for variant in variants(rule):
        facts.add_row(
            f"  {', '.join(variant['when'])}", f"{variant['memory_bytes_per_coordinate']} bytes per coordinate"
        )
    for key, value in rule.options.items():
        facts.add_row(key, f"{value:g} by default")
    facts.add_row("sparse rows", f"rows without a gradient {rows(rule)}")
    console.print(facts)
    console.print()
    console.print(hyperparameters(rule))
    if rule.conventions:
        console.print(conventions(rule))


def memory(rule: Rule) -> str:
    """Bytes per coordinate, row and so on, and the slots with what they start from."""
    kept: dict[str, list[str]] = {}
    for key, slot in rule.slots.items():
        start = "the parameter" if slot.initial == "x" else slot.initial
        kept.setdefault(extent(slot), []).append(f"{key} (from {start})")
    parts = []
    for over, slots in kept.items():
        what = "matrices" if over == "matrix" else f"{BYTES * len(slots)} bytes per {over} in float32"
        parts.append(f"{what}: {', '.join(slots)}")
    return "; ".join(parts) or "none"


def statistics(rule: Rule) -> str:
    """The statistics, as what they are of and over what."""
    return ", ".join(
        f"{key} ({each.reduction} of {each.of.__name__} over each {each.over})" for key, each in rule.statistics.items()
    )


def hyperparameters(rule: Rule):
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="hyperparameters", title_justify="left")
    for heading in ("name", "default", "allowed"):
        table.add_column(heading, no_wrap=True)
    table.add_column("meaning")
    for key, hyper in rule.hyper.items():
        table.add_row(
            key, str(hyper.default) if hyper.is_flag else f"{hyper.default:g}", hyper.interval(), hyper.meaning
        )
    return table


def conventions(rule: Rule):
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="conventions of other libraries", title_justify="left")
    table.add_column("library", no_wrap=True)
    table.add_column("differs in")
    own = {**rule.defaults, **rule.options}
    for library, values in rule.conventions.items():
        changed = {key: value for key, value in values.items() if value != own[key]}
        table.add_row(library, ", ".join(f"{key} = {value:g}" for key, value in changed.items()) or "nothing")
    return table
