"""Numbers that all parameters of a group have in common, as the rate of DoG.

The state of each parameter has them, so that states can be saved and loaded one by one; all of a group are equal, also
those of parameters that have no gradient for a while, or get their first one late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim.backends.base import Job


def copy_common(optimizer: Any, step: Settings, source: Mapping[str, Any], into: Mapping[str, Any]) -> None:
    """Copies what a group has one number of from one state into another, whose parameter may have other dimensions."""
    keys = zip(optimizer.state_format.keys_of(step), step.extents, strict=True)
    for key in [key for key, extent in keys if extent == "group"]:
        into[key].copy_(source[key].reshape(into[key].shape))


def take_over(optimizer: Any, number: int, tensors: Mapping[str, Any], but: Iterable[Tensor] = ()) -> None:
    """Gives a new state the numbers that the group has already, if any.

    Args:
        optimizer: whose state it is.
        number: of the group.
        tensors: the new state.
        but: parameters whose states are new, too.
    """
    step, new = optimizer._step_of(number), set(map(id, but))
    others = [optimizer.state.get(p) for p in optimizer.param_groups[number]["params"] if id(p) not in new]
    if (found := next((other for other in others if other and other is not tensors), None)) is not None:
        copy_common(optimizer, step, found, tensors)


def hand_over(optimizer: Any, jobs: Iterable[Job]) -> None:
    """After a step, gives its numbers to those parameters of the groups that had no gradient."""
    ids = {id(job.parameter) for job in jobs if job.step.is_of_group}
    if not ids:
        return
    for number, group in enumerate(optimizer.param_groups):
        step = optimizer._step_of(number)
        if not step.is_of_group:
            continue
        states = [(optimizer.state.get(p), id(p) in ids) for p in group["params"]]
        source = next((tensors for tensors, took_part in states if took_part), None)
        for tensors in [tensors for tensors, took_part in states if tensors and not took_part and source]:
            copy_common(optimizer, step, source, tensors)  # pyright: ignore[reportArgumentType]


def check_alone(name: str, step: Settings) -> None:
    """Raises ValueError for a parameter that cannot be stepped without the others of its group."""
    if step.is_of_group:
        raise ValueError(
            f"{name}: {step.rule.name} or what is done around it needs the gradients of all parameters of its group at "
            "once; call step() after the backward pass"
        )
