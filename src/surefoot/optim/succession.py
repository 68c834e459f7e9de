"""What an optimizer hands on where another rule takes its place: its groups, and the state of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim import conversion, decay
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.group import BESIDES
from surefoot.optim.memory import Memory
from surefoot.rules import Rule


def steps_taken(optimizer: Any) -> list[int]:
    """How many steps each group has taken: the most of its parameters."""
    taken = [0] * len(optimizer.param_groups)
    for number, index, parameter in optimizer._numbered():
        if optimizer._known.get(parameter) is not None or optimizer.state.get(parameter):
            memory = optimizer._memory(number, index, parameter, optimizer._step_of(number))
            taken[number] = max(taken[number], memory.count())
    return taken


def group_for(
    optimizer: Any, rule: Rule, number: int, step: Settings, t: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """A group as another rule takes it, with what is not the old rule's own."""
    group = optimizer.param_groups[number]
    kept = {key: group[key] for key in ("lr", *BESIDES, "param_names") if key in group}
    kept |= {key: value for key, value in optimizer._read(group).around.items() if key not in rule.hyper}
    kept |= conversion.carried_over(step, rule, t) | {"params": list(group["params"])}
    kept |= {"lr_factor": 1.0} if "lr" in settings else {}
    return {key: value for key, value in kept.items() if key not in settings}


def converted(
    optimizer: Any,
    parameter: Tensor,
    step: Settings,
    new: Settings,
    memory: Memory | None,
    state_format: StateFormat,
) -> dict[str, Tensor]:
    """The state of a parameter for the settings `new`, made from that of now."""
    state, fresh = optimizer.state.get(parameter, {}), state_format.fresh(parameter, new)
    t = memory.count() if memory is not None else int(state.get("step", 0))
    if "step" in fresh:
        fresh["step"].fill_(t)
    kept = dict(zip(step.rule.slots, optimizer.state_format.keys_of(step), strict=True))
    made = dict(zip(new.rule.slots, state_format.keys_of(new), strict=True))
    old = {slot: state[key] for slot, key in kept.items() if key in state}
    conversion.convert(step, new, old, {slot: fresh[key] for slot, key in made.items()}, t)
    return fresh | {key: state[key] for key in decay.STATE if key in state}
