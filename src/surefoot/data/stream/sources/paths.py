"""Which files are meant: paths, globs, URLs, standard input and open files, and what messages call them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from surefoot.data.errors import DataError
from surefoot.data.stream.sources import remote
from surefoot.text import without_secrets

Paths: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Sequence[str | os.PathLike[str] | IO[bytes]]"
STANDARD_INPUT = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""Other names of it, where it is not a file on a disk."""


def names(paths: Paths) -> list[Any]:
    """The files that are meant, in order: those of a glob sorted by name.

    Raises:
        DataError: a glob that matches nothing, or no path at all.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) or hasattr(paths, "read") else list(paths)  # pyright: ignore[reportArgumentType]
    found: list[Any] = []
    for path in several:
        if not isinstance(path, (str, os.PathLike)):
            found.append(path)
            continue
        name = os.fspath(path)
        if remote.is_url(name):
            found += remote.names(name)
        elif name in STANDARD_INPUT and not os.path.isfile(name):
            found.append("-")
        elif name != "-" and glob.has_magic(name) and not os.path.exists(name):
            matches = sorted(glob.glob(os.path.expanduser(name), recursive=True))
            if not matches:
                raise DataError(f"{name}: no files match this pattern; check it and the folder")
            found += matches
        else:
            found.append(name if name == "-" else os.path.expanduser(name))
    if not found:
        raise DataError("found no file to read, expected at least one path")
    return found


def size(file: Any) -> int | None:
    """Bytes of a file as stored, where that can be known."""
    return os.path.getsize(file) if isinstance(file, str) and os.path.isfile(file) else None


def is_read_once(file: Any) -> bool:
    """Whether a file gives its bytes only once: standard input, a pipe, a device, or an open file."""
    if not isinstance(file, str):
        return not isinstance(file, os.PathLike)
    return file == "-" or (os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)))


def name_of(file: Any) -> str:
    """What messages and models call a file; of a URL, without what is secret."""
    if not isinstance(file, str):
        file = getattr(file, "name", None)
        return file if isinstance(file, str) else "an open file"
    return "standard input" if file == "-" else without_secrets(file) if remote.is_url(file) else file


@dataclass(frozen=True)
class Identity:
    """What a file is, however its path is written.

    Attributes:
        name: what messages call it.
        path: without links, dots and the like; None of what has no path.
        place: the numbers of its device and on it; None of what is not a file on a disk.
        size: in bytes, where it has one.
        modified: when it was written last, in nanoseconds.
    """

    name: str
    path: str | None = None
    place: tuple[int, int] | None = None
    size: int | None = None
    modified: int | None = None

    @classmethod
    def of(cls, file: Any) -> Identity:
        """That of a file, as `names` has them."""
        name = name_of(file)
        if not isinstance(file, str) or file == "-" or remote.is_url(file):
            return cls(name, name if remote.is_url(file) else None)
        path = os.path.realpath(file)
        if not os.path.isfile(path):
            return cls(name, path)
        status = os.stat(path)
        return cls(name, path, (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)

    def is_same(self, other: Identity) -> bool:
        """Whether both are the same file, which may have been moved, copied with its time, or written to.

        A pipe is whatever is written to it: only what was read from it can tell.
        """
        if self.place is not None and other.place is not None:
            moved = self.place == other.place or (self.size, self.modified) == (other.size, other.modified)
            return self.path == other.path or moved
        return self.path == other.path or not (remote.is_url(self.path) or remote.is_url(other.path))
