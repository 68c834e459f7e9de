"""What the key `rule` of a parameter group names: a rule, or a class of optimizers, and what it makes of a group."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surefoot import rules
from surefoot.optim.base import TorchOptimizer
from surefoot.optim.clipping import LIMITS
from surefoot.optim.group import BESIDES, around, is_label
from surefoot.optim.optimizer import RuleOptimizer
from surefoot.rules import Rule, RuleError

OF_GROUPS = ("params", "param_names", "rule")
"""Keys of groups that are not settings."""


@dataclass(frozen=True)
class Kind:
    """What steps a group: a class of optimizers, or a rule without a class of its own.

    Args:
        name: what groups and state dicts call it.
        steps_by: the class, or the rule.
    """

    name: str
    steps_by: type[torch.optim.Optimizer] | Rule

    def __call__(self, groups: list[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
        """An optimizer with these groups."""
        if isinstance(self.steps_by, Rule):
            return RuleOptimizer(groups, self.steps_by, **settings)
        return self.steps_by(groups, **settings)

    @property
    def is_own(self) -> bool:
        """Whether Surefoot takes the steps."""
        return isinstance(self.steps_by, Rule) or issubclass(self.steps_by, RuleOptimizer)

    @property
    def finds_rates(self) -> bool:
        """Whether it takes lr="auto"."""
        return getattr(self.steps_by, "finds_rates", False)

    @property
    def settings(self) -> set[str]:
        """The names of everything that a group may set."""
        cls: Any = RuleOptimizer if isinstance(self.steps_by, Rule) else self.steps_by
        every = inspect.signature(cls).parameters.values()
        names = {each.name for each in every if each.kind is not each.VAR_KEYWORD} - {"params", "rule", "convention"}
        if self.is_own:
            names |= {*around(), *BESIDES, "eps_root"}
        if isinstance(self.steps_by, Rule):
            names |= self.steps_by.hyper.keys()
        return names | set(LIMITS)

    def split(self, group: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of a group, and the keys that are the caller's own.

        Raises:
            TypeError: for a key that is a slip in writing a setting.
        """
        known, given = self.settings, {key: value for key, value in group.items() if key not in OF_GROUPS}
        settings = {key: value for key, value in given.items() if key in known}
        own = {key: value for key, value in given.items() if key not in known}
        self.check_settings(key for key in own if key == "convention" or not is_label(key, known))
        return settings, own

    def check_settings(self, settings: Iterable[str]) -> None:
        """Raises TypeError for settings that it does not have."""
        known = self.settings
        for key in settings:
            if key not in known:
                raise TypeError(f"rule {self.name!r} got an unexpected setting {key!r}{hint(key, known)}")

    def complete(self, params: list[Any], settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        """An optimizer whose one group has all settings, checked.

        Of Surefoot's, it has no parameters: it would make their state. torch's look at them, as Muon does.
        """
        limits = {} if self.is_own else {key: settings[key] for key in LIMITS if key in settings}
        made = self(
            [{"params": [] if self.is_own else params}], **{k: v for k, v in settings.items() if k not in limits}
        )
        made.param_groups[0].update(limits)
        return made

    def obstacle(self, parameter: Tensor, settings: Mapping[str, Any]) -> str | None:
        """Why it does not step a parameter of that shape; None if it does."""
        least = self.steps_by.dimensions if isinstance(self.steps_by, Rule) else 0
        if parameter.ndim < least:
            return f"{self.name} takes parameters of {least} dimensions and more"
        try:
            self.complete([parameter], settings)
        except ValueError as error:
            return str(error)
        return None


def hint(text: str, known: Iterable[str]) -> str:
    """What else a name may have meant.

    >>> hint("granularty", ["granularity", "lr"]), hint("x", ["lr", "eps"])
    ("; did you mean 'granularity'?", '; expected one of eps, lr')
    """
    near = difflib.get_close_matches(text, known := sorted(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(known)}"


def classes() -> dict[str, type[torch.optim.Optimizer]]:
    """The classes of optimizers for one rule in surefoot.optim, by their names in lower case."""
    namespace = vars(sys.modules["surefoot.optim"])
    every = [kind for kind in map(namespace.get, namespace["__all__"]) if isinstance(kind, type)]
    found = [kind for kind in every if issubclass(kind, torch.optim.Optimizer) and obstacle_of(kind) is None]
    return {kind.__name__.lower(): kind for kind in found}


def obstacle_of(cls: type[torch.optim.Optimizer]) -> str | None:
    """Why a class cannot step a group among others; None if it can."""
    if cls is torch.optim.Optimizer or (issubclass(cls, TorchOptimizer) and not cls.has_arguments):
        return "it is a class for any rule; expected a rule"
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        return "it computes the loss again in its steps, which the other groups would have to take as well"
    return None


def named_rules() -> dict[str, Rule]:
    """All rules with a name of their own; torch's class of the same name is called "torch.optim.Name"."""
    return {**rules.REGISTRY, **rules.MATRIX_RULES, **rules.STATISTIC_RULES}


def kind_of(rule: Any) -> Kind:
    """What a group's `rule` names: a rule or its name, or a class of optimizers or its name.

    A rule that has a class in surefoot.optim means that class: with torch's arguments and defaults.

    Raises:
        RuleError: in one sentence, for anything else.

    >>> kind_of("adagrad").steps_by.__name__, kind_of(rules.adagrad) == kind_of("adagrad"), kind_of("visits").name
    ('Adagrad', True, 'visits')
    >>> kind_of(torch.optim.AdamW).name, kind_of("torch.optim.AdamW").is_own
    ('torch.optim.AdamW', False)
    >>> kind_of("adafactor") == kind_of(rules.adafactor), kind_of(torch.optim.Adafactor).name
    (True, 'torch.optim.Adafactor')
    """
    if isinstance(rule, type) and issubclass(rule, torch.optim.Optimizer):
        return of_class(rule)
    if isinstance(rule, str) and rule.startswith("torch.optim."):
        if not isinstance(cls := getattr(torch.optim, rule.removeprefix("torch.optim."), None), type):
            raise RuleError(f"there is no {rule} in torch {torch.__version__}")
        return of_class(cls)
    if not isinstance(rule, (str, Rule)):
        raise RuleError(
            f"a group's rule is {rule!r}; expected a rule, its name, or a class of optimizers, such as torch.optim.Muon"
        )
    own = classes()
    name = rule if isinstance(rule, str) else rule.name
    is_ours = name in own and issubclass(own[name], RuleOptimizer)
    if isinstance(rule, str):
        every = named_rules()
        if is_ours or (name in own and name not in every):
            return Kind(name, own[name])
        if ".py" not in rule and name not in every:
            raise RuleError(f"there is no rule {rule!r}{hint(rule.lower(), {*every, *own})}")
    found = rules.resolve(rule, matrices=True)
    if is_ours and rules.REGISTRY.get(name) is found:
        return Kind(name, own[name])
    return Kind(found.name, found)


def of_class(cls: type[torch.optim.Optimizer]) -> Kind:
    """A class as a kind; surefoot.optim's have short names."""
    if (reason := obstacle_of(cls)) is not None:
        raise RuleError(f"{cls.__name__} cannot step one group among others: {reason}")
    name = cls.__name__.lower()
    if classes().get(name) is cls and (issubclass(cls, RuleOptimizer) or name not in named_rules()):
        return Kind(name, cls)
    if getattr(torch.optim, cls.__name__, None) is cls:
        return Kind(f"torch.optim.{cls.__name__}", cls)
    return Kind(f"{cls.__module__}.{cls.__qualname__}", cls)
