"""Code in vectors, where LLVM would not find it by itself: columns of narrow tables, and sums of squares."""

import functools

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from surefoot.engines.cpu.codecs import decode
from surefoot.engines.numerics import RUNNING_SUMS
from surefoot.native.codegen import INLINE

PLACE = ir.IntType(32)
"""The type of a place in a vector."""
AT_ONCE = 16
"""Rows of a table that are gathered, or put back, at once."""


@njit(**INLINE)
def copy_numbers(source, first, target, place, count):
    """Copies `count` numbers from and to places that cannot be negative.

    Numba optimizes it by itself and then inlines it: where the count is known, LLVM would otherwise unroll the loop
    into single numbers first, and find no vectors in them.
    """
    for m in range(np.uint64(count)):
        target[np.uint64(place) + m] = source[np.uint64(first) + m]


@functools.cache
def vector_copy(count):
    """copy_numbers for a count that is known: a single load and store."""

    @intrinsic
    def copy(typing, source, first, target, place, same):
        def emit(context, builder, signature, arguments):
            places = []
            for kind, array, begin in zip(signature.args[0:3:2], arguments[0:3:2], arguments[1:4:2], strict=True):
                data = context.make_array(kind)(context, builder, array).data
                vector = ir.VectorType(context.get_data_type(kind.dtype), count).as_pointer()
                places.append(builder.bitcast(builder.gep(data, [begin]), vector))
            align = signature.args[0].dtype.bitwidth // 8
            builder.store(builder.load(places[0], align=align), places[1], align=align)
            return context.get_dummy_value()

        return types.void(source, types.intp, target, types.intp, types.intp), emit

    return copy


@functools.cache
def local_array(count, dtype):
    """A function that gives an array of `count` numbers that no other array has a part of.

    Where their places are known, LLVM keeps them in registers.
    """
    number = getattr(types, np.dtype(dtype).name)

    @intrinsic
    def local(typing):
        kind = types.Array(number, 1, "C")

        def emit(context, builder, signature, arguments):
            size = context.get_constant(types.intp, number.bitwidth // 8)
            data = cgutils.alloca_once(builder, context.get_data_type(number), size=count)
            array = context.make_array(kind)(context, builder)
            shape = [context.get_constant(types.intp, count)]
            context.populate_array(array, data=data, shape=shape, strides=[size], itemsize=size, meminfo=None)
            return array._getvalue()

        return kind(), emit

    return local


@intrinsic
def take_columns(typing, table, rows, first, columns):
    """Row rows[first + k] of a narrow table becomes place first + k of its columns, for AT_ONCE values of k.

    A row is read by one instruction, and vectors are put together from many: a fraction of the work of single numbers.
    """

    def emit(context, builder, signature, arguments):
        width = len(signature.args[3])
        parts = [builder.load(row, align=4) for row in rows_at(context, builder, signature, arguments)]
        whole = joined(builder, parts)
        for k, column in enumerate(columns_at(context, builder, signature, arguments)):
            builder.store(chosen(builder, whole, range(k, AT_ONCE * width, width)), column, align=4)
        return context.get_dummy_value()

    return types.void(table, rows, types.intp, columns), emit


@intrinsic
def put_columns(typing, table, rows, first, columns):
    """The reverse of take_columns."""

    def emit(context, builder, signature, arguments):
        parts = [builder.load(column, align=4) for column in columns_at(context, builder, signature, arguments)]
        width = len(parts)
        whole = joined(
            builder, parts + [ir.Constant(parts[0].type, ir.Undefined)] * (-width % (1 << (width - 1).bit_length()))
        )
        for k, row in enumerate(rows_at(context, builder, signature, arguments)):
            builder.store(chosen(builder, whole, range(k, AT_ONCE * width, AT_ONCE)), row, align=4)
        return context.get_dummy_value()

    return types.void(table, rows, types.intp, columns), emit


def rows_at(context, builder, signature, arguments):
    """The addresses of AT_ONCE rows, each as a vector."""
    table, rows, first, _ = arguments
    table = context.make_array(signature.args[0])(context, builder, table)
    rows = context.make_array(signature.args[1])(context, builder, rows)
    number, width = first.type, len(signature.args[3])
    vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), width).as_pointer()
    for k in range(AT_ONCE):
        row = builder.load(builder.gep(rows.data, [builder.add(first, number(k))]))
        yield builder.bitcast(builder.gep(table.data, [builder.mul(row, number(width))]), vector)


def columns_at(context, builder, signature, arguments):
    """The addresses of AT_ONCE places of each column, as a vector."""
    for k, kind in enumerate(signature.args[3]):
        column = context.make_array(kind)(context, builder, builder.extract_value(arguments[3], k))
        vector = ir.VectorType(context.get_value_type(kind.dtype), AT_ONCE).as_pointer()
        yield builder.bitcast(builder.gep(column.data, [arguments[2]]), vector)


def joined(builder, vectors):
    """One vector of several, a power of two, of the same length."""
    while len(vectors) > 1:
        both = range(2 * vectors[0].type.count)
        vectors = [chosen(builder, a, both, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def chosen(builder, vector, places, second=None):
    """The numbers at these places of a vector, or of two."""
    places = list(places)
    return builder.shuffle_vector(
        vector, vector if second is None else second, ir.VectorType(ir.IntType(32), len(places))(places)
    )


def squares_of(array, scratch):
    """running_squares of an array as it is stored."""


@overload(squares_of, jit_options=INLINE)
def _squares_of(array, scratch):
    if array.dtype == scratch.dtype and array.layout == "C":
        return lambda array, scratch: running_squares(array)

    def impl(array, scratch):
        for j in range(array.size):
            scratch[j] = decode(array, array[j])
        return running_squares(scratch[: array.size])

    return impl


def running(name, expression):
    """An intrinsic: the sum of what `expression` makes of the values, where that is finite, in float64.

    Running sums, of which the second half is added to the first until one is left. In vectors, as it holds up the step
    of a row.
    """

    def reduction(typing, values):
        number = values.dtype

        def emit(context, builder, signature, arguments):
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            return sum_of(builder, array, number, context.get_data_type(number), expression)

        return types.float64(values), emit

    reduction.__name__ = name
    return intrinsic(reduction)


def sum_of(builder, array, number, narrow_number, expression):
    """The instructions of `running`."""
    (size,) = cgutils.unpack_tuple(builder, array.shape)
    index = size.type
    narrow, wide = ir.VectorType(narrow_number, RUNNING_SUMS), ir.VectorType(ir.DoubleType(), RUNNING_SUMS)
    zeros = ir.Constant(narrow, [0.0] * RUNNING_SUMS)
    sums = cgutils.alloca_once(builder, wide)
    builder.store(ir.Constant(wide, [0.0] * RUNNING_SUMS), sums)

    def add(values):
        found = expression(builder, values)
        excess = builder.fadd(builder.fsub(values, values), builder.fsub(found, found))
        finite = builder.select(builder.fcmp_ordered("==", excess, zeros), found, zeros)
        more = finite if number == types.float64 else builder.fpext(finite, wide)
        builder.store(builder.fadd(builder.load(sums), more), sums)

    def at(begin):
        return builder.bitcast(builder.gep(array.data, [begin]), narrow.as_pointer())

    width = number.bitwidth // 8
    whole = builder.and_(size, index(-RUNNING_SUMS))
    with cgutils.for_range_slice(builder, index(0), whole, index(RUNNING_SUMS), index) as (begin, _):
        add(builder.load(at(begin), align=width))
    remaining = builder.sub(size, whole)
    with builder.if_then(builder.icmp_signed(">", remaining, index(0))):
        places = ir.VectorType(PLACE, RUNNING_SUMS)
        count = builder.trunc(remaining, PLACE)
        count = builder.insert_element(ir.Constant(places, ir.Undefined), count, PLACE(0))
        count = chosen(builder, count, [0] * RUNNING_SUMS)
        known = builder.icmp_unsigned("<", ir.Constant(places, list(range(RUNNING_SUMS))), count)
        name = f"llvm.masked.load.v{RUNNING_SUMS}f{number.bitwidth}.p0"
        type_of_load = ir.FunctionType(narrow, [narrow.as_pointer(), PLACE, known.type, narrow])
        masked_load = cgutils.get_or_insert_function(builder.module, type_of_load, name)
        add(builder.call(masked_load, [at(whole), PLACE(width), known, zeros]))
    total = builder.load(sums)
    while (half := total.type.count // 2) > 0:
        parts = (ir.Constant(ir.VectorType(PLACE, half), list(range(b, b + half))) for b in (0, half))
        total = builder.fadd(*(builder.shuffle_vector(total, total, part) for part in parts))
    return builder.extract_element(total, PLACE(0))


running_sums = running("running_sums", lambda builder, values: values)
running_squares = running("running_squares", lambda builder, values: builder.fmul(values, values))
