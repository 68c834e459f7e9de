"""The family: every method one plain function, `(x, g, g2, *slots, *coefficients) -> (rate, direction, *slots)`.

Begin with `rules/adagrad.py`. `REGISTRY` is the table from which tests, command line, documentation and figures are
made; `record.py` says what a rule is.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

from surefoot.records import registry
from surefoot.records.hyper import Hyper, flag, fraction, nonnegative, positive
from surefoot.records.statistic import Statistic, maximum, mean, total
from surefoot.rules.adadelta import adadelta
from surefoot.rules.adagrad import adagrad
from surefoot.rules.adam import adam, adamw
from surefoot.rules.dual_averaging import dual_averaging
from surefoot.rules.ftrl import ftrl
from surefoot.rules.mean_adagrad import mean_adagrad
from surefoot.rules.momentum import momentum
from surefoot.rules.nadam import nadam
from surefoot.rules.record import Rule, RuleError, Slot, direction, origin, rule, scalar, scale
from surefoot.rules.rmsprop import rmsprop
from surefoot.rules.sgd import sgd
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
    )
}


def get(name: str | Rule) -> Rule:
    """The rule of that name; a Rule is returned as it is.

    Raises:
        RuleError: for an unknown name, with the nearest known one.

    >>> get("adagrad").slots
    {'total': Slot(kind='scale', initial='initial_accumulator_value')}
    """
    return registry.find(name, REGISTRY, "rule", RuleError)


def resolve(text: str | Rule) -> Rule:
    """The rule that a user names: a built-in one, or a user-defined one as `path/to/file.py:name`, whose file is run.

    Raises:
        RuleError: in one sentence, if there is no such rule or file, or the file cannot be run.

    >>> resolve("adagrad").name
    'adagrad'
    """
    return registry.resolve(text, REGISTRY, "rule", RuleError)


def by_name(given: Mapping[str, T], chosen: Collection[str | Rule]) -> dict[str, T]:
    """What is given for some of the chosen rules, by their names; a user-defined one may be called as it was chosen.

    Raises:
        RuleError: in one sentence, for a file that cannot be run, and for a rule that is named twice.

    >>> by_name({"sgd": 0.1}, [sgd, adagrad])
    {'sgd': 0.1}
    """
    named: dict[str, T] = {}
    for text, value in given.items():
        rule = resolve(text) if isinstance(text, str) and ".py" in text else None
        name = rule.name if rule is not None and any(rule is one for one in chosen) else text
        if name in named:
            raise RuleError(f"{name} is given twice, once by its file; expected once")
        named[name] = value
    return named


def described(named: str | Rule) -> str:
    """The rule as files name it: by its name, and if it is user-defined by its file and a fingerprint of that."""
    return registry.described(get(named), REGISTRY)


__all__ = [
    "REGISTRY",
    "Hyper",
    "Rule",
    "RuleError",
    "Slot",
    "Statistic",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "by_name",
    "described",
    "direction",
    "dual_averaging",
    "flag",
    "fraction",
    "ftrl",
    "get",
    "maximum",
    "mean",
    "mean_adagrad",
    "momentum",
    "nadam",
    "nonnegative",
    "origin",
    "positive",
    "resolve",
    "rmsprop",
    "rule",
    "scalar",
    "scale",
    "sgd",
    "total",
    "visits",
    "yogi",
]
