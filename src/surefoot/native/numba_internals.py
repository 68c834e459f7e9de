"""All that is not documented of Numba: its code generator, its calling convention and some options of its compiler.

Numba compiles a kernel to machine code, and an entry is made for it.
"""

import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import typeof, types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.targetconfig import ConfigStack

from surefoot.native.cache import Code
from surefoot.native.loader import ALIGNED, CONTIGUOUS, ENTRY, FORTRAN, REFUSED, WRITEABLE
from surefoot.native.machine import symbols, target_machine
from surefoot.native.openmp import STATUS, TEAM, WORD, call, shared

OPTIONS: dict[str, Any] = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Nothing counts references, and only the entry calls a kernel."""
INLINE: dict[str, Any] = {"forceinline": True}

for option in OPTIONS | INLINE:
    getattr(cpu_target.options, option)  # which raises where there is no such option


def options_of(function: Dispatcher) -> dict[str, Any]:
    """What `njit` was called with to make this."""
    return {name: value for name, value in function.targetoptions.items() if name != "nopython"}


HEAD = object.__basicsize__
"""Where what NumPy documents as PyArrayObject's own fields begin; the object's type is just before."""
DATA, NDIM, SHAPE, STRIDES, DTYPE, FLAGS = (HEAD + offset for offset in (0, 8, 16, 24, 40, 48))


def emit(function: Any, arguments: tuple, shipping: Callable | None = None) -> Code:
    """Compiles one of Numba's dispatchers for arguments of the types of these.

    Args:
        shipping: is called with the kernel and its entry before they are optimized, and the kind of result.

    Raises:
        NumbaError: it does not compile.
    """
    types_ = tuple(typeof(argument) for argument in arguments)
    with in_parts():
        function.compile(types_)
        compiled = function.overloads[types_]
        result = kind_of(compiled.fndesc.restype)
        entry = llvm.parse_assembly(str(entry_of(compiled.fndesc)))
        if shipping is not None:
            shipping((compiled.library.module(), entry), result)
        kernel = compiled.library.object_code()
    return Code((kernel, target_machine().emit_object(entry)), result, tuple(symbols(compiled.library.get_llvm_str())))


class Part(JITCodeLibrary):
    """What only kernels call: it is optimized and becomes machine code within the kernel, once.

    By itself Numba would do both for every function that a kernel calls, and then again for the kernel.
    """

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        return 0

    def module(self) -> llvm.ModuleRef:
        self._ensure_finalized()
        return self._final_module

    def object_code(self) -> bytes:
        self._ensure_finalized()
        super()._optimize_final_module()
        return target_machine().emit_object(self._final_module)


class Parts(JITCPUCodegen):
    """Makes parts; and what Python calls too, such as a user's own functions within a rule, as Numba otherwise does."""

    _library_class = Part

    def __init__(self):
        super().__init__("surefoot")
        self.ordinary = cpu_target.target_context.codegen()

    def create_library(self, name, **kwargs):
        flags: Any = ConfigStack.top_or_none()
        only_kernels_call_it = flags is not None and flags.no_cpython_wrapper
        return super().create_library(name, **kwargs) if only_kernels_call_it else self.ordinary.create_library(name)

    def unserialize_library(self, serialized):
        return self.ordinary.unserialize_library(serialized)

    def set_env(self, env_name, env):
        pass


parts = functools.cache(Parts)


@contextmanager
def in_parts() -> Iterator[None]:
    """Within it, Numba compiles parts of kernels. Other threads that have it compile something wait.

    It makes a great many objects, and keeps most of them: garbage is not looked for meanwhile.
    """
    context, collects = cpu_target.target_context, gc.isenabled()
    with global_compiler_lock:
        codegen = parts()
        context._internal_codegen = codegen
        gc.disable()
        try:
            yield
        finally:
            context._internal_codegen = codegen.ordinary
            if collects:
                gc.enable()


def kind_of(result: types.Type) -> str:
    match result:
        case types.NoneType():
            return ""
        case types.Boolean():
            return "q"
        case types.Integer():
            return "q" if result.signed else "Q"
        case types.Float():
            return "d"
    raise TypeError(f"kernels return a number or nothing; got {result}")


def entry_of(kernel: Any) -> ir.Module:
    """A function that takes words, as `loader` has them, and calls a kernel by Numba's convention.

    With a team, it has the team call the kernel for all parts (see `openmp`).
    """
    convention = cpu_target.target_context.call_conv
    type_ = convention.get_function_type(kernel.restype, kernel.argtypes)
    module = ir.Module("entry")
    module.triple = llvm.get_process_triple()
    pointer = WORD.as_pointer()
    function = ir.Function(module, ir.FunctionType(STATUS, [pointer, pointer, pointer, TEAM.as_pointer()]), ENTRY)
    builder = ir.IRBuilder(function.append_basic_block())
    words, expected, result, team = function.args
    unpacked, arrays = [], 0
    for k, leaf in enumerate(flat(kernel.argtypes)):
        word = load(builder, words, k)
        if isinstance(leaf, types.Array):
            arrays += 1
            fields = unpack(builder, leaf, word, load(builder, expected, 0), load(builder, expected, arrays))
        else:
            fields = [word]
        for field in fields:
            unpacked.append(converted(builder, field, type_.args[2 + len(unpacked)]))
    called = ir.Function(module, type_, kernel.llvm_func_name)
    with builder.if_then(builder.icmp_unsigned("!=", team, ir.Constant(team.type, None)), likely=False):
        if kernel.argtypes[-1:] == (types.int64,) and isinstance(kernel.restype, types.Integer):
            builder.ret(shared(builder, kernel, called, unpacked, result, team))
        else:
            builder.ret(STATUS(REFUSED))
    status, value = call(builder, kernel, called, unpacked)
    builder.store(value, result)
    builder.ret(status)
    return module


def flat(types_: Any) -> Iterator[types.Type]:
    for type_ in types_:
        if isinstance(type_, types.BaseTuple):
            yield from flat(type_)
        else:
            yield type_


def load(builder: ir.IRBuilder, array: ir.Value, k: int) -> ir.Value:
    return builder.load(builder.gep(array, [WORD(k)]))


def field_of(builder: ir.IRBuilder, object_: ir.Value, offset: int, type_: ir.Type) -> ir.Value:
    return builder.load(builder.inttoptr(builder.add(object_, WORD(offset)), type_.as_pointer()))


def unpack(builder: ir.IRBuilder, type_: types.Array, array: ir.Value, class_: ir.Value, dtype: ir.Value) -> list:
    """The fields of an array as Numba passes them; the entry refuses an array of another type."""
    refuse_unless(builder, builder.icmp_unsigned("==", field_of(builder, array, HEAD - 8, WORD), class_))
    mask, flags = flags_of(type_)
    found = builder.and_(field_of(builder, array, FLAGS, STATUS), STATUS(mask))
    fits = builder.icmp_unsigned("==", found, STATUS(flags))
    fits = builder.and_(fits, builder.icmp_unsigned("==", field_of(builder, array, DTYPE, WORD), dtype))
    ndim = field_of(builder, array, NDIM, STATUS)
    refuse_unless(builder, builder.and_(fits, builder.icmp_unsigned("==", ndim, STATUS(type_.ndim))))
    sizes = [
        load(builder, field_of(builder, array, offset, WORD.as_pointer()), k)
        for offset in (SHAPE, STRIDES)
        for k in range(type_.ndim)
    ]
    count = WORD(1)
    for size in sizes[: type_.ndim]:
        count = builder.mul(count, size)
    itemsize = WORD(np.dtype(str(type_.dtype)).itemsize)
    return [WORD(0), WORD(0), count, itemsize, field_of(builder, array, DATA, WORD), *sizes]


def refuse_unless(builder: ir.IRBuilder, fits: ir.Value) -> None:
    with builder.if_then(builder.not_(fits), likely=False):
        builder.ret(STATUS(REFUSED))


def flags_of(type_: types.Array) -> tuple[int, int]:
    """Which of NumPy's flags decide, and what they have to be."""
    mask, flags = {
        "C": (CONTIGUOUS, CONTIGUOUS),
        "F": (CONTIGUOUS | FORTRAN, FORTRAN),
        "A": (CONTIGUOUS | FORTRAN, 0),
    }[type_.layout]
    return mask | ALIGNED | WRITEABLE, flags | ALIGNED * type_.aligned | WRITEABLE * type_.mutable


def converted(builder: ir.IRBuilder, word: ir.Value, type_: ir.Type) -> ir.Value:
    """A word as an argument of the kernel."""
    match type_:
        case ir.PointerType():
            return builder.inttoptr(word, type_)
        case ir.DoubleType():
            return builder.bitcast(word, type_)
        case ir.FloatType():
            return builder.fptrunc(builder.bitcast(word, ir.DoubleType()), type_)
    return word if type_ == WORD else builder.trunc(word, type_)
