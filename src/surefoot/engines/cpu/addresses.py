"""Arrays that lie at addresses."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from surefoot.engines.cpu.unrolling import together
from surefoot.native.codegen import INLINE


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


def arrays_at(addresses, rows, width, like):
    """The slots at these addresses; those of the parameter and its gradient come before them."""


@overload(arrays_at, jit_options=INLINE)
def _arrays_at(addresses, rows, width, like):
    slots = ["array_at(addresses[2 + {k}], rows, width, like[{k}])"] * len(like)
    return together("addresses, rows, width, like", slots, globals())


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
