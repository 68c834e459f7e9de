"""Machine code on disk, in a file for each kernel and types of its arguments.

A file's name has everything in it that the code depends on, so a file is never out of date; its first line has the
checksum of the rest, so one that is damaged counts for nothing, and the kernel is compiled again.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from surefoot.atomic_write import atomic_write

IRRELEVANT = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
"""Settings of Numba's that do not change what it compiles."""


@dataclass(frozen=True)
class Code:
    """What a kernel is compiled to.

    Attributes:
        objects: object files; one of them has the entry.
        result: the kind of number that it returns: q, Q (int64, uint64), d (float64), or nothing.
        symbols: the functions and variables that it needs from elsewhere.
    """

    objects: tuple[bytes, ...]
    result: str
    symbols: tuple[str, ...]


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]


@functools.cache
def machine() -> str:
    """Stands for the processor, the versions of what compiles, its settings, and this package's conventions."""
    conventions = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    numba = importlib.util.find_spec("numba")
    # Numba's version without Numba.
    version = Path(numba.origin).with_name("_version.py").read_bytes() if numba and numba.origin else b""
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in IRRELEVANT)
    processor = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return digest(conventions, version, llvmlite.__version__, np.__version__, sys.version, processor, settings)


def folders() -> Iterator[Path]:
    """Where kernels may be kept: where Numba is told to, beside this package, or in the user's folder for caches."""
    if told := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(told) / "surefoot"
        return
    yield Path(__file__).parents[1] / "__pycache__"
    with contextlib.suppress(RuntimeError):  # the home folder is unknown
        yield folder_of_user() / "surefoot" / "kernels"


def folder_of_user() -> Path:
    """Where the system has caches of this user's."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def file_of(name: str, types: str) -> str:
    return f"{name}-{digest(types, machine())}.kernel"


def read(name: str, types: str) -> Code | None:
    """The code of a kernel for arguments of these types; None where there is none that can be used here."""
    for folder in folders():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            sealed, _, content = (folder / file_of(name, types)).read_bytes().partition(b"\n")
            if sealed == seal(content):
                head, _, body = content.partition(b"\n")
                facts = json.loads(head)
                ends = np.cumsum(facts["sizes"]).tolist()
                objects = tuple(body[end - size : end] for size, end in zip(facts["sizes"], ends, strict=True))
                return Code(objects, facts["result"], tuple(facts["symbols"]))
    return None


def write(name: str, types: str, code: Code) -> None:
    """Keeps code in the first folder that can be written to. Without any, the next process compiles it again."""
    facts = {"sizes": [len(part) for part in code.objects], "result": code.result, "symbols": code.symbols}
    content = json.dumps(facts).encode() + b"\n" + b"".join(code.objects)
    for folder in folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / file_of(name, types)) as file:
                file.write(seal(content) + b"\n" + content)
            return


def seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
