"""Kernels for a process of the command line: set up fast, and what takes long is said."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from surefoot.cli import output

UNUSED = "scipy.linalg.cython_blas"
"""Numba imports it, and all of SciPy's linear algebra with it, for matrix products, of which kernels here have none."""


@contextmanager
def ready(quiet: bool = False) -> Iterator[None]:
    """Sets up Numba; says that kernels are compiled, and how long it took, where they do not come from the cache."""
    set_up()
    from numba.core import event

    depth, began, seconds = 0, 0.0, 0.0

    class Compiling(event.Listener):
        def on_start(self, event: Any) -> None:
            nonlocal depth, began
            if depth == 0:
                began = time.perf_counter()
                if not (seconds or quiet):
                    output.note("Compiling kernels, which this machine has to do once …")
            depth += 1

        def on_end(self, event: Any) -> None:
            nonlocal depth, seconds
            depth -= 1
            if depth == 0:
                seconds += time.perf_counter() - began

    with event.install_listener("numba:compile", Compiling()):
        yield
    if seconds and not quiet:
        output.note(f"Compiled kernels in {seconds:.0f} s; from now on they come from the cache.")


def set_up() -> None:
    """Imports the engine without what nobody here uses: that saves a quarter of a second."""
    hidden = UNUSED not in sys.modules
    if hidden:
        sys.modules[UNUSED] = None  # pyright: ignore[reportArgumentType]
    try:
        import surefoot.engines.cpu.compiling  # noqa: F401
    finally:
        if hidden:
            del sys.modules[UNUSED]
