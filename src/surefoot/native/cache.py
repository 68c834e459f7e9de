"""Machine code on disk, in a file for each kernel and types of its arguments.

A file's name has everything in it that the code depends on, so a file is never out of date; its first line has the
checksum of the rest, so one that is damaged counts for nothing, and the kernel is compiled again.

Code from a file is run as it is. It is therefore loaded only where no other user can have written it: the folder and
the file belong to the user, or to the administrator, who could change this package too, and no one else may write to
them. On Windows, where access lists say who may write, nothing is checked: the folders there are the package's own and
the user's, which other users cannot write to by default.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import stat
import sys
import warnings
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
def conventions() -> str:
    """Stands for how this package calls and stores kernels."""
    return digest(*(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))


def settings() -> list[tuple[str, str]]:
    """Numba's settings that change what it compiles."""
    return sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in IRRELEVANT)


@functools.cache
def machine() -> str:
    """Stands for the processor, the versions of what compiles, its settings, and this package's conventions."""
    numba = importlib.util.find_spec("numba")
    # The version by the name of the folder of its metadata: importing what reads them takes longer than all this.
    metadata = Path(numba.origin).parents[1].glob("numba-*-info") if numba and numba.origin else ()
    version = sorted(folder.name for folder in metadata)
    processor = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    versions = version, llvmlite.__version__, np.__version__, sys.version
    return digest(conventions(), versions, processor, settings())


def folders() -> Iterator[Path]:
    """Where kernels are cached: in NUMBA_CACHE_DIR, else in this package, or in the user's folder for caches."""
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
            sealed, _, content = read_trusted(folder / file_of(name, types)).partition(b"\n")
            if sealed == seal(content):
                head, _, body = content.partition(b"\n")
                facts = json.loads(head)
                ends = np.cumsum(facts["sizes"]).tolist()
                objects = tuple(body[end - size : end] for size, end in zip(facts["sizes"], ends, strict=True))
                return Code(objects, facts["result"], tuple(facts["symbols"]))
    return None


def read_trusted(path: Path) -> bytes:
    """The contents of a file that no other user can have written; nothing of any other file, which is reported.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    with path.open("rb") as file:
        places = (path.parent, os.stat(path.parent)), (path, os.fstat(file.fileno()))
        reasons = [f"{place}: {why}" for place, status in places if (why := risk(status))]
        if path.is_symlink():
            reasons.append(f"{path}: it is a symbolic link")
        if not reasons:
            return file.read()
    warn_once(f"{reasons[0]}, so that kernels there are not loaded but compiled again")
    return b""


def risk(status: os.stat_result) -> str:
    """Why another user may have written to a file or folder of this status; nothing where none can."""
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user (number {status.st_uid})"
    return "other users may write to it" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


def write(name: str, types: str, code: Code) -> None:
    """Caches code in the first folder that can be used. Without any, the next process compiles it again."""
    facts = {"sizes": [len(part) for part in code.objects], "result": code.result, "symbols": code.symbols}
    content = json.dumps(facts).encode() + b"\n" + b"".join(code.objects)
    obstacles = {}
    for folder in folders():
        path = folder / file_of(name, types)
        if why := obstacle(folder):
            obstacles[folder] = why
            continue
        try:
            path.unlink(missing_ok=True)  # a link would be followed, and owner and mode of a file be kept
            with atomic_write(path) as file:
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o755)
                file.write(seal(content) + b"\n" + content)
            return
        except OSError as error:
            obstacles[folder] = reason(error)
    report_obstacles(obstacles)


def obstacle(folder: Path) -> str:
    """Why kernels cannot be cached in a folder, which is created if need be; nothing where they can."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        return risk(os.stat(folder)) or ("" if os.access(folder, os.W_OK) else "permission denied")
    except OSError as error:
        return reason(error)


def reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def report_obstacles(obstacles: dict[Path, str]) -> None:
    """Warns that kernels cannot be cached, since none of these folders can be used."""
    found = "; ".join(f"{folder}: {why}" for folder, why in obstacles.items()) or "the home folder is unknown"
    warn_once(
        f"kernels cannot be cached ({found}), so that every process compiles them again; set NUMBA_CACHE_DIR to a "
        "folder that only you can write to"
    )


def warn_once(message: str) -> None:
    """Warns, unless this process has done so before."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


_warned: set[str] = set()


def seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
