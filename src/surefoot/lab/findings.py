"""What is found of each parameter: effective rates, shares of coordinates, norms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from surefoot.engines.numerics import decode
from surefoot.engines.settings import Settings
from surefoot.lab.adopting import Adopted
from surefoot.lab.motion import Motion, View, has_gradient, norm_of, statistics_of_groups
from surefoot.lab.rates_figure import Rows
from surefoot.lab.visits import VISITS
from surefoot.optim.memory import Memory, local

TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
"""Modules whose rows are looked up."""

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}

SMALL = 1e-5
"""‖update‖/‖parameter‖ below which the update is computed in float64."""

BEGINS = 1e-3
"""How far a velocity is from the present gradient, compared with its largest coordinate, after one step."""

WARM_UP = 10
"""Steps before which a run is not said to diverge, to have decayed or to have missed coordinates."""


@dataclass
class Finding:
    """The findings for one parameter. Shares are None without a gradient, or without memory, to compute them from.

    Attributes:
        name, shape, dtype, rule: the parameter and the rule that steps it.
        steps: how many steps it has taken; None where neither the optimizer nor its state counts them, nor the losses.
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


class Marks(NamedTuple):
    """Which parts of a parameter have no gradients; of a sample of rows, where there are many.

    Attributes:
        rows, columns: those that never had one, as far as it is known; a vector has no columns.
        silent: the rows that have none now, and had none for dozens of steps.
    """

    rows: np.ndarray
    columns: np.ndarray
    silent: np.ndarray


class Case(NamedTuple):
    """A parameter to be judged.

    Attributes:
        finding: what was found of it.
        view: its arrays.
        motion: its next step; None without a gradient.
        group: the number of its parameter group.
        settings: those of its group.
        marks: where it has no gradients.
        module: what it belongs to, where the model is known.
        first_lr: the learning rate that the optimizer was made with, where all groups are below it now.
    """

    finding: Finding
    view: View
    motion: Motion | None
    group: int
    settings: Mapping[str, Any]
    marks: Marks
    module: torch.nn.Module | None
    first_lr: float | None

    @property
    def is_warm(self) -> bool:
        """Whether enough steps were taken, as far as they are counted."""
        return self.finding.steps is None or self.finding.steps >= WARM_UP


def cases(adopted: Adopted, model: torch.nn.Module | None, losses: int = 0) -> Iterator[Case]:
    """The parameters that have coordinates, and a state or a gradient, in their order.

    Args:
        adopted: their optimizer.
        model: names them.
        losses: the number of losses so far, one of each step, or 0: torch's SGD does not count its steps.
    """
    seen, owners = adopted.seen, owners_of(model)
    memories, first_lr = list(seen.memories()), first_lr_of(adopted.optimizer)
    counted, given = VISITS.get(adopted.optimizer, {}), statistics_of_groups(memories)
    uncounted = 1 if any(begins(known, parameter, step) for parameter, known, step in memories) else losses or None
    groups = {id(parameter): k for k, group in enumerate(seen.param_groups) for parameter in group["params"]}
    for parameter, known, step in memories:
        if local(parameter).numel() == 0:
            continue
        view = View(parameter, known, step, given.get(id(parameter), {}))
        counts = adopted.seen is adopted.optimizer or "step" in known.tensors
        name, module = owners.get(id(parameter), (known.name, None))
        finding = Finding(
            name=name,
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            rule=step.rule.name,
            steps=view.t if counts else uncounted,
            lr=float(view.step.lr(view.t + 1)),
            skipped_so_far=known.skipped,
            parameter_norm=norm_of(parameter),
        )
        marks = look_at_rates(finding, view, counted.get(parameter))
        motion = look_at_motion(view) if has_gradient(parameter) else None
        if motion is not None:
            finding.frozen, finding.saturated, finding.skipped = motion.frozen, motion.saturated, motion.skipped
            finding.gradient_norm, finding.update_norm = motion.gradient, motion.update_norm
            finding.pace = motion.pace
            marks = marks._replace(silent=view.silent() & ~marks.rows)
        number = groups[id(parameter)]
        yield Case(finding, view, motion, number, seen.param_groups[number], marks, module, first_lr)


def begins(known: Memory, parameter: torch.Tensor, step: Settings) -> bool:
    """Whether a velocity is that of the first step: the present gradient, and what weight decay added to it."""
    velocity, gradient = known.tensors.get("momentum_buffer"), parameter.grad
    if velocity is None or gradient is None or gradient.is_sparse or not has_gradient(parameter):
        return False
    kept, now, x = (local(each).detach() for each in (velocity, gradient, parameter))
    decay = float(step.options.get("weight_decay") or 0.0)
    given = -now if step.options.get("maximize") else now
    was = given + decay * (x + float(step.lr(1)) * kept)
    size = now.abs().max()
    return bool(size > 0) and bool(((kept - was).abs() <= BEGINS * size).all())


def never_stepped(adopted: Adopted, model: torch.nn.Module | None) -> list[str]:
    """The names of the parameters that are to be trained and have neither a state nor a gradient, though others have.

    Without a state or a count of steps, it is not known: what is not part of this batch may have been of others.
    """
    seen, owners = adopted.seen, owners_of(model)
    known = {id(parameter): memory for parameter, memory, _ in seen.memories()}
    if not known or not (adopted.seen is adopted.optimizer or all(memory.tensors for memory in known.values())):
        return []
    return [
        owners.get(id(parameter), (group.get("param_names", {k: f"parameter {k} of group {number}"})[k], None))[0]
        for number, group in enumerate(seen.param_groups)
        for k, parameter in enumerate(group["params"])
        if parameter.requires_grad and local(parameter).numel() and id(parameter) not in known
    ]


def look_at_motion(view: View) -> Motion:
    """The next step; where it is hardly one, with a length that is not lost in rounding."""
    motion = view.motion()
    if motion.pace is None or motion.pace > SMALL:
        return motion
    exact = view.motion(exact=True)
    return motion._replace(update=exact.update, update_norm=exact.update_norm)


def look_at_rates(finding: Finding, view: View, visits: np.ndarray | None) -> Marks:
    """Effective rates of the coordinates that were ever visited, and where those are that were not."""
    rates, seen = view.rates(), np.ones(view.x.shape, bool)
    if view.remembers:
        seen = ~view.unvisited()
    elif visits is not None:
        rows = (visits[:: view.every] > 0).reshape(-1, *[1] * (view.x.ndim - 1))
        seen = np.broadcast_to(rows, view.x.shape)
    if view.remembers or visits is not None:
        finding.never_visited = 1 - float(np.count_nonzero(seen)) / max(seen.size, 1)
    marks = marks_of(~seen, view.parameter.ndim)
    if not (rates.size and seen.any()):
        return marks
    values = np.quantile(rates[seen], list(QUANTILES.values()), method="nearest")
    finding.rate = dict(zip(QUANTILES, values.tolist(), strict=True))
    median = np.median(rates.reshape(len(view.x), -1), axis=1)
    if visits is not None:
        finding.rows = Rows("steps in which a row had a gradient", visits[:: view.every], median)
    elif view.memory:
        held = decode(view.memory[0]).astype(np.float64)
        held = np.abs(np.broadcast_to(held, view.x.shape).reshape(len(view.x), -1)).mean(axis=1)
        finding.rows = Rows(f"memory of a row: mean |{next(iter(view.step.rule.slots))}|", held, median)
    return marks


def marks_of(unseen: np.ndarray, ndim: int) -> Marks:
    """The rows and columns that were never visited as a whole."""
    rows = np.asarray(unseen.reshape(len(unseen), -1).all(1))
    columns = unseen.reshape(*unseen.shape[:2], -1).all((0, 2)) if ndim > 1 and unseen.size else np.zeros(0, bool)
    return Marks(rows, np.asarray(columns), np.zeros(len(rows), bool))


def owners_of(model: torch.nn.Module | None) -> dict[int, tuple[str, torch.nn.Module]]:
    """The names of a model's parameters, and the modules that they belong to, by their ids.

    Raises:
        TypeError: for what is not a module.
    """
    if model is None:
        return {}
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"model must be the torch.nn.Module whose parameters the optimizer steps, or None, got {model!r} "
            f"({type(model).__name__})"
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    modules: dict[int, torch.nn.Module] = {}
    for module in model.modules():
        for own in module.parameters(recurse=False):
            # What is tied to a table is made as one.
            if not isinstance(modules.get(id(own)), TABLES):
                modules[id(own)] = module
    return {key: (name, modules[key]) for key, name in names.items()}


def first_lr_of(optimizer: torch.optim.Optimizer) -> float | None:
    """The learning rate that an optimizer was made with, where all groups have the same lower one now.

    It was lowered since then, as by ReduceLROnPlateau; groups that were given rates of their own hardly have the same.
    """
    first, rates = optimizer.defaults.get("lr"), [group["lr"] for group in optimizer.param_groups]
    if not all(isinstance(lr, int | float | torch.Tensor) for lr in (first, *rates)):
        return None
    now = {float(lr) for lr in rates}
    return float(first) if len(now) == 1 and now.pop() < float(first) else None  # type: ignore[arg-type]


def as_dict(finding: Finding) -> dict[str, Any]:
    """Everything found, as plain numbers, strings, lists and dicts."""
    found = {key: value for key, value in vars(finding).items() if key not in ("name", "rows")}
    return found | {"shape": list(finding.shape)}
