"""Kernels for a process of the command line: set up fast, and what takes long is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from surefoot.cli import output

UNUSED = "scipy.linalg.cython_blas"
"""Numba imports it, and all of SciPy's linear algebra with it, for matrix products, of which kernels here have none."""


@contextmanager
def ready(quiet: bool = False) -> Iterator[None]:
    """Sets up Numba; says that kernels are compiled, and how long it took, where they do not come from the cache."""
    from surefoot.data.stream import compilation

    set_up()
    told = (lambda _: None) if quiet else output.note
    with compilation(
        lambda: told("Compiling kernels, which this machine has to do once …"),
        lambda seconds: told(f"Compiled kernels in {seconds:.0f} s; from now on they come from the cache."),
    ):
        yield


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
