"""The settings of a step: a rule, its hyperparameters and everything that is done around it."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Collection
from typing import Any

from surefoot import rules, schedules
from surefoot.engines.modifiers import Modifiers
from surefoot.engines.numerics import ARITHMETIC
from surefoot.rules import Rule, Slot

GRANULARITIES = ("coordinate", "row", "tensor")


class Settings:
    """A rule, its hyperparameters, and everything that is done around it, checked; `Step` documents the arguments.

    Raises:
        RuleError, ValueError: for settings that the rule cannot honour; nothing is ignored.
    """

    def __init__(
        self,
        rule: str | Rule,
        *,
        granularity: str = "coordinate",
        convention: str | None = None,
        weight_decay: float = 0.0,
        decoupled_weight_decay: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float = math.inf,
        clip_norm: float = math.inf,
        maximize: bool = False,
        nonfinite: str = "raise",
        stochastic_rounding: int | None = None,
        lazy: str = "exact",
        average: bool = False,
        state_dtype: str | None = None,
        threads: int | None = None,
        name: str = "parameters",
        **hyper,
    ):
        base = rules.get(rule)
        # A rule with penalties of its own takes them; otherwise they are a proximal step around it.
        own = {key: value for key, value in (("l1", l1), ("l2", l2)) if key in base.hyper and value}
        if "lr" in hyper:
            hyper["lr"] = rate_of(hyper["lr"])
        self.hyper = base.settings(convention, **hyper, **own)
        self.rule = base.resolve(self.hyper)
        self.l1, self.l2 = (0.0 if "l1" in base.hyper else l1), (0.0 if "l2" in base.hyper else l2)
        if decoupled_weight_decay is None:
            decoupled_weight_decay = base.options_of(convention).get("decoupled_weight_decay", 0.0)
        self.weight_decay, self.decoupled_weight_decay = weight_decay, decoupled_weight_decay
        self.clip_value, self.clip_norm, self.maximize = clip_value, clip_norm, maximize
        self.granularity, self.lazy, self.nonfinite, self.name = granularity, lazy, nonfinite, name
        self.stochastic_rounding, self.average, self.state_dtype = stochastic_rounding, average, state_dtype
        self.threads = threads
        self._check_choices()
        self._check_numbers()
        self._check_together(base)

    def _one_of(self, key: str, value: Any, allowed: Collection[str]) -> None:
        if value not in allowed:
            raise ValueError(f"{self.name}: {key} must be one of {', '.join(allowed)}, got {value!r}")

    def _check_choices(self) -> None:
        self._one_of("granularity", self.granularity, GRANULARITIES)
        self._one_of("lazy", self.lazy, ("exact", "touched"))
        self._one_of("nonfinite", self.nonfinite, ("raise", "skip", "propagate"))
        if self.state_dtype is not None:
            self._one_of("state_dtype", self.state_dtype, ARITHMETIC)

    def _check_numbers(self) -> None:
        for key in ("weight_decay", "decoupled_weight_decay", "l1", "l2"):
            value = getattr(self, key)
            if not (is_number(value) and math.isfinite(value) and value >= 0):
                raise ValueError(f"{self.name}: {key} must be a finite number of at least 0, got {value!r}")
        for key in ("clip_value", "clip_norm"):
            value = getattr(self, key)
            if not (is_number(value) and value > 0):
                raise ValueError(f"{self.name}: {key} must be above 0, got {value!r}")
        counted = isinstance(self.threads, int) and not isinstance(self.threads, bool)
        if self.threads is not None and not (counted and self.threads >= 1):
            raise ValueError(f"{self.name}: threads must be a whole number of at least 1, got {self.threads!r}")
        seed = self.stochastic_rounding
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ValueError(
                f"{self.name}: stochastic_rounding must be a seed, a whole number, or None for rounding to nearest; "
                f"got {seed!r}"
            )

    def _check_together(self, base: Rule) -> None:
        """Raises ValueError for settings that the rule cannot honour."""
        if self.granularity != "coordinate" and not any(slot.kind == "scale" for slot in self.rule.slots.values()):
            raise ValueError(
                f"{self.name}: granularity {self.granularity!r} would change nothing: {self.rule.name} has no memory "
                "of squared gradients to share; leave it at 'coordinate'"
            )
        if self.rule.from_origin and (self.l1 or self.l2 or self.decoupled_weight_decay):
            own = ", ".join(key for key in ("l1", "l2") if key in base.hyper) or "settings"
            raise ValueError(
                f"{self.name}: {self.rule.name} recomputes the parameters from the origin at each step, so l1, l2 or "
                f"decoupled_weight_decay cannot act on them afterwards; use the rule's own {own}"
            )

    # What acts at step t

    def coefficients(self, t) -> tuple:
        """The rule's coefficients at step t, in float64."""
        return self.rule.evaluate(t, self.hyper)

    def lr(self, t) -> float:
        """The learning rate at step t."""
        return self.rule.lr(t, self.hyper)

    def modifiers(self, t, norm: float | None = None) -> Modifiers:
        """The numbers around the rule at step t; `norm` is the gradient's norm, for clip_norm."""
        scale = -1.0 if self.maximize else 1.0
        if norm is not None and norm > self.clip_norm:
            scale *= self.clip_norm / norm
        keep = 1.0 - self.lr(t) * self.decoupled_weight_decay if self.decoupled_weight_decay else 1.0
        return Modifiers(scale, self.clip_value, self.weight_decay, keep, self.l1, self.l2)

    def change_lr(self, lr) -> None:
        """Takes another learning rate, or a schedule, also a written one, from the next step on.

        Raises:
            RuleError, ValueError: if it lies out of its bounds, or is not written as learning rates are.
        """
        lr = rate_of(lr)
        if lr is not self.hyper["lr"] and lr != self.hyper["lr"]:
            self.hyper["lr"] = self.rule.settings(lr=lr)["lr"]

    @functools.cached_property
    def adjusts(self) -> bool:
        """Whether the gradient is changed before the rule sees it."""
        bounded = math.isfinite(self.clip_norm) or math.isfinite(self.clip_value)
        return bounded or self.maximize or self.weight_decay > 0

    @functools.cached_property
    def decays(self) -> bool:
        """Whether parameters are shrunk before the rule."""
        return self.decoupled_weight_decay > 0

    @functools.cached_property
    def shrinks(self) -> bool:
        """Whether a proximal step follows the rule."""
        return bool(self.l1 or self.l2)

    @functools.cached_property
    def regularized(self) -> bool:
        """Whether a coordinate with zero gradient still shrinks."""
        return self.decays or self.shrinks

    @functools.cached_property
    def shared(self) -> bool:
        """Whether several coordinates share one rate."""
        return self.granularity != "coordinate"

    @functools.cached_property
    def shares(self) -> tuple[bool, ...]:
        """Whether each slot holds one number for several coordinates, in the order of the rule's slots."""
        return tuple(self.shared and slot.kind == "scale" for slot in self.rule.slots.values())

    @functools.cached_property
    def in_common(self) -> tuple[bool, ...]:
        """Whether each slot holds one number for the whole tensor."""
        return tuple(self.granularity == "tensor" and shares for shares in self.shares)

    # The memory

    @property
    def layout(self) -> tuple:
        """What decides how the memory is laid out."""
        return self.rule, self.granularity, self.state_dtype

    def initial(self, slot: Slot) -> float:
        """What a slot holds before the first step."""
        return self.hyper[slot.initial] if isinstance(slot.initial, str) else slot.initial

    def slot_shape(self, shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
        """The shape of a slot for parameters of that shape."""
        if kind == "direction" or self.granularity == "coordinate":
            return shape
        if self.granularity == "row":
            return (*shape[:1], *(1 for _ in shape[1:]))
        return tuple(1 for _ in shape)

    # Rows without a gradient

    @functools.cached_property
    def catches_up(self) -> bool:
        """Whether rows without a gradient have steps to catch up on."""
        if self.lazy == "touched":
            return False
        return self.regularized or callable(self.rule.zero_grad_steps) or self.rule.follows_rate

    @functools.cached_property
    def no_closed_form(self) -> str | None:
        """Why lazy updates are not exact for rows without a gradient; None if they are."""
        rule = self.rule
        if self.weight_decay:
            return "weight_decay adds to every gradient (decoupled_weight_decay or l2 have a closed form)"
        if not rule.lazy_exact and rule.zero_grad_steps is None:
            return f"{rule.name} has no closed form for steps with zero gradient"
        if self.regularized and not rule.lazy_exact:
            return f"the rate of {rule.name} changes while a row has no gradient"
        if (self.regularized or rule.follows_rate) and self.granularity == "tensor":
            return "the tensor's common rate changes while a row has no gradient"
        if self.average and self.catches_up:
            return "the average needs rows that do not move without a gradient"
        return None

    def check_left_out(self) -> None:
        """Raises ValueError where lazy updates must be exact for rows without a gradient and are not."""
        if self.lazy == "exact" and (reason := self.no_closed_form) is not None:
            raise ValueError(
                f"{self.name}: lazy updates are not exact for rows without a gradient: {reason}; "
                "use lazy='touched' to skip such rows"
            )


def is_number(value) -> bool:
    return isinstance(value, numbers.Real)


def rate_of(lr: Any) -> Any:
    """The schedule that text names; any other learning rate unchanged, also a number as text, which rules reject."""
    rate = schedules.resolve(lr)
    return rate if callable(rate) else lr
