"""Compiled parsers: from bytes to arrays, a line at a time; they hold no lock of the interpreter.

Every text ends with a line end that `sources` adds, so that a scan over digits or blanks stops by itself. All modules
but `layout` need Numba, and are imported only when one of their kernels has to be compiled: `compiled` gives them.
"""

import functools
import importlib
from pathlib import Path

from surefoot.native import Kernel, digest


@functools.cache
def compiled(module: str, function: str) -> Kernel:
    """A kernel of a module here."""
    name = f"{module}_{function}__{fingerprint()}"

    def compile(arguments):
        from surefoot.native.codegen import emit

        return emit(getattr(importlib.import_module(f"{__name__}.{module}"), function), arguments, name)

    return Kernel(name, compile)


@functools.cache
def fingerprint() -> str:
    """Stands for all files of this folder."""
    return digest(*(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
