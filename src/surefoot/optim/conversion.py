"""The state of one rule made from that of another, so that training goes on at the rates that it had.

Two facts carry over: the mean square of each coordinate's gradients, which AdaGrad keeps as a sum and RMSProp and Adam
as an average, and their mean, which momentum keeps as a sum and Adam as an average. What is computed here depends on
the settings and the number of steps alone: processes that share a parameter come to the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from surefoot.engines.arrays import Arrays
from surefoot.engines.program import evaluate
from surefoot.engines.settings import Settings
from surefoot.rules.record import Rule
from surefoot.rules.slots import Moment, Of, Slot


def weight_of(step: Settings, slot: str, of: Of, t: float) -> float | None:
    """What a slot holds after t steps, as a multiple of the mean of the gradients, or of their squares.

    None if the rule does not say so of the slot, or starts from the origin, where such a slot is only half of what it
    knows.

    >>> weight_of(Settings("adagrad"), "total", "squares", 9), weight_of(Settings("rmsprop"), "square", "squares", 9)
    (9.0, 1.0)
    >>> weight_of(Settings("momentum", momentum=0.75), "velocity", "gradients", 9)
    4.0
    """
    moment = step.rule.slots[slot].moment
    return (
        moment.weight(t, step.hyper) if moment is not None and moment.of == of and not step.rule.from_origin else None
    )


def gain(step: Settings) -> float:
    """How many times a steady gradient counts in the direction: momentum adds up to 1/(1 − β)."""
    moments = (slot.moment for slot in step.rule.slots.values() if slot.moment is not None)
    along = [each.weight(math.inf, step.hyper) for each in moments if each.of in ("gradients", "updates")]
    return max(along, default=1.0)


def square_of(rule: Any) -> Moment | None:
    """What the rule's rate follows from, if that is squared gradients and nothing else that it keeps."""
    local = [slot for slot in rule.slots.values() if slot.over not in ("tensor", "group")]
    squares = [slot.moment for slot in local if slot.moment is not None and slot.moment.of == "squares"]
    other = any(slot.kind == "scale" and slot.moment is None for slot in local)
    return None if other or not squares or rule.from_origin else squares[-1]


def has_squares(step: Settings) -> bool:
    """Whether the rate follows from squared gradients that another rule can continue with."""
    return square_of(step.rule) is not None and not step.rule.statistics


def convert(old: Settings, new: Settings, kept: Mapping[str, Tensor], fresh: Mapping[str, Tensor], t: int) -> None:
    """Fills the slots of a new state with what those of the old one tell.

    Args:
        old, new: the settings.
        kept: the slots of the old state, by name.
        fresh: those of the new one, as before the first step.
        t: the number of steps taken.
    """
    # The same rule goes on with all that it keeps, unless it averages, which begins where the parameters are.
    same = old.layout == new.layout and old.rule.evaluation is None
    made: dict[str, Tensor] = dict(kept) if same else {}
    for of in get_args(Of):
        before = {slot: weight for slot in kept if (weight := weight_of(old, slot, of, t))}
        last = next(reversed(before), None)  # of several, rates follow from the last: AMSGrad's largest average
        for slot, tensor in fresh.items():
            weight, source = weight_of(new, slot, of, t), slot if same and slot in before else last
            if weight is not None and of == "ones":
                # Rows that counted their own steps go on with these where the counts mean the same.
                alike = before.get(slot) == weight and tensor.shape == kept[slot].shape
                made[slot] = kept[slot] if alike else torch.full_like(tensor, weight)
            elif weight and source is not None and tensor.shape == kept[source].shape:
                exact = kept[source].to(torch.promote_types(kept[source].dtype, torch.float32))
                made[slot] = exact * (weight / before[source])
    velocities = {slot for slot in fresh if holds(new.rule.slots[slot], "gradients", "updates")}
    local = {slot for slot in fresh if new.rule.slots[slot].over not in ("tensor", "group")}
    # Over squares that only begin, a velocity from before would make steps of any length: both begin.
    for slot in made.keys() - (velocities if local - velocities - made.keys() else set()):
        fresh[slot].copy_(made[slot])


def holds(slot: Slot, *of: Of) -> bool:
    return slot.moment is not None and slot.moment.of in of


def is_plain(rule: Rule) -> bool:
    """Whether the rate follows from nothing that the rule keeps, or from the number of steps alone."""
    return all(holds(slot, "gradients", "updates", "ones") for slot in rule.slots.values())


def rate_of_unit_gradients(step: Settings, t: int) -> float:
    """The effective rate at step t + 1 where every gradient so far was 1, and the next one is."""
    x = g = np.ones((1, 1))
    known = {slot: [weight_of(step, slot, of, t) or 0.0 for of in ("ones", "squares")] for slot in step.rule.slots}
    slots = {slot: np.full((1, 1), max(weights)) for slot, weights in known.items()}
    coefficients = step.rule.evaluate(t + 1, step.hyper | {"lr": 1.0})
    with np.errstate(all="ignore"):
        rate = evaluate(step.program, Arrays(step, t + 1, g), 0 * x, g, slots, coefficients).values["rate"]
    return float(np.reshape(rate, ()))


def lr_factor(old: Settings, new: Settings, t: int) -> float:
    """What the learning rate is to be multiplied by, so that rates go on after t steps.

    It is 1 where rates are of another kind: from or to a rule without squared gradients, one that divides by other
    sizes, as AdaBelief does, or one of whole arrays.

    >>> lr_factor(Settings("adagrad"), Settings("rmsprop"), 100)
    0.0995...
    """
    comparable = (has_squares(old) and has_squares(new)) or (is_plain(old.rule) and is_plain(new.rule))
    others = (each.rule.from_origin or each.rule.whole or each.program.statistics for each in (old, new))
    if t == 0 or not comparable or any(others):
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
    units = [unit_of(rule, t) for rule in (old.rule, new)]
    if all(units):
        ratio = units[1] / units[0]
        for name, power in (("eps", 0.5), ("eps_root", 1.0)):
            if name in old.hyper and name in new.hyper:
                hyper[name] = old.hyper[name] * ratio**power
    return hyper


def unit_of(rule: Any, t: int) -> int:
    """What a rule's ε is relative to after t steps, in mean squares: their number where they are summed up; or 0."""
    square = square_of(rule)
    return 0 if square is None else t if square.share is None else 1


def without_counterpart(old: Settings, new: Any) -> list[str]:
    """The settings of the old rule that are at work and that a new rule does not have.

    >>> from surefoot.rules import get
    >>> without_counterpart(Settings("adagrad", lr_decay=0.1), get("rmsprop"))
    ['lr_decay']
    """
    return [name for name, value in old.hyper.items() if name not in new.hyper and value]
