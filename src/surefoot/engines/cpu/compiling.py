"""`specialise` makes the compiled, disk-cached copy of a generic driver for one rule."""

import functools
import hashlib
import inspect
import pathlib
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target

from surefoot import ops
from surefoot.engines import around, losses
from surefoot.engines.cpu import kernels, lanes, memory, numba_ops
from surefoot.rules import Rule, RuleError

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False}
# Numba sets itself up when it first loads a kernel. Done here, with the engine, so that no step waits for it.
cpu_target.typing_context.refresh()  # pyright: ignore[reportAttributeAccessIssue]
cpu_target.target_context.refresh()  # pyright: ignore[reportAttributeAccessIssue]

# Kernels allocate nothing, so they need not count references: counting costs an atomic operation for each row, on which
# threads wait for each other. No fastmath anywhere: the reference's bits.
INNER: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
APART: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of helpers that are not worth a copy wherever they are called."""


@dataclass(frozen=True)
class Kind:
    """What a driver is compiled for, besides the rule.

    Attributes:
        dtype: the type of the arithmetic, "float32" or "float64".
        shared: coordinates share a rate.
        adjusts: the gradient is changed before the rule sees it.
        decays: parameters are shrunk before the rule.
        shrinks: a proximal step follows the rule.
        catches_up: rows that were left out make up for it.
        propagate: values that are not finite go through.
        sweeps: a linear model steps all weights in every mini-batch.
        loss: the loss of a linear model.
        lanes: how many linear models learn at once, where that is known when compiling.
        normalizes: features are divided by their root mean square.
        averages: averages of the iterates are kept.
    """

    dtype: str
    shared: bool = False
    adjusts: bool = False
    decays: bool = False
    shrinks: bool = False
    catches_up: bool = False
    propagate: bool = False
    sweeps: bool = False
    loss: str = ""
    lanes: int = 0
    normalizes: bool = False
    averages: bool = False

    def __str__(self) -> str:
        flags = [name for name, value in vars(self).items() if value is True]
        lanes = f"{self.lanes}_lanes" if self.lanes else ""
        return "_".join(part for part in (self.dtype, *flags, self.loss, lanes) if part)

    @property
    def plain(self) -> bool:
        """Nothing is done around the rule."""
        return not (self.adjusts or self.decays or self.shrinks)


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]


def fingerprint(function: Callable) -> tuple:
    """What of a function's source decides what it computes."""
    code = function.__code__
    constants = tuple((type(c).__name__, c) for c in code.co_consts if not isinstance(c, (str, types.CodeType)))
    return code.co_code.hex(), constants, code.co_names, code.co_varnames


@functools.cache
def engine_fingerprint() -> str:
    """Numba notices a change in the driver's own file only; this stands for the other files it is compiled from."""
    files = [pathlib.Path(module.__file__ or "") for module in (ops, around, losses, kernels, lanes, memory, numba_ops)]
    return digest(numba.__version__, *(path.read_bytes() for path in [*files, pathlib.Path(__file__)]))


def has_file(function: Callable) -> bool:
    """Whether the function comes from a source file, and not from a notebook cell or a prompt."""
    try:
        return pathlib.Path(inspect.getsourcefile(function) or "").is_file()
    except TypeError:
        return False


@functools.cache
def specialise(driver: str, rule: Rule, kind: Kind) -> Callable:
    """The compiled copy of a driver of `kernels` for a rule.

    Numba's disk cache keys a function by file, name and bytecode, not by the globals it calls: so the copy carries the
    rule's name and the fingerprint of all it is made of in its own name. (A closure over a compiled rule never hits
    the cache.) A rule that no file backs is compiled for this process only.
    """
    idle = fingerprint(rule.idle) if callable(rule.idle) else rule.idle
    made_of = digest(fingerprint(rule.function), idle, rule.steady, rule.from_origin, kind, engine_fingerprint())
    name = f"{driver}__{re.sub(r'[^0-9a-zA-Z]+', '_', rule.name)}__{kind}__{made_of}"
    original = getattr(kernels, driver, None) or getattr(lanes, driver)
    copy = types.FunctionType(original.__code__.replace(co_name=name, co_qualname=name), namespace(rule, kind), name)
    copy.__module__, copy.__qualname__ = original.__module__, name
    compiled = numba.njit(copy, cache=has_file(rule.function), **OPTIONS)

    @functools.wraps(copy)
    def call(*arguments):
        try:
            return compiled(*arguments)
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise RuleError(f"{rule.name}: the rule does not compile: {reason[0]} … {reason[-1]}") from error

    return call


def namespace(rule: Rule, kind: Kind) -> dict:
    """The globals of a driver's copy: every helper of `kernels`, compiled, and the names in capitals."""
    f = np.dtype(kind.dtype).type
    names = dict(vars(lanes)) | dict(vars(kernels))

    def compiled(function, dtype=f):
        return numba.njit(ops.bind(function, numba_ops, dtype), **INNER)

    names |= {
        "F": f,
        "COUNT": len(rule.coefficient_names),
        "SHARED": kind.shared,
        "PROPAGATE": kind.propagate,
        "FROM_ORIGIN": rule.from_origin,
        "RULE": compiled(rule.function),
        "RULE_IDLE": compiled(rule.idle) if callable(rule.idle) else None,
        "ADVANCE": compiled(around.advance),
        "AROUND_GRADIENT": compiled(around.gradient),
        "AROUND_PROXIMAL": compiled(around.proximal),
        "AROUND_IDLE": compiled(around.idle, np.float64),
        "SLOPE": compiled(losses.SLOPES[kind.loss], np.float64) if kind.loss else None,
    }
    for helper, function in (vars(lanes) | vars(kernels)).items():
        if isinstance(function, types.FunctionType) and function.__module__ in (kernels.__name__, lanes.__name__):
            options = APART if helper in lanes.ONCE_AN_EXAMPLE else INNER
            names[helper] = numba.njit(types.FunctionType(function.__code__, names, helper), **options)
    idle = "idle_from_origin" if rule.from_origin else "idle_steady" if rule.steady else "idle_by_rule"
    names |= {
        "GRADIENT": names["full_gradient" if kind.adjusts else "plain_gradient"],
        "START": names["full_start" if kind.decays else "plain_start"],
        "PROXIMAL": names["full_proximal" if kind.shrinks else "plain_proximal"],
        "AROUND": names["plain_around" if kind.plain else "full_around"],
        "SPARED": names["plain_spared" if kind.plain else "full_spared"],
        "MEAN_SQUARE": names["shared_square" if kind.shared else "own_square"],
        "MEAN_OF": names["shared_mean" if kind.shared else "own_mean"],
        "IDLE": names["idle_row" if kind.catches_up else "idle_nothing"],
        "IDLE_STRETCH": names[idle],
        "TOUCH": names["touch_all" if kind.sweeps else "touch_new"],
        "GATHER": names["gather_all" if kind.sweeps else "gather_new"],
        "SETTLE_WEIGHTS": names["settle_weights" if kind.catches_up else "settle_nothing"],
    }
    idle_lane = "lane_from_origin" if rule.from_origin else "lane_steady" if rule.steady else "lane_by_rule"
    names |= {
        "LANE_COUNT": kind.lanes,
        "SLOPE_OF": slope_by_code(),
        "SOFTMAX": losses.CODES["softmax"],
        "TAKE_ROWS": names["take_rows_of_one" if kind.lanes == 1 else "take_rows"],
        "SCALE": names["running_scales" if kind.normalizes else "no_scales"],
        "TAKE_SCALE": names["take_scale" if kind.normalizes else "take_no_scale"],
        "PUT_SCALE": names["put_scale" if kind.normalizes else "put_no_scale"],
        "PENALTIES": names["spread_penalties" if kind.shrinks or kind.decays else "no_penalties"],
        "AROUND_AT": names["penalties_around" if kind.shrinks or kind.decays else "nothing_around"],
        "CATCH_UP": names["idle_lanes" if kind.catches_up else "no_idle"],
        "NEXT": names["next_step" if kind.catches_up else "no_next"],
        "IDLE_LANE": names[idle_lane],
        "AVERAGE": names["blend_lanes" if kind.averages else "no_average"],
    }
    names["SPREAD"] = numba.njit(memory.lane_coefficients(len(rule.coefficient_names)), **INNER)
    for name, function in zip(("SLOTS_OF", "TAKE_SLOTS", "PUT_SLOTS"), memory.lane_slots(len(rule.slots)), strict=True):
        names[name] = numba.njit(function, **INNER)
    names["RAW_SQUARES"] = raw_squares(f) if kind.adjusts else names["sum_squares"]
    return names


@functools.cache
def slope_by_code() -> Callable:
    """The slope of the loss with a given code."""
    names = {
        f"slope_{code}": numba.njit(ops.bind(slope, numba_ops, np.float64), **INNER)
        for code, slope in enumerate(losses.SLOPES.values())
    }
    chain = " else ".join(f"slope_{code}(prediction, y, parameter) if loss == {code}" for code in range(len(names) - 1))
    source = f"lambda loss, prediction, y, parameter: {chain} else slope_{len(names) - 1}(prediction, y, parameter)"
    return numba.njit(eval(source, names), **APART)


def raw_squares(f) -> Callable:
    """The sum of the squares of a gradient as it is, before anything is done to it."""
    names = dict(vars(kernels)) | {"F": f}
    for helper in ("plain_gradient", "finite_square", "block_squares", "sum_squares"):
        function = getattr(kernels, helper)
        names[helper] = numba.njit(types.FunctionType(function.__code__, names, helper), **INNER)
    names["GRADIENT"] = names["plain_gradient"]
    return names["sum_squares"]
