"""Compiled kernels without their compiler: machine code that Numba made once is loaded by LLVM alone.

Numba takes half a second to start, in every process, although it has nothing to do where all kernels are compiled. So a
`Kernel` asks Numba (`codegen`) only for what no earlier process on this machine has compiled; what comes back is kept
on disk (`cache`), and called (`loader`) by way of an entry that takes NumPy's arrays as they are.
"""

import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from surefoot.native import cache, shipped
from surefoot.native.cache import digest
from surefoot.native.loader import NoTeam, Refused, Team, Unresolved, caller, checked, forms, laid_out, ordinary

__all__ = ["Kernel", "NoTeam", "Team", "compilation", "digest", "kernel"]

_compiling = threading.RLock()
_listeners: list[tuple[Callable[[], None], list[float]]] = []


class Kernel:
    """A function that is compiled for the types that it is called with, and loaded from disk from the next process on.

    It holds no lock of the interpreter while it runs.

    Args:
        name: with a fingerprint of everything the function is made of.
        compiled: what compiles it for such arguments, by `codegen.emit`, under this name.
        kept: on disk. Otherwise it is compiled for this process only.
    """

    def __init__(self, name: str, compiled: Callable[[tuple], cache.Code | Callable], kept: bool = True):
        self.name, self.compiled, self.kept = name, compiled, kept
        self._calls: dict[str, Callable] = {}
        self._last: Callable = self._other

    def __call__(self, *arguments: Any) -> Any:
        return self.among(None, *arguments)

    def among(self, team: Team | None, *arguments: Any) -> Any:
        """A call whose last argument is the number of a part, for all parts of a team; the sum of results.

        Raises:
            NoTeam: only Python can call this kernel.
        """
        try:
            return self._last(team, *arguments)
        except Refused:
            return self._other(team, *arguments)

    def bound(self, *arguments: Any) -> Callable[[], Any]:
        """A function that calls the kernel with these arguments, laid out once: that is most of what a call costs.

        It holds the lock of the interpreter: it is for calls that take microseconds.

        Args:
            arguments: arrays, which may have other contents in each call, and numbers, which stay.
        """
        arguments = ordinary(arguments)
        return laid_out(self._call(arguments), arguments)

    def _other(self, team: Team | None, *arguments: Any) -> Any:
        """A call with other types than those of the call before."""
        arguments = ordinary(arguments)
        self._last = call = self._call(arguments)
        return call(team, *arguments)

    def _call(self, arguments: tuple) -> Callable:
        """What calls the code for arguments of these types."""
        given = forms(arguments)
        call = self._calls.get(given)
        if call is None:
            with _compiling:
                call = self._calls.get(given) or self._made(given, arguments)
                self._calls[given] = call
        return call

    def _made(self, types: str, arguments: tuple) -> Callable:
        if self.kept and (code := cache.read(self.name, types)):
            with suppress(Unresolved):
                return caller(self.name, code, arguments)
        with reported():
            if self.kept and (code := shipped.read(self.name, types)):
                with suppress(Unresolved):
                    return self._cached(types, code, arguments)
            code = self.compiled(arguments)
            if isinstance(code, cache.Code):
                return self._cached(types, code, arguments)
            return checked(code, types)

    def _cached(self, types: str, code: cache.Code, arguments: tuple) -> Callable:
        call = caller(self.name, code, arguments)
        if self.kept:
            cache.write(self.name, types, code)
        return call


@contextmanager
def reported() -> Iterator[None]:
    """Reports to all listeners that a kernel is compiled, and how long it takes."""
    for begun, spent in _listeners:
        if not spent:
            begun()
    began = time.perf_counter()
    try:
        yield
    finally:
        for _, spent in _listeners:
            spent.append(time.perf_counter() - began)


def kernel(function: Callable, *helpers: Callable, made: Callable[[], dict[str, Any]] = dict, of: str = "") -> Kernel:
    """A plain function, as a kernel. It calls no function but NumPy's and its helpers, and allocates nothing.

    Args:
        function: what the kernel does.
        helpers: plain functions that it calls, each of which may call those before it.
        made: gives other functions that these call, by name, compiled; it is called where the kernel is compiled.
        of: a fingerprint of what is made.
    """
    files = dict.fromkeys(plain.__code__.co_filename for plain in (function, *helpers))
    name = f"{function.__name__}__{digest(of, *(Path(file).read_bytes() for file in files))}"

    def compiled(arguments: tuple) -> cache.Code | Callable:
        from surefoot.native.codegen import emit, jitted

        known = made()
        for plain in (*helpers, function):
            names, own = plain.__globals__ | known, plain.__name__
            known[own] = jitted(types.FunctionType(plain.__code__, names, own, closure=plain.__closure__))
        return emit(known[function.__name__], arguments, name)

    return Kernel(name, compiled)


@contextmanager
def compilation(begun: Callable[[], None], ended: Callable[[float], None]) -> Iterator[None]:
    """Within it, calls `begun` before the first kernel is compiled, in whatever thread, and `ended` on leaving.

    Kernels that an earlier process compiled are loaded, which is not compilation; then neither is called.

    Args:
        begun: called at most once.
        ended: called with the seconds that compilation took, if there was any.

    >>> with compilation(lambda: print("compiling kernels, once on this machine"), lambda seconds: None):
    ...     pass
    """
    listener = begun, []
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
    if listener[1]:
        ended(sum(listener[1]))
