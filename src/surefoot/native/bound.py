"""Calls whose arguments are laid out once, as functions of the kind that Python's own modules have.

By ctypes a call takes about 250 ns, most of them to convert what it hands over. Here machine code that follows Python's
convention for functions of C reads from memory where the kernel is and what it takes: 60 ns.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from surefoot.native.machine import target_machine

NAME = "surefoot_bound"
NO_ARGUMENTS = 0x0004
"""Python's METH_NOARGS: such a function gets its own object, and nothing else."""
WORD, STATUS, OBJECT = ir.IntType(64), ir.IntType(32), ir.IntType(64).as_pointer()
ITEMS, BYTES = tuple.__basicsize__, bytes.__basicsize__ - 1
"""Where the items of a tuple, and the bytes of an object of bytes, begin."""
CONVERTED = {"q": "PyLong_FromLongLong", "Q": "PyLong_FromUnsignedLongLong", "d": "PyFloat_FromDouble"}
"""Python's functions that make an object of a result."""
RECORD = struct.Struct("=6Q")
ENTRY, WORDS, EXPECTED, RESULT, STATUS_OF, FAIL = range(6)
"""What stands in a record: addresses of the kernel's entry and of what it takes, see `loader`, of a place for the
status, and of the function that is called if that is not 0."""


class Method(ctypes.Structure):
    """Python's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def bound(
    entry: int, words: bytes, expected: Any, result: Any, fail: Callable[[int], Any], kind: str, kept: Sequence
) -> Callable[[], Any]:
    """A function that calls a kernel's entry.

    Args:
        entry: its address.
        words, expected: as it takes them.
        result: for what it gives, of the type of the kind.
        fail: raises the error of a status other than 0.
        kind: of result, a key of `CONVERTED`.
        kept: what the words are addresses of.
    """
    status = ctypes.c_int64()

    def failed() -> None:
        fail(status.value)

    addresses = (ctypes.addressof(value) for value in (expected, result, status))
    record = RECORD.pack(entry, id(words) + BYTES, *addresses, id(failed))
    own = record, words, expected, result, status, failed, *kept
    return NEW(ctypes.addressof(method(kind)), own, None, None)


NEW = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p)(
    ("PyCMethod_New", ctypes.pythonapi)
)


@functools.cache
def method(kind: str) -> Method:
    """The description of functions with results of a kind, which lasts as long as the process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(code(kind))), target_machine())
    engine.finalize_object()
    address = engine.get_function_address(NAME)
    engine.detach()
    return Method(NAME.encode(), address, NO_ARGUMENTS, None)


def code(kind: str) -> ir.Module:
    """A function of C that Python calls with a tuple, whose first item is a record."""
    module = ir.Module(NAME)
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(OBJECT, [WORD, WORD]), NAME)
    builder: Any = ir.IRBuilder(function.append_basic_block())
    record = builder.add(at(builder, builder.add(function.args[0], WORD(ITEMS))), WORD(BYTES))
    entry, words, expected, result, place, fail = (
        at(builder, builder.add(record, WORD(8 * k))) for k in range(RECORD.size // 8)
    )
    status = call(builder, entry, STATUS, words, expected, result, WORD(0))
    with builder.if_then(builder.icmp_unsigned("!=", status, STATUS(0)), likely=False):
        builder.store(builder.sext(status, WORD), builder.inttoptr(place, OBJECT))
        builder.ret(call(builder, python("PyObject_CallNoArgs"), OBJECT, fail))
    number = ir.DoubleType() if kind == "d" else WORD
    value = builder.load(builder.inttoptr(result, number.as_pointer()))
    builder.ret(call(builder, python(CONVERTED[kind]), OBJECT, value))
    return module


def at(builder: Any, address: Any) -> Any:
    """The word there."""
    return builder.load(builder.inttoptr(address, OBJECT))


def call(builder: Any, address: Any, gives: ir.Type, *arguments: Any) -> Any:
    """A call of the function of C that is there."""
    type_ = ir.FunctionType(gives, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, type_.as_pointer()), arguments)


def python(name: str) -> ir.Constant:
    """The address of a function of Python's."""
    return WORD(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
