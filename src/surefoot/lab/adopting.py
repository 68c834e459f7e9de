"""Optimizers that are not Surefoot's, seen as those of Surefoot that step alike: nothing is copied, nothing changed."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from surefoot import optim
from surefoot.optim import RuleOptimizer
from surefoot.optim.from_torch import COUNTERPARTS, counterpart_of, groups_of, tensors_of
from surefoot.optim.wrappers import unwrapped


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


def adopted(optimizer: Any, caller: str) -> Adopted:
    """An optimizer of Surefoot or torch.optim, or a wrapper around one, as an optimizer of Surefoot.

    Raises:
        TypeError: for another kind of optimizer; `caller` names who asks.
    """
    inner, path = unwrapped(optimizer)
    if isinstance(inner, RuleOptimizer):
        if inner.rule.whole:
            raise TypeError(f"{caller} looks at coordinates, and {inner.rule.name} steps whole arrays")
        return Adopted(inner, inner, path)
    if (kind := counterpart_of(inner)) is not None:
        return Adopted(inner, seen(inner, kind), path)
    if isinstance(inner, optim.Grouped):
        parts = ", ".join(f"{path}.parts[{name!r}]" for name in inner.parts)
        raise TypeError(f"{caller} takes the optimizer of one rule; a Grouped has one for each: {parts}")
    theirs = ", ".join(kind.__name__ for kind in COUNTERPARTS)
    around = "" if inner is optimizer else f" around a {type(inner).__name__}"
    raise TypeError(
        f"{caller} takes an optimizer of surefoot.optim, one of torch.optim's {theirs}, or a wrapper with such an "
        f"`optimizer`, got a {type(optimizer).__name__}{around}"
    )


class Adagrad(optim.Adagrad):
    """Without state of its own before the first step: it gets torch's."""

    starts_with_memory = False


def seen(theirs: torch.optim.Optimizer, kind: Any) -> RuleOptimizer:
    """An optimizer of Surefoot with the parameters, the settings and the tensors of the state of torch's."""
    mine = (Adagrad if kind is optim.Adagrad else kind)(groups_of(theirs, kind))
    for group in theirs.param_groups:
        for parameter in group["params"]:
            if tensors := tensors_of(theirs, parameter):
                mine.state[parameter] = tensors
            else:
                mine.state.pop(parameter, None)
    return mine
