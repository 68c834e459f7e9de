"""Functions of kernels are compiled once in a process, for all kernels that are made of them.

The globals of a kernel's helpers are those of its rule and its kind, so each kernel has helpers of its own. Most come
out the same as another kernel's: the same code, and the same values of the globals that it reads. Numba takes most of
its time for typing and lowering them, so one stands for all of these.
"""

import dis
import types
from collections.abc import Hashable, Iterator
from typing import Any

import numba
import numpy as np

from surefoot.native.numba_internals import OPTIONS, Dispatcher, options_of

_shared: dict[Hashable, Dispatcher] = {}


def shared(function: Dispatcher) -> Dispatcher:
    """The function that stands for one of Numba's dispatchers and all others that do the same."""
    return stand_in(function, {})


def stand_in(function: Dispatcher, known: dict[int, Dispatcher]) -> Dispatcher:
    """See `shared`.

    Args:
        known: what stands for other functions of the same kernel, by their ids.
    """
    if id(function) in known:
        return known[id(function)]
    known[id(function)] = function  # where it calls itself
    plain, options = function.py_func, options_of(function)
    of_kernels = options.keys() >= OPTIONS.keys()  # others are a user's, and may have more than options
    if not of_kernels or plain.__closure__ or plain.__defaults__ or plain.__kwdefaults__:
        return function
    names = {
        name: stand_in(value, known) if isinstance(value, Dispatcher) else value
        for name in sorted(set(globals_of(plain.__code__)))
        if (value := plain.__globals__.get(name, builtin)) is not builtin
    }
    key = plain.__code__, *sorted(options.items()), *((name, identity(value)) for name, value in names.items())
    if key not in _shared:
        copy = types.FunctionType(plain.__code__, names, plain.__name__)
        copy.__module__, copy.__qualname__ = plain.__module__, plain.__qualname__
        _shared[key] = numba.njit(copy, **options)
    known[id(function)] = _shared[key]
    return _shared[key]


builtin = object()
"""Stands for what is not among a function's globals."""


def globals_of(code: types.CodeType) -> Iterator[str]:
    """The names of the globals that code reads, and that code within it does."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from globals_of(constant)


def identity(value: Any) -> Hashable:
    """Equal for values of which the same code is made: 0.0 is not −0.0, and a float32 is not a float64.

    Anything but numbers and texts is equal to itself alone.
    """
    return (type(value), repr(value)) if isinstance(value, (bool, int, float, str, np.generic)) else Itself(value)


class Itself:
    """Equal if the object is the same, however its class compares; it keeps the object, so that no other has its id."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.value is other.value
