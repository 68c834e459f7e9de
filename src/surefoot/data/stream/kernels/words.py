"""Eight bytes at once: how many digits they begin with, and the number that these make."""

import sys

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from surefoot.native.codegen import jitted

_ZEROS = np.uint64(0x3030303030303030)
_PAST_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_BYTES = np.uint64(0x000000FF000000FF)


@intrinsic
def word(typing_context, text, i):
    """The eight bytes from text[i] as a uint64, the first one lowest."""

    def codegen(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = cgutils.gep_inbounds(builder, array.data, arguments[1])
        loaded = builder.load(builder.bitcast(place, cgutils.ir.IntType(64).as_pointer()))
        loaded.align = 1
        return loaded if sys.byteorder == "little" else builder.bswap(loaded)

    return types.uint64(text, types.int64), codegen


@intrinsic
def byte(typing_context, text, i):
    """text[i] as an int64, for i of 0 or more: without the steps that Python's negative indices need."""

    def codegen(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        loaded = builder.load(cgutils.gep_inbounds(builder, array.data, arguments[1]))
        return builder.zext(loaded, cgutils.ir.IntType(64))

    return types.int64(text, types.int64), codegen


@intrinsic
def trailing_zeros(typing_context, bits):
    """How many bits below the lowest that is set; 64 where none is."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.ir.Constant(cgutils.ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@jitted
def digits(text, i):
    """How many of the eight bytes from text[i] are digits, and the number that these make; no branch decides.

    The multiplications add neighbours, then pairs, then fours: D. Lemire, "Number parsing at a gigabyte per second",
    2021, section 6.
    """
    v = word(text, i) ^ _ZEROS
    # A byte of 10 or more has its high bit set in one term or the other; a carry only reaches bytes behind it.
    count = trailing_zeros(((v + _PAST_NINE) | v) & _HIGH_BITS) >> np.uint64(3)
    v = v << (np.uint64(64) - (count << np.uint64(3))) if count else np.uint64(0)
    v = v * np.uint64(10) + (v >> np.uint64(8))
    v = (v & _BYTES) * np.uint64(0x000F424000000064) + ((v >> np.uint64(16)) & _BYTES) * np.uint64(0x0000271000000001)
    return np.int64(count), np.int64(v >> np.uint64(32))
