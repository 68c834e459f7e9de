"""The family: every method one plain function, `(x, g, g2, *slots, *coefficients) -> (rate, direction, *slots)`.

Begin with `rules/adagrad.py`. `REGISTRY` is the table from which tests, command line, documentation and figures are
made; `record.py` says what a rule is.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

from surefoot.records import registry
from surefoot.records.hyper import Hyper, flag, fraction, nonnegative, positive
from surefoot.records.statistic import Statistic, maximum, mean, total
from surefoot.rules.adabelief import adabelief
from surefoot.rules.adadelta import adadelta
from surefoot.rules.adafactor import adafactor
from surefoot.rules.adagrad import adagrad
from surefoot.rules.adam import adam, adamw
from surefoot.rules.adamax import adamax
from surefoot.rules.adopt import adopt
from surefoot.rules.cocob import cocob
from surefoot.rules.dadapt_adagrad import dadapt_adagrad
from surefoot.rules.dog import dog
from surefoot.rules.dual_averaging import dual_averaging
from surefoot.rules.ftrl import ftrl
from surefoot.rules.full_matrix import full_matrix
from surefoot.rules.lamb import lamb
from surefoot.rules.lion import lion
from surefoot.rules.madgrad import madgrad
from surefoot.rules.matrix import MatrixRule, matrix, matrix_rule
from surefoot.rules.mean_adagrad import mean_adagrad
from surefoot.rules.momentum import momentum
from surefoot.rules.nadam import nadam
from surefoot.rules.novograd import novograd
from surefoot.rules.prodigy import prodigy
from surefoot.rules.radam import radam
from surefoot.rules.record import Rule, rule
from surefoot.rules.rmsprop import rmsprop
from surefoot.rules.schedule_free import schedule_free_adagrad, schedule_free_adamw, schedule_free_sgd
from surefoot.rules.sgd import sgd
from surefoot.rules.shampoo import shampoo
from surefoot.rules.slots import (
    Moment,
    RuleError,
    Slot,
    average_of,
    direction,
    leaky_sum_of,
    origin,
    scalar,
    scale,
    sum_of,
)
from surefoot.rules.sm3 import sm3
from surefoot.rules.visits import visits
from surefoot.rules.yogi import yogi

T = TypeVar("T")

REGISTRY: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        sgd,
        momentum,
        visits,
        adagrad,
        mean_adagrad,
        dual_averaging,
        ftrl,
        rmsprop,
        adadelta,
        adam,
        adamw,
        nadam,
        yogi,
        lion,
        adamax,
        radam,
        adabelief,
        adopt,
        madgrad,
        cocob,
    )
}

STATISTIC_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        lamb,
        novograd,
        sm3,
        adafactor,
        schedule_free_sgd,
        schedule_free_adamw,
        schedule_free_adagrad,
        dog,
        dadapt_adagrad,
        prodigy,
    )
}
"""Those that need what coordinates have in common, see `records.statistic`; a learner does not take them."""

MATRIX_RULES: dict[str, Rule] = {rule.name: rule for rule in (full_matrix, shampoo)}
"""Those that take whole arrays."""


def everything() -> dict[str, Rule]:
    """All rules, by name.

    >>> everything()["sm3"].name
    'sm3'
    """
    return REGISTRY | STATISTIC_RULES | MATRIX_RULES


def get(name: str | Rule, matrices: bool = False) -> Rule:
    """The rule of that name; a Rule is returned as it is.

    Args:
        name: the name, or the rule itself.
        matrices: whether the caller runs rules of whole arrays, too.

    Raises:
        RuleError: for an unknown name, with the nearest known one, and for a rule that the caller does not run.

    >>> get("adagrad").slots["total"].initial
    'initial_accumulator_value'
    """
    return _run(registry.find(name, everything(), "rule", RuleError), matrices)


def resolve(text: str | Rule, matrices: bool = False) -> Rule:
    """The rule that a user names: a built-in one, or a user-defined one as `path/to/file.py:name`, whose file is run.

    Args:
        text: the name, or the rule itself.
        matrices: whether the caller runs rules of whole arrays, too.

    Raises:
        RuleError: in one sentence, if there is no such rule or file, the file cannot be run, or the caller does not run
            the rule.

    >>> resolve("adagrad").name
    'adagrad'
    """
    return _run(registry.resolve(text, everything(), "rule", RuleError), matrices)


def _run(rule: Rule, matrices: bool) -> Rule:
    if rule.whole and not matrices:
        raise RuleError(
            f"{rule.name}: the rule takes whole arrays, which Step, trace and RuleOptimizer run; expected a rule of "
            "coordinates here, such as adagrad"
        )
    return rule


def by_name(given: Mapping[str, T], chosen: Collection[str | Rule]) -> dict[str, T]:
    """What is given for some of the chosen rules, by their names; a user-defined one may be called as it was chosen.

    Raises:
        RuleError: in one sentence, for a file that cannot be run, and for a rule that is named twice.

    >>> by_name({"sgd": 0.1}, [sgd, adagrad])
    {'sgd': 0.1}
    """
    named: dict[str, T] = {}
    for text, value in given.items():
        rule = resolve(text, matrices=True) if isinstance(text, str) and ".py" in text else None
        name = rule.name if rule is not None and any(rule is one for one in chosen) else text
        if name in named:
            raise RuleError(f"{name} is given twice, once by its file; expected once")
        named[name] = value
    return named


def described(named: str | Rule) -> str:
    """The rule as files name it: by its name, and if it is user-defined by its file and a fingerprint of that."""
    return registry.described(get(named), everything())


__all__ = [
    "MATRIX_RULES",
    "REGISTRY",
    "STATISTIC_RULES",
    "Hyper",
    "MatrixRule",
    "Moment",
    "Rule",
    "RuleError",
    "Slot",
    "Statistic",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adopt",
    "average_of",
    "by_name",
    "cocob",
    "dadapt_adagrad",
    "described",
    "direction",
    "dog",
    "dual_averaging",
    "everything",
    "flag",
    "fraction",
    "ftrl",
    "full_matrix",
    "get",
    "lamb",
    "leaky_sum_of",
    "lion",
    "madgrad",
    "matrix",
    "matrix_rule",
    "maximum",
    "mean",
    "mean_adagrad",
    "momentum",
    "nadam",
    "nonnegative",
    "novograd",
    "origin",
    "positive",
    "prodigy",
    "radam",
    "resolve",
    "rmsprop",
    "rule",
    "scalar",
    "scale",
    "schedule_free_adagrad",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "shampoo",
    "sm3",
    "sum_of",
    "total",
    "visits",
    "yogi",
]
