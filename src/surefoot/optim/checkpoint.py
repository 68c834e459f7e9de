"""What optimizers keep for each parameter, under torch's names, and state dicts with it that others have written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.modifiers.record import SHRINKAGE
from surefoot.optim import decay
from surefoot.optim.clipping import LIMITS
from surefoot.optim.group import around
from surefoot.optim.mapped import copied_next_to, file_of
from surefoot.optim.memory import copied, counter, counter_type, local, new_slot


@dataclass(frozen=True)
class StateFormat:
    """How a class of optimizers names what it keeps for a parameter.

    Attributes:
        keys: the key of a slot of the rule, where torch's name is not the rule's.
        counts: whether the steps are counted.
        constants: further numbers that torch keeps, with their initial values.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    counts: bool = True
    constants: Mapping[str, float] = field(default_factory=dict)

    def keys_of(self, step: Settings) -> tuple[str, ...]:
        """The keys of the rule's slots, in their order."""
        return tuple(self.keys.get(slot, slot) for slot in step.rule.slots)

    def keys_of_rows(self, step: Settings) -> list[str]:
        """The keys of what each row of a parameter has of its own, as rows that begin again or are added need it."""
        kinds = [slot.kind for slot in step.rule.slots.values()]
        found = zip(self.keys_of(step), step.extents, kinds, strict=True)
        return [key for key, extent, kind in found if extent in ("coordinate", "row") and kind != "matrix"]

    def fresh(self, parameter: Tensor, step: Settings, meta: bool = False) -> dict[str, Tensor]:
        """The state before the first step; on the meta device, only its shapes and types."""
        numbers = ({"step": 0.0} if self.counts else {}) | dict(self.constants)
        tensors: dict[str, Tensor] = {name: counter(value) for name, value in numbers.items()}
        for key, slot in zip(self.keys_of(step), step.rule.slots.values(), strict=True):
            tensors[key] = new_slot(parameter, step, slot, meta)
        return tensors

    def fitted(self, name: str, parameter: Tensor, step: Settings, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """A state as the rule and the parameter need it; layouts, floating-point types and devices are converted.

        Args:
            name: what errors call the parameter.
            parameter: the parameter.
            step: the settings of its group.
            tensors: its state, by key.

        Raises:
            ValueError: for keys that are missing, and for shapes and types that cannot be converted.
        """
        expected, tensors = self.fresh(parameter, step, meta=True), upgraded(step, tensors)
        tensors = self.by_row_means(parameter, step, tensors) if step.granularity == "row" else tensors
        if "last" in tensors or "history" in tensors:
            expected |= pending(parameter, step, tensors.get("history"))
        expected |= decay.expected(parameter, tensors)
        if expected.keys() - tensors.keys():
            raise ValueError(
                f"{name}: the memory has {', '.join(map(str, tensors)) or 'nothing'}; expected {', '.join(expected)}"
            )
        # Others stay, as in torch: what an option that was switched off has left, and what wrappers keep here.
        fitted = dict(tensors)
        for key in [key for key in tensors if key in {*expected, "step", *self.keys.values()}]:
            value = tensors[key]
            fitted[key] = fitted_tensor(f"{name}: {key!r}", key, value, expected.get(key, value), parameter.device)
        check_last(name, fitted)
        return fitted

    def by_row_means(self, parameter: Tensor, step: Settings, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """A state that was kept for each coordinate, with the mean of each row where the row has one number."""
        found = dict(tensors)
        for key, extent in zip(self.keys_of(step), step.extents, strict=True):
            value = found.get(key)
            if extent == "row" and isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim > 1:
                value = value.to_dense()
                value = torch.view_as_real(value) if value.is_complex() else value  # squares of both parts
                means = value.mean(dim=tuple(range(1, value.ndim)), keepdim=True, dtype=torch.float64)
                found[key] = means.to(value.dtype)
        return found


def fitted_tensor(what: str, key: str, value: Any, wanted: Any, device: torch.device) -> Tensor:
    """One tensor of a state as it is wanted, converted where that is possible; `what` names it in errors."""
    if key == "step" and not isinstance(value, Tensor):
        value = counter(float(value))
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        value = value.to_dense()  # torch's SGD makes its buffer of the first gradient, in the layout of that
    if not isinstance(value, Tensor) or value.shape != wanted.shape:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{what} has {found}; expected a tensor of shape {tuple(wanted.shape)}")
    if value.is_complex() != wanted.is_complex() or value.is_floating_point() != wanted.is_floating_point():
        raise ValueError(f"{what} is {value.dtype}; expected {wanted.dtype}")
    placements = [getattr(tensor, "placements", None) for tensor in (value, wanted)]
    if placements[0] != placements[1]:
        raise ValueError(
            f"{what} is placed on processes as {placements[0]}; expected {placements[1]}, which "
            "set_optimizer_state_dict of torch.distributed.checkpoint.state_dict sees to"
        )
    if key == "decay_clock":
        return value.cpu()
    return value if key == "step" else value.to(dtype=wanted.dtype, device=device)


def upgraded(step: Settings, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state of version 0.1, whose history told what was done around a rule by six numbers, as it is today."""
    history, coefficients = tensors.get("history"), len(step.rule.coefficient_names)
    if isinstance(history, Tensor) and history.ndim == 2 and history.shape[1] == 1 + coefficients + 6:
        return dict(tensors) | {
            "history": torch.cat([history[:, : 1 + coefficients], history[:, -len(SHRINKAGE) :]], 1)
        }
    return tensors


def pending(parameter: Tensor, step: Settings, history: Any) -> dict[str, Tensor]:
    """The types and shapes, without values, of what rows without a gradient still have to catch up on."""
    entries = len(history) if isinstance(history, Tensor) and history.ndim else 0
    numbers = 1 + len(step.rule.coefficient_names) + len(SHRINKAGE)
    return {
        "step": torch.empty((), dtype=counter_type(), device="meta"),
        "last": torch.empty(local(parameter).shape[:1], dtype=torch.int64, device="meta"),
        "history": torch.empty((entries, numbers), dtype=torch.float64, device="meta"),
    }


def check_last(name: str, tensors: Mapping[str, Any]) -> None:
    """Raises ValueError where a row was last stepped before the first step or after the present one."""
    if "last" in tensors and tensors["last"].numel():
        first, last, t = int(tensors["last"].min()), int(tensors["last"].max()), int(tensors["step"])
        if first < 0 or last > t:
            wrong = first if first < 0 else last
            raise ValueError(f"{name}: by 'last', a row was stepped in step {wrong}; expected 0 … {t}, of 'step'")


class Checkpoint:
    """A state dict of an optimizer, of Surefoot or torch, that is to be loaded.

    Raises:
        ValueError: where it is not one.
    """

    def __init__(self, state_dict: Mapping[str, Any]):
        for key in ("state", "param_groups"):
            if key not in state_dict:
                raise ValueError(
                    f"the state dict has no {key!r}, only {list(state_dict)}; expected that of an optimizer"
                )
        self.state_dict = state_dict

    def merged(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Its groups, which go on with the settings that torch's checkpoints do not have, and with a rate for each row.

        Raises:
            ValueError: where these are not groups of the same sizes.
        """
        saved = self.state_dict["param_groups"]
        sizes, expected = ([len(group["params"]) for group in some] for some in (saved, groups))
        if sizes != expected:
            raise ValueError(
                f"loaded state dict has a different number of parameter groups or parameters: groups of {sizes} "
                f"parameters; expected {expected}"
            )
        ours = (*around(), "eps_root", "engine", decay.KEY, *LIMITS)
        own = [{key: group[key] for key in ours if key in group} for group in groups]
        merged = [mine | theirs for mine, theirs in zip(own, saved, strict=True)]
        for mine, group in zip(own, merged, strict=True):
            if (mine.get("granularity"), group.get("granularity")) == ("row", "coordinate"):
                group["granularity"] = "row"  # the state can become that; the other way round it cannot
        return merged

    def fitted(
        self,
        groups: list[dict[str, Any]],
        fit: Callable[[int, int, dict[str, Any]], dict[str, Any]],
        own: list[dict[str, Any]],
    ) -> dict:
        """Its states, each entry in a box that torch does not cast.

        Args:
            groups: from merged.
            fit: makes a state fit the parameter at (group, index).
            own: the groups of the optimizer that loads them.
        """
        states = dict(self.state_dict["state"])
        for number, group in enumerate(groups):
            for index, key in enumerate(group["params"]):
                if states.get(key):
                    tensors = {name: value for name, value in states[key].items() if value is not None}
                    fitted = fit(number, index, tensors)
                    path = file_of(own[number]["params"][index])
                    states[key] = {name: Boxed(own_copy(value, path)) for name, value in fitted.items()}
        return states


def check_rules(saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """Raises ValueError where a saved group has another rule than the group that it is to be loaded into."""
    for number, (theirs, mine) in enumerate(zip(saved, groups, strict=True)):
        rule = theirs.setdefault("rule", mine["rule"])
        if rule != mine["rule"]:
            raise ValueError(
                f"group {number}: the state dict has the rule {rule!r}, the optimizer {mine['rule']!r}; expected "
                "groups in the order in which they were saved"
            )


def check_order(saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """Raises ValueError where the names of saved parameters are those of other parameters of the optimizer.

    Names that the optimizer does not have do not count: modules are renamed and wrapped.
    """
    mine = [name for group in groups for name in group.get("param_names", ())]
    theirs = [name for group in saved for name in group.get("param_names", ())]
    for name, other in zip(mine, theirs, strict=False):
        if name != other and other in mine:
            raise ValueError(
                f"{name}: the state dict has {other!r} in its place; expected parameters in the order in which they "
                "were saved"
            )


def own_copy(value: Any, path: str | None) -> Any:
    """A copy of what a state dict has: where the parameter is in a file, that of a tensor is in its folder."""
    if path and isinstance(value, Tensor) and value.ndim > 0 and value.layout is torch.strided:
        return copied_next_to(path, value)
    return copied(value) if isinstance(value, Tensor) else copy.deepcopy(value)


@dataclass
class Boxed:
    """What torch does not recognize, and so neither casts nor moves."""

    value: Any


def unboxed(state: Mapping[Any, dict[str, Any]]) -> None:
    """Takes everything out of its box."""
    for tensors in state.values():
        for key, value in tensors.items():
            if isinstance(value, Boxed):
                tensors[key] = value.value
