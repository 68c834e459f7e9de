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
from surefoot.engines.cpu import numba_ops
from surefoot.engines.cpu.drivers import coordinate, deferred, dense, rows, sort, statistics
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.cpu.unrolling import written
from surefoot.engines.program import Program, advance_from_origin
from surefoot.modifiers import closed_form
from surefoot.modifiers.record import SHRINKAGE
from surefoot.native.codegen import INLINE, OPTIONS
from surefoot.records.statistic import Statistic

# Counting references would cost an atomic operation for each row, on which threads wait for each other. No fastmath
# anywhere: the reference's bits.
INNER: dict[str, Any] = OPTIONS | INLINE
APART: dict[str, Any] = OPTIONS
"""Of helpers that are not worth a copy wherever they are called."""

MODULES = (coordinate, deferred, dense, rows, sort, statistics)
"""The modules that drivers and their helpers stand in."""


def copy_of(driver: str, kind: Kind, name: str) -> Callable:
    """The driver for a rule, under a name of its own; not compiled yet."""
    original = helpers()[driver]
    copy = types.FunctionType(original.__code__.replace(co_name=name, co_qualname=name), namespace(kind), name)
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


def namespace(kind: Kind) -> dict:
    """The globals of a driver's copy: every helper, compiled, and the names in capitals."""
    f, program = np.dtype(kind.dtype).type, kind.program
    rule = program.rule
    names = dict(module_names())
    names |= {
        "F": f,
        "COUNT": len(rule.coefficient_names),
        "SHRINKS": len(SHRINKAGE),
        "PROPAGATE": kind.propagate,
        "RULE_ZERO_GRAD": compiled(rule.zero_grad_steps, f) if callable(rule.zero_grad_steps) else None,
        "ADVANCE_FROM_ORIGIN": compiled(advance_from_origin, f),
        "ZERO_GRAD_CLOSED_FORM": compiled(closed_form.zero_grad_steps, np.float64),
    }
    names |= common_helpers(kind.dtype)
    functions = operations(program, f)
    names["RULE"], names["PROGRAM"] = functions["RULE"], written_program(program, functions, None)
    names["MODIFIERS_IN"] = modifiers_in(program, f)
    names |= of_statistics(kind, names, functions)
    for helper in helpers().keys() - common():
        if helper not in names or names[helper] is helpers()[helper]:
            names[helper] = jitted(helper, names)
    idle = (
        "zero_grad_from_origin"
        if rule.from_origin
        else "zero_grad_lazy_exact"
        if rule.lazy_exact
        else "zero_grad_by_rule"
    )
    names["ZERO_GRAD"] = names["zero_grad_row" if kind.catches_up else "zero_grad_nothing"]
    names["WAITING_IN"] = names["waiting_in" if kind.catches_up else "nothing_in"]
    names["ZERO_GRAD_STRETCH"] = names[idle]
    return names


@functools.cache
def compiled(function: Callable, dtype: Any) -> Callable:
    """A function of scalars, in arithmetic of a type."""
    return numba.njit(ops.bind(function, numba_ops, dtype), **INNER)


def operations(program: Program, dtype: Any) -> dict[str, Callable]:
    """The functions of a program's operations, by the names that its source has for them."""
    return {each.name: compiled(each.function, dtype) for each in program.operations}


def written_program(program: Program, functions: dict, statistic: str | None) -> Callable:
    """A program's source, or the expression of a statistic, compiled; it calls the functions of the operations."""
    return numba.njit(written(program.source(statistic), "PROGRAM", functions), **INNER)


def modifiers_in(program: Program, dtype: Any) -> Callable:
    """A function that gives the modifiers' numbers in a row of a table."""
    fields = program.numbers._fields
    values = f"Numbers({', '.join(f'row[{k}]' for k in range(len(fields)))})" if fields else "()"
    return numba.njit(eval(f"lambda row: {values}", {"Numbers": program.numbers}), **INNER)


def of_statistics(kind: Kind, names: dict, functions: dict) -> dict[str, Any]:
    """The names in capitals of `drivers.statistics`."""
    program = kind.program
    own = program.statistics.get(kind.statistic or "")
    adjusts = any(modifier.stage == "gradient" for modifier in program.modifiers)
    squares = jitted("summed_squares", names)
    if adjusts and (kind.shared or kind.statistic == "g2"):
        squares = reduction(program, "g2", None, names, functions)
    known = {"SUM_OF_SQUARES": squares, "JOINED": names["greater" if own and own.reduction == "maximum" else "plus"]}
    known["MEAN_SQUARE"] = jitted("shared_square" if kind.shared else "own_square", names | known)
    known["STATISTICS_OF_GRADIENT"] = row_statistics(kind, names, functions, of_rule=False)
    known["STATISTICS_OF_RULE"] = row_statistics(kind, names, functions, of_rule=True)
    known["EXPRESSION"] = written_program(program, functions, kind.statistic or "g2")
    known["value_at"] = jitted("value_at", names | known)
    known["REDUCED"] = squares
    if own is not None:
        known["REDUCED"] = reduction(program, kind.statistic or "", own, names, functions)
    return known


def reduction(program: Program, name: str, statistic: Statistic | None, names: dict, functions: dict) -> Callable:
    """The function that reduces the expression of a statistic over a row."""
    own = names | {"EXPRESSION": written_program(program, functions, name)}
    own["value_at"] = jitted("value_at", own)
    return jitted("largest" if statistic and statistic.reduction == "maximum" else "summed", own)


def row_statistics(kind: Kind, names: dict, functions: dict, of_rule: bool) -> Callable:
    """A function that computes a row's statistics before or after the square of the gradient, of those that a driver
    needs; each may take those before it."""
    program, taken = kind.program, "x, g, views, statistics, mean, coefficients, modifiers, scratch"
    lines, own = [f"def STATISTICS({taken}):"], {"finite_or_zero": names["finite_or_zero"], "F": names["F"]}
    order, of_gradient = list(program.statistics), program.statistics_of_gradient
    needed = order[: order.index(kind.statistic)] if kind.statistic in order else order
    for name in needed:
        statistic = program.statistics[name]
        if (
            statistic.over == "row"
            and (name in of_gradient) != of_rule
            and (name in of_gradient or kind.statistic != "g2")
        ):
            own[f"REDUCED_{order.index(name)}"] = reduction(program, name, statistic, names, functions)
            result = f"REDUCED_{order.index(name)}({taken})"
            result += " / max(x.size, 1)" if statistic.reduction == "mean" else ""
            parts = [
                f"statistics[{k}]" if other != name else f"F(finite_or_zero({result}))" for k, other in enumerate(order)
            ]
            lines.append(f"    statistics = ({', '.join(parts)},)")
    lines.append("    return statistics\n")
    return numba.njit(written("\n".join(lines), "STATISTICS", own), **INNER)
