"""Optimizers of torch.optim as those of Surefoot that take the same steps: to look at, or in place of them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from surefoot.optim.adam import Adam, AdamW, NAdam
from surefoot.optim.classes import SGD, Adadelta, Adagrad, RMSprop
from surefoot.optim.group import HINTS
from surefoot.optim.optimizer import RuleOptimizer
from surefoot.optim.radam import Adamax, RAdam

COUNTERPARTS: Mapping[type, Callable[..., RuleOptimizer]] = {
    torch.optim.SGD: SGD,
    torch.optim.Adagrad: Adagrad,
    torch.optim.RMSprop: RMSprop,
    torch.optim.Adadelta: Adadelta,
    torch.optim.Adam: Adam,
    torch.optim.AdamW: AdamW,
    torch.optim.NAdam: NAdam,
    torch.optim.RAdam: RAdam,
    torch.optim.Adamax: Adamax,
    torch.optim.SparseAdam: Adam,
}
"""For a class of torch.optim, the one here that takes its steps."""

LOW_PRECISION = (torch.bfloat16, torch.float16)


def from_torch(optimizer: torch.optim.Optimizer, **settings: Any) -> RuleOptimizer:
    """Turns an optimizer of torch.optim into the one here that takes the same steps, in place, with its state.

    Parameters, groups, all settings, hooks and state stay, and so does every reference to the optimizer: schedulers and
    wrappers (Accelerate's, Lightning's) go on with it. Gradients that are not finite are stepped along, as torch does.
    A class derived from one of torch.optim is taken for that one.

    Args:
        optimizer: SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam, RAdam, Adamax or SparseAdam of
            torch.optim.
        **settings: changed at the same time for all groups, such as lr_factor, state_dtype or stochastic_rounding.

    Returns:
        The optimizer itself.

    Raises:
        TypeError: for another kind of optimizer, and unknown settings; nothing is changed then.
        ValueError: for settings out of their bounds; nothing is changed then.

    >>> w = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([w], lr=0.5, momentum=0.9)
    >>> from_torch(optimizer, lr_factor=0.1) is optimizer
    True
    >>> type(optimizer).__module__, optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["lr_factor"]
    ('surefoot.optim.classes', 0.9, 0.1)
    """
    kind = counterpart_of(optimizer)
    if kind is None:
        theirs = ", ".join(each.__name__ for each in COUNTERPARTS)
        raise TypeError(f"from_torch takes one of torch.optim's {theirs}, got a {type(optimizer).__name__}")
    # Groups that are added later have the settings that torch's optimizer was made with.
    other = kind(groups_of(optimizer, kind), **kept_of(optimizer.defaults, settings_of(kind)))
    other.change(**settings)
    states = {}
    for parameter, known, step in named_steps(other):
        if tensors := tensors_of(optimizer, parameter):
            states[parameter] = other.state_format.fitted(known, parameter, step, tensors)
        elif parameter in other.state:
            states[parameter] = other.state[parameter]
    for group, taken in zip(optimizer.param_groups, other.param_groups, strict=True):
        group.update({key: value for key, value in taken.items() if key != "params"})
    optimizer.state.clear()
    optimizer.state.update(states)
    is_scheduled = vars(optimizer).pop("step", None) is not None
    optimizer.__class__ = type(other)
    for key in vars(other).keys() - vars(optimizer).keys() | {"defaults"}:
        setattr(optimizer, key, getattr(other, key))
    if is_scheduled:
        optimizer.step = counted(optimizer)  # pyright: ignore[reportAttributeAccessIssue]
    return optimizer  # pyright: ignore[reportReturnType]


def counterpart_of(optimizer: Any) -> Callable[..., RuleOptimizer] | None:
    """The class here that takes the steps of an optimizer of torch.optim; None for any other."""
    if isinstance(optimizer, RuleOptimizer):
        return None
    return next((COUNTERPARTS[kind] for kind in type(optimizer).__mro__ if kind in COUNTERPARTS), None)


def groups_of(theirs: torch.optim.Optimizer, kind: Callable[..., RuleOptimizer]) -> list[dict[str, Any]]:
    """The parameter groups of torch's optimizer as a class here takes them."""
    names, groups = settings_of(kind), []
    for group in theirs.param_groups:
        kept = kept_of(group, names)
        kept |= {key: group[key] for key in ("param_names", "initial_lr", "max_lr") if key in group}
        types = {tensor.dtype for p in group["params"] for tensor in tensors_of(theirs, p).values()}
        kept["state_dtype"] = next((dtype for dtype in LOW_PRECISION if dtype in types), None)
        lazy = "touched" if isinstance(theirs, torch.optim.SparseAdam) else "exact"
        groups.append(kept | {"params": list(group["params"]), "nonfinite": "propagate", "lazy": lazy})
    return groups


def kept_of(settings: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Those of torch's settings that a class here has, without the choice of an implementation."""
    return {key: value for key, value in settings.items() if key in names and key not in HINTS}


def settings_of(kind: Callable[..., RuleOptimizer]) -> set[str]:
    """The names of the settings that a class has from torch's."""
    return set(kind([torch.nn.Parameter(torch.zeros(1))]).defaults)


def named_steps(optimizer: RuleOptimizer):
    """The parameters of an optimizer, what errors call them, and the settings of their next steps."""
    for number, index, parameter in optimizer._numbered():
        yield parameter, optimizer._name(number, index), optimizer._step_of(number)


def tensors_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The state of a parameter: its tensors, with the number of steps as one."""
    state = dict(optimizer.state.get(parameter, {}))
    if "step" in state:
        state["step"] = torch.as_tensor(float(state["step"]))
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def counted(optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
    """The step of an optimizer as torch's schedulers want it: noting that it was called."""
    itself, func = weakref.ref(optimizer), type(optimizer).step

    @functools.wraps(func)
    def step(*args: Any, **kwargs: Any) -> Any:
        found: Any = itself()
        found._opt_called = True
        return func(found, *args, **kwargs)

    vars(step)["_wrapped_by_lr_sched"] = True
    return step
