"""torch for the eager engine: any device, and steps that autograd can differentiate. Slower than `cpu` and `gpu`.

State is given as tensors and changed in place; complex numbers come as pairs of real ones.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from surefoot import ops
from surefoot.engines import eager
from surefoot.engines.eager import Namespace
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.settings import Settings


def of_tensors(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function of tensors for tensors and numbers together, and for numbers alone, as coefficients are."""
    of_numbers = getattr(ops, function.__name__)

    def call(*given):
        tensor = next((value for value in given if isinstance(value, Tensor)), None)
        if tensor is None:
            return of_numbers(*given)
        return function(*(value if isinstance(value, Tensor) else tensor.new_full((), value) for value in given))

    return call


def where(condition: Any, a: Any, b: Any) -> Any:
    """torch.where, also for a condition on coefficients alone, which are numbers."""
    return torch.where(condition, a, b) if isinstance(condition, Tensor) else (a if condition else b)


def isfinite(values: Any) -> Any:
    """torch.isfinite, also for what a rule gives as a number."""
    return torch.isfinite(values) if isinstance(values, Tensor) else math.isfinite(values)


def decode(stored: Tensor) -> Tensor:
    """A copy where autograd may need the values once they are overwritten."""
    name = str(stored.dtype).removeprefix("torch.")
    return stored.to(getattr(torch, ARITHMETIC[name]), copy=torch.is_grad_enabled())


def cast(values: Any, like: Tensor) -> Tensor:
    return values.to(like.dtype) if isinstance(values, Tensor) else like.new_full((), values)


def total(values: Tensor, axis: int | None) -> Tensor:
    widest = torch.float32 if values.device.type == "mps" else torch.float64
    return values.sum(axis, dtype=widest)


def largest(values: Tensor, axis: int | None) -> Tensor:
    if not values.numel():
        return values.sum(axis) - math.inf
    return values.amax() if axis is None else values.amax(axis)


def merge(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The host waits here for a device: it has to know how many rows there are."""
    named, place = torch.unique(ids, return_inverse=True)
    return named, values.new_zeros(len(named), *values.shape[1:]).index_add_(0, place, values)


def put(table: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
    table[ids] = rows
    return table


TORCH = Namespace(
    ops=SimpleNamespace(
        sqrt=of_tensors(torch.sqrt),
        where=where,
        abs=of_tensors(torch.abs),
        maximum=of_tensors(torch.maximum),
        minimum=of_tensors(torch.minimum),
        exp=of_tensors(torch.exp),
        log=of_tensors(torch.log),
        power=ops.power,
    ),
    isfinite=isfinite,
    decode=decode,
    cast=cast,
    number=lambda number, like: number,  # which torch takes as it is, without a tensor and a launch for each
    total=total,
    largest=largest,
    merge=merge,
    put=put,
)


def dense(step: Settings, x: Tensor, g: Tensor, slots: list[Tensor], t: Any) -> int | Tensor:
    """Steps x and its slots in place along g; returns how many coordinates were skipped, see `skipped`."""
    after, ok = eager.dense(TORCH, step, x, g, slots, t)
    write([x, *slots], after)
    return skipped(ok)


def rows(step: Settings, x: Tensor, ids: Tensor, values: Tensor, slots: list[Tensor], t: Any) -> int | Tensor:
    """Steps the rows that ids name; equal ids are summed first. Rows without a gradient are skipped."""
    after, ok = eager.rows(TORCH, step, x, ids, values, slots, t)
    write([x, *slots], after)
    return skipped(ok)


def write(targets: list[Tensor], after: list[Tensor]) -> None:
    """Overwrites tensors with others; one may be another target, as where a rule hands a slot on to the next."""
    pairs = [(target, new) for target, new in zip(targets, after, strict=True) if new is not target]
    kept = [new.clone() if any(new is target for target in targets) else new for _, new in pairs]
    for (target, _), new in zip(pairs, kept, strict=True):
        target.copy_(new)


def skipped(ok: Tensor) -> int | Tensor:
    """The number of coordinates that were not stepped: on other devices than the CPU a tensor, which is not read."""
    count = (~ok).sum()
    return int(count) if ok.device.type == "cpu" else count
