"""Which engine steps a parameter. `base.py` has the protocol, the other modules an implementation each."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from surefoot.engines import registry
from surefoot.optim.backends.base import Backend
from surefoot.rules import Rule


class Backends:
    """Those of one optimizer, each made when it is first needed."""

    def __init__(self):
        self._made: dict[str, Backend] = {}

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._made.values())

    def of(self, settings: Mapping[str, Any], rule: Rule, device: torch.device) -> Backend:
        """What steps a group's parameters on a device; see `chosen`."""
        name = chosen(settings, rule, device)
        if name not in self._made:
            self._made[name] = registry.load(name, "tensors")(name)
        return self._made[name]


def check_engine(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for an engine that there is not, or that steps no tensors."""
    named, known = settings.get("engine"), registry.names("tensors")
    if named is not None and named not in known:
        raise ValueError(f"Invalid engine value: {named!r}; expected {', '.join(known)} or None")


def chosen(settings: Mapping[str, Any], rule: Rule, device: torch.device) -> str:
    """The engine for a group's parameters on a device: the one that it names, or the first that can.

    Raises:
        ValueError: the one that it names cannot.
        RuntimeError: as in torch, for parameters without memory and fused=True.
    """
    check_engine(settings)
    if settings.get("fused") and device.type == "meta":
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices, but one is on the "
            "device meta; expected memory, as after to_empty(device='cpu')"
        )
    if rule.whole:
        if device.type != "cpu" or settings.get("differentiable") or settings.get("engine") in ("torch", "gpu"):
            raise ValueError(
                f"{rule.name}: the rule steps whole arrays, by NumPy; expected parameters on a CPU, and none of "
                "differentiable=True, engine='torch' and engine='gpu'"
            )
        return settings.get("engine") or registry.DEFAULT
    if settings.get("differentiable"):
        return next(name for name in registry.names("tensors") if kind(name).differentiates)
    if named := settings.get("engine"):
        if (reason := kind(named).obstacle(rule, device)) is not None:
            raise ValueError(f"the {named} engine cannot step parameters on {device}: {reason}; expected engine=None")
        return named
    return fastest(rule, device)


def fastest(rule: Rule, device: torch.device) -> str:
    """The first engine that can step such parameters; one warning if one that is made for the device cannot."""
    hindered = ""
    for name in registry.names("tensors"):
        reason = kind(name).obstacle(rule, device)
        if reason is None:
            if hindered:
                warn_once(f"parameters on {device} are stepped by the {name} engine, which is slower than {hindered}")
            return name
        if kind(name).is_for(device):
            hindered = f"the {name} engine: {reason}"
    raise ValueError(f"no engine can step parameters on {device}; expected parameters on a CPU or a GPU")


@functools.cache
def warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def kind(name: str) -> type[Backend]:
    """The class of an engine's backends."""
    return registry.load(name, "tensors")
