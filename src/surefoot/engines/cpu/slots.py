"""Slots and statistics that belong to a coordinate, a row, a column or the tensor.

A tuple of slots holds a 2-D array for a slot of its own number per coordinate, a 1-D array for one number per row, an
array in a tuple for one number per column, and a number for the tensor's. The last two are only read.
"""

import numpy as np
from numba import types
from numba.extending import overload

from surefoot.engines.cpu.codecs import decode, encode
from surefoot.engines.cpu.unrolling import together
from surefoot.native.codegen import INLINE


def row_of(slots, i):
    """What the slots hold for row i: a 1-D view of a number per coordinate, the number itself where there is one."""


def cut(views, begin, end):
    """The part of a row from begin to before end."""


def load(views, j):
    """The slots' values at coordinate j of a row."""


def store(views, j, values, ok):
    """Write values to the slots that hold a number per coordinate, if ok."""


def store_row(slots, i, values, always):
    """Write values to the slots that hold a number per row, where finite or always."""


def not_finite(views, values, total):
    """total, or NaN if one of the values is not finite, also as it is stored."""


@overload(row_of, jit_options=INLINE)
def _row_of(slots, i):
    of_kind = {2: "slots[{k}][i]", 1: "decode(slots[{k}], slots[{k}][i])", 0: "slots[{k}]"}
    return together("slots, i", [of_kind[getattr(slot, "ndim", 0)] for slot in slots], globals())


@overload(cut, jit_options=INLINE)
def _cut(views, begin, end):
    parts = [cut_of(view) for view in views]
    return together("views, begin, end", parts, globals())


def cut_of(view):
    if isinstance(view, types.Array):
        return "views[{k}][begin:end]"
    return "(views[{k}][0][begin:end],)" if isinstance(view, types.BaseTuple) else "views[{k}]"


@overload(load, jit_options=INLINE)
def _load(views, j):
    return together("views, j", ["load_one(views[{k}], j)"] * len(views), globals())


@overload(store, jit_options=INLINE)
def _store(views, j, values, ok):
    return together("views, j, values, ok", ["store_one(views[{k}], j, values[{k}], ok)"] * len(views), globals())


@overload(store_row, jit_options=INLINE)
def _store_row(slots, i, values, always):
    return together(
        "slots, i, values, always", ["store_row_one(slots[{k}], i, values[{k}], always)"] * len(slots), globals()
    )


@overload(not_finite, jit_options=INLINE)
def _not_finite(views, values, total):
    terms = "".join(f" + excess(views[{k}], values[{k}])" for k in range(len(values)))
    return eval(f"lambda views, values, total: total{terms}", globals())


def excess(view, value):
    """0, or NaN if the value is not finite, also as it is stored."""


@overload(excess, jit_options=INLINE)
def _excess(view, value):
    if not isinstance(view, types.Array) or view.dtype == value:
        return lambda view, value: value - value

    dtype = value

    def impl(view, value):
        back = decode(view, encode(view, value, np.uint32(0), 0))
        return (value - value) + dtype(back - back)

    return impl


def load_one(view, j): ...


def store_one(view, j, value, ok): ...


def store_row_one(slot, i, value, always): ...


@overload(load_one, jit_options=INLINE)
def _load_one(view, j):
    if isinstance(view, types.BaseTuple):
        return lambda view, j: view[0][j]
    return (lambda view, j: decode(view, view[j])) if isinstance(view, types.Array) else (lambda view, j: view)


@overload(store_one, jit_options=INLINE)
def _store_one(view, j, value, ok):
    if not isinstance(view, types.Array):
        return lambda view, j, value, ok: 0

    def impl(view, j, value, ok):
        stored = encode(view, value, np.uint32(0), 0)
        view[j] = stored if ok else view[j]
        return 0

    return impl


@overload(store_row_one, jit_options=INLINE)
def _store_row_one(slot, i, value, always):
    if getattr(slot, "ndim", 0) != 1:
        return lambda slot, i, value, always: 0

    def impl(slot, i, value, always):
        stored = encode(slot, value, np.uint32(0), 0)
        if always or np.isfinite(decode(slot, stored)):
            slot[i] = stored
        return 0

    return impl
