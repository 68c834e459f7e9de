"""The steps of a part of several models: one for each learning rate."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.engines.step import Step
from surefoot.engines.tables import stack
from surefoot.models import Part
from surefoot.rules import Rule, RuleError

OVER_SEVERAL = ("row", "column", "tensor", "group")
"""What slots cannot belong to, unless the granularity says so."""


def check_rule(rule: Rule) -> None:
    """Raises RuleError for a rule that a bank of models cannot learn by."""
    found = [f"the statistic {name!r}" for name in rule.statistics]
    for name, slot in rule.slots.items():
        if slot.kind == "matrix":
            continue  # of a rule of whole arrays, which is reported as such
        if slot.over in OVER_SEVERAL:
            found.append(f"the slot {name!r} over the {slot.over}")
        elif slot.initial == "x":
            found.append(f"the slot {name!r} that starts from the parameter")
    if found:
        raise RuleError(
            f"{rule.name}: a learner takes rules without statistics, whose slots belong to coordinates and start from "
            f"a number; this one has {' and '.join(found)}; use engines.Step or surefoot.optim"
        )


@dataclass(frozen=True)
class PartTable:
    """What acts on a part at each of some steps, in every lane.

    Attributes:
        coefficients: of the rule, (steps or 1, coefficients, lanes), of the type of the numbers.
        keep: what is kept of a number before the step, (steps or 1, lanes).
    """

    coefficients: np.ndarray
    keep: np.ndarray


@dataclass(frozen=True, eq=False)
class PartSteps(Sequence):
    """Steps of one rule at several learning rates, for one part of the models.

    Lane k has the step k mod R of R.

    Args:
        model: the name of the architecture.
        name: the name of the part.
        part: what it is.
        steps: one for each learning rate.
        outputs: numbers predicted for each example; each has the steps' lanes once.
        dtype: of the part's numbers.

    Raises:
        ValueError: settings that a bank of models cannot honour.
    """

    model: str
    name: str
    part: Part
    steps: tuple[Step, ...]
    outputs: int
    dtype: np.dtype

    def __post_init__(self) -> None:
        self._check_rules()
        self._check_granularity()
        self._check_settings()

    def _check_rules(self) -> None:
        for step in self.steps:
            check_rule(step.rule)
        if self.rule.from_origin and not self.part.starts_at_zero:
            raise ValueError(
                f"{self.model}: {self.rule.name} starts from 0, but the part {self.name!r} has initial numbers; use "
                "another rule"
            )
        if len({step.rule for step in self.steps}) > 1:
            raise ValueError(
                f"{self.model}: found several rules for the part {self.name!r}, expected one at several rates"
            )

    def _check_granularity(self) -> None:
        found = dict.fromkeys(step.granularity for step in self.steps)
        if len(found) > 1 or "row" in found:
            raise ValueError(
                f"{self.model}: found granularity {', '.join(found)} for the part {self.name!r}, expected coordinate "
                "or tensor at every rate"
            )

    def _check_settings(self) -> None:
        """Raises ValueError for what is done around a rule in `Step` alone."""
        for step in self.steps:
            around = [each for each in step.modifiers if each.zero_grad != "shrinks" and each.stage != "average"]
            found = [name for each in around for name in each.settings]
            found += ["state_dtype"] if step.state_dtype is not None else []
            found += ["nonfinite='propagate'"] if step.nonfinite == "propagate" else []
            found += [f"matrices of {step.rule.name}"] if step.rule.whole else []
            if found:
                raise ValueError(
                    f"{self.model}: found {', '.join(found)} for the part {self.name!r}, which models that learn at "
                    "once do not have; leave it out"
                )

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, k: Any) -> Any:
        return self.steps[k]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @property
    def rule(self) -> Rule:
        return self.steps[0].rule

    @property
    def lanes(self) -> int:
        return len(self.steps) * self.outputs

    @functools.cached_property
    def constant(self) -> bool:
        """Whether the rule's coefficients are the same at every step."""
        return all(np.ndim(c) == 0 for step in self.steps for c in step.coefficients(np.arange(1, 3)))

    @functools.cached_property
    def catches_up(self) -> bool:
        """Whether numbers change in steps in which their feature does not occur."""
        step = self.steps[0]
        if self.part.of == "model" or (self.rule.from_origin and self.constant):
            return False
        return step.catches_up and step.no_closed_form_of_rows is None

    @functools.cached_property
    def own_slots(self) -> dict[str, np.ndarray]:
        """The initial value of each slot that numbers have of their own, (lanes,), by name."""
        return self._initial(False)

    @functools.cached_property
    def slots_in_common(self) -> dict[str, np.ndarray]:
        """The same of the slots of which there is one number for each lane."""
        return self._initial(True)

    def _initial(self, common: bool) -> dict[str, np.ndarray]:
        slots = zip(self.rule.slots.items(), self.steps[0].in_common, strict=True)
        return {
            name: np.array([step.initial(slot) for step in self.steps] * self.outputs)
            for (name, slot), shared in slots
            if shared == common
        }

    @functools.cached_property
    def decays(self) -> bool:
        """Whether numbers are shrunk before the rule."""
        return any(each.stage == "before" for each in self.steps[0].modifiers)

    def acting(self, first: int, steps: int) -> PartTable:
        """What acts in the steps from the first on."""
        return self._always if self.same_at_all_steps else self._acting(first, steps)

    @functools.cached_property
    def same_at_all_steps(self) -> bool:
        """Whether the same acts at every step."""
        return self.constant and not self.decays

    @functools.cached_property
    def _always(self) -> PartTable:
        return self._acting(1, 1)

    def _acting(self, first: int, steps: int) -> PartTable:
        ts = np.arange(first, first + steps)
        columns = [stack(step.coefficients(ts), steps) for step in self.steps]
        rows = max(map(len, columns))
        table = np.stack([np.broadcast_to(column, (rows, column.shape[1])) for column in columns], axis=2)
        coefficients = np.ascontiguousarray(np.tile(table, (1, 1, self.outputs)), self.dtype)
        if not self.decays:
            return PartTable(coefficients, np.ones((1, self.lanes), self.dtype))
        keep = np.stack([np.broadcast_to(step.shrinkage(ts)[0], steps) for step in self.steps], axis=1)
        return PartTable(coefficients, np.tile(keep, (1, self.outputs)).astype(self.dtype))
