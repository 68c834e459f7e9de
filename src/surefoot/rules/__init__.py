"""The family: every method one plain function, `(x, g, g2, *slots, *coefficients) -> (rate, direction, *slots)`.

Begin with `rules/adagrad.py`. `REGISTRY` is the table from which tests, command line, documentation and figures are
made; `record.py` says what a rule is.
"""

from surefoot.records import registry
from surefoot.records.hyper import Hyper, flag, fraction, nonnegative, positive
from surefoot.rules.adadelta import adadelta
from surefoot.rules.adagrad import adagrad
from surefoot.rules.adam import adam, adamw
from surefoot.rules.dual_averaging import dual_averaging
from surefoot.rules.ftrl import ftrl
from surefoot.rules.mean_adagrad import mean_adagrad
from surefoot.rules.momentum import momentum
from surefoot.rules.nadam import nadam
from surefoot.rules.record import Rule, RuleError, Slot, direction, rule, scale
from surefoot.rules.rmsprop import rmsprop
from surefoot.rules.sgd import sgd
from surefoot.rules.visits import visits
from surefoot.rules.yogi import yogi

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


def described(named: str | Rule) -> str:
    """The rule as files name it: by its name, and if it is user-defined by its file and a fingerprint of that."""
    return registry.described(get(named), REGISTRY)


__all__ = [
    "REGISTRY",
    "Hyper",
    "Rule",
    "RuleError",
    "Slot",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "described",
    "direction",
    "dual_averaging",
    "flag",
    "fraction",
    "ftrl",
    "get",
    "mean_adagrad",
    "momentum",
    "nadam",
    "nonnegative",
    "positive",
    "resolve",
    "rmsprop",
    "rule",
    "scale",
    "sgd",
    "visits",
    "yogi",
]
