"""Which files are meant: paths, globs, URLs, standard input and open files, and what messages call them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias

from surefoot.data.errors import DataError
from surefoot.data.stream.sources.remote import imported

Paths: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Sequence[str | os.PathLike[str] | IO[bytes]]"


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
        if "://" in name:
            found += _remote_names(name)
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
    """What messages call a file."""
    if not isinstance(file, str):
        file = getattr(file, "name", None)
        return file if isinstance(file, str) else "an open file"
    return "standard input" if file == "-" else file


def _remote_names(url: str) -> list[str]:
    """The files that a URL with a pattern stands for."""
    fsspec = imported()
    if not glob.has_magic(url.partition("://")[2]):
        return [url]
    try:
        system, pattern = fsspec.core.url_to_fs(url)
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url}: could not be read ({error})") from None
    if not found:
        raise DataError(f"{url}: no files match this pattern; check it and the folder")
    return found
