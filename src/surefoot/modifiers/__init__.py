"""What is done around a rule, whichever it is: one file each, and in `REGISTRY` the order in which they act.

    gradient   maximize, clip_norm, clip_value, weight_decay     g ← …
    before     decoupled_weight_decay                            x ← …, before the rule's step
    direction  cautious                                          direction ← …, between the rule and its step
    after      proximal                                          x ← …, after it
    storage    stochastic_rounding                               how x is rounded when it is stored
    average    averaging                                         what becomes of the average of the iterates

`record.py` says what a modifier is. An engine knows the stages and none of the members.
"""

from collections.abc import Mapping
from typing import Any

from surefoot.modifiers.averaging import averaging
from surefoot.modifiers.cautious import cautious
from surefoot.modifiers.clip_norm import clip_norm
from surefoot.modifiers.clip_value import clip_value
from surefoot.modifiers.decoupled_weight_decay import decoupled_weight_decay
from surefoot.modifiers.maximize import maximize
from surefoot.modifiers.proximal import proximal
from surefoot.modifiers.record import TAKES, Modifier, ModifierError, modifier
from surefoot.modifiers.stochastic_rounding import stochastic_rounding
from surefoot.modifiers.weight_decay import weight_decay
from surefoot.records.hyper import Hyper

REGISTRY: dict[str, Modifier] = {
    each.name: each
    for each in (
        maximize,
        clip_norm,
        clip_value,
        weight_decay,
        decoupled_weight_decay,
        cautious,
        proximal,
        stochastic_rounding,
        averaging,
    )
}


def register(modifier: Modifier) -> Modifier:
    """Adds a modifier; of its stage, it acts last.

    Raises:
        ModifierError: one of its name, or of one of its settings or numbers, is there already.
    """
    if modifier.stage in ("storage", "average"):
        raise ModifierError(f"{modifier.name}: engines have their own {modifier.stage}; expected another stage")
    for other in REGISTRY.values():
        taken = {other.name, *other.settings, *other.fields} & {modifier.name, *modifier.settings, *modifier.fields}
        if taken:
            raise ModifierError(f"{modifier.name}: the name {min(taken)!r} is one of {other.name}'s; rename it")
    REGISTRY[modifier.name] = modifier
    return modifier


def ordered() -> list[Modifier]:
    """All modifiers in the order in which they act."""
    return sorted(REGISTRY.values(), key=lambda each: list(TAKES).index(each.stage))


def settings() -> dict[str, Hyper]:
    """The settings of all modifiers, by name, with the values at which they do nothing."""
    return {name: hyper for each in REGISTRY.values() for name, hyper in each.settings.items()}


def acting(given: Mapping[str, Any]) -> tuple[Modifier, ...]:
    """The modifiers that do anything with these settings, in the order in which they act."""
    return tuple(each for each in ordered() if each.acts(given))


__all__ = ["REGISTRY", "TAKES", "Modifier", "ModifierError", "acting", "modifier", "ordered", "register", "settings"]
