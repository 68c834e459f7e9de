"""Optimizers that are not Surefoot's, seen as those of Surefoot that step alike: nothing is copied, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot import optim
from surefoot.optim import RuleOptimizer
from surefoot.optim.group import HINTS


class Adagrad(optim.Adagrad):
    """Without state of its own before the first step: it gets torch's."""

    starts_with_memory = False


COUNTERPARTS: Mapping[type, Callable[..., RuleOptimizer]] = {
    torch.optim.SGD: optim.SGD,
    torch.optim.Adagrad: Adagrad,
    torch.optim.RMSprop: optim.RMSprop,
    torch.optim.Adadelta: optim.Adadelta,
    torch.optim.Adam: optim.Adam,
    torch.optim.AdamW: optim.AdamW,
    torch.optim.NAdam: optim.NAdam,
    torch.optim.SparseAdam: optim.Adam,
}
"""For a class of torch.optim, the one here that takes its steps."""

LOW_PRECISION = (torch.bfloat16, torch.float16)


class Adopted(NamedTuple):
    """An optimizer to be diagnosed.

    Attributes:
        optimizer: what takes the steps, without wrappers around it.
        seen: the same, or what takes the same steps among Surefoot's.
        path: how users reach `optimizer` from what they have.
    """

    optimizer: torch.optim.Optimizer
    seen: RuleOptimizer
    path: str


def unwrapped(optimizer: Any) -> tuple[Any, str]:
    """What is inside of wrappers that keep it as `optimizer`, as Accelerate's and Lightning's do, and the way to it.

    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    >>> class Wrapper:
    ...     optimizer = inner
    >>> unwrapped(Wrapper())[0] is inner, unwrapped(Wrapper())[1]
    (True, 'optimizer.optimizer')
    """
    path = "optimizer"
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer, path = inner, f"{path}.optimizer"
    return optimizer, path


def adopted(optimizer: Any, caller: str) -> Adopted:
    """An optimizer of Surefoot or torch.optim, or a wrapper around one, as an optimizer of Surefoot.

    Raises:
        TypeError: for another kind of optimizer; `caller` names who asks.
    """
    inner, path = unwrapped(optimizer)
    if isinstance(inner, RuleOptimizer):
        return Adopted(inner, inner, path)
    for kind in type(inner).__mro__:
        if kind in COUNTERPARTS:
            return Adopted(inner, counterpart(inner, COUNTERPARTS[kind]), path)
    theirs = ", ".join(kind.__name__ for kind in COUNTERPARTS)
    raise TypeError(
        f"{caller} takes an optimizer of surefoot.optim, one of torch.optim's {theirs}, or a wrapper with such an "
        f"`optimizer`, got a {type(optimizer).__name__}"
    )


def counterpart(theirs: torch.optim.Optimizer, kind: Callable[..., RuleOptimizer]) -> RuleOptimizer:
    """An optimizer of Surefoot with the parameters, the settings and the tensors of the state of torch's."""
    groups = []
    for group in theirs.param_groups:
        kept = {key: value for key, value in group.items() if key in kind_takes(kind) and key not in HINTS}
        kept |= {key: group[key] for key in ("param_names", "initial_lr", "max_lr") if key in group}
        types = {tensor.dtype for p in group["params"] for tensor in tensors_of(theirs, p).values()}
        kept["state_dtype"] = next((dtype for dtype in LOW_PRECISION if dtype in types), None)
        lazy = "touched" if isinstance(theirs, torch.optim.SparseAdam) else "exact"
        groups.append(kept | {"params": list(group["params"]), "nonfinite": "propagate", "lazy": lazy})
    seen = kind(groups)
    for group in theirs.param_groups:
        for parameter in group["params"]:
            if tensors := tensors_of(theirs, parameter):
                seen.state[parameter] = tensors
            else:
                seen.state.pop(parameter, None)
    return seen


def kind_takes(kind: Callable[..., RuleOptimizer]) -> set[str]:
    """The names of the settings that a class has from torch's."""
    return set(kind([torch.nn.Parameter(torch.zeros(1))]).defaults)


def tensors_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The state of a parameter: its tensors, with the number of steps as one."""
    state = dict(optimizer.state.get(parameter, {}))
    if "step" in state:
        state["step"] = torch.as_tensor(float(state["step"]))
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}
