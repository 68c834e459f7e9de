"""Kernels that come with the package: a first use of them does not wait for Numba.

When the package is built, `tools/ship_kernels.py` compiles them as far as their code is the same on every processor;
here LLVM makes it machine code for this one, in a tenth of the time. The name of a file stands for all that the kernel
is made of, so one that does not fit is not found. Nor is one of use that a later LLVM wrote than the one here: then
Numba compiles the kernel.
"""

import functools
import itertools
import json
import lzma
import struct
import sys
from pathlib import Path

import llvmlite.binding as llvm

from surefoot.native.cache import Code, conventions, digest, settings
from surefoot.native.machine import optimize, parsed, symbols, target_machine

FOLDER = Path(__file__).with_name("shipped")


@functools.cache
def platform() -> str:
    """Stands for what code depends on that is the same on every processor."""
    return digest(conventions(), struct.calcsize("P"), sys.byteorder, object.__basicsize__)


def file_of(name: str, types: str) -> str:
    return f"{name}-{digest(types, platform())}.xz"


def write(folder: Path, name: str, types: str, modules: tuple[llvm.ModuleRef, ...], result: str) -> None:
    """Writes a kernel and its entry as they are before they are optimized for a processor."""
    parts = [str(module).encode() for module in modules]
    head = json.dumps({"sizes": [len(part) for part in parts], "result": result})
    (folder / file_of(name, types)).write_bytes(lzma.compress(head.encode() + b"\n" + b"".join(parts)))


def read(name: str, types: str) -> Code | None:
    """The machine code of a kernel; None where none is shipped that can be used here."""
    file = FOLDER / file_of(name, types)
    if settings() or not file.exists():
        return None
    head, _, body = lzma.decompress(file.read_bytes()).partition(b"\n")
    facts = json.loads(head)
    sizes, machine = facts["sizes"], target_machine()
    texts = [body[end - size : end].decode() for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
    try:
        kernel, entry = (parsed(text, machine) for text in texts)
        optimize(kernel, machine)
    except (AttributeError, RuntimeError):  # another llvmlite, or an earlier LLVM
        return None
    objects = machine.emit_object(kernel), machine.emit_object(entry)
    return Code(objects, facts["result"], tuple(symbols(str(kernel))))
