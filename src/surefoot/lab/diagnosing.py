"""What an optimizer does to each parameter: effective learning rates, and coordinates that have stopped moving."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.engines import driver, reference
from surefoot.engines.cpu import merge
from surefoot.engines.numerics import ARITHMETIC, decode
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.lab.rates_figure import Rows, rates_figure
from surefoot.optim import RuleOptimizer
from surefoot.optim.memory import Memory, array, is_aligned, local, own_gradient, rows_of, storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

SAMPLE = 1 << 20
"""Coordinates of a parameter whose rates are inspected; of more, evenly spaced rows are sampled."""

BLOCK = 1 << 18
"""Coordinates whose next step is computed at a time."""

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


def number(value: float | None) -> str:
    """Three digits, or a dash.

    >>> number(0.012345), number(None)
    ('0.0123', '–')
    """
    return "–" if value is None else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share in percent, never rounded to nothing or to all.

    >>> percent(0.00001), percent(0.5), percent(0.99999), percent(0.0)
    ('<0.1 %', '50 %', '>99.9 %', '0 %')
    """
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.3g} %"


class Remedy(NamedTuple):
    """Something that sets frozen coordinates in motion again, and the call that does it."""

    what: str
    call: str


@dataclass
class Finding:
    """The findings for one parameter. Shares are None without a gradient, or without memory, to compute them from.

    Attributes:
        name, shape, dtype, rule: the parameter and the rule that steps it.
        steps: how many steps it has taken.
        lr: the learning rate η of its group.
        rate: quantiles of the effective learning rate over the coordinates that were ever visited.
        never_visited: share of the coordinates whose memory is what it was before the first step.
        frozen: share of the coordinates with a gradient whose update rounds to nothing in the parameter's type.
        saturated: share of the coordinates with a gradient whose square no longer changes the memory.
        skipped: share of the gradient's coordinates that are skipped, as a value is not finite.
        skipped_so_far: number of coordinates skipped in all steps.
        gradient_norm, update_norm, parameter_norm: Euclidean norms.
        remedies: what can be done about frozen and saturated coordinates.
        rows: for figures.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rule: str
    steps: int
    lr: float
    rate: dict[str, float] | None
    never_visited: float | None
    frozen: float | None
    saturated: float | None
    skipped: float | None
    skipped_so_far: int
    gradient_norm: float | None
    update_norm: float | None
    parameter_norm: float
    remedies: list[Remedy] = field(default_factory=list)
    rows: Rows | None = field(default=None, repr=False)


WIDE = 118
"""Columns of a terminal that has room for the whole table."""

COLUMNS: dict[str, list[tuple[str, Callable[[Finding], float | None], Callable[[float | None], str]]]] = {
    "rates": [
        ("rate, 10 %", lambda f: f.rate["p10"] if f.rate else None, number),
        ("median", lambda f: f.rate["median"] if f.rate else None, number),
        ("90 %", lambda f: f.rate["p90"] if f.rate else None, number),
    ],
    "shares": [
        ("never\nvisited", lambda f: f.never_visited, percent),
        ("frozen", lambda f: f.frozen, percent),
        ("satu-\nrated", lambda f: f.saturated, percent),
        ("skipped", lambda f: f.skipped, percent),
    ],
    "norms": [
        ("‖gradient‖", lambda f: f.gradient_norm, number),
        ("‖update‖", lambda f: f.update_norm, number),
        ("‖parameter‖", lambda f: f.parameter_norm, number),
    ],
}
"""The columns of the table, by part: the heading, the value, and how it is written."""


@dataclass
class Diagnosis:
    """What `diagnose` found, parameter by parameter: print it, take it as a dict, or draw it."""

    findings: list[Finding]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(
            f"there is no parameter {name!r}; there are {', '.join(f.name for f in self.findings) or 'none'}"
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Everything found, by parameter, as plain numbers, strings, lists and dicts."""
        found = {}
        for finding in self.findings:
            fields = {key: value for key, value in vars(finding).items() if key not in ("name", "rows")}
            fields |= {"shape": list(finding.shape), "remedies": [remedy._asdict() for remedy in finding.remedies]}
            found[finding.name] = fields
        return found

    def scalars(self) -> Iterator[tuple[str, float]]:
        """Every number found with a name such as "embedding.weight/rate/median"."""
        for finding in self.findings:
            for key, value in vars(finding).items():
                if isinstance(value, int | float):
                    yield f"{finding.name}/{key}", float(value)
            for key, value in (finding.rate or {}).items():
                yield f"{finding.name}/rate/{key}", value

    def table(self, *parts: str) -> Table:
        """A Rich table with a row for each parameter.

        Args:
            *parts: which of "rates", "shares" and "norms"; by default, all.
        """
        from rich.table import Table

        table = Table()
        table.add_column("parameter", overflow="fold")
        chosen = [column for part in parts or COLUMNS for column in COLUMNS[part]]
        for heading, _, _ in chosen:
            table.add_column(heading, justify="right")
        for f in self.findings:
            shape = "×".join(map(str, f.shape)) or "scalar"
            table.add_row(f"{f.name}\n{shape} {f.dtype}", *(written(value(f)) for _, value, written in chosen))
        return table

    def advice(self) -> list[str]:
        """What can be done about coordinates that are frozen or saturated, a line for each parameter and remedy."""
        return [
            f"{f.name}: {percent(f.frozen)} frozen, {percent(f.saturated)} saturated; {remedy.what}: {remedy.call}"
            for f in self.findings
            for remedy in f.remedies
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield "The step that the same gradient would make next"
        if options.max_width >= WIDE:
            yield self.table()
        else:
            yield from map(self.table, COLUMNS)
        yield from self.advice()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=160, no_color=True, highlight=False, markup=False)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip()

    def figure(self) -> Figure:
        """The effective learning rate of rows against how many steps they took part in.

        Visits are counted from `count_visits` (which a Monitor calls) on; without it, rows are laid out by what the
        rule's memory holds.

        Raises:
            ValueError: if Matplotlib is not installed, or there is nothing to draw.
        """
        return rates_figure([(f.name, f.rows) for f in self.findings if f.rows is not None])


def diagnose(optimizer: RuleOptimizer, model: torch.nn.Module | None = None) -> Diagnosis:
    """What the optimizer does to each parameter, computed from its memory and the gradients of the last backward.

    Call it after a step and before the gradients are cleared. All figures are of the step that would follow if the
    same gradient came again; nothing is changed.

    Args:
        optimizer: a Surefoot optimizer.
        model: names the parameters, where the optimizer was not given named ones.

    Returns:
        The findings, in the order of the parameters; of those without memory and gradient there are none.

    Raises:
        TypeError: for another kind of optimizer.

    >>> import surefoot
    >>> w = torch.nn.Parameter(torch.tensor([1e8, 1.0, 1.0]))
    >>> optimizer = surefoot.optim.Adagrad([("w", w)], lr=1.0)
    >>> w.grad = torch.tensor([1.0, 4.0, 0.0])
    >>> optimizer.step()
    >>> found = surefoot.diagnose(optimizer)["w"]
    >>> found.frozen, round(found.never_visited, 3), found.rate["max"]
    (0.5, 0.333, 1.0)
    """
    if not isinstance(optimizer, RuleOptimizer):
        raise TypeError(f"diagnose takes a Surefoot optimizer, got a {type(optimizer).__name__}")
    named = [] if model is None else [(id(parameter), name) for name, parameter in model.named_parameters()]
    return Diagnosis(list(findings(optimizer, dict(named))))


def findings(optimizer: RuleOptimizer, names: dict[int, str]) -> Iterator[Finding]:
    counted, given = VISITS.get(optimizer, {}), statistics_of_groups(optimizer)
    for parameter, known in optimizer.known():
        step, x, state = known.step, values_of(parameter), state_of(known)
        state.given, t = given.get(id(parameter), {}), state.t
        finding = Finding(
            name=names.get(id(parameter), known.name),
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            rule=step.rule.name,
            steps=t,
            lr=float(step.lr(t + 1)),
            rate=None,
            never_visited=None,
            frozen=None,
            saturated=None,
            skipped=None,
            skipped_so_far=known.skipped,
            gradient_norm=None,
            update_norm=None,
            parameter_norm=float(local(parameter).detach().double().norm()) if not parameter.is_complex() else norm(x),
        )
        look_at_rates(finding, step, x, state, counted.get(parameter))
        if has_gradient(parameter):
            f = np.dtype(ARITHMETIC[storage(own_gradient(parameter))]).type
            look_at_gradient(finding, step, x, state, gradient_of(parameter), f)
        finding.remedies = remedies(finding, step)
        yield finding


def values_of(parameter: Tensor) -> np.ndarray:
    return np.atleast_1d(array(local(parameter).cpu()))


def state_of(known: Memory) -> State:
    slots = [np.atleast_1d(array(local(known.tensors[key]).cpu())) for key in known.keys]
    return State(dict(zip(known.step.rule.slots, slots, strict=True)), known.count())


def has_gradient(parameter: Tensor) -> bool:
    """Whether there is one here: to gather parts that are split otherwise would be to wait for all processes."""
    return parameter.grad is not None and is_aligned(parameter)


def gradient_of(parameter: Tensor) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The gradient of this process; of a sparse one, its distinct rows and the sum of each one's values."""
    gradient = own_gradient(parameter).cpu()
    if not gradient.is_sparse:
        return np.atleast_1d(array(gradient))
    rows = rows_of(gradient)
    return merge(rows.ids.numpy(), array(rows.values), gradient.shape[0])


def statistics_of_groups(optimizer: RuleOptimizer) -> dict[int, dict[str, np.ndarray]]:
    """What the next step of each parameter needs to know of its group, by the id of the parameter."""
    groups: dict[int, list[tuple[Tensor, Memory]]] = {}
    for parameter, known in optimizer.known():
        if known.step.is_of_group and has_gradient(parameter):
            groups.setdefault(id(known.step), []).append((parameter, known))
    found = {}
    for group in groups.values():
        parts = [(values_of(parameter), gradient_of(parameter), state_of(known)) for parameter, known in group]
        driver.measure_group(group[0][1].step, parts)
        found |= {id(parameter): state.given for (parameter, _), (_, _, state) in zip(group, parts, strict=True)}
    return found


def norm(x: np.ndarray) -> float:
    return math.sqrt(float(np.sum(decode(x).astype(np.float64) ** 2)))


def look_at_rates(finding: Finding, step: Settings, x, state: State, visits: np.ndarray | None) -> None:
    """Effective rates of the coordinates that were ever visited, and the share of those that were not."""
    every = max(1, -(-x.size // SAMPLE))
    part, slots = x[::every], list(state.slots.values())
    parts = [slot if common(slot, x) else slot[::every] for slot in slots]
    rates = driver.rates(step, part, State(dict(zip(state.slots, parts, strict=True)), state.t))
    seen = np.ones(part.shape, bool)
    if any(slot.initial != "x" for slot in step.rule.slots.values()):
        finding.never_visited = never_visited(step, x, slots)
        seen = ~np.broadcast_to(unvisited(step, parts), part.shape)
    if rates.size and seen.any():
        values = np.quantile(rates[seen], list(QUANTILES.values()), method="nearest")
        finding.rate = dict(zip(QUANTILES, values.tolist(), strict=True))
    rows = len(part)
    if rows and seen.any():
        median = np.median(rates.reshape(rows, -1), axis=1)
        if visits is not None:
            finding.rows = Rows("steps in which a row had a gradient", visits[::every], median)
        elif slots:
            held = decode(parts[0]).astype(np.float64)
            held = np.abs(np.broadcast_to(held, part.shape).reshape(rows, -1)).mean(axis=1)
            finding.rows = Rows(f"memory of a row: mean |{next(iter(step.rule.slots))}|", held, median)


def common(slot: np.ndarray, x: np.ndarray) -> bool:
    """Whether a slot is one number for all of several rows."""
    return len(slot) == 1 and len(x) != 1


def unvisited(step: Settings, slots: list[np.ndarray]) -> np.ndarray:
    """Where all of the memory is what it was before the first step; what starts from the parameter does not tell."""
    same: Any = True
    for slot, kept in zip(step.rule.slots.values(), slots, strict=True):
        if slot.initial != "x":
            values = decode(kept)
            same = same & (values == values.dtype.type(step.initial(slot)))
    return np.asarray(same)


def never_visited(step: Settings, x: np.ndarray, slots: list[np.ndarray]) -> float:
    """The share of the coordinates that were never visited, counted in blocks of rows."""
    rows, count = max(1, BLOCK * len(x) // max(x.size, 1)), 0
    for b in range(0, len(x), rows):
        part = x[b : b + rows]
        parts = [slot if common(slot, x) else slot[b : b + rows] for slot in slots]
        count += int(np.broadcast_to(unvisited(step, parts), part.shape).sum())
    return count / max(x.size, 1)


def look_at_gradient(finding: Finding, step: Settings, x, state: State, gradient, f) -> None:
    """What the next step would do along the same gradient: norms, and coordinates that would not move.

    Args:
        finding: takes what is found.
        step: the settings.
        x, state, gradient: of the parameter.
        f: the type of the arithmetic.
    """
    ids, g = gradient if isinstance(gradient, tuple) else (None, gradient)
    t, slots = state.t + 1, list(state.slots.values())
    coefficients, mean = driver.coefficients(step, state, t), None
    size = None if ids is None else x.size
    shared_by_row = step.granularity == "row" and not any(each.stage == "gradient" for each in step.modifiers)
    having = frozen = saturated = skipped = 0
    gradient_square = update_square = 0.0
    # What several rows have in common is known where all of them are at hand.
    at_once = step.program.statistics or step.granularity == "tensor"
    rows = max(1, len(g) if at_once else BLOCK * len(g) // max(g.size, 1))
    for b in range(0, len(g), rows):
        chosen = slice(b, b + rows) if ids is None else ids[b : b + rows]
        part, some = x[chosen], g[b : b + rows]
        parts = [slot if common(slot, x) else slot[chosen] for slot in slots]
        raw = decode(some)
        with np.errstate(all="ignore"):
            if shared_by_row:  # all rows at a time, which is faster
                mean = np.mean(raw.astype(np.float64) ** 2, axis=tuple(range(1, raw.ndim)), keepdims=True).astype(f)
            stored, new, kept, ok = reference.preview(
                step, part, some, parts, t, coefficients, size=size, g2=mean, given=state.given
            )
            moving = (raw != 0) & ok
            having += int(moving.sum())
            frozen += int((moving & (decode(stored) == decode(part))).sum())
            saturated += int((moving & stuck(step, parts, kept)).sum())
            skipped += int(ok.size - ok.sum())
            update = np.where(ok, new.astype(np.float64) - decode(part), 0.0)
            gradient_square += float(np.sum(np.where(ok, raw, 0).astype(np.float64) ** 2))
            update_square += float(np.sum(update**2))
    finding.skipped = skipped / max(g.size, 1)
    finding.gradient_norm, finding.update_norm = math.sqrt(gradient_square), math.sqrt(update_square)
    if having:
        finding.frozen, finding.saturated = frozen / having, saturated / having


def stuck(step: Settings, slots: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """Where a memory that should grow with every gradient does not, or is as large as its type can hold."""
    result: Any = np.False_
    for slot, before, new in zip(step.rule.slots.values(), slots, after, strict=True):
        if slot.kind == "scale":
            values = decode(before)
            largest = 1e38 if before.dtype == np.uint16 else np.finfo(before.dtype).max / 2
            result = result | (values >= largest)
            if step.rule.lazy_exact:
                result = result | (decode(new) == values)
    return np.asarray(result)


def remedies(finding: Finding, step: Settings) -> list[Remedy]:
    """What exists here against frozen and saturated coordinates, where there are some."""
    if not (finding.frozen or finding.saturated):
        return []
    found = []
    grows = step.rule.lazy_exact and any(slot.kind == "scale" for slot in step.rule.slots.values())
    if step.rule.slots:
        found.append(Remedy("restart the memory", "optimizer.restart()"))
    if grows:
        found.append(Remedy("a leaky rule, which forgets", 'optimizer = optimizer.to_rule("rmsprop")'))
    if finding.dtype == "bfloat16" and step.rounding_seed is None:
        found.append(Remedy("stochastic rounding", "optimizer.change(stochastic_rounding=0)"))
    if step.hyper.get("lr_decay"):
        found.append(Remedy("no decay of the learning rate", "optimizer.change(lr_decay=0)"))
    if finding.saturated and step.state_dtype in ("bfloat16", "float16"):
        found.append(Remedy("a memory in float32", "optimizer.change(state_dtype=torch.float32)"))
    return found


# Visits


VISITS: weakref.WeakKeyDictionary[RuleOptimizer, dict[Tensor, np.ndarray]] = weakref.WeakKeyDictionary()


def count_visits(optimizer: RuleOptimizer) -> Any:
    """From now on, counts for each row of each parameter the steps in which it had a gradient, for `Diagnosis.figure`.

    Costs a look at each gradient after each step, and 8 bytes a row.

    Returns:
        A handle; its remove() ends it.
    """
    counts = VISITS.setdefault(optimizer, {})

    def count(optimizer, args, kwargs) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows = local(parameter).shape[0] if parameter.ndim else 1
                    visits = counts.setdefault(parameter, np.zeros(rows, np.int64))
                    visits[visited_rows(own_gradient(parameter))] += 1

    return optimizer.register_step_post_hook(count)


def visited_rows(gradient: Tensor) -> np.ndarray:
    """Which rows a gradient moves."""
    if gradient.is_sparse:
        return np.unique(gradient._indices()[0].cpu().numpy())
    rows = gradient.shape[0] if gradient.ndim else 1
    return (gradient.reshape(rows, -1) != 0).any(1).cpu().numpy()
