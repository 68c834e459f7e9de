"""The settings of a step: a rule, its hyperparameters and everything that is done around it."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from typing import Any

from surefoot import modifiers, rules, schedules
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.program import Operation, Program, program_of, statistic_of
from surefoot.modifiers import Modifier
from surefoot.modifiers.record import fault
from surefoot.records.hyper import Hyper
from surefoot.records.statistic import Statistic, mean
from surefoot.rules import Rule, Slot

GRANULARITIES = ("coordinate", "row", "tensor")
OF_STORAGE = ("storage", "average")
"""The stages of modifiers that act when parameters are stored."""


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
        nonfinite: str = "raise",
        lazy: str = "exact",
        clock: str = "step",
        state_dtype: str | None = None,
        threads: int | None = None,
        name: str = "parameters",
        **settings,
    ):
        base = rules.get(rule, matrices=True)
        self.granularity, self.lazy, self.nonfinite, self.name = granularity, lazy, nonfinite, name
        self.state_dtype, self.threads = state_dtype, threads
        # A rule with penalties of its own takes them; otherwise they are a proximal step around it.
        around = {key: hyper for key, hyper in modifiers.settings().items() if key not in base.hyper}
        defaults = {key: hyper.default for key, hyper in around.items()} | base.options_of(convention)
        given = {key: value for key, value in settings.items() if key in around and value is not None}
        self.options: dict[str, Any] = defaults | given
        own = {key: value for key, value in settings.items() if key not in around}
        if "lr" in own:
            own["lr"] = rate_of(own["lr"])
        self.hyper = base.settings(convention, **own)
        self.clock = clock
        self._check_choices()
        self._check_clock(base)
        self.rule = base.resolve(self.hyper | {"clock": clock == "row"})
        self._check_numbers(around)
        self.options = {name: hyper.default for name, hyper in modifiers.settings().items()} | self.options
        self._check_together(base)

    def _one_of(self, key: str, value: Any, allowed: Collection[str]) -> None:
        if value not in allowed:
            raise ValueError(f"{self.name}: {key} must be one of {', '.join(allowed)}, got {value!r}")

    def _check_choices(self) -> None:
        self._one_of("granularity", self.granularity, GRANULARITIES)
        self._one_of("lazy", self.lazy, ("exact", "touched"))
        self._one_of("nonfinite", self.nonfinite, ("raise", "skip", "propagate"))
        self._one_of("clock", self.clock, ("step", "row"))
        if self.state_dtype is not None:
            self._one_of("state_dtype", self.state_dtype, ARITHMETIC)

    def _check_clock(self, base: Rule) -> None:
        if self.clock == "row" and not any("clock" in options for options in base.variants):
            able = [name for name, rule in rules.everything().items() if any("clock" in on for on in rule.variants)]
            raise ValueError(
                f"{self.name}: clock='row' is for rules that count steps and move rows by themselves, "
                f"{', '.join(able)}, not for {base.name}; leave it at 'step'"
            )

    def _check_numbers(self, around: Mapping[str, Hyper]) -> None:
        for key, hyper in around.items():
            if (wrong := fault(key, hyper, self.options[key])) is not None:
                raise ValueError(f"{self.name}: {wrong}")
        counted = isinstance(self.threads, int) and not isinstance(self.threads, bool)
        if self.threads is not None and not (counted and self.threads >= 1):
            raise ValueError(f"{self.name}: threads must be a whole number of at least 1, got {self.threads!r}")

    def _check_together(self, base: Rule) -> None:
        """Raises ValueError for settings that the rule cannot honour."""
        shared = not self.rule.whole and any(slot.kind == "scale" for slot in self.rule.slots.values())
        if self.granularity != "coordinate" and not shared:
            raise ValueError(
                f"{self.name}: granularity {self.granularity!r} would change nothing: {self.rule.name} has no memory "
                "of squared gradients to share; leave it at 'coordinate'"
            )
        for modifier in self.modifiers if self.rule.whole else ():
            if "rate" in modifier.takes or modifier.stage == "storage":
                raise ValueError(
                    f"{self.name}: {modifier.name} acts on each coordinate and its rate, and {self.rule.name} steps "
                    f"whole arrays; leave out {' and '.join(modifier.settings)}"
                )
        if self.rule.from_origin and self.regularized:
            own = ", ".join(key for key in ("l1", "l2") if key in base.hyper) or "settings"
            raise ValueError(
                f"{self.name}: {self.rule.name} recomputes the parameters from the origin at each step, so l1, l2 or "
                f"decoupled_weight_decay cannot act on them afterwards; use the rule's own {own}"
            )

    # What acts at step t

    def coefficients(self, t, scalars: Mapping[str, Any] | None = None) -> tuple:
        """The rule's coefficients at step t, in float64; `scalars` are the slots that they are computed from."""
        return self.rule.evaluate(t, self.hyper, scalars)

    def lr(self, t) -> float:
        """The learning rate at step t."""
        return self.rule.lr(t, self.hyper)

    def numbers_of(self, modifier: Modifier, t, statistics: Mapping[str, Any]) -> tuple:
        """The numbers of a modifier at step t, given its statistics."""
        return modifier.at(t, self.lr(t), self.options, statistics)

    def numbers(self, t, statistics: Mapping[str, Any] | None = None) -> Any:
        """The named tuple of the modifiers' numbers at step t; NaN for those whose statistics are not given."""
        found = []
        for modifier in self.program.modifiers:
            own = {name: (statistics or {}).get(statistic_of(modifier, name), math.nan) for name in modifier.on_host}
            found += self.numbers_of(modifier, t, own)
        return self.program.numbers(*found)

    def shrinkage(self, t) -> tuple:
        """(keep, l1, l2): what shrinks parameters at step t, see `modifiers.closed_form`."""
        if not self.regularized:
            return 1.0, 0.0, 0.0
        numbers = self.numbers(t)
        return tuple(getattr(numbers, name, still) for name, still in (("keep", 1.0), ("l1", 0.0), ("l2", 0.0)))

    def change_lr(self, lr) -> None:
        """Takes another learning rate, or a schedule, also a written one, from the next step on.

        Raises:
            RuleError, ValueError: if it lies out of its bounds, or is not written as learning rates are.
        """
        lr = rate_of(lr)
        if lr is not self.hyper["lr"] and lr != self.hyper["lr"]:
            self.hyper["lr"] = self.rule.settings(lr=lr)["lr"]

    @functools.cached_property
    def modifiers(self) -> tuple[Modifier, ...]:
        """The modifiers that act, in their order."""
        return modifiers.acting(self.options)

    @functools.cached_property
    def program(self) -> Program:
        """What a step does to a coordinate."""
        return program_of(self.rule, tuple(m for m in self.modifiers if m.stage not in OF_STORAGE), self.granularity)

    @property
    def average(self) -> bool:
        """Whether the average of the iterates is kept."""
        return bool(self.options["average"])

    @property
    def rounding_seed(self) -> int | None:
        """Of stochastic rounding; None for rounding to nearest."""
        return self.options["stochastic_rounding"]

    @functools.cached_property
    def regularized(self) -> bool:
        """Whether a coordinate with zero gradient still shrinks."""
        return any(modifier.zero_grad == "shrinks" for modifier in self.modifiers)

    @functools.cached_property
    def shared(self) -> bool:
        """Whether several coordinates share one rate."""
        return self.granularity != "coordinate"

    @functools.cached_property
    def extents(self) -> tuple[str, ...]:
        """What each slot has one number of, in the order of the rule's slots."""
        return tuple(map(self.extent, self.rule.slots.values()))

    def extent(self, slot: Slot) -> str:
        """What a slot has one number of: "coordinate", "row", "column", "tensor" or "group"."""
        return "coordinate" if slot.kind == "direction" else slot.over or self.granularity

    @functools.cached_property
    def shares(self) -> tuple[bool, ...]:
        """Whether each slot holds one number for several coordinates."""
        return tuple(extent != "coordinate" for extent in self.extents)

    @functools.cached_property
    def in_common(self) -> tuple[bool, ...]:
        """Whether each slot holds numbers that several rows have in common."""
        return tuple(extent in ("column", "tensor", "group") for extent in self.extents)

    @functools.cached_property
    def by_row(self) -> bool:
        """Whether rows and columns matter, so that an array is not one long row of coordinates."""
        extents = (*self.extents, *(each.over for each in self.program.statistics.values()))
        return any(extent in ("row", "column") for extent in extents)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "measured"}

    @functools.cached_property
    def measured(self) -> tuple[tuple[str, Statistic], ...]:
        """What has to be known of more than a row before it is stepped, by name and in this order; "g2" is the mean
        square that a tensor shares."""
        found = []
        for each in self.program.operations:
            if each.statistic is not None and each.statistic.over != "row":
                found.append((each.gives[0], each.statistic))
            elif each.name == "SQUARE" and self.granularity == "tensor":
                found.append(("g2", mean(each.function, "tensor")))
        return tuple(found)

    @functools.cached_property
    def is_of_group(self) -> bool:
        """Whether an array's step depends on the others of its group."""
        return any(statistic.over == "group" for statistic in self.program.statistics.values())

    @functools.cached_property
    def is_local(self) -> bool:
        """Whether rows can be stepped without looking at others, and coordinates without looking at their rows'."""
        return not (self.program.statistics or any(self.in_common))

    # The memory

    @property
    def layout(self) -> tuple:
        """What decides how the memory is laid out."""
        return self.rule, self.granularity, self.state_dtype

    def initial(self, slot: Slot) -> float:
        """What a slot holds before the first step, where that is not the parameter."""
        return self.hyper[slot.initial] if isinstance(slot.initial, str) else slot.initial

    def slot_shape(self, shape: tuple[int, ...], slot: Slot) -> tuple[int, ...]:
        """The shape of a slot for parameters of that shape."""
        if slot.shape is not None:
            return slot.shape(shape)
        match self.extent(slot):
            case "coordinate":
                return shape
            case "row":
                return (*shape[:1], *(1 for _ in shape[1:]))
            case "column":
                return (*(1 for _ in shape[:1]), *shape[1:])
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
        """Why lazy updates are not exact for rows without a gradient, and their average; None if they are."""
        if self.no_closed_form_of_rows is None and self.average and self.catches_up:
            return "the average needs rows that do not move without a gradient"
        return self.no_closed_form_of_rows

    @functools.cached_property
    def no_closed_form_of_rows(self) -> str | None:
        """The same of the rows alone."""
        rule = self.rule
        for modifier in self.modifiers:
            if modifier.zero_grad is None:
                what = "adds to every gradient" if modifier.stage == "gradient" else "has no closed form"
                return f"{modifier.name} {what} (decoupled_weight_decay and l2 have a closed form)"
            if modifier.stage == "direction" and not rule.lazy_exact:
                return f"{rule.name} has a direction, on which {modifier.name} acts, without a gradient"
        if (named := self._looks_at_rows_without_a_gradient) is not None:
            return f"the statistic {named!r} depends on rows without a gradient"
        fixed = any(slot.over in ("column", "tensor", "group") for slot in rule.slots.values())
        if (fixed and callable(rule.zero_grad_steps)) or (any(self.in_common) and rule.drifts):
            return "what rows have in common changes while a row has no gradient"
        if not rule.lazy_exact and rule.zero_grad_steps is None:
            return f"{rule.name} has no closed form for steps with zero gradient"
        if self.regularized and not rule.lazy_exact:
            return f"the rate of {rule.name} changes while a row has no gradient"
        if (self.regularized or rule.follows_rate) and (any(self.in_common) or rule.statistics):
            return "the tensor's common rate changes while a row has no gradient"
        return None

    @property
    def _looks_at_rows_without_a_gradient(self) -> str | None:
        """A statistic of more than a row to which rows with zero gradient contribute, as far as can be told."""
        for each in self.program.operations:
            if each.statistic is not None and each.statistic.over != "row":
                only_gradient = {key for space, key in each.takes if space != "coefficient"} <= {"g"}
                vanishes = only_gradient or (each.modifier is None and self._vanishes(each))
                if not vanishes or each.statistic.reduction == "maximum":
                    # Of a rule that says so, rows with zero gradient have nothing to add to a maximum of its memory.
                    of_memory = each.statistic.reduction == "maximum" and "x" not in each.statistic.takes
                    if not (of_memory and self.rule.lazy_exact and each.gives[0] in self.rule.statistics):
                        return each.gives[0]
        return None

    def _vanishes(self, expression: Operation) -> bool:
        """Whether a rule's statistic has nothing of a coordinate whose gradient is 0, as of any other number."""
        taken = [0.0 if key == "g" else 0.5 for _, key in expression.takes]
        return self.rule.lazy_exact and expression.function(*taken) == 0.0

    def check_left_out(self) -> None:
        """Raises ValueError where lazy updates must be exact for rows without a gradient and are not."""
        if self.rule.whole:
            raise ValueError(
                f"{self.name}: {self.rule.name} steps whole arrays, not some of their rows; expected a dense gradient"
            )
        if self.rule.dense:
            raise ValueError(
                f"{self.name}: {self.rule.name} needs the gradients of all rows at once; expected a dense gradient"
            )
        if self.lazy == "exact" and (reason := self.no_closed_form) is not None:
            raise ValueError(
                f"{self.name}: lazy updates are not exact for rows without a gradient: {reason}; "
                "use lazy='touched' to skip such rows"
            )


def rate_of(lr: Any) -> Any:
    """The schedule that text names; any other learning rate unchanged, also a number as text, which rules reject."""
    rate = schedules.resolve(lr)
    return rate if callable(rate) else lr
