"""What Numba compiles for a rule: a driver's copy, whose globals are the rule and the helpers that fit it."""

import builtins
import dis
import functools
import types
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from surefoot import ops
from surefoot.engines import modifiers
from surefoot.engines.cpu import numba_ops
from surefoot.engines.cpu.drivers import coordinate, deferred, dense, rows, sort, squares, variants
from surefoot.engines.cpu.kind import Kind
from surefoot.native.codegen import INLINE, OPTIONS
from surefoot.rules import Rule

# Counting references would cost an atomic operation for each row, on which threads wait for each other. No fastmath
# anywhere: the reference's bits.
INNER: dict[str, Any] = OPTIONS | INLINE
APART: dict[str, Any] = OPTIONS
"""Of helpers that are not worth a copy wherever they are called."""

MODULES = (coordinate, deferred, dense, variants, rows, sort, squares)
"""The modules that drivers and their helpers stand in."""


def copy_of(driver: str, rule: Rule, kind: Kind, name: str) -> Callable:
    """The driver for a rule, under a name of its own; not compiled yet."""
    original = helpers()[driver]
    copy = types.FunctionType(original.__code__.replace(co_name=name, co_qualname=name), namespace(rule, kind), name)
    copy.__module__, copy.__qualname__ = original.__module__, name
    return numba.njit(copy, **OPTIONS)


@functools.cache
def helpers() -> dict[str, types.FunctionType]:
    """The functions of MODULES: drivers, and helpers of theirs."""
    return {
        name: value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
    }


@functools.cache
def module_names() -> dict[str, Any]:
    """All that MODULES define or import."""
    return {name: value for module in MODULES for name, value in vars(module).items()}


@functools.cache
def common() -> frozenset[str]:
    """The helpers that are the same for all rules and kinds, but for the type of the arithmetic."""
    known = vars(builtins).keys() | module_names().keys() | {"F"}
    used = {name: globals_of(function) for name, function in helpers().items()}
    found = {name for name in used if used[name] <= known}
    while uncommon := {name for name in found if used[name] & helpers().keys() - found}:
        found -= uncommon
    return frozenset(found)


def globals_of(function: types.FunctionType) -> set[str]:
    return {step.argval for step in dis.get_instructions(function) if step.opname == "LOAD_GLOBAL"}


@functools.cache
def common_helpers(dtype: str) -> dict[str, Callable]:
    """Those, compiled once for all that use them."""
    names = module_names() | {"F": np.dtype(dtype).type}
    names |= {helper: jitted(helper, names) for helper in common()}
    return {helper: names[helper] for helper in common()}


def jitted(helper: str, names: dict) -> Callable:
    """A helper whose globals are these."""
    return numba.njit(types.FunctionType(helpers()[helper].__code__, names, helper), **INNER)


def namespace(rule: Rule, kind: Kind) -> dict:
    """The globals of a driver's copy: every helper, compiled, and the names in capitals."""
    f = np.dtype(kind.dtype).type
    names = dict(module_names())

    def compiled(function, dtype=f):
        return numba.njit(ops.bind(function, numba_ops, dtype), **INNER)

    names |= {
        "F": f,
        "COUNT": len(rule.coefficient_names),
        "SHARED": kind.shared,
        "PROPAGATE": kind.propagate,
        "FROM_ORIGIN": rule.from_origin,
        "RULE": compiled(rule.function),
        "RULE_ZERO_GRAD": compiled(rule.zero_grad_steps) if callable(rule.zero_grad_steps) else None,
        "ADVANCE": compiled(modifiers.advance),
        "MODIFIED_GRADIENT": compiled(modifiers.gradient),
        "PROXIMAL_STEP": compiled(modifiers.proximal),
        "ZERO_GRAD_CLOSED_FORM": compiled(modifiers.zero_grad_steps, np.float64),
    }
    names |= common_helpers(kind.dtype)
    for helper in helpers().keys() - common():
        names[helper] = jitted(helper, names)
    idle = (
        "zero_grad_from_origin"
        if rule.from_origin
        else "zero_grad_lazy_exact"
        if rule.lazy_exact
        else "zero_grad_by_rule"
    )
    names |= {
        "GRADIENT": names["full_gradient" if kind.adjusts else "plain_gradient"],
        "BLOCK_SQUARES": names["full_squares" if kind.adjusts else "plain_squares"],
        "START": names["full_start" if kind.decays else "plain_start"],
        "PROXIMAL": names["full_proximal" if kind.shrinks else "plain_proximal"],
        "MODIFIERS_IN": names["plain_numbers" if kind.plain else "full_numbers"],
        "MEAN_SQUARE": names["shared_square" if kind.shared else "own_square"],
        "ZERO_GRAD": names["zero_grad_row" if kind.catches_up else "zero_grad_nothing"],
        "ZERO_GRAD_STRETCH": names[idle],
    }
    return names
