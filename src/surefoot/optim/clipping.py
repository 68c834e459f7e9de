"""Clipping by the optimizer itself, before its step: `max_grad_value` and `max_grad_norm` of its groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from surefoot.engines import NonFiniteError
from surefoot.optim.faults import named
from surefoot.optim.gradients import clip_grad_norm_, clip_grad_value_
from surefoot.optim.memory import local, on_host

LIMITS = ("max_grad_norm", "max_grad_value")
"""The settings of groups that are about gradients alone."""


def limit_of_norm(groups: Sequence[Mapping[str, Any]]) -> float | None:
    """What the norm of the gradients of all groups that have max_grad_norm is clipped to; None where none has.

    Raises:
        ValueError: for limits that no clipping can honour.

    >>> limit_of_norm([{"max_grad_norm": 1.0}, {"max_grad_norm": None}]), limit_of_norm([{}])
    (1.0, None)
    """
    for key in LIMITS:
        for group in groups:
            limit = group.get(key)
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
                raise ValueError(f"Invalid {key} value: {limit!r}; expected a number above 0, or None")
            if group.get("differentiable"):
                raise ValueError(f"{key}: autograd does not see the clipping; expected differentiable=False")
    limits = sorted({group["max_grad_norm"] for group in groups if group.get("max_grad_norm") is not None})
    if len(limits) > 1:
        raise ValueError(
            f"groups have max_grad_norm {' and '.join(f'{limit:g}' for limit in limits)}, but it limits the norm of "
            "their gradients together; expected one value, and None in groups that are not to be clipped"
        )
    return limits[0] if limits else None


def check_no_norm(groups: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError where the norm of all gradients is limited, which a step in the backward pass cannot know."""
    if (largest := limit_of_norm(groups)) is not None:
        raise ValueError(
            f"max_grad_norm={largest:g} needs all gradients at once, and here each is freed once its parameter is "
            "stepped; expected max_grad_norm=None"
        )


def is_clipped(group: Mapping[str, Any]) -> bool:
    """Whether gradients of a group are clipped."""
    return any(group.get(key) is not None for key in LIMITS)


def clip(groups: Sequence[Mapping[str, Any]]) -> Tensor | None:
    """Clips the gradients in place: first each coordinate of groups with max_grad_value, then the norm.

    Returns:
        The norm before it was clipped; None where no group has max_grad_norm.

    Raises:
        NonFiniteError: the norm is not finite, and a group has nonfinite="raise".
    """
    if not any(map(is_clipped, groups)):
        return None
    largest = limit_of_norm(groups)
    clip_values(groups)
    if largest is None:
        return None
    clipped = [group for group in groups if group.get("max_grad_norm") is not None]
    parameters = [parameter for group in clipped for parameter in group["params"]]
    raises = any(group.get("nonfinite", "raise") == "raise" for group in clipped)
    # Elsewhere the host would have to wait for the norm.
    raises = raises and all(local(parameter) is parameter and on_host(parameter) for parameter in parameters)
    try:
        return clip_grad_norm_(parameters, largest, error_if_nonfinite=raises)
    except RuntimeError as error:
        raise NonFiniteError(sentence(largest, list(nonfinite(groups)))) from error


def clip_values(groups: Sequence[Mapping[str, Any]]) -> None:
    """Clips each coordinate of the gradients of groups with max_grad_value."""
    for group in groups:
        if group.get("max_grad_value") is not None:
            clip_grad_value_(group["params"], group["max_grad_value"])


def sentence(largest: float, found: list[str]) -> str:
    """Why no parameter was stepped."""
    why = f"{named(found)} had a gradient that is not finite" if found else "squares overflow"
    return (
        f"the norm of all gradients is not finite, so they cannot be clipped to max_grad_norm={largest:g}: {why}; "
        "no parameter was stepped"
    )


def nonfinite(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The names of the parameters whose gradients are not finite."""
    for number, group in enumerate(groups):
        names = group.get("param_names")
        for index, parameter in enumerate(group["params"]):
            if parameter.grad is not None and group.get("max_grad_norm") is not None and not is_finite(parameter.grad):
                yield names[index] if names else f"parameter {index} of group {number}"


def is_finite(gradient: Tensor) -> bool:
    part = local(gradient)
    values = part._values() if part.is_sparse else part
    return bool(torch.isfinite(values).all())
