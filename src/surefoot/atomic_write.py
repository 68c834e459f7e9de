"""Atomic writes: a file is written completely under another name and then renamed, or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

LINKS = 40
"""How many links in a row are followed, as by Linux."""


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["w", "wb"] = "wb", sync: bool = False
) -> Iterator[IO[Any]]:
    """A file to write to, which takes its place when the block ends; after an error, the older one is still there.

    Links are followed. Pipes, devices and /dev/stdout are written to as they are.

    Args:
        path: where to, in a folder that is there.
        mode: for text in UTF-8, or bytes.
        sync: wait until the disk has the file, and then its name.

    Raises:
        OSError: it could not be written.
    """
    encoding = None if "b" in mode else "utf-8"
    place = place_of(Path(path))
    if place is None:
        with open(path, mode, encoding=encoding) as file:
            yield file
        return
    with beside(place) as part:
        with part.open(mode, encoding=encoding) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(place)
    if sync:
        sync_folder(place.parent)


def check(path: str | os.PathLike[str]) -> None:
    """Raises OSError where `atomic_write` could not write: permissions do not tell of a full or read-only disk."""
    place = place_of(Path(path))
    if place is not None:
        with beside(place) as part:
            part.write_bytes(b"surefoot")


def place_of(path: Path) -> Path | None:
    """Where a file can be replaced, once links are followed; None where there is something else, or an open file."""
    for _ in range(LINKS):
        folder = os.path.realpath(path.parent)
        if folder in ("/dev", "/dev/fd") or folder.startswith("/proc/"):
            return None
        if not path.is_symlink():
            break
        path = Path(folder, os.readlink(path))
    return path if path.is_file() or not path.exists() else None


@contextlib.contextmanager
def beside(place: Path) -> Iterator[Path]:
    """A path in the same folder that no other process or thread writes to; what lies there in the end is removed."""
    part = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Waits until the disk has a folder's list of files."""
    if os.name == "nt":  # there, folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
