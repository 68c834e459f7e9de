"""The settings of a learner, as records: the method, which the user chooses, and what follows from the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from surefoot import losses, models, rules, schedules
from surefoot.engines import registry
from surefoot.engines.part_steps import check_rule
from surefoot.engines.step import Step
from surefoot.learn.rates import GRID, Rate, grid_of
from surefoot.losses import Loss
from surefoot.models import Architecture
from surefoot.rules import Rule
from surefoot.schedules import Schedule

AUTO = "auto"
LARGEST_RATE = float(np.finfo(np.float32).max)
DTYPES = ("float32", "float64")
GRANULARITIES = ("coordinate", "tensor")
FIRST_TARGETS = 4096
"""Examples whose targets are centred and scaled by."""


@dataclass(frozen=True)
class Method:
    """How weights are learned, independently of the labels.

    Args:
        optimizer: a rule, its name, or `path/to/file.py:name`; a Rule from then on. For a model of several parts of
            features also a mapping with one for each part.
        lr: "auto", a number, or a schedule: a function of the step t, or its written form, see schedules.FORMS.
        implicit: whether steps at a given lr are implicit; "auto" finds out.
        l1, l2: penalties of each weight w, l1 |w| + ½ l2 w², besides the mean loss.
        batch_size: examples for each step.
        average: predict with the average of the weights over all steps.
        normalize: centre and scale each feature by its values so far.
        scale_targets: centre and scale numbers to predict by those of the first examples, or by later ones where these
            are not like them (`learn.target_scale`), and divide weights of examples by the mean of the first; by
            default as `normalize`.
        model: an architecture or its name; an Architecture from then on.
        convention: take the rule's defaults of that library, see Rule.conventions.
        granularity: "coordinate", or "tensor" for one rate for all numbers of a part, of features that have occurred
            (of all up to the largest, where ids are rows).
        dtype: of the weights, "float32" or "float64".
        engine: "cpu", or "reference" (slow; the same bits; in float64, losses that call exp or log may differ in
            the last digit).
        hyper: further hyperparameters of the rule.

    Raises:
        ValueError: they do not fit together; the message says what to do.
    """

    optimizer: str | Rule | Mapping[str, str | Rule] = "adagrad"
    lr: float | str | Schedule = AUTO
    implicit: bool = False
    l1: float = 0.0
    l2: float = 0.0
    batch_size: int = 1
    average: bool = False
    normalize: bool = True
    scale_targets: bool | None = None
    model: str | Architecture = models.linear
    convention: str | None = None
    granularity: str = "coordinate"
    dtype: str = "float32"
    engine: str = registry.DEFAULT
    hyper: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", models.get(self.model))
        object.__setattr__(self, "optimizer", self._resolved())
        if self.lr != AUTO:
            try:
                object.__setattr__(self, "lr", schedules.resolve(self.lr))
                if not callable(self.lr) and float(self.lr) > LARGEST_RATE:
                    raise ValueError(f"found {self.lr}, expected at most {LARGEST_RATE:.4g}")
            except ValueError as error:
                raise ValueError(f'lr: {error}; or "auto"') from None
        if not (isinstance(self.batch_size, (int, np.integer)) and self.batch_size >= 1):
            raise ValueError(f"batch_size: found {self.batch_size!r}, expected a whole number of at least 1")
        for name, known in (("dtype", DTYPES), ("engine", registry.names("banks")), ("granularity", GRANULARITIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.scale_targets is None:
            object.__setattr__(self, "scale_targets", self.normalize)
        for part in self.architecture.parts:
            self._check_rule(part)
        if self.implicit and not self._may_be_implicit():
            raise ValueError(
                "implicit: steps are implicit for one example at a time, and for rules that move weights on from where "
                "they are; expected batch_size=1 and such a rule"
            )

    def _resolved(self) -> Rule | dict[str, Rule]:
        """The rule, or one for each part of features.

        Raises:
            ValueError: a mapping does not name the parts.
        """
        if not isinstance(self.optimizer, Mapping):
            return rules.resolve(self.optimizer)
        parts = self.architecture.parts
        needed = [name for name, part in parts.items() if part.of == "feature"]
        if not set(needed) <= set(self.optimizer) <= set(parts):
            raise ValueError(
                f"optimizer: found rules for {', '.join(self.optimizer)}, expected one for each of {', '.join(needed)}"
            )
        return {part: rules.resolve(rule) for part, rule in self.optimizer.items()}

    def _check_rule(self, part: str) -> None:
        """Whether a part's rule takes the settings."""
        rule = self.rule_of(part)
        further = [name for name in rule.hyper if name not in ("lr", "l1", "l2")]
        for name in self.hyper:
            if name in ("lr", "l1", "l2"):
                raise ValueError(f"{rule.name}: {name} is a setting of its own; give it as {name}, not in hyper")
            if name not in further:
                takes = ", ".join(further) or "none besides lr"
                raise ValueError(f"{rule.name}: there is no hyperparameter {name!r}; it takes {takes}")
        step = self.step(self.rates()[0], part)
        check_rule(step.rule)
        reason = step.no_closed_form_of_rows
        if (step.options["l1"] or step.options["l2"]) and step.catches_up and reason:
            raise ValueError(
                f"{step.rule.name}: features that do not occur cannot catch up on penalties: {reason}; use adagrad, "
                "sgd or ftrl, or leave out l1 and l2"
            )
        if self.average and step.catches_up and not reason and not (step.rule.lazy_exact or step.rule.from_origin):
            raise ValueError(
                f"average: {step.rule.name} moves weights of features that do not occur along past gradients, and the "
                "sum of where they were is not known in closed form; use adagrad, sgd or ftrl, or average=False"
            )

    @property
    def architecture(self) -> Architecture:
        return models.get(self.model)

    @property
    def rule(self) -> Rule:
        """That of the first part of features."""
        return self.rule_of(self.architecture.first)

    def rule_of(self, part: str) -> Rule:
        """The rule of a part; a part of the model has that of the first part of features unless it is named."""
        if isinstance(self.optimizer, Mapping):
            return rules.get(self.optimizer.get(part) or self.optimizer[self.architecture.first])
        return rules.get(self.optimizer)

    @property
    def auto(self) -> bool:
        return isinstance(self.lr, str)

    def rates(self) -> list[Rate]:
        """The rates that are trained."""
        if self.auto:
            return grid_of(self.rule, self._may_be_implicit())
        return [Rate(self.lr, self.implicit)]

    def _may_be_implicit(self) -> bool:
        model = self.architecture
        if self.batch_size > 1 or not (model.linear and model.merges_fields) or self.granularity != "coordinate":
            return False
        steps = (self.step(GRID[0], part) for part in self.architecture.parts)
        return not any(step.rule.from_origin or step.options["decoupled_weight_decay"] for step in steps)

    def step(self, rate: Rate, part: str, l1_unit: float = 1.0, l2_unit: float = 1.0) -> Step:
        """A part's step at that rate, with penalties in these units; parts that are not penalized have none."""
        hyper: dict[str, Any] = dict(self.hyper)  # whose names are the rule's, so none is a setting of the step
        if self.architecture.parts[part].penalized:
            hyper |= {"l1": self.l1 / l1_unit, "l2": self.l2 / l2_unit}
        else:
            hyper["decoupled_weight_decay"] = 0.0
        return Step(
            self.rule_of(part),
            lr=rate.lr_of(self.architecture.parts[part].of),
            convention=self.convention,
            granularity=self.granularity,
            average=self.average,
            name=part,
            **hyper,
        )

    def steps(self, rates: Sequence[Rate], l1_unit: float = 1.0, l2_unit: float = 1.0) -> dict[str, list[Step]]:
        """For each part a step for each of the rates."""
        return {part: [self.step(rate, part, l1_unit, l2_unit) for rate in rates] for part in self.architecture.parts}

    def record(self) -> dict[str, Any]:
        """The settings as JSON: rules by name, user-defined ones with file and fingerprint; schedules as written."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(Method)}
        lr = schedules.name_of(self.lr) if callable(self.lr) else self.lr
        optimizer = (
            {part: rules.described(rules.get(rule)) for part, rule in self.optimizer.items()}
            if isinstance(self.optimizer, Mapping)
            else rules.described(self.rule)
        )
        named = {"optimizer": optimizer, "lr": lr, "model": self.architecture.name, "hyper": dict(self.hyper)}
        return own | named

    def learning(self, loss: Loss, parameter: float | None, outputs: int) -> Settings:
        """The settings of a learner with this method."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(Method)}
        return Settings(loss=loss, parameter=parameter, outputs=outputs, **own)


@dataclass(frozen=True)
class Settings(Method):
    """The settings of a learner.

    Args:
        loss: what is minimized: a Loss, or the name of one.
        parameter: the loss's own number, such as δ of huber; by default the loss's default.
        outputs: 1, or the number of classes.
        penalizes_scaled: l1 and l2 are penalties of the weights of scaled features and targets, not of those as they
            are in the data.
        others: see Method.
    """

    loss: Loss = losses.FOR_TWO_CLASSES
    parameter: Any = None
    outputs: int = 1
    penalizes_scaled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", losses.resolve(self.loss))
        object.__setattr__(self, "parameter", self.loss.settings(self.parameter))
        if self.lr == AUTO and not self.loss.convex:
            raise ValueError(
                f'lr: "auto" averages models, which needs a convex loss; {self.loss.name} is not one; give a number'
            )
        super().__post_init__()

    def shrunk(self, l2: float) -> Settings:
        """The same with this penalty of scaled weights; without it for rules that do not take it on the mean loss."""
        if self.rule.from_origin:
            return self
        try:
            return replace(self, l2=l2, penalizes_scaled=True)
        except ValueError:  # features that have not occurred cannot catch up on it
            return self

    @property
    def centers_targets(self) -> bool:
        """Whether targets are centred and scaled."""
        return bool(self.scale_targets) and self.loss.center is not None

    @property
    def first_targets(self) -> int:
        """How many examples are looked at before the first step, for what their targets are centred and scaled by."""
        looks = self.centers_targets or (self.scale_targets and self.loss.initial is not None)
        return FIRST_TARGETS if looks else 1

    @property
    def first_weights(self) -> int:
        """How many examples are looked at before the first step, for what weights are divided by."""
        return FIRST_TARGETS if self.scale_targets else 1
