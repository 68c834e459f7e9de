"""Prefetching: rows of a table lie anywhere in memory, and waiting for one hides the next."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from surefoot.engines.cpu.unrolling import together
from surefoot.native.codegen import INLINE

MOST_LINES = 8
"""Cache lines prefetched at once: the processor itself prefetches those that follow."""


def prefetch_rows(slots, i):
    """Ask for row i of the slots that hold a number per coordinate, before it is needed."""


@overload(prefetch_rows, jit_options=INLINE)
def _prefetch_rows(slots, i):
    return together("slots, i", ["prefetch_row(slots[{k}], i)"] * len(slots), globals())


def prefetch_row(slot, i): ...


@overload(prefetch_row, jit_options=INLINE)
def _prefetch_row(slot, i):
    if not isinstance(slot, types.Array):
        return lambda slot, i: None
    if slot.ndim == 1:
        return lambda slot, i: prefetch(slot, i)
    width = slot.dtype.bitwidth // 8
    line = 64 // width

    def impl(slot, i):
        row = slot[i]
        begin = address(row) % 64 // width  # NumPy's rows need not begin where a cache line does
        for j in range(-begin, min(row.size, MOST_LINES * line), line):
            prefetch(row, j)

    return impl


@intrinsic
def address(typing, array):
    """Where an array begins."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), emit


@intrinsic
def prefetch(typing, array, j):
    """Ask for the cache line of array[j]. Rows of a table lie anywhere in memory: waiting for one hides the next.

    Into the second cache, as more lines can be on their way there than to the first: rows arrive in two thirds of the
    time.
    """
    return types.void(array, types.intp), ask_for


@intrinsic
def prefetch_number(typing, table, i, j):
    """Ask for the cache line of table[i, j]."""
    return types.void(table, types.intp, types.intp), ask_for


def ask_for(context, builder, signature, arguments):
    struct = context.make_array(signature.args[0])(context, builder, arguments[0])
    address = cgutils.get_item_pointer(context, builder, signature.args[0], struct, arguments[1:])
    number = ir.IntType(32)
    intrinsic_type = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number])
    function = cgutils.get_or_insert_function(builder.module, intrinsic_type, "llvm.prefetch.p0")
    pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
    builder.call(function, [pointer, number(0), number(2), number(1)])
    return context.get_dummy_value()
