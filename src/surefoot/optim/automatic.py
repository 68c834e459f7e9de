"""`lr="auto"` of AdaGrad: a group for each parameter, whose `lr_factor` is the rate that was found so far.

The rule of it is `rules.automatic_rate`. What is kept of the start is a sample of rows, in the parameter's state, so
state dicts have it; distances are computed after steps 1 to 10, and then whenever there are a tenth more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from surefoot.optim.memory import is_supported, local
from surefoot.rules.automatic_rate import FIRST, automatic_rate, distance

AUTO, ROWS, START = "auto_lr", "sampled", "start"
"""The key of groups that says so, and those of states."""
FIXED = {"lr_factor": 1.0, "differentiable": False, "capturable": False}
"""Settings that groups cannot have otherwise."""
SAMPLE, OFTEN, GROWTH = 1024, 10, math.log(1.1)


def is_automatic(lr: Any) -> bool:
    return isinstance(lr, str) and lr == "auto"


def check_finds(name: str, lr: Any) -> None:
    """Raises ValueError for lr="auto" of what does not find its rates, such as a rule or a class of torch's."""
    if is_automatic(lr):
        raise ValueError(
            f'{name}: lr="auto" is for surefoot.optim.Adagrad when it is made, and groups of it; '
            "expected a number or a schedule, or dog, prodigy, cocob or dadapt_adagrad as the rule"
        )


def marked(params: Iterable) -> Iterable:
    """Parameters or groups as groups whose rate is found, where they do not have one of their own.

    What torch rejects stays as it is: a parameter or a group that is not in a list, and a list of none.
    """
    if isinstance(params, (Tensor, Mapping)) or not (groups := list(params)):
        return params
    groups = groups if isinstance(groups[0], Mapping) else [{"params": groups}]
    return [{"lr": "auto", **group} for group in groups]


def divided(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A group with lr="auto" as one for each of its parameters.

    Raises:
        ValueError: naming the parameter, for those whose rate cannot be found.
    """
    check_settings(group)
    params: Any = group["params"]
    settings = dict(group) | {"lr": 1.0, AUTO: True}
    if isinstance(params, set):
        return [settings]  # which torch rejects
    params = [params] if isinstance(params, Tensor) else list(params)
    made = []
    for index, each in enumerate(params):
        name, parameter = each if isinstance(each, tuple) else (f"parameter {index}", each)
        if isinstance(parameter, Tensor):
            check(name, parameter)
            settings["lr_factor"] = first(parameter)
        made.append(settings | {"params": [each]})
    return made or [settings | {"params": params}]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for settings of a group whose rate is found that it cannot honour."""
    for key, neutral in FIXED.items():
        if settings.get(key, neutral) != neutral:
            raise ValueError(
                f'lr="auto" sets lr_factor itself, unseen by autograd and CUDA graphs; expected no '
                f"{key}={settings[key]!r}: set lr, which the rate is multiplied by, or a scheduler"
            )


def check_saved(saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """Raises ValueError where rates are found, and a checkpoint has rates that were given."""
    if any(AUTO in group for group in groups) and not any(AUTO in group for group in saved):
        rates = ", ".join(dict.fromkeys(str(group.get("lr")) for group in saved))
        raise ValueError(
            f"the state dict has the learning rate {rates}, and this optimizer finds its own; expected that of one "
            'with lr="auto", or a number as the lr of this one'
        )


def check(name: str, parameter: Tensor) -> None:
    """Raises ValueError for a parameter whose rate cannot be found."""
    if parameter.is_complex() or local(parameter) is not parameter:
        what = "complex" if parameter.is_complex() else "sharded by rows that other processes have"
        raise ValueError(
            f'{name}: lr="auto" is for real parameters of one process, not one that is {what}; give a rate'
        )


def inputs_of(parameter: Tensor) -> int:
    return max(1, math.prod(parameter.shape[1:]))


def first(parameter: Tensor) -> float:
    return automatic_rate(FIRST, math.nan, inputs_of(parameter))


def is_due(steps: int) -> bool:
    """Whether distances are computed after that number of steps.

    >>> [steps for steps in range(1, 32) if is_due(steps)]
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 20, 22, 24, 26, 29, 31]
    """
    return steps <= OFTEN or math.floor(math.log(steps) / GROWTH) > math.floor(math.log(steps - 1) / GROWTH)


def find_rate(optimizer: Any, number: int) -> None:
    """Before a step, sets the lr_factor of a group whose rate is to be found."""
    group = optimizer.param_groups[number]
    for parameter in group["params"] if group.get(AUTO) else ():
        if parameter.grad is None or not is_supported(parameter):
            continue
        if not (state := optimizer.state.get(parameter)):
            state = optimizer.state[parameter] = optimizer.state_format.fresh(parameter, optimizer._step_of(number))
        steps = int(state["step"])
        if START not in state:
            rows = sampled(parameter)
            if len(rows):
                state |= {ROWS: rows, START: by_rows(parameter)[rows].clone()}
            group["lr_factor"] = group["lr_factor"] if steps else first(parameter)
        elif is_due(steps):
            rows = state[ROWS].to(parameter.device)
            x, start = by_rows(parameter)[rows].double(), state[START].to(parameter.device).double()
            weights = by_rows(state["sum"])
            weights = weights[rows].double() if len(weights) == len(by_rows(parameter)) else torch.ones_like(x)
            moved = distance(x, start, weights.expand_as(x))
            group["lr_factor"] = automatic_rate(group["lr_factor"], moved, inputs_of(parameter))


def by_rows(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(1) if tensor.ndim == 0 else tensor.detach()


def sampled(parameter: Tensor) -> Tensor:
    """Rows that stand for all: of the first gradient, if it is sparse."""
    gradient: Any = parameter.grad
    if gradient.layout is torch.sparse_coo:
        rows = gradient._indices()[0].unique()
        rows = rows[(rows >= 0) & (rows < len(parameter))]  # the step raises an error for others
    else:
        rows = torch.arange(len(by_rows(parameter)), device=parameter.device)
    return rows[torch.linspace(0, len(rows) - 1, SAMPLE).long().to(rows.device)] if len(rows) > SAMPLE else rows


def begin_again(state: dict[str, Any] | None) -> None:
    """After values were changed from outside: the next step starts from these. The rate stays."""
    if state:
        state.pop(START, None)
