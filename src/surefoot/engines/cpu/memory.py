"""How kernels read and write memory: storage types, and slots that belong to a coordinate, a row or the tensor.

Arrays of uint16 hold bfloat16 and arrays of int16 hold float16; all else is what it says. A tuple of slots holds a
2-D array for a slot of its own number per coordinate, and a 1-D array for one number per row.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from surefoot.engines.numerics import RUNNING_SUMS

INLINE = {"forceinline": True}
PLACE = ir.IntType(32)
"""The type of a place in a vector."""
AT_ONCE = 16
"""Rows of a table that are gathered, or put back, at once."""
MOST_LINES = 8
"""Of a cache, asked for at once: the processor itself asks for those that follow."""


def decode(array, stored):
    """A number as stored in `array`, in the type it is computed in."""


def encode(array, value, key, place):
    """A computed number as it is stored in `array`; with a key, bfloat16 is rounded at random, by `place`."""


@overload(decode, inline="always")
def _decode(array, stored):
    if array.dtype == types.uint16:
        return lambda array, stored: bfloat16_to_float(stored)
    if array.dtype == types.int16:
        return lambda array, stored: float16_to_float(stored)
    return lambda array, stored: stored


@overload(encode, inline="always")
def _encode(array, value, key, place):
    if array.dtype == types.uint16:
        return lambda array, value, key, place: float_to_bfloat16(value, key, place)
    if array.dtype == types.int16:
        return lambda array, value, key, place: float_to_float16(value)
    dtype = array.dtype
    return lambda array, value, key, place: dtype(value)


@register_jitable
def bfloat16_to_float(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@register_jitable
def float_to_bfloat16(value, key, place):
    bits = np.float32(value).view(np.uint32)
    nearest = np.uint32(np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1)))
    random = np.uint32(noise(place, key) & np.uint32(0xFFFF))
    finite = np.uint32(bits & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
    up = random if key != np.uint32(0) and finite else nearest
    rounded = np.uint32(np.uint32(bits + up) >> np.uint32(16))
    nan = np.uint32(np.uint32(bits >> np.uint32(16)) | np.uint32(0x40))
    return np.uint16(nan if np.uint32(bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else rounded)


@register_jitable
def noise(place, key):
    """32 random bits for every place: an integer hash with good avalanche (the constants are Wellons's, 2018)."""
    h = np.uint32(np.uint32(place) ^ key)
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(h ^ np.uint32(h >> np.uint32(16)))


@register_jitable
def float16_to_float(stored):
    bits = np.uint32(np.uint32(stored) & np.uint32(0xFFFF))
    magnitude = np.uint32(np.uint32(bits & np.uint32(0x7FFF)) << np.uint32(13))
    # 2^112 moves the exponent from float16's bias to float32's, and is exact for subnormal numbers too.
    scaled = np.float32(magnitude.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
    special = np.uint32(magnitude | np.uint32(0x7F800000))
    size = special if np.uint32(bits & np.uint32(0x7C00)) == np.uint32(0x7C00) else scaled
    return np.uint32(size | np.uint32(np.uint32(bits & np.uint32(0x8000)) << np.uint32(16))).view(np.float32)


@register_jitable
def float_to_float16(value):
    bits = np.float32(value).view(np.uint32)
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
    normal = np.uint32(np.uint32(size + np.uint32(0xFFF) + odd - np.uint32(0x38000000)) >> np.uint32(13))
    # Adding ½ lines a number below 2^-14 up with float16's subnormal grid, rounded to nearest.
    small = np.uint32(np.float32(size.view(np.float32) + np.float32(0.5)).view(np.uint32) - np.uint32(0x3F000000))
    half = small if size < np.uint32(0x38800000) else normal
    half = np.uint32(0x7C00) if size >= np.uint32(0x477FF000) else half
    half = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else half
    return np.int16(np.uint16(np.uint32(half | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000)))))


def together(arguments: str, elements: list[str]):
    """A function of `arguments` that returns the tuple of the elements, each with its own number for {k}.

    Written out, because recursion over a tuple of arrays is slow to compile and to run.
    """
    written_out = "".join(element.replace("{k}", str(k)) + ", " for k, element in enumerate(elements))
    return eval(f"lambda {arguments}: ({written_out})", globals())


def lane_coefficients(count: int):
    """A function that copies `count` coefficients of every lane to their arrays for many features."""
    spread = ["copy_lanes(row[{k}], 0, arrays[{k}], place, lanes)"] * count
    return together("row, arrays, place, lanes", spread)


def lane_slots(count: int):
    """Functions of a feature's row, which holds its weight in every lane and then each of `count` slots in every lane.

    They give the slots, copy them to arrays of many features' slots, and copy them back.
    """
    views = together("row, lanes", ["row[(1 + {k}) * lanes : (2 + {k}) * lanes]"] * count)
    take = together(
        "row, place, slots, lanes", ["copy_lanes(row, (1 + {k}) * lanes, slots[{k}], place, lanes)"] * count
    )
    put = together("row, place, slots, lanes", ["copy_lanes(slots[{k}], place, row, (1 + {k}) * lanes, lanes)"] * count)
    return views, take, put


@njit(forceinline=True)
def copy_lanes(source, first, target, place, lanes):
    for k in range(lanes):
        target[place + k] = source[first + k]


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


def prefetch_rows(slots, i):
    """Ask for row i of the slots that hold a number per coordinate, before it is needed."""


def column_of(slots, j):
    """The slots as they are for the single coordinate j of a one-row array."""


@intrinsic
def array_at(typing, address, rows, width, like):
    """The memory at an address as an array, stored as `like` is: a table of rows, or a number for each row."""

    def emit(context, builder, signature, arguments):
        kind, (address, *shape, _) = signature.return_type, arguments
        number = context.get_value_type(types.intp)
        array = context.make_array(kind)(context, builder)
        size = ir.Constant(number, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        context.populate_array(
            array,
            data=builder.inttoptr(address, context.get_data_type(kind.dtype).as_pointer()),
            shape=shape[: kind.ndim],
            strides=[builder.mul(shape[1], size), size][-kind.ndim :],
            itemsize=size,
            meminfo=None,
        )
        return array._getvalue()

    return like(types.intp, types.intp, types.intp, like), emit


def read(addresses, like, values):
    """Copies the numbers at these addresses, each stored as `like` is."""
    for k in range(addresses.size):
        values[k] = array_at(addresses[k], 1, 1, like)[0, 0]
    return 0


def count(addresses, like):
    """Adds one to each of the numbers that lie at these addresses."""
    for k in range(addresses.size):
        array_at(addresses[k], 1, 1, like)[0, 0] += 1
    return 0


def arrays_at(addresses, rows, width, like):
    """The slots at these addresses; those of the parameter and its gradient come before them."""


@overload(arrays_at, jit_options=INLINE)
def _arrays_at(addresses, rows, width, like):
    slots = ["array_at(addresses[2 + {k}], rows, width, like[{k}])"] * len(like)
    return together("addresses, rows, width, like", slots)


@overload(row_of, jit_options=INLINE)
def _row_of(slots, i):
    of_kind = {2: "slots[{k}][i]", 1: "decode(slots[{k}], slots[{k}][i])"}
    return together("slots, i", [of_kind[slot.ndim] for slot in slots])


@overload(cut, jit_options=INLINE)
def _cut(views, begin, end):
    parts = ["views[{k}][begin:end]" if isinstance(view, types.Array) else "views[{k}]" for view in views]
    return together("views, begin, end", parts)


@overload(load, jit_options=INLINE)
def _load(views, j):
    return together("views, j", ["load_one(views[{k}], j)"] * len(views))


@overload(store, jit_options=INLINE)
def _store(views, j, values, ok):
    return together("views, j, values, ok", ["store_one(views[{k}], j, values[{k}], ok)"] * len(views))


@overload(store_row, jit_options=INLINE)
def _store_row(slots, i, values, always):
    return together("slots, i, values, always", ["store_row_one(slots[{k}], i, values[{k}], always)"] * len(slots))


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


@overload(prefetch_rows, jit_options=INLINE)
def _prefetch_rows(slots, i):
    return together("slots, i", ["prefetch_row(slots[{k}], i)"] * len(slots))


@overload(column_of, jit_options=INLINE)
def _column_of(slots, j):
    of_kind = {2: "slots[{k}][:, j : j + 1]", 1: "slots[{k}]"}
    return together("slots, j", [of_kind[slot.ndim] for slot in slots])


def prefetch_row(slot, i): ...


@overload(prefetch_row, jit_options=INLINE)
def _prefetch_row(slot, i):
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


@intrinsic
def running_squares(typing, values):
    """The sum of the squares that are finite, in float64: running sums, of which the second half is added to the first
    until one is left. In vectors, as it holds up the step of a row."""
    number = values.dtype

    def emit(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        (size,) = cgutils.unpack_tuple(builder, array.shape)
        index = size.type
        narrow, wide = (
            ir.VectorType(context.get_data_type(number), RUNNING_SUMS),
            ir.VectorType(ir.DoubleType(), RUNNING_SUMS),
        )
        zeros = ir.Constant(narrow, [0.0] * RUNNING_SUMS)
        sums = cgutils.alloca_once(builder, wide)
        builder.store(ir.Constant(wide, [0.0] * RUNNING_SUMS), sums)

        def add(values):
            squares = builder.fmul(values, values)
            excess = builder.fadd(builder.fsub(values, values), builder.fsub(squares, squares))
            finite = builder.select(builder.fcmp_ordered("==", excess, zeros), squares, zeros)
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

    return types.float64(values), emit


def load_one(view, j): ...


def store_one(view, j, value, ok): ...


def store_row_one(slot, i, value, always): ...


@overload(load_one, jit_options=INLINE)
def _load_one(view, j):
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
    if slot.ndim == 2:
        return lambda slot, i, value, always: 0

    def impl(slot, i, value, always):
        stored = encode(slot, value, np.uint32(0), 0)
        if always or np.isfinite(decode(slot, stored)):
            slot[i] = stored
        return 0

    return impl


def entries(examples, i):
    """The columns and values of example i, of a dense array or of the (indptr, indices, data) of a CSR matrix."""


@overload(entries, jit_options=INLINE)
def _entries(examples, i):
    if isinstance(examples, types.Array):
        return lambda examples, i: (None, examples[i])

    def impl(examples, i):
        indptr, indices, data = examples
        return indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]

    return impl


def column(columns, e):
    """The column of entry e of an example."""


@overload(column, inline="always")
def _column(columns, e):
    if isinstance(columns, types.NoneType):
        return lambda columns, e: e
    return lambda columns, e: np.int64(columns[e])
