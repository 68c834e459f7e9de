"""Numba compiles a kernel. Importing this imports Numba.

Taking machine code out of Numba needs names that it does not document: `numba_internals` has all of them. With a Numba
in which they are others, a kernel is an ordinary function of Numba's, in Numba's own cache: it does the same, takes
longer to compile, needs Numba in every process, and its parts are shared by a pool of threads instead of a team.
"""

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from surefoot.native import cache
from surefoot.native.loader import forms

internals: Any
sharing: Any
difference: BaseException | None = None
try:
    from surefoot.native import numba_internals as internals
    from surefoot.native import sharing
except (ImportError, AttributeError, TypeError) as error:
    internals, sharing, difference = None, None, error

PUBLIC: dict[str, Any] = {"error_model": "numpy", "nogil": True}
OPTIONS: dict[str, Any] = PUBLIC if internals is None else PUBLIC | internals.OPTIONS
"""Of all that kernels are made of. They allocate nothing, so they need not count references."""
CALLED_BY_PYTHON: dict[str, Any] = {name: value for name, value in OPTIONS.items() if name != "no_cpython_wrapper"}
"""Of the functions that stand for kernels in an ordinary way."""
INLINE: dict[str, Any] = {} if internals is None else internals.INLINE
"""What functions that are inlined are compiled with, in addition."""

jitted = numba.njit(**OPTIONS)

shipping: Callable[[str, str, tuple, str], None] | None = None
"""Gets all kernels that are compiled, by name and types; see `shipped.write`."""


def emit(function: Any, arguments: tuple, name: str, cached: bool = True) -> cache.Code | Callable:
    """Compiles one of Numba's dispatchers for arguments of the types of these: to machine code, or to a function.

    Args:
        name: of the kernel.
        cached: what Numba itself compiles is cached on disk.

    Raises:
        NumbaError: it does not compile.
    """
    global internals, difference
    if internals is None:
        warn(difference)
        return ordinary(function.py_func, arguments, name, cached)
    try:
        stand_in = sharing.shared(function)
        if shipping is None:
            return internals.emit(stand_in, arguments)
        return internals.emit(stand_in, arguments, functools.partial(shipping, name, forms(arguments)))
    except (ImportError, AttributeError, TypeError) as error:
        compiled = ordinary(function.py_func, arguments, name, cached)  # which fails where the function is at fault
        internals, difference = None, error
        warn(error)
        return compiled


def ordinary(function: types.FunctionType, arguments: tuple, name: str, cached: bool) -> Callable:
    """A function of Numba's own for arguments of the types of these.

    Numba finds it in its cache by its name, and does not notice that a function it calls has changed: the name of the
    kernel stands for all of them.
    """
    code = function.__code__.replace(co_name=name, co_qualname=name)
    copy = types.FunctionType(code, function.__globals__, name, function.__defaults__, function.__closure__)
    copy.__module__, copy.__qualname__ = function.__module__, name
    if cached:
        chosen: str = numba.config.CACHE_DIR  # pyright: ignore
        folder = Path(chosen or Path(code.co_filename).parent / "__pycache__")
        if why := cache.obstacle(folder):
            cache.report_obstacles({folder: why})
            cached = False
    signature = tuple(map(numba.typeof, arguments))
    return numba.njit([signature], cache=cached, **CALLED_BY_PYTHON)(copy)


def warn(difference: BaseException | None) -> None:
    """Says once that this Numba is not one that kernels were made for."""
    cache.warn_once(
        f"numba {numba.__version__} differs from the releases that surefoot is made for ({difference}): kernels take "
        "longer to compile, and every process imports numba; install a release that surefoot's metadata admit"
    )
