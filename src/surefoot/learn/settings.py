"""The settings of a learner, as records: the method, which the user chooses, and what follows from the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from surefoot import losses, rules, schedules
from surefoot.engines.step import Step
from surefoot.learn.rates import EXPLICIT, Rate, first_rates
from surefoot.losses import Loss
from surefoot.rules import Rule
from surefoot.schedules import Schedule

AUTO = "auto"


@dataclass(frozen=True)
class Method:
    """How weights are learned, independently of the labels.

    Args:
        optimizer: a rule, its name, or `path/to/file.py:name`; a Rule from then on.
        lr: "auto", a number, or a schedule: a function of the step t, or its written form, see schedules.FORMS.
        implicit: whether steps at a given lr are implicit; "auto" finds out.
        l1, l2: penalties of each weight w, l1 |w| + ½ l2 w², besides the mean loss.
        batch_size: examples for each step.
        average: predict with the average of the weights over all steps.
        normalize: divide each feature by its root mean square so far.
        hyper: further hyperparameters of the rule.

    Raises:
        ValueError: they do not fit together; the message says what to do.
    """

    optimizer: str | Rule = "adagrad"
    lr: float | str | Schedule = AUTO
    implicit: bool = False
    l1: float = 0.0
    l2: float = 0.0
    batch_size: int = 1
    average: bool = False
    normalize: bool = True
    hyper: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "optimizer", rules.resolve(self.optimizer))
        if self.lr != AUTO:
            try:
                object.__setattr__(self, "lr", schedules.resolve(self.lr))
            except ValueError as error:
                raise ValueError(f'lr: {error}; or "auto"') from None
        if not (isinstance(self.batch_size, (int, np.integer)) and self.batch_size >= 1):
            raise ValueError(f"batch_size: found {self.batch_size!r}, expected a whole number of at least 1")
        known = self.rule.hyper
        for name in self.hyper:
            if name not in known or name in ("lr", "l1", "l2"):
                raise ValueError(f"{self.rule.name}: there is no hyperparameter {name!r}; it takes {', '.join(known)}")
        step = self.step(self.rates()[0])
        if (self.l1 or self.l2) and step.catches_up and step.no_closed_form:
            raise ValueError(
                f"{step.rule.name}: features that do not occur cannot catch up on penalties: {step.no_closed_form}; "
                "use adagrad, sgd or ftrl, or leave out l1 and l2"
            )
        if self.implicit and not self._may_be_implicit(step):
            raise ValueError(
                "implicit: steps are implicit for one example at a time, and for rules that move weights on from where "
                "they are; expected batch_size=1 and such a rule"
            )
        if self.average and (step.catches_up and step.no_closed_form is None):
            raise ValueError(
                f"average: {step.rule.name} here moves weights of features that do not occur; leave it out"
            )

    @property
    def rule(self) -> Rule:
        return rules.get(self.optimizer)

    @property
    def auto(self) -> bool:
        return isinstance(self.lr, str)

    def rates(self) -> list[Rate]:
        """The rates to begin with."""
        if self.auto:
            return first_rates(self._may_be_implicit(self.step(Rate(EXPLICIT[0]))))
        return [Rate(self.lr, self.implicit)]

    def _may_be_implicit(self, step: Step) -> bool:
        return self.batch_size == 1 and not step.rule.from_origin and not step.decays

    def step(self, rate: Rate, l1_unit: float = 1.0, l2_unit: float = 1.0) -> Step:
        """A step at that rate, with penalties in these units."""
        l1, l2 = self.l1 / l1_unit, self.l2 / l2_unit
        hyper: dict[str, Any] = dict(self.hyper)  # whose names are the rule's, so none is a setting of the step
        return Step(self.rule, lr=rate.lr, l1=l1, l2=l2, average=self.average, name="weights", **hyper)

    def record(self) -> dict[str, Any]:
        """The settings as JSON: rules by name, user-defined ones with file and fingerprint; schedules as written."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(Method)}
        lr = schedules.name_of(self.lr) if callable(self.lr) else self.lr
        return own | {"optimizer": rules.described(self.rule), "lr": lr, "hyper": dict(self.hyper)}

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
        others: see Method.
    """

    loss: Loss = losses.FOR_TWO_CLASSES
    parameter: Any = None
    outputs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", losses.resolve(self.loss))
        object.__setattr__(self, "parameter", self.loss.settings(self.parameter))
        if self.lr == AUTO and not self.loss.convex:
            raise ValueError(
                f'lr: "auto" averages models, which needs a convex loss; {self.loss.name} is not one; give a number'
            )
        super().__post_init__()
