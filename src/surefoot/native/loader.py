"""Machine code becomes a Python function.

The entry (see `codegen`) takes one 64-bit word for each number and array among the arguments, whose tuples are laid
out flat. The word of an array is its address as a Python object: the entry itself looks whether its type, its layout
and its number of dimensions are those that the kernel was compiled for, and refuses it otherwise. So a call costs about
a microsecond, and no array of the wrong kind is ever read.
"""

import ctypes
import functools
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from surefoot.native.bound import bound
from surefoot.native.cache import Code
from surefoot.native.machine import target_machine

ENTRY = "surefoot_entry"
ENTRY_TYPE = ctypes.CFUNCTYPE(ctypes.c_int32)
"""Without types of its arguments: they are pointers already, and converting them would take time."""
NONE, REFUSED = -2, -1000
"""Numba's code for the result None, and what the entry returns where the arguments are of other types."""
CONTIGUOUS, FORTRAN, ALIGNED, WRITEABLE = 0x1, 0x2, 0x100, 0x400
"""NumPy's flags of arrays."""
RESULTS = {"q": ctypes.c_int64, "Q": ctypes.c_uint64, "d": ctypes.c_double, "": ctypes.c_int64}
WIDE = str.maketrans("?n", "qq")
"""A bool takes a word, and so does None."""


class Team(ctypes.Structure):
    """Threads that share the parts of a call: the kernel's last argument is the number of a part.

    They take the parts in turn, without Python: each has the next one as soon as it is done with one.

    Attributes:
        parallel: the address of `GOMP_parallel`, which calls a function in each of several threads of its team.
        clock: the address of `omp_get_wtime`.
        threads: how many.
        parts: how many.
        begun, done, ended: in seconds: the beginning, when the first thread had nothing left to do, and the end.
    """

    _fields_ = (
        ("parallel", ctypes.c_void_p),
        ("clock", ctypes.c_void_p),
        ("threads", ctypes.c_uint64),
        ("parts", ctypes.c_uint64),
        ("begun", ctypes.c_double),
        ("done", ctypes.c_double),
        ("ended", ctypes.c_double),
    )


class Unresolved(LookupError):
    """The code calls a function that this process does not have, such as one of Numba's where that is not loaded."""


class NoTeam(RuntimeError):
    """The kernel is a function that only Python can call, so that a team cannot share its parts."""


class Refused(TypeError):
    """The arguments are of other types than those that the code was compiled for."""


def form(value: Any) -> str:
    """What of an argument decides the code.

    >>> form((np.zeros((2, 3), np.float32), 1, 0.5))
    '(C2<f4,i8,f8)'
    """
    if isinstance(value, tuple):
        named = f"{type(value).__name__}:{' '.join(fields)}" if (fields := getattr(value, "_fields", ())) else ""
        return f"{named}({','.join(map(form, value))})"
    if isinstance(value, np.ndarray):
        return f"{layout(value)}{'' if value.flags.writeable else 'r'}{value.ndim}{value.dtype.str}"
    if isinstance(value, np.generic):
        return value.dtype.str[1:]
    return {"d": "f8", "q": "i8", "?": "b1", "n": "none"}[word(value)]


def forms(arguments: tuple) -> str:
    """What of all arguments decides the code."""
    return ",".join(map(form, arguments))


def layout(array: np.ndarray) -> str:
    """As Numba names it: C, F or A, and that numbers do not lie where the processor wants them."""
    flags = array.flags
    return ("C" if flags.c_contiguous else "F" if flags.f_contiguous else "A") + ("" if flags.aligned else "u")


def word(number: Any) -> str:
    """How a number is written into its word."""
    if isinstance(number, (float, np.floating)):
        return "d"
    if isinstance(number, np.unsignedinteger):
        return "Q"
    if isinstance(number, (bool, np.bool_)):
        return "?"
    if isinstance(number, (int, np.signedinteger)):
        return "q"
    if number is None:
        return "n"
    raise TypeError(f"kernels take arrays, numbers and tuples of them; got {number!r}")


def ordinary(value: Any) -> Any:
    """The argument with arrays as the entry knows them: of no subclass, with a type of which there is one object."""
    if isinstance(value, tuple):
        parts = map(ordinary, value)
        return value._make(parts) if hasattr(value, "_make") else tuple(parts)  # pyright: ignore[reportAttributeAccessIssue]
    return value.view(dtype_of(value), np.ndarray) if isinstance(value, np.ndarray) else value


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The numbers and arrays of an argument, and the names that `caller` gives them."""
    if isinstance(value, tuple):
        for k, part in enumerate(value):
            yield from leaves(part, f"{name}_{k}")
    else:
        yield name, value


def unpackings(value: Any, name: str) -> Iterator[str]:
    """Assignments that take tuples apart."""
    if isinstance(value, tuple):
        yield f"{''.join(f'{name}_{k}, ' for k in range(len(value))) or '()'} = {name}"
        for k, part in enumerate(value):
            yield from unpackings(part, f"{name}_{k}")
    elif value is None:
        yield f"if {name} is not None: raise TypeError"


def caller(name: str, code: Code, arguments: tuple) -> Callable:
    """A function of a team, or None, and of arguments of the types of these, that calls the code.

    It is written out, since a loop over the arguments would take longer than all else.
    """
    flat = [leaf for k, argument in enumerate(arguments) for leaf in leaves(argument, f"a{k}")]
    arrays = [value for _, value in flat if isinstance(value, np.ndarray)]
    formats = "".join("Q" if isinstance(v, np.ndarray) else word(v).translate(WIDE) for _, v in flat)
    words = (
        f"id({variable})" if isinstance(value, np.ndarray) else "0" if value is None else variable
        for variable, value in flat
    )
    expected = (ctypes.c_uint64 * (1 + len(arrays)))(id(np.ndarray), *(id(dtype_of(array)) for array in arrays))
    source = "\n    ".join(
        [
            f"def call({', '.join(['team', *(f'a{k}' for k in range(len(arguments)))])}):",
            "try:",
            *(f"    {line}" for k, argument in enumerate(arguments) for line in unpackings(argument, f"a{k}")),
            f"    words = pack({', '.join(words)})",
            "except (TypeError, ValueError, error) as wrong:",
            "    raise Refused(str(wrong)) from None",
            "result = Result()",
            "status = entry(words, expected, byref(result), team and byref(team))",
            "if status:",
            "    check(status, result)",
            "return result.value" if code.result else "return None",
        ]
    )
    names = {
        "pack": struct.Struct(f"={formats}").pack,
        "error": struct.error,
        "Refused": Refused,
        "Result": RESULTS[code.result],
        "kind": code.result or "q",
        "entry": ENTRY_TYPE(address(code)),
        "expected": expected,
        "byref": ctypes.byref,
        "check": functools.partial(check, name),
    }
    exec(compile(source, f"<call of {name}>", "exec"), names)
    return names["call"]


def laid_out(call: Callable, arguments: tuple) -> Callable[[], Any]:
    """A function without arguments: what `caller` or `checked` returned, called with these, whose types are its own."""
    names = getattr(call, "__globals__", {})
    if "entry" not in names:  # a function that Numba calls
        return functools.partial(call, None, *arguments)
    flat = [leaf for k, argument in enumerate(arguments) for _, leaf in leaves(argument, f"a{k}")]
    values = [id(leaf) if isinstance(leaf, np.ndarray) else 0 if leaf is None else leaf for leaf in flat]
    words, result, check = names["pack"](*values), names["Result"](), names["check"]
    entry = ctypes.cast(names["entry"], ctypes.c_void_p).value or 0
    return bound(entry, words, names["expected"], result, lambda status: check(status, result), names["kind"], flat)


def checked(function: Callable, types: str) -> Callable:
    """A function like that of `caller`, of one that takes arguments of these types alone but converts others."""

    def call(team: Team | None, *arguments: Any) -> Any:
        if team is not None:
            raise NoTeam
        arguments = ordinary(arguments)
        if forms(arguments) != types:
            raise Refused
        return function(*arguments)

    return call


def dtype_of(array: np.ndarray) -> np.dtype:
    """The only object of its kind that NumPy has for a type of numbers."""
    return np.dtype(array.dtype.str)


def check(name: str, status: int, result: Any) -> None:
    """Raises what the kernel raised."""
    if status == REFUSED:
        raise Refused
    if status > 0:
        # Numba's record of an exception begins with where its pickle is and how long.
        record = ctypes.c_uint64.from_buffer(result).value
        begin, size = ctypes.c_void_p.from_address(record).value, ctypes.c_int32.from_address(record + 8).value
        raised, values, *_ = pickle.loads(ctypes.string_at(begin or 0, size))
        raise raised(*(values or ()))
    raise RuntimeError(f"{name}: failed with status {status}")


def address(code: Code) -> int:
    """Where the entry is, once the code is in memory; it stays there as long as the process.

    Raises:
        Unresolved: LLVM would end the process where it misses a function.
    """
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    if missing := [name for name in code.symbols if not llvm.address_of_symbol(name)]:
        raise Unresolved(f"{', '.join(missing)}: found no such function in this process")
    for part in code.objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(part))
    engine.finalize_object()
    found = engine.get_function_address(ENTRY)
    engine.detach()
    return found
