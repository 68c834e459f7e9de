"""What a loss is: its slope and value as plain functions, what it predicts, and how it is reported."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Real
from typing import Any, Literal

import numpy as np

from surefoot import ops
from surefoot.losses import trials
from surefoot.records.base import Record
from surefoot.records.files import RecordError
from surefoot.records.functions import check_operations
from surefoot.records.hyper import Hyper

Array = np.ndarray
Target = Literal["class", "number", "count"]
TARGETS: dict[str, tuple[float, ...]] = {"class": (0.0, 1.0), "number": (-1.3, 0.4, 2.2), "count": (0.0, 1.0, 4.0)}
"""The kinds of targets, and those of each that a trial takes."""


class LossError(RecordError):
    """A loss that cannot be used; the message names the loss and the fault."""


@dataclass(frozen=True)
class Parameter:
    """The number of its own that a loss has.

    Args:
        name: as the slope calls it.
        hyper: its default, bounds and meaning.
        scales: it has the unit of the targets, and is divided by their spread where they are.
    """

    name: str
    hyper: Hyper
    scales: bool = False


@dataclass(frozen=True)
class Metric:
    """How a mean loss is reported.

    Args:
        name: as people know it: "log loss", "MSE".
        factor: what the mean loss is multiplied by: 2 where it is half of what is reported.
        least: (y) -> the least loss for the target y, which is subtracted; None where that is 0.
        root: what the square root of what is reported is called, where that is reported too: "RMSE".
    """

    name: str
    factor: float = 1.0
    least: Callable[[Array], Array] | None = None
    root: str | None = None

    def text(self, value: float, digits: str = ".4f") -> str:
        """A mean as people are shown it, with its root where that has a name.

        >>> Metric("MSE", root="RMSE").text(0.25), Metric("log loss").text(0.25)
        ('0.2500 (RMSE 0.5000)', '0.2500')
        """
        return f"{value:{digits}}" + "".join(f" ({name} {root:{digits}})" for name, root in self.roots(value).items())

    def roots(self, value: float) -> dict[str, float]:
        """The square root of a mean by its name, where it has one."""
        return {} if self.root is None else {self.root: math.sqrt(value) if value >= 0 else math.nan}


@dataclass(frozen=True, eq=False, repr=False)
class Loss(Record):
    """A loss of predictions against targets.

    Args:
        slope: (prediction, y[, parameter]) -> the derivative of the value by the prediction: a function of scalars that
            every engine can run, see `surefoot.ops`.
        value: (predictions, y[, parameter]) -> the loss of each, of arrays, by operators, `ops` and NumPy alike; of a
            joint loss, predictions are (…, outputs) and y the number of the class, (…).
        target: what is predicted: "class", with y 0 or 1; "number"; or "count", a number of at least 0.
        parameter: a number of its own, such as δ of huber.
        center: how targets are centred before learning, "mean" or "median"; they are then divided by their standard
            deviation. None: they are learned as they are. Only for a loss of prediction − y that has a degree.
        degree: the loss of targets in a unit s times smaller is s^degree times as large (with the parameter in that
            unit): 2 for squared, 1 for quantile. It counts for centred targets only.
        initial: (y) -> the bias to begin with, from the first targets; None: 0.
        probability: (predictions) -> the probability of y = 1; of a joint loss, of each class, (…, outputs).
        mean: (predictions) -> the mean of y that they stand for (inverse link); None: the predictions themselves.
        mix: (predictions (n, outputs, R), their shares) -> what predicts the mean of the R probabilities by these
            shares, (n, outputs): for a loss that is the negative logarithm of a probability.
        joint: outputs are learned together: each has the slope at its prediction less the log-sum-exp of the others.
        for_two: the loss with one output that a joint one is for two classes.
        convex: in the prediction, so that a mean of predictions loses no more than they do on average.
        metric: how its mean is reported.

    Raises:
        LossError: naming the loss and what is wrong with it.

    >>> def half(predictions, y):
    ...     return 0.5 * (predictions - y) ** 2
    >>> def slope(prediction, y):
    ...     return prediction - y
    >>> Loss(slope, half, target="number", name="mine").values([1.0, 3.0], [1.0, 1.0])
    array([0., 2.])
    """

    slope: Callable[..., Any]
    value: Callable[..., Any]
    target: Target
    parameter: Parameter | None = None
    center: Literal["mean", "median"] | None = None
    degree: int = 1
    initial: Callable[[Array], float] | None = None
    probability: Callable[[Array], Array] | None = None
    mean: Callable[[Array], Array] | None = None
    mix: Callable[[Array, Array], Array] | None = None
    joint: bool = False
    for_two: Loss | None = None
    convex: bool = True
    metric: Metric = field(default_factory=lambda: Metric(""))
    name: str = ""
    formula: str = ""
    source: str = ""

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", getattr(self.slope, "__name__", "loss"))
        if not self.metric.name:
            object.__setattr__(self, "metric", replace(self.metric, name=f"{self.name.replace('_', ' ')} loss"))
        object.__setattr__(self, "__doc__", self.slope.__doc__)
        check(self)

    def __repr__(self) -> str:
        return f"<loss {self.name}: {self.formula}>" if self.formula else f"<loss {self.name}>"

    @property
    def main(self) -> Callable:
        return self.slope

    @property
    def logarithmic(self) -> bool:
        """Whether it is the negative logarithm of a probability."""
        return self.mix is not None

    def settings(self, parameter: float | None = None) -> float:
        """The loss's own number: as given, or its default; 0 where it has none.

        Raises:
            LossError: it has none, or not this one, or with it the loss is not what its record claims.

        >>> from surefoot.losses import huber
        >>> huber.settings()
        1.0
        """
        if self.parameter is None:
            if parameter:
                raise LossError(f"{self.name}: found the parameter {parameter:g}, but this loss does not have one")
            return 0.0
        hyper = self.parameter.hyper
        value = hyper.default if parameter is None else parameter
        if not (isinstance(value, Real) and hyper.admits(value)):
            raise LossError(f"{self.name}: {self.parameter.name} must lie in {hyper.interval()}, got {value!r}")
        if value != hyper.default:
            check_trial(self, float(value))
        return float(value)

    def scaled(self, parameter: float, spread: float) -> float:
        """The parameter for targets that are divided by their spread."""
        return parameter / spread if self.parameter is not None and self.parameter.scales else parameter

    def unit(self, spread: float) -> float:
        """What a loss of targets that were divided by their spread is multiplied by."""
        return spread**self.degree

    def own(self, parameter: float) -> tuple[float, ...]:
        """The arguments that slope and value take after prediction and target."""
        return () if self.parameter is None else (parameter,)

    def values(self, predictions, y, parameter: float = 0.0) -> Array:
        """The loss of each prediction, in float64; of a joint loss, (…, outputs) against whole numbers (…,).

        >>> from surefoot.losses import hinge
        >>> hinge.values([0.5, 2.0], [1, 1]).tolist()
        [0.5, 0.0]
        """
        p, y = np.asarray(predictions, np.float64), np.asarray(y, np.float64)
        return np.asarray(self.value(p, y, *self.own(parameter)), np.float64)

    def each(self, predictions: Array, targets: Array, parameter: float = 0.0) -> Array:
        """The loss of each example, (n,), from predictions (n, outputs); learned one against the rest, their sum."""
        if self.joint:
            return self.values(predictions, targets, parameter)
        return self.values(predictions, self.wanted(targets, predictions.shape[1]), parameter).sum(axis=1)

    def reported(self, predictions: Array, targets: Array, parameter: float = 0.0) -> Array:
        """What each example adds to the metric, (n,): the mean of these is what people are shown."""
        found = self.each(predictions, targets, parameter)
        return self.metric.factor * (found if self.metric.least is None else found - self.metric.least(targets))

    def wanted(self, targets: Array, outputs: int) -> Array:
        """What each output is to predict, (n, outputs): of several, 1 for the class that it is and 0 for the others."""
        return targets[:, None] if outputs == 1 else (targets[:, None] == np.arange(outputs)).astype(float)

    def means(self, predictions: Array) -> Array:
        """The mean of y that each prediction stands for."""
        with np.errstate(under="ignore"):
            return predictions if self.mean is None else self.mean(predictions)

    def probabilities(self, predictions: Array) -> Array:
        """Probabilities of the classes, (n, classes), from predictions, (n, outputs).

        Raises:
            LossError: the loss does not give probabilities.
        """
        if self.probability is None:
            raise LossError(f"{self.name} loss does not predict probabilities; train with --loss logistic for these")
        with np.errstate(under="ignore"):
            positive = self.probability(predictions)
        if self.joint:
            return positive
        if predictions.shape[1] == 1:
            return np.hstack([1.0 - positive, positive])
        total = positive.sum(axis=1, keepdims=True)
        return np.where(total > 0, positive / np.where(total > 0, total, 1.0), 1.0 / predictions.shape[1])


def loss(**description) -> Callable[[Callable[..., Any]], Loss]:
    """Decorator that makes a Loss of its slope; the arguments are those of Loss.

    >>> @loss(value=lambda p, y: np.logaddexp(0.0, p) - y * p, target="class", convex=True)
    ... def mine(prediction, y):
    ...     return 1.0 / (1.0 + ops.exp(-prediction)) - y
    >>> mine
    <loss mine>
    """
    return lambda slope: Loss(slope, **description)


def check(loss: Loss) -> None:
    """Raises LossError unless every engine can run the slope, and the loss does what its record claims."""
    if loss.target not in TARGETS:
        raise LossError(f"{loss.name}: target is {loss.target!r}, expected one of {', '.join(TARGETS)}")
    if loss.joint and loss.target != "class":
        raise LossError(f"{loss.name}: joint losses are for classes; the target is {loss.target!r}")
    check_parameter(loss)
    check_operations(loss.slope, loss.name, "loss", LossError)
    check_trial(loss, loss.settings())


def check_parameter(loss: Loss) -> None:
    """The parameter's default, and that slope and value take it."""
    expected = ["prediction", "y"]
    if loss.parameter is not None:
        expected.append(loss.parameter.name)
        hyper = loss.parameter.hyper
        if hyper.default is None or hyper.bounds is None or not hyper.admits(hyper.default):
            raise LossError(
                f"{loss.name}: {loss.parameter.name} has the default {hyper.default!r} and the bounds {hyper.bounds}; "
                "expected a default within its bounds, as in positive(1.0)"
            )
    found = list(inspect.signature(loss.slope).parameters)
    if found != expected:
        raise LossError(f"{loss.name}: the slope must take ({', '.join(expected)}), got ({', '.join(found)})")
    taken = len(inspect.signature(loss.value).parameters)
    if taken != len(expected):
        raise LossError(
            f"{loss.name}: the value must take {len(expected)} arguments ({', '.join(expected)}), got {taken}"
        )


@lru_cache(maxsize=256)
def check_trial(loss: Loss, parameter: float) -> None:
    """Slopes and values at some points, with this number of the loss's own.

    Raises:
        LossError: they are not numbers, the slopes are not the derivatives of the values, or what the record claims of
            convexity, center and degree is not so.
    """
    trial, having = trial_of(loss, parameter), having_of(loss, parameter)
    check_slope(loss, trial, having)
    if loss.convex and (fall := trial.fall()) is not None:
        y, left, right, above, below = fall
        raise LossError(
            f"{loss.name}: the loss is not convex{having}: at y = {y:g} its slope falls from {above:.6g} at "
            f'prediction {left:g} to {below:.6g} at {right:g}; give convex=False, and a number as lr, since "auto" '
            "averages models"
        )
    if loss.center is not None and not loss.joint:
        check_center(loss, parameter, having)


def having_of(loss: Loss, parameter: float) -> str:
    """The loss's own number in an error message, unless it is the default."""
    if loss.parameter is None or parameter == loss.parameter.hyper.default:
        return ""
    return f" with {loss.parameter.name} = {parameter:g}"


def check_slope(loss: Loss, trial: trials.Trial, having: str) -> None:
    """Raises LossError unless slope and value give numbers, and the slope is the derivative of the value."""
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(trial.slope(np.linspace(-2.0, 2.0, 5), np.ones(5)))
    except Exception as error:
        raise LossError(f"{loss.name}: a trial of the slope failed{having}: {reason(error)}") from error
    if found.dtype != np.float64 or np.broadcast_shapes(found.shape, (5,)) != (5,):
        raise LossError(f"{loss.name}: the slope gives {found.dtype} of shape {found.shape}; expected one number each")
    try:
        wrong = trial.disagreement()
    except Exception as error:
        raise LossError(f"{loss.name}: a trial of the value failed{having}: {reason(error)}") from error
    if wrong is not None:
        p, y, given, low, high = wrong
        quotient = f"{low:.6g}" if math.isclose(low, high, rel_tol=1e-5) else f"between {low:.6g} and {high:.6g}"
        raise LossError(
            f"{loss.name}: the slope is not the derivative of the value{having}: at prediction {p:g} and y = {y:g} it "
            f"is {given:.6g}, but the value rises by {quotient}"
        )


def trial_of(loss: Loss, parameter: float) -> trials.Trial:
    """The loss with this number, at predictions in its unit if it has the unit of the targets."""
    own, slope = loss.own(parameter), ops.bind(loss.slope, ops.ARRAY_OPS, np.float64)
    unit = 1.0
    if loss.parameter is not None and loss.parameter.scales and loss.target == "number" and parameter:
        unit = float(np.clip(parameter / (loss.settings() or parameter), 1e-100, 1e100))  # whose squares are finite
    return trials.Trial(
        lambda p, y: slope(p, y, *own),
        lambda p, y: loss.values(p, y, parameter),
        TARGETS[loss.target],
        loss.joint,
        unit,
        min(1.0, unit ** (loss.degree - 1)),
    )


def check_center(loss: Loss, parameter: float, having: str) -> None:
    """Raises LossError unless targets may be centred and divided by their spread: the loss keeps its minimizers."""
    trial, times = trial_of(loss, parameter), trials.LARGER
    larger = trial_of(loss, parameter * times if loss.scaled(times, times) == 1.0 else parameter)
    begin = f"{loss.name}: center={loss.center!r} is for a loss that"
    if (moved := trials.shifted(trial)) is not None:
        p, y, found, expected = moved
        raise LossError(
            f"{begin} depends on prediction − y only{having}: at prediction {p:g} and y = {y:g} it is "
            f"{expected:.6g}, but {found:.6g} where both are larger by {trials.SHIFT:g}; leave out center"
        )
    if (grown := trials.scaled(trial, larger, loss.degree)) is not None:
        p, y, found, expected = grown
        fitting = [k for k in range(1, 9) if trials.scaled(trial, larger, k) is None]
        remedy = f"give degree={fitting[0]}" if fitting else "leave out center"
        raise LossError(
            f"{begin} is s^{loss.degree} times as large in a unit s times smaller (degree={loss.degree})"
            f"{having}: at {times:g} times prediction {p:g} and y = {y:g} it is {found:.6g}, expected "
            f"{expected:.6g}; {remedy}"
        )


def reason(error: Exception) -> str:
    """Why a trial with arrays failed, in words that say what to do."""
    if "truth value" in str(error):
        return "branches on a value; use ops.where"
    if "converted to Python scalar" in str(error):
        return "uses a function of single numbers, such as those of math; use ops or NumPy"
    return (str(error).splitlines() or [type(error).__name__])[0]
