"""Losses: each a slope (the derivative by the prediction) and a value, `(prediction, y[, parameter]) -> number`.

Begin with `losses/squared.py`. `REGISTRY` is the table from which learners, tests and the command line are made;
`record.py` says what a loss is.
"""

from surefoot.losses.epsilon_insensitive import epsilon_insensitive
from surefoot.losses.hinge import hinge
from surefoot.losses.huber import huber
from surefoot.losses.logistic import logistic
from surefoot.losses.modified_huber import modified_huber
from surefoot.losses.poisson import poisson
from surefoot.losses.quantile import quantile
from surefoot.losses.record import Loss, LossError, Metric, Parameter, loss
from surefoot.losses.softmax import softmax
from surefoot.losses.squared import squared
from surefoot.losses.squared_hinge import squared_hinge
from surefoot.records import registry
from surefoot.records.hyper import Hyper, nonnegative, positive

REGISTRY: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        squared,
        logistic,
        hinge,
        squared_hinge,
        modified_huber,
        huber,
        quantile,
        poisson,
        epsilon_insensitive,
        softmax,
    )
}
CODES = {loss: code for code, loss in enumerate(sorted(REGISTRY.values(), key=lambda loss: loss.joint))}
"""How the kernels that these losses share call them; joint ones come last."""
FOR_TWO_CLASSES, FOR_CLASSES, FOR_NUMBERS = logistic, softmax, squared
"""What is learned where no loss is named."""


def get(name: str | Loss) -> Loss:
    """The loss of that name; a Loss is returned as it is.

    Raises:
        LossError: for an unknown name, with the nearest known one.

    >>> get("huber").parameter.name
    'delta'
    """
    return registry.find(name, REGISTRY, "loss", LossError)


def resolve(text: str | Loss) -> Loss:
    """The loss that a user names: a built-in one, or a user-defined one as `path/to/file.py:name`, whose file is run.

    Raises:
        LossError: in one sentence, if there is no such loss or file, or the file cannot be run.

    >>> resolve("huber").name
    'huber'
    """
    return registry.resolve(text, REGISTRY, "loss", LossError)


def described(named: str | Loss) -> str:
    """The loss as files name it: by its name, and if it is user-defined by its file and a fingerprint of that."""
    return registry.described(get(named), REGISTRY)


__all__ = [
    "FOR_CLASSES",
    "FOR_NUMBERS",
    "FOR_TWO_CLASSES",
    "REGISTRY",
    "Hyper",
    "Loss",
    "LossError",
    "Metric",
    "Parameter",
    "described",
    "epsilon_insensitive",
    "get",
    "hinge",
    "huber",
    "logistic",
    "loss",
    "modified_huber",
    "nonnegative",
    "poisson",
    "positive",
    "quantile",
    "resolve",
    "softmax",
    "squared",
    "squared_hinge",
]
