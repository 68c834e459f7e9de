"""Kernels that Numba compiles once per machine and keeps on disk."""

import functools
import hashlib
import pathlib
import types
from collections.abc import Callable
from typing import Any

import numba

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False}
"""Kernels allocate nothing, so they need not count references: that costs an atomic operation for each call."""

inner = numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiled into the kernels that call it."""


@functools.cache
def fingerprint() -> str:
    """Numba notices a change in a kernel's own file only; this stands for all files of this folder."""
    files = sorted(pathlib.Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(repr((numba.__version__, [file.read_bytes() for file in files])).encode()).hexdigest()[:10]


def kernel(function: types.FunctionType) -> Callable:
    """The compiled function, loaded from disk from the second process on; it has the fingerprint in its name."""
    name = f"{function.__name__}__{fingerprint()}"
    copy = types.FunctionType(function.__code__.replace(co_name=name, co_qualname=name), function.__globals__, name)
    copy.__module__, copy.__qualname__ = function.__module__, name
    return numba.njit(copy, cache=True, **OPTIONS)
