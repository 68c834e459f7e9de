"""What weight decay does to parameters: whether they are forgotten, held where the loss is high, or gone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surefoot.lab.findings import Case
from surefoot.lab.motion import DECAYS, altered
from surefoot.lab.scales import Weights

FORGETS, SHRINKS = 0.05, 2.0
"""Weight decay eats a parameter that it shortens by this share in a step, or by more than this times the gradient."""

HELD, COSTS = 0.65, 1.5
"""Decay holds weights if it takes this share of what the gradient adds along them; it costs too much, if the loss would
fall by this much, to first order, if all of the weights that are held were doubled."""

SMALL, TINY = 0.5, 0.01
"""Weights that have all become this many times smaller than 1/√inputs are gone: the first, at `FADES` a step."""

FADES = 0.01
"""The share of weights that decay takes in a step, if they are forgotten within a hundred steps."""

TAKES = 1e-4
"""The share of a parameter that remedies let weight decay take in a step."""

ROUNDED = 1e-4
"""Gradients of a vector this many times smaller than the largest are rounding errors, as those of a bias in front of a
BatchNorm, on which the loss does not depend: decay may take it."""

STRONG = 0.05
"""Decay of weights of 1/√inputs, compared with gradients of one, above which it is to blame and not the rate."""


@dataclass
class Decay:
    """What weight decay does to a parameter in a step.

    Attributes:
        case: the parameter.
        share: how much of the parameter it takes.
        against: how many times the update by the gradient alone it is.
        along: the same along the parameter: 1 where both hold each other; infinite where the gradient shortens it too.
    """

    case: Case
    share: float = 0.0
    against: float = 0.0
    along: float = 0.0

    @classmethod
    def of(cls, case: Case) -> Decay:
        motion, decay = case.motion, strength(case.settings)
        if not decay:
            return cls(case)
        if motion is None or not motion.having:
            return cls(case, min(rate_of(case) * decay, 1.0))
        without = case.view.motion(altered(case.view.step, dict.fromkeys(DECAYS, 0.0)))
        if not motion.parameter:
            stays = not motion.update and without.update
            return cls(case, 1.0, math.inf, math.inf) if stays else cls(case)
        # A velocity goes on with what decay has added to it.
        share = lasting(case) * (motion.shrinkage - without.shrinkage)
        against = share * motion.parameter / without.update if without.update else math.inf
        along = share / -without.shrinkage if without.shrinkage < 0 else math.inf
        return cls(case, share, against, along)

    @property
    def so_far(self) -> float:
        """How much of the parameter it would have taken in the steps so far."""
        return self.share * (self.case.finding.steps or math.inf) if self.share > 0 else 0.0

    @property
    def eats(self) -> bool:
        """Whether the gradient cannot keep up, or the parameter is forgotten within a hundred steps."""
        return (self.against > SHRINKS and self.so_far > 0.5) or (self.share > FORGETS and self.against > 0.5)

    @property
    def holds(self) -> bool:
        """Whether it keeps a weight matrix from growing, against the gradient."""
        motion = self.case.motion
        is_matrix = len(self.case.finding.shape) > 1
        return is_matrix and motion is not None and motion.uphill < 0 and self.along > HELD and self.so_far > 0.2

    def is_idle(self, largest: float) -> bool:
        """Whether it takes a vector on which the loss does not depend, by the largest norm of a gradient."""
        motion = self.case.motion
        return len(self.case.finding.shape) == 1 and motion is not None and motion.gradient < ROUNDED * largest

    @property
    def cure(self) -> float:
        """By what to multiply the decay."""
        against = 0.1 / self.against if self.against and math.isfinite(self.against) else 1.0
        return min(against, TAKES / self.share) if self.share else TAKES


def lasting(case: Case) -> float:
    """How many times steady weight decay counts, where it is added to the gradients of a velocity."""
    step = case.view.step
    if "velocity" not in step.rule.slots or not step.options.get("weight_decay"):
        return 1.0
    return 1 / (1 - next((step.hyper[name] for name in ("beta1", "momentum") if name in step.hyper), 0.0))


def rate_of(case: Case) -> float:
    """The learning rate of the next step."""
    return float(case.view.step.lr(case.view.t + 1))


def strength(settings: Mapping[str, Any]) -> float:
    """The largest weight decay of a group.

    >>> strength({"weight_decay": 0.1, "decoupled_weight_decay": True, "l1": 0.0})
    0.1
    """
    values = [settings.get(name) for name in DECAYS]
    return max((abs(float(value)) for value in values if value and not isinstance(value, bool)), default=0.0)


def eaten(decays: Sequence[Decay]) -> list[Decay]:
    """The parameters of a run that weight decay eats, or holds where the loss is much higher."""
    largest = max((decay.case.motion.gradient for decay in decays if decay.case.motion), default=0.0)
    found = [decay for decay in decays if decay.eats and not decay.is_idle(largest)]
    held = [decay for decay in decays if decay.holds]
    cost = -sum(decay.case.motion.uphill for decay in held if decay.case.motion)
    return found or (held if cost > COSTS else [])


def gone(weights: Sequence[Weights], decays: Sequence[Decay]) -> list[Decay]:
    """The decays of the weight matrices of a network, if decay has brought all of them to nothing."""
    of = {id(decay.case): decay for decay in decays}
    found = [of[id(each.case)] for each in weights if strength(each.case.settings)]
    if len(weights) < 2 or len(found) < len(weights):
        return []
    share, largest = max(decay.share for decay in found), max(each.size for each in weights)
    so_far = max(decay.so_far for decay in found)
    is_gone = (largest < SMALL and share > FADES) or (largest < TINY and so_far > 0.5)
    if largest == 0:  # where they began, unless by l1
        is_gone = all(each.case.settings.get("l1") for each in weights)
    return found if is_gone and all(each.case.is_warm for each in weights) else []


def overshoots(case: Case) -> bool:
    """Whether a step of decay takes more than twice of a parameter, which then grows from step to step."""
    return rate_of(case) * strength(case.settings) > 2


def cure_of_overshoot(case: Case) -> float:
    """By what to multiply such a decay."""
    return TAKES / (rate_of(case) * strength(case.settings))


def is_strong(case: Case, natural: float) -> bool:
    """Whether decay is to blame rather than the rate: it counts, where weights are as they are made."""
    return strength(case.settings) * natural > STRONG
