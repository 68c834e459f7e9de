"""The state of one rule made from that of another, so that training goes on at the rates that it had.

Two facts carry over: the mean square of each coordinate's gradients, which AdaGrad keeps as a sum and RMSProp and Adam
as an average, and their mean, which momentum keeps as a sum and Adam as an average. What is computed here depends on
the settings and the number of steps alone: processes that share a parameter come to the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surefoot.engines.arrays import Arrays
from surefoot.engines.program import evaluate
from surefoot.engines.settings import Settings

SQUARES = ("total", "square")
"""The slots in which rules accumulate squared gradients: as their sum, and as their average."""


def weight_of_square(step: Settings, slot: str, t: int) -> float | None:
    """What a slot holds after t steps, as a multiple of the mean square of the gradients; None if it holds no squares.

    >>> weight_of_square(Settings("adagrad"), "total", 9), weight_of_square(Settings("rmsprop"), "square", 9)
    (9.0, 1.0)
    """
    if slot not in (*SQUARES, "largest") or step.rule.from_origin:
        return None
    if slot == "total":
        return float(t)
    return 1 - step.hyper["beta2"] ** t if "beta2" in step.hyper else 1.0


def weight_of_velocity(step: Settings, slot: str, t: int) -> float | None:
    """The same for the mean of the gradients; velocities of scaled gradients, as RMSProp's, do not count.

    >>> weight_of_velocity(Settings("momentum", momentum=0.75), "velocity", 9)
    4.0
    """
    if slot != "velocity":
        return None
    if "beta1" in step.hyper:
        return 1 - step.hyper["beta1"] ** t
    return gain(step) if len(step.rule.slots) == 1 else None


def gain(step: Settings) -> float:
    """How many times a steady gradient counts in the direction: momentum adds up to 1/(1 − β)."""
    sums_up = "velocity" in step.rule.slots and "momentum" in step.hyper
    return 1 / (1 - step.hyper["momentum"]) if sums_up else 1.0


def has_squares(step: Settings) -> bool:
    """Whether the rate follows from squared gradients that another rule can continue with."""
    known = any(weight_of_square(step, slot, 1) for slot in step.rule.slots)
    return known and not (step.rule.statistics or "change" in step.rule.slots)


def convert(old: Settings, new: Settings, kept: Mapping[str, Tensor], fresh: Mapping[str, Tensor], t: int) -> None:
    """Fills the slots of a new state with what those of the old one tell.

    Args:
        old, new: the settings.
        kept: the slots of the old state, by name.
        fresh: those of the new one, as before the first step.
        t: the number of steps taken.
    """
    for weight_of in (weight_of_square, weight_of_velocity):
        before = {slot: weight for slot in kept if (weight := weight_of(old, slot, t))}
        source = "largest" if "largest" in before else next(iter(before), None)
        for slot, tensor in fresh.items():
            weight = weight_of(new, slot, t)
            if source is not None and weight and tensor.shape == kept[source].shape:
                exact = kept[source].to(torch.promote_types(kept[source].dtype, torch.float32))
                tensor.copy_(exact * (weight / before[source]))


def rate_of_unit_gradients(step: Settings, t: int) -> float:
    """The effective rate at step t + 1 where every gradient so far was 1, and the next one is."""
    x = g = np.ones((1, 1))
    slots = {slot: np.full((1, 1), weight_of_square(step, slot, t) or 0.0) for slot in step.rule.slots}
    coefficients = step.rule.evaluate(t + 1, step.hyper | {"lr": 1.0})
    with np.errstate(all="ignore"):
        rate = evaluate(step.program, Arrays(step, t + 1, g), 0 * x, g, slots, coefficients).values["rate"]
    return float(np.reshape(rate, ()))


def lr_factor(old: Settings, new: Settings, t: int) -> float:
    """What the learning rate is to be multiplied by, so that rates go on after t steps.

    From or to a rule without squared gradients, where rates are of another kind, it is 1.

    >>> lr_factor(Settings("adagrad"), Settings("rmsprop"), 100)
    0.0995...
    """
    comparable = has_squares(old) == has_squares(new) and not (old.rule.from_origin or new.rule.from_origin)
    if t == 0 or not comparable or old.program.statistics or new.program.statistics:
        return 1.0
    # Momentum bears a rate that is larger than that of plain steps with the same effect: only the way to it is scaled.
    gains = min(1.0, gain(old) / gain(new))
    factor = gains * rate_of_unit_gradients(old, t) / rate_of_unit_gradients(new, t)
    return factor if math.isfinite(factor) and factor > 0 else 1.0


def carried_over(old: Settings, new: Any, t: int) -> dict[str, float]:
    """The hyperparameters that a new rule has from the old one: the averages' shares, and each ε in the new unit.

    Args:
        old: the settings so far.
        new: the new rule.
        t: the number of steps taken.
    """
    hyper = {name: old.hyper[name] for name in ("beta1", "beta2") if name in new.hyper and name in old.hyper}
    rules = (old.rule, new)
    units = [t if "total" in rule.slots else 1 if "square" in rule.slots else 0 for rule in rules]
    if all(units) and not any("change" in rule.slots or rule.from_origin for rule in rules):
        ratio = units[1] / units[0]
        for name, power in (("eps", 0.5), ("eps_root", 1.0)):
            if name in old.hyper and name in new.hyper:
                hyper[name] = old.hyper[name] * ratio**power
    return hyper


def without_counterpart(old: Settings, new: Any) -> list[str]:
    """The settings of the old rule that are at work and that a new rule does not have.

    >>> from surefoot.rules import get
    >>> without_counterpart(Settings("adagrad", lr_decay=0.1), get("rmsprop"))
    ['lr_decay']
    """
    return [name for name, value in old.hyper.items() if name not in new.hyper and value]
