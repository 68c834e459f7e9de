"""What Numba compiles for a bank of models: a driver's copy, whose globals are the model's functions and its rules."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from surefoot.engines import scaling
from surefoot.engines.cpu import compiling
from surefoot.engines.cpu.bank import drivers, parts, shared, slopes, statistics, waiting
from surefoot.engines.cpu.bank.kind import BankKind
from surefoot.engines.cpu.compiling import APART, INNER
from surefoot.engines.cpu.drivers import deferred
from surefoot.engines.cpu.kind import Kind
from surefoot.engines.cpu.slots import store_one
from surefoot.engines.cpu.unrolling import together, written
from surefoot.engines.cpu.vectors import copy_numbers, local_array, vector_copy
from surefoot.engines.feature_table import RowLayout
from surefoot.engines.program import Program
from surefoot.models import Architecture
from surefoot.modifiers import closed_form
from surefoot.native.codegen import OPTIONS
from surefoot.rules import Rule

MODULES = (drivers, parts, shared, statistics, waiting)
"""The modules that drivers and their helpers stand in; together they have one namespace."""


def copy_of(driver: str, architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind, name: str) -> Callable:
    """The driver under a name of its own; not compiled yet."""
    original = getattr(drivers, driver)
    names = namespace(architecture, rules, kind)
    copy = types.FunctionType(original.__code__.replace(co_name=name, co_qualname=name), names, name)
    copy.__module__, copy.__qualname__ = original.__module__, name
    return numba.njit(copy, **OPTIONS)


@functools.cache
def helpers() -> dict[str, types.FunctionType]:
    """The functions of MODULES."""
    return {
        name: f
        for module in MODULES
        for name, f in vars(module).items()
        if getattr(f, "__module__", None) == module.__name__
    }


def jitted(helper: str, names: dict) -> Callable:
    """A helper whose globals are these."""
    options = APART if helper in drivers.ONCE_AN_EXAMPLE else INNER
    return numba.njit(types.FunctionType(helpers()[helper].__code__, names, helper), **options)


def namespace(architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> dict:
    """The globals of a driver's copy."""
    f = np.dtype(kind.dtype).type
    parts = parts_of(architecture, rules, kind)
    row = RowLayout.of(numbers_of(architecture, rules, kind) * kind.lanes, np.dtype(kind.dtype))
    names = {name: value for module in MODULES for name, value in vars(module).items()} | {
        "F": f,
        "LANE_COUNT": kind.lanes,
        "CELLS": row.width,
        "STATISTICS": row.statistics,
        "FIELDS": int(kind.fields),
        "BASES": kind.bases,
        "CELLS_IN_LINE": drivers.LINE // np.dtype(kind.dtype).itemsize,
        "SLOPE_OF": slopes.slope_by_code(kind.loss),
        "FIRST_JOINT": slopes.first_joint(kind.loss),
    }
    names |= functions(architecture, kind, len(parts))
    vectors = moves_as_vectors(architecture, rules, kind)
    waits = any(part.catches_up for part in kind.parts)
    for helper in helpers():
        names[helper] = jitted(helper, names)
    for count in (deferred.stretch_of, deferred.steps_in_stretch):
        names[count.__name__] = numba.njit(count, **INNER)
    names |= {
        "SCALE": names["scale_values" if kind.normalizes else "copy_values"],
        "SCALE_OF": names["scale_of" if kind.normalizes and not kind.penalizes_scaled else "no_scale"],
        "COUNT_IN": names["count_in" if architecture.merges_fields else "count_in_turn"],
        "CATCH_UP": names["catch_up_row" if waits else "nothing_waits"],
        "CATCH_UP_ALL": names["catch_up_all" if waits else "none_wait"],
        "NEXT": names["next_step" if waits else "no_next"],
        "GATHER": names["gather_vectors" if vectors else "gather"],
        "PUT": names["put_vectors" if vectors else "put"],
        "BLEND_BEFORE": names["blend_before" if kind.averages else "nothing_before"],
        "AVERAGE": names["blend" if kind.averages else "no_average"],
    }
    names |= calls(architecture, kind, parts) | packing(architecture, rules, kind)
    return names


def moves_as_vectors(architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> bool:
    """Whether a row is a number, at most a slot, and the statistics: four float64."""
    return kind.lanes == 1 and kind.dtype == "float32" and numbers_of(architecture, rules, kind) <= 2


def packing(architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> dict[str, Callable]:
    """Functions between the first column of rows that are moved as vectors and the part that it holds."""
    part = list(architecture.parts).index(architecture.first)
    what = "number_and_slot" if False in in_common(rules[part], kind.parts[part]) else "number"
    found = {}
    for name in ("UNPACK", "PACK"):
        move = jitted(f"{name.lower()}_{what}", {})
        source = f"lambda numbers, size, parts: move(numbers, size, parts[{part}])"
        found[name] = numba.njit(eval(source, {"move": move}), **INNER)
    return found


def functions(architecture: Architecture, kind: BankKind, parts: int) -> dict[str, Callable]:
    """The model's functions, of all parts as kernels have them."""
    predict = architecture.predict_one if kind.lanes == 1 and architecture.predict_one else architecture.predict
    names: dict[str, Any] = {
        "predict": numba.njit(predict, **INNER),
        "gradient": numba.njit(architecture.gradient, **INNER),
        "Numbers": architecture.numbers,
    }
    names["copy_numbers"] = copying(kind.lanes)
    own = {"predict": "predict", "gradient": "gradient"}
    if kind.lanes > 1:
        names["LOCAL"], own = local_array(kind.lanes, kind.dtype), {"predict": "predicting", "gradient": "of_slopes"}
        names |= {name: numba.njit(written(source, name, names), **INNER) for name, source in WITH_LOCAL.items()}
    x, g, moves = (
        f"Numbers({', '.join(f'parts[{p}].{field}' for p in range(parts))})" for field in ("x", "g", "moves")
    )
    sources = {
        "PREDICT": f"{own['predict']}(values, fields, {x}, base, out, lanes)",
        "SHIFT": f"{own['predict']}(values, fields, {moves}, base, out, lanes)",
        "GRADIENT": f"{own['gradient']}(values, fields, {x}, slopes, {g}, lanes)",
    }
    arguments = "values, fields, parts, base, out, lanes", "values, fields, parts, slopes, lanes"
    return {
        name: numba.njit(eval(f"lambda {arguments[name == 'GRADIENT']}: {source}", names), **INNER)
        for name, source in sources.items()
    }


def copying(count: int) -> Callable:
    """What copies a number of numbers, which is known when compiling unless it is 0."""
    return vector_copy(count) if 1 < count <= LONGEST_VECTOR else copy_numbers


LONGEST_VECTOR = 64
"""Numbers that are copied as one vector."""
WITH_LOCAL = {
    "predicting": """
def predicting(values, fields, numbers, base, out, lanes):
    found = LOCAL()
    predict(values, fields, numbers, base, found, lanes)
    copy_numbers(found, 0, out, 0, lanes)
""",
    "of_slopes": """
def of_slopes(values, fields, numbers, slopes, out, lanes):
    known = LOCAL()
    copy_numbers(slopes, 0, known, 0, lanes)
    gradient(values, fields, numbers, known, out, lanes)
""",
}
"""The model's functions with the numbers of lanes in an array of their own, which LLVM keeps in a register."""


PENALTIES = {"l1": 0, "l2": 1, "keep": 2}
"""The rows of `Gathered.penalties`."""


def penalties_as_modifiers(program: Program) -> Callable:
    """A function that gives the modifiers' numbers for one of a part's numbers."""
    fields = [f"penalties[{PENALTIES[name]}, m]" for name in program.numbers._fields]
    values = f"Numbers({', '.join(fields)})" if fields else "()"
    source = f"lambda penalties, m: {values}"
    return numba.njit(eval(source, {"Numbers": program.numbers}), **INNER)


def after(program: Program, names: dict) -> Callable:
    """What is done to a parameter after a step, of which the rate is known."""
    return numba.njit(written(program.source_after(), "AFTER", names), **INNER)


def in_common(rule: Rule, around: Kind) -> list[bool]:
    """Whether each of a rule's slots is in common to all numbers of the part."""
    return [around.shared and slot.kind == "scale" for slot in rule.slots.values()]


def numbers_of(architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> int:
    """Numbers and slots that a feature has in each lane."""
    parts = zip(architecture.parts.values(), rules, kind.parts, strict=True)
    return sum(
        part.width * (1 + in_common(rule, around).count(False)) for part, rule, around in parts if part.of == "feature"
    )


def parts_of(architecture: Architecture, rules: tuple[Rule, ...], kind: BankKind) -> list[dict]:
    """For each part the globals of the helpers that are its own."""
    begins = {"feature": 0, "model": 0}
    found = []
    for p, (part, rule, around) in enumerate(zip(architecture.parts.values(), rules, kind.parts, strict=True)):
        way = "from_origin" if rule.from_origin else "lazy_exact" if rule.lazy_exact else "by_rule"
        names = compiling.namespace(around) | {
            "copy_numbers": copying(part.width * kind.lanes),
            "VECTOR": statistics.VECTOR,
            "PART": p,
            "PART_WIDTH": part.width,
            "PART_BEGIN": begins[part.of],
        }
        names |= {"whole_vectors": jitted("whole_vectors", names), "PENALIZED": scaling.PENALIZED}
        names["SPREAD"] = numba.njit(copy_coefficients(len(rule.coefficient_names), copying(kind.lanes)), **INNER)
        common = in_common(rule, around)
        own = slots(common.count(False), names["copy_numbers"])
        for name, function in zip(("SLOTS_OF", "TAKE_SLOTS", "PUT_SLOTS"), own, strict=True):
            names[name] = numba.njit(function, **INNER)
        for name, function in zip(("VIEWS", "COMMON_AT", "PUT_COMMON"), slots_with_common(common), strict=True):
            names[name] = numba.njit(function, **INNER)
        program, operations = around.program, compiling.operations(around.program, np.dtype(around.dtype).type)
        names |= {"MODIFIERS_AT": penalties_as_modifiers(program), "AFTER": after(program, names | operations)}
        names["ZERO_GRAD_NUMBER"] = jitted(f"number_{way}", names)
        if kind.averages and way != "by_rule":  # whose iterates have no sum in closed form
            names["ZERO_GRAD_SUM"] = compiling.compiled(closed_form.zero_grad_sum, np.float64)
            names["SUM_NUMBER"] = jitted(f"sum_{way}", names)
        averages = "SUM_NUMBER" in names
        names["AVERAGE_NUMBER"] = jitted("average_number" if averages else "no_average_of_number", names)
        begins[part.of] += part.width * (1 + common.count(False))
        found.append(names)
    return found


CALLS = {
    # name: (its arguments, the helper, what the helper gets of part p)
    "TAKE_PARTS": ("table, rows, size, first, parts, lanes", "take_part", "{home}, {rows}, {size}, parts[{p}], lanes"),
    "PUT_PARTS": ("table, rows, size, first, parts, lanes", "put_part", "{home}, {rows}, {size}, parts[{p}], lanes"),
    "TAKE_MODEL": ("table, first, parts, lanes", "take_part", "table.shared, first, 1, parts[{p}], lanes"),
    "PUT_MODEL": ("table, first, parts, lanes", "put_part", "table.shared, first, 1, parts[{p}], lanes"),
    "ADD_PARTS": (
        "rows, places, size, first, parts, batch_parts, lanes",
        "add_part",
        "{rows}, {places}, {size}, parts[{p}], batch_parts[{p}], lanes",
    ),
    "CLEAR_PARTS": ("begin, end, parts, lanes", "clear_part", "{begin}, {end}, parts[{p}], lanes"),
    "MEAN_PARTS": ("total, size, parts, lanes", "mean_part", "total, {size}, parts[{p}], lanes"),
    "SPREAD_PARTS": ("b, size, parts, lanes", "spread_part", "b, {size}, parts[{p}], lanes"),
    "TRIAL_PARTS": ("size, parts, lanes", "trial_part", "{size}, parts[{p}], lanes"),
    "MOVE_PARTS": ("shares, size, parts, lanes", "move_part", "shares, {size}, parts[{p}], lanes"),
    "STEP_PARTS": ("size, parts, lanes", "step_part", "{size}, parts[{p}], lanes"),
    "SHARE_PARTS": ("b, size, parts, lanes", "share_part", "b, {size}, parts[{p}], lanes"),
    "PENALTIES_PARTS": ("scales, b, size, parts, lanes", "penalties_part", "scales, b, {size}, parts[{p}], lanes"),
    "WAIT_PARTS": (
        "row, scale, j, until, waiting, total, lanes",
        "wait_part",
        "row, scale, j, until, waiting, waiting.parts[{p}], total, lanes",
    ),
    "BLEND_WAITING": (
        "row, j, kept, share, means, lanes",
        "blend_waiting_part",
        "row, j, kept, share, means[{p}], lanes",
    ),
    "BLEND_STILL": ("row, j, share, means, lanes", "blend_part", "row, j, share, means[{p}], lanes"),
    "BLEND_PARTS": ("row, j, share, means, lanes", "blend_part", "row, j, share, means[{p}], lanes"),
    "BLEND_SHARED": ("row, j, share, means, lanes", "blend_part", "row, j, share, means[{p}], lanes"),
}
"""How the helpers of parts are called."""
OF_FEATURES = {
    "home": "table.cells",
    "rows": "rows",
    "size": "size",
    "places": "places",
    "begin": "begin",
    "end": "end",
}
OF_THE_MODEL = {
    "home": "table.shared",
    "rows": "first",
    "size": "1",
    "places": "first",
    "begin": "0",
    "end": "1 if begin == end else 0",
}
"""A part of the model has one row; it is cleared once, before the first row of a mini-batch."""


def calls(architecture: Architecture, kind: BankKind, parts: Sequence[dict]) -> dict[str, Callable]:
    """Functions that call a helper for every part; those that return numbers return their sum."""
    found = {}
    for name, (arguments, helper, call) in CALLS.items():
        functions, terms = {}, []
        for p, (part, around, names) in enumerate(zip(architecture.parts.values(), kind.parts, parts, strict=True)):
            if takes_part(name, part.of, around):
                functions[f"{helper}_{p}"] = jitted(own_helper(name, helper, part.of, around, kind), names)
                places = OF_FEATURES if part.of == "feature" else OF_THE_MODEL
                terms.append(f"{helper}_{p}({call.format(p=p, **places)})")
        counts = helper in ("step_part", "trial_part", "move_part")
        body = " + ".join(terms) or "0" if counts else f"({''.join(f'{term}, ' for term in terms)})"
        found[name] = numba.njit(eval(f"lambda {arguments}: {body}", functions), **INNER)
    return found


def own_helper(name: str, helper: str, of: str, around: Kind, kind: BankKind) -> str:
    """What is called for a part: the helper, or another one that takes the same."""
    if name == "STEP_PARTS" and around.shared:
        return "step_shared_part"
    as_they_are = of == "model" or kind.penalizes_scaled
    return "penalties_as_they_are" if name == "PENALTIES_PARTS" and as_they_are else helper


def takes_part(name: str, of: str, around) -> bool:
    """Whether a part is among those that a function is called for."""
    if name == "PENALTIES_PARTS":
        return bool(around.program.modifiers)
    if name in ("WAIT_PARTS", "BLEND_WAITING"):
        return around.catches_up
    if name == "SHARE_PARTS":
        return around.shared
    if name in ("TRIAL_PARTS", "MOVE_PARTS"):  # of implicit steps, which share no rate
        return not around.shared
    if name == "BLEND_PARTS":
        return of == "feature"
    if name == "BLEND_STILL":
        return of == "feature" and not around.catches_up
    if name in ("BLEND_SHARED", "TAKE_MODEL", "PUT_MODEL"):
        return of == "model"
    return True


def copy_coefficients(count: int, copy: Callable) -> Callable:
    """A function that copies `count` coefficients of every lane to their arrays."""
    each = ["copy(row[{k}], 0, arrays[{k}], place, lanes)"] * count
    return together("row, arrays, place, lanes", each, {"copy": copy})


def slots(count: int, copy: Callable) -> tuple[Callable, Callable, Callable]:
    """Functions of a row, which holds a part's numbers from `begin` on and then each of `count` slots.

    They give the slots, copy them to arrays of many features' slots, and copy them back.
    """
    views = together("row, begin, span", ["row[begin + (1 + {k}) * span : begin + (2 + {k}) * span]"] * count, {})
    take = ["copy(row, begin + (1 + {k}) * span, slots[{k}], place, span)"] * count
    put = ["copy(slots[{k}], place, row, begin + (1 + {k}) * span, span)"] * count
    arguments, names = "row, begin, slots, place, span", {"copy": copy}
    return views, together(arguments, take, names), together(arguments, put, names)


def slots_with_common(common: Sequence[bool]) -> tuple[Callable, Callable, Callable]:
    """Functions of a part's own slots and of those in common, which are told apart by `common`, in the rule's order.

    They give arrays of the own slots and the numbers of a lane in common; the latter alone, with 0 for own slots; and
    write values of the latter to an array.
    """
    if not any(common):
        views = eval("lambda slots, common, k: slots")
    else:
        views = together("slots, common, k", placed(common, "slots[{own}]", "common[{own}, k]"), {})
    at = together("zero, common, k", placed(common, "zero", "common[{own}, k]"), {})
    put = placed(common, "", "store_one(common[{own}], k, values[{all}], True)")
    return views, at, together("common, k, values", list(filter(None, put)), {"store_one": store_one})


def placed(common: Sequence[bool], own: str, shared: str) -> list[str]:
    """For each slot the text of its kind, with its place among all slots and among those of its kind."""
    return [(shared if each else own).format(all=k, own=list(common[:k]).count(each)) for k, each in enumerate(common)]
