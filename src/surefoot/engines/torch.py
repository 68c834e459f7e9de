"""The torch engine: any device that torch knows, and steps that autograd can differentiate. Slower than `cpu`.

The rule's own function, with `ops` meaning torch. Memory is given as tensors; complex ones as pairs of real numbers.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from surefoot import ops
from surefoot.engines import modifiers as surroundings
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.settings import Settings


def both(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of two tensors, for a tensor and a number too."""

    def call(a, b):
        tensor = a if isinstance(a, Tensor) else b
        if not isinstance(a, Tensor):
            a = tensor.new_full((), a)
        return function(a, b if isinstance(b, Tensor) else tensor.new_full((), b))

    return call


def where(condition: Any, a: Any, b: Any) -> Any:
    """torch.where, also for a condition on coefficients alone, which are numbers."""
    return torch.where(condition, a, b) if isinstance(condition, Tensor) else (a if condition else b)


TORCH_OPS = types.SimpleNamespace(
    sqrt=torch.sqrt,
    where=where,
    abs=torch.abs,
    maximum=both(torch.maximum),
    minimum=both(torch.minimum),
    exp=torch.exp,
    log=torch.log,
    power=ops.power,
)


@functools.cache
def bound(function: Callable) -> Callable:
    return ops.bind(function, TORCH_OPS)


def dense(step: Settings, x: Tensor, g: Tensor, slots: list[Tensor], t: int) -> int:
    """Steps x and its slots in place along g; returns how many coordinates were skipped."""
    if x.numel() == 0:
        return 0
    new, memory, ok = advance(step, decoded(x), decoded(g), list(map(decoded, slots)), t)
    return commit(step, x, slots, new, memory, ok)


def rows(step: Settings, x: Tensor, ids: Tensor, values: Tensor, slots: list[Tensor], t: int) -> int:
    """Steps the rows that ids name; equal ids are summed before. Rows without a gradient are skipped."""
    named, place = torch.unique(ids, return_inverse=True)
    values = decoded(values)
    g = values.new_zeros(len(named), *values.shape[1:]).index_add_(0, place, values)
    part = x[named]
    parts = [slot if common else slot[named] for slot, common in zip(slots, step.in_common, strict=True)]
    new, memory, ok = advance(step, decoded(part), g, list(map(decoded, parts)), t, x.numel())
    skipped = commit(step, part, parts, new, memory, ok)
    x[named] = part
    for slot, after, common in zip(slots, parts, step.in_common, strict=True):
        if not common:
            slot[named] = after
    return skipped


def decoded(tensor: Tensor) -> Tensor:
    """The values in the type they are computed in; a copy where autograd may need them once they are overwritten."""
    name = str(tensor.dtype).removeprefix("torch.")
    return tensor.to(getattr(torch, ARITHMETIC[name]), copy=torch.is_grad_enabled())


def advance(step: Settings, x, raw, slots, t: int, size: int | None = None):
    """One step of the values x: their new values, the new memory, and where all of it is finite."""
    numbers = step.modifiers(t)
    g, start = raw, x
    if step.adjusts:
        g = bound(surroundings.gradient)(raw, x, numbers.scale, numbers.clip, numbers.weight_decay)
    if step.decays:
        start = numbers.keep * x
    square = g * g
    ok = torch.isfinite(raw) & torch.isfinite(square)
    g2 = mean_square(step, torch.where(ok, square, 0.0), size) if step.shared else square
    rate, direction, *memory = bound(step.rule.function)(start, g, g2, *slots, *step.coefficients(t))
    if not isinstance(rate, Tensor):
        rate = x.new_full((), rate)
    new = bound(surroundings.advance)(torch.zeros_like(start) if step.rule.from_origin else start, rate, direction)
    if step.shrinks:
        penalties = (x.new_full((), numbers.l1), x.new_full((), numbers.l2))
        new = bound(surroundings.proximal)(new, rate, *penalties)
    for slot in memory:
        ok = (ok & torch.isfinite(slot)).reshape(x.shape)
    return new, memory, ok


def mean_square(step: Settings, squares: Tensor, size: int | None) -> Tensor:
    """The mean of the squares over each row, or over the tensor (of `size` coordinates)."""
    if step.granularity == "row":
        rows = squares[:, None].flatten(1) if squares.ndim else squares.reshape(1, 1)
        means = rows.double().mean(1)
        return means.to(squares.dtype).reshape((*squares.shape[:1], *(1 for _ in squares.shape[1:])))
    mean = squares.double().sum() / max(size or squares.numel(), 1)
    return mean.to(squares.dtype).reshape([1] * squares.ndim)


def commit(step: Settings, x: Tensor, slots: list[Tensor], new: Tensor, memory: list[Tensor], ok: Tensor) -> int:
    """Writes what is finite into x and its slots; returns how many coordinates were skipped."""
    stored, kept = new.to(x.dtype), [after.to(slot.dtype) for slot, after in zip(slots, memory, strict=True)]
    finite = list(map(torch.isfinite, kept))
    ok = ok & torch.isfinite(stored)
    for shares, fine in zip(step.shares, finite, strict=True):
        ok = ok if shares else ok & fine
    skipped = 0 if step.nonfinite == "propagate" else x.numel() - int(ok.sum())
    fine_of = [ok, *(fine if shares else ok for shares, fine in zip(step.shares, finite, strict=True))]
    for target, after, fine in zip([x, *slots], [stored, *kept], fine_of, strict=True):
        whole = step.nonfinite == "propagate" or bool(fine.all())
        target.copy_(after if whole else torch.where(fine, after, target))
    return skipped
