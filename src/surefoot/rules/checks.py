"""Whether every engine can run a rule: its slots, hyperparameters and signature, and a trial step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from surefoot import ops
from surefoot.records.functions import check_coefficients, check_operations
from surefoot.records.hyper import Hyper
from surefoot.records.statistic import EXTENTS, RESERVED, fault_of
from surefoot.rules.slots import RuleError, Slot


def check(rule: Any) -> None:
    """Raises RuleError unless every engine can run the rule: its signature, its hyperparameters, then a trial step."""
    check_slots(rule)
    check_hyper(rule)
    check_signature(rule)
    functions = [
        rule.function,
        rule.rescale,
        rule.zero_grad_steps,
        rule.evaluation,
        *(s.of for s in rule.statistics.values()),
    ]
    for function in filter(callable, functions):
        check_operations(function, rule.name, "rule", RuleError)
    if rule.coefficients is not None:
        check_coefficients(rule.coefficients, rule.name, "coefficients", RuleError)
    check_trial(rule)


def check_slots(rule: Any) -> None:
    for name, slot in rule.slots.items():
        if not isinstance(slot, Slot):
            raise RuleError(f"{rule.name}: slot {name!r} is {slot!r}; expected scale() or direction()")
        if isinstance(slot.initial, str) and slot.initial not in (*rule.hyper, "x"):
            raise RuleError(f"{rule.name}: slot {name!r} starts from {slot.initial!r}, which is not a hyperparameter")
        if slot.moment is not None and slot.moment.share not in (None, *rule.hyper):
            raise RuleError(f"{rule.name}: slot {name!r} keeps {slot.moment.share!r}, which is not a hyperparameter")
        if slot.shape is not None and not rule.whole:
            raise RuleError(f"{rule.name}: slot {name!r} is a matrix; expected a matrix_rule, whose slots may be")
        if slot.over is not None and (slot.over not in EXTENTS or slot.kind == "direction" or slot.initial == "x"):
            raise RuleError(
                f"{rule.name}: slot {name!r} is a {slot.kind} over {slot.over!r}; expected a scale, with a number to "
                f"start from, over {', '.join(EXTENTS)}"
            )
    for name, statistic in rule.statistics.items():
        if (wrong := fault_of(statistic)) is not None:
            raise RuleError(f"{rule.name}: statistic {name!r} {wrong}")
        if not name.isidentifier() or name in RESERVED:
            raise RuleError(f"{rule.name}: the name of statistic {name!r} is reserved, or not one; rename it")
        if name in rule.slots or name in rule.hyper:
            raise RuleError(f"{rule.name}: {name!r} is a statistic, and also a slot or hyperparameter; rename one")


def check_hyper(rule: Any) -> None:
    for name, hyper in rule.hyper.items():
        if not isinstance(hyper, Hyper):
            raise RuleError(
                f"{rule.name}: hyperparameter {name!r} is {hyper!r}, without bounds; "
                f"expected a default with bounds, such as positive({hyper!r})"
            )
        if hyper.default is None:
            raise RuleError(f"{rule.name}: hyperparameter {name!r} has no default; expected one, as in positive(0.1)")
        if hyper.bounds is None:
            raise RuleError(
                f"{rule.name}: hyperparameter {name!r} has no bounds; expected them, as in positive({hyper.default!r})"
            )
        if not hyper.admits(hyper.default):
            raise RuleError(
                f"{rule.name}: the default {hyper.default!r} of {name!r} lies outside its bounds {hyper.interval()}"
            )
    if "lr" not in rule.hyper:
        raise RuleError(f"{rule.name}: the hyperparameter 'lr' is missing; every rule has a learning rate")


def check_signature(rule: Any) -> None:
    parameters = tuple(inspect.signature(rule.function).parameters)
    expected = rule.leading
    if parameters[: len(expected)] != expected:
        raise RuleError(
            f"{rule.name}: the function must take ({', '.join(expected)}, …), got ({', '.join(parameters)})"
        )
    if rule.coefficients is None:
        for name in parameters[len(expected) :]:
            if name not in rule.hyper:
                raise RuleError(f"{rule.name}: the function takes {name!r}, which is neither slot nor hyperparameter")
    if rule.after and rule.rescale is None:
        raise RuleError(
            f"{rule.name}: nothing takes {rule.after[0]!r}, a statistic of its rate or direction; expected rescale"
        )


SHAPES = {"coordinate": (2, 3), "row": (2, 1), "column": (1, 3), "tensor": (1, 1), "group": (1, 1)}
"""The shapes of what a trial step has one number of: an array of 2 × 3 with one scale per row."""


def check_trial(rule: Any) -> None:
    """Steps on a 2 × 3 array, one with one scale per row and one with one per coordinate."""
    for granularity in ("row", "coordinate"):
        check_step(rule, granularity)


def check_step(rule: Any, granularity: str) -> None:
    """A step at that granularity: counts, shapes and types of what the function returns."""
    f = np.float32
    extents = {name: "coordinate" if s.kind == "direction" else s.over or granularity for name, s in rule.slots.items()}
    known: dict[str, Any] = {
        "x": np.full((2, 3), f(0.5)),
        "g": np.arange(1, 7, dtype=f).reshape(2, 3),
        "g2": np.full(SHAPES[granularity], f(2)),
    }
    known |= {name: np.ones(SHAPES[extent], f) for name, extent in extents.items()}
    values = trial_coefficients(rule)
    known |= zip(rule.coefficient_names, map(f, values), strict=True)

    def tried(function: Callable, what: str) -> Any:
        taken = [name for name in inspect.signature(function).parameters if name not in known]
        if taken:
            raise RuleError(f"{rule.name}: {what} takes {taken[0]!r}; it may take {', '.join(known)}")
        try:
            with np.errstate(all="ignore"):
                arguments = [known[name] for name in inspect.signature(function).parameters]
                return ops.bind(function, ops.ARRAY_OPS, f)(*arguments)
        except Exception as error:
            reason = "branches on a value; use ops.where" if "truth value" in str(error) else str(error)
            raise RuleError(f"{rule.name}: a trial step failed: {reason}") from error

    def measured(names: Iterable[str]) -> None:
        for name in names:
            check_expression(rule, name, tried(rule.statistics[name].of, f"the statistic {name!r}"))
            known[name] = np.full(SHAPES[rule.statistics[name].over], f(2))

    measured(name for name in rule.statistics if name not in rule.after)
    result = tried(rule.function, "the function")
    check_result(rule, result, extents)
    if callable(rule.zero_grad_steps):
        memory = [known[name] for name in rule.slots]
        check_zero_grad_steps(rule, known["x"], memory, tuple(map(f, values)))
    known |= zip(("rate", "direction", *rule.slots), result, strict=True)
    measured(rule.after)
    if rule.rescale is not None:
        check_result(rule, tried(rule.rescale, "rescale"), {})


def trial_coefficients(rule: Any) -> tuple:
    try:
        values = rule.evaluate(1, rule.defaults)
    except Exception as error:
        raise RuleError(f"{rule.name}: its coefficients cannot be computed at t = 1: {error}") from error
    names = rule.coefficient_names
    if len(values) != len(names):
        raise RuleError(
            f"{rule.name}: coefficients returned {len(values)} numbers, but the function takes {len(names)} "
            f"after its slots ({', '.join(names)})"
        )
    return values


def check_expression(rule: Any, name: str, value: Any) -> None:
    if np.broadcast_shapes(np.shape(value), (2, 3)) != (2, 3) or np.asarray(value).dtype != np.float32:
        raise RuleError(f"{rule.name}: the statistic {name!r} is not of one number for each coordinate")


def check_result(rule: Any, result: Any, extents: Mapping[str, str]) -> None:
    """Checks counts, shapes and types of (rate, direction, *slots), of a function of float32."""
    expected = 2 + len(extents)
    if not isinstance(result, tuple) or len(result) != expected:
        found = f"{len(result)} values" if isinstance(result, tuple) else "one value"
        wanted = ", ".join(("rate", "direction", *extents))
        raise RuleError(f"{rule.name}: the function returns {found}; expected {expected} ({wanted})")
    for what, value in zip(("the rate", "the direction"), result, strict=False):
        if np.broadcast_shapes(np.shape(value), (2, 3)) != (2, 3):
            raise RuleError(f"{rule.name}: {what} has the shape {np.shape(value)}; expected one number per coordinate")
    for (name, extent), value in zip(extents.items(), result[2:], strict=True):
        if np.broadcast_shapes(np.shape(value), SHAPES[extent]) != SHAPES[extent]:
            kind, over = rule.slots[name].kind, rule.slots[name].over
            fed = "g2 alone" if over is None else f"g2 or statistics over the {over}"
            raise RuleError(
                f"{rule.name}: the {kind} slot {name!r} depends on x or g; feed it from {fed}, "
                "or declare it with direction()"
            )
    for what, value in zip(("the rate", "the direction", *extents), result, strict=True):
        if np.asarray(value).dtype != np.float32:
            raise RuleError(f"{rule.name}: {what} is {np.asarray(value).dtype} where all inputs are float32")


def check_zero_grad_steps(rule: Any, x, memory, coefficients: tuple) -> None:
    """Two steps with zero gradient by the closed form: it must return the parameter and every slot."""
    assert callable(rule.zero_grad_steps)
    try:
        with np.errstate(all="ignore"):
            result = ops.bind(rule.zero_grad_steps, ops.ARRAY_OPS, np.float32)(x, 2, *memory, *coefficients)
    except Exception as error:
        raise RuleError(f"{rule.name}: a trial of zero_grad_steps failed: {error}") from error
    if not isinstance(result, tuple) or len(result) != 1 + len(rule.slots):
        found = f"{len(result)} values" if isinstance(result, tuple) else "one value"
        wanted = ", ".join(("x", *rule.slots))
        raise RuleError(f"{rule.name}: zero_grad_steps returns {found}; expected {1 + len(rule.slots)} ({wanted})")
