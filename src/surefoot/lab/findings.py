"""What is found of each parameter: effective rates, shares of coordinates, norms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from surefoot.engines.numerics import decode
from surefoot.lab.adopting import Adopted
from surefoot.lab.motion import Motion, View, has_gradient, norm_of, statistics_of_groups
from surefoot.lab.rates_figure import Rows
from surefoot.lab.visits import VISITS

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}

SMALL = 1e-5
"""‖update‖/‖parameter‖ below which the update is computed in float64."""


@dataclass
class Finding:
    """The findings for one parameter. Shares are None without a gradient, or without memory, to compute them from.

    Attributes:
        name, shape, dtype, rule: the parameter and the rule that steps it.
        steps: how many steps it has taken; None where neither the optimizer nor its state counts them.
        lr: the learning rate η of its group.
        rate: quantiles of the effective learning rate over the coordinates that were ever visited.
        never_visited: share of the coordinates whose memory is what it was before the first step.
        frozen: share of the coordinates with a gradient whose update rounds to nothing in the parameter's type.
        saturated: share of the coordinates with a gradient whose square no longer changes the memory.
        skipped: share of the gradient's coordinates that are skipped, as a value is not finite.
        skipped_so_far: number of coordinates skipped in all steps.
        gradient_norm, update_norm, parameter_norm: Euclidean norms.
        pace: ‖update‖/‖parameter‖ over the coordinates with a gradient; None where these are all zero.
        rows: for figures.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rule: str
    steps: int | None
    lr: float
    rate: dict[str, float] | None = None
    never_visited: float | None = None
    frozen: float | None = None
    saturated: float | None = None
    skipped: float | None = None
    skipped_so_far: int = 0
    gradient_norm: float | None = None
    update_norm: float | None = None
    parameter_norm: float = 0.0
    pace: float | None = None
    rows: Rows | None = field(default=None, repr=False)


class Case(NamedTuple):
    """A parameter to be judged.

    Attributes:
        finding: what was found of it.
        view: its arrays.
        motion: its next step; None without a gradient.
        group: the number of its parameter group.
        settings: those of its group.
    """

    finding: Finding
    view: View
    motion: Motion | None
    group: int
    settings: Mapping[str, Any]


def cases(adopted: Adopted, names: dict[int, str]) -> Iterator[Case]:
    """The parameters that have a state or a gradient, in their order."""
    seen = adopted.seen
    memories = list(seen.memories())
    counted, given = VISITS.get(adopted.optimizer, {}), statistics_of_groups(memories)
    groups = {id(parameter): k for k, group in enumerate(seen.param_groups) for parameter in group["params"]}
    for parameter, known, step in memories:
        view = View(parameter, known, step, given.get(id(parameter), {}))
        counts = adopted.seen is adopted.optimizer or "step" in known.tensors
        finding = Finding(
            name=names.get(id(parameter), known.name),
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            rule=step.rule.name,
            steps=view.t if counts else None,
            lr=float(view.step.lr(view.t + 1)),
            skipped_so_far=known.skipped,
            parameter_norm=norm_of(parameter),
        )
        look_at_rates(finding, view, counted.get(parameter))
        motion = look_at_motion(view) if has_gradient(parameter) else None
        if motion is not None:
            finding.frozen, finding.saturated, finding.skipped = motion.frozen, motion.saturated, motion.skipped
            finding.gradient_norm, finding.update_norm = motion.gradient, motion.update_norm
            finding.pace = motion.pace
        number = groups[id(parameter)]
        yield Case(finding, view, motion, number, seen.param_groups[number])


def look_at_motion(view: View) -> Motion:
    """The next step; where it is hardly one, with a length that is not lost in rounding."""
    motion = view.motion()
    if motion.pace is None or motion.pace > SMALL:
        return motion
    exact = view.motion(exact=True)
    return motion._replace(update=exact.update, update_norm=exact.update_norm)


def look_at_rates(finding: Finding, view: View, visits: np.ndarray | None) -> None:
    """Effective rates of the coordinates that were ever visited, and the share of those that were not."""
    rates, seen = view.rates(), np.ones(view.x.shape, bool)
    if view.remembers:
        seen = ~view.unvisited()
        finding.never_visited = 1 - float(np.count_nonzero(seen)) / max(seen.size, 1)
    if not (rates.size and seen.any()):
        return
    values = np.quantile(rates[seen], list(QUANTILES.values()), method="nearest")
    finding.rate = dict(zip(QUANTILES, values.tolist(), strict=True))
    median = np.median(rates.reshape(len(view.x), -1), axis=1)
    if visits is not None:
        finding.rows = Rows("steps in which a row had a gradient", visits[:: view.every], median)
    elif view.memory:
        held = decode(view.memory[0]).astype(np.float64)
        held = np.abs(np.broadcast_to(held, view.x.shape).reshape(len(view.x), -1)).mean(axis=1)
        finding.rows = Rows(f"memory of a row: mean |{next(iter(view.step.rule.slots))}|", held, median)


def names_of(model: torch.nn.Module | None) -> dict[int, str]:
    """The names of a model's parameters, by their ids."""
    return {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}


def as_dict(finding: Finding) -> dict[str, Any]:
    """Everything found, as plain numbers, strings, lists and dicts."""
    found = {key: value for key, value in vars(finding).items() if key not in ("name", "rows")}
    return found | {"shape": list(finding.shape)}
