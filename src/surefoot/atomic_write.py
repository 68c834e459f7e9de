"""Atomic writes: a file is written completely under another name and then renamed, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from surefoot import locks

LINKS = 40
"""How many links in a row are followed, as by Linux."""
PART = re.compile(r".+\.[0-9a-f]{16}\.surefoot\.part", re.DOTALL)
"""Names of files that are being written."""
NAMED = 40
"""Characters of a file's name with which such a name begins: systems limit names to 255 bytes."""
CLOSED = 60.0
"""Seconds without a change after which a file that is not open is a leftover on Windows."""
ACL = "system.posix_acl_access"


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["w", "wb"] = "wb", sync: bool = False
) -> Iterator[IO[Any]]:
    """A file to write to, which takes its place when the block ends; after an error, the older one is still there.

    Links are followed. Pipes, devices and /dev/stdout are written to as they are. Who may read and write the older one
    may read and write the new one, and no other user. What killed processes began to write in the folder is removed.

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
    before = status_of(place)
    with next_to(place, private=before is not None) as part:
        # Not closed before it is renamed: its lock says that it is being written.
        with open(part.descriptor, mode, encoding=encoding, closefd=False) as file:
            yield file
        if before is not None:
            keep_access(part.descriptor, place, before)
        if sync:
            os.fsync(part.descriptor)
        part.replace(place)
    if sync:
        sync_folder(place.parent)


def check(path: str | os.PathLike[str]) -> None:
    """Raises OSError where `atomic_write` could not write: permissions do not tell of a full or read-only disk.

    A device is opened. A pipe is not: its reader would take that for all there is.
    """
    place = place_of(Path(path))
    if place is None:
        if not os.access(path, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if stat.S_ISCHR(os.stat(path).st_mode):
            os.close(os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)))
    else:
        with next_to(place, private=True) as part, open(part.descriptor, "wb", closefd=False) as file:
            file.write(b"surefoot")


def new_file(folder: str, suffix: str) -> Path:
    """An empty file of a new name, which only its owner reads."""
    descriptor, name = tempfile.mkstemp(suffix, "surefoot-", folder)
    os.close(descriptor)
    return Path(name)


def place_of(path: Path) -> Path | None:
    """Where a file can be replaced, once links are followed; None where there is something else, or an open file.

    Raises:
        OSError: there are too many links, such as one to itself.
    """
    for _ in range(LINKS):
        folder = os.path.realpath(path.parent)
        if folder in ("/dev", "/dev/fd") or folder.startswith("/proc/"):
            return None
        if not path.is_symlink():
            break
        path = Path(folder, os.readlink(path))
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return path if path.is_file() or not path.exists() else None


def status_of(place: Path) -> os.stat_result | None:
    """The status of what lies there, if anything does."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(place)
    return None


class Part:
    """A new file in the same folder as another, open and locked.

    Args:
        place: the other file.
        private: only the user may read it; otherwise the umask decides.

    Attributes:
        descriptor: of the open file.
        path: where it is. The name cannot be guessed, and nothing that lies there is opened.
    """

    def __init__(self, place: Path, private: bool):
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | locks.FLAGS, 0o600 if private else 0o666
        while True:
            self.path = place.with_name(f"{place.name[:NAMED]}.{os.urandom(8).hex()}.surefoot.part")
            self.descriptor = os.open(self.path, flags, mode)
            # Between the two, another process may take it for a leftover.
            if is_locked(self.descriptor) and locks.is_at(self.descriptor, self.path):
                return
            self.close()

    def replace(self, place: Path) -> None:
        """Renames it."""
        if os.name == "nt":  # there, open files cannot be renamed
            self.close()
        self.path.replace(place)

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def next_to(place: Path, private: bool) -> Iterator[Part]:
    """A `Part`; what lies at its path in the end is removed."""
    remove_leftovers(place.parent)
    part = Part(place, private)
    try:
        yield part
    finally:
        part.close()
        with contextlib.suppress(OSError):
            part.path.unlink(missing_ok=True)


def is_locked(descriptor: int) -> bool:
    """Locks a file, if its file system has locks; without them leftovers are not recognized, and stay."""
    try:
        return locks.acquire(descriptor)
    except OSError:
        return True


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes of this user had begun to write in a folder: what no process has locked."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [folder / entry.name for entry in entries if PART.fullmatch(entry.name)]
        for path in left:
            with contextlib.suppress(OSError):
                remove_unlocked(path)


def remove_unlocked(path: Path) -> None:
    """Removes a file of this user unless it is locked.

    Raises:
        OSError: it cannot be opened, or the file system does not support locks.
    """
    if (
        os.name == "nt"
    ):  # there, what another process has open cannot be removed; it is closed just before it is renamed
        if time.time() > path.stat().st_mtime + CLOSED:
            path.unlink()
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | locks.FLAGS)
    try:
        status = os.fstat(descriptor)
        own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if own and locks.acquire(descriptor) and locks.is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


def keep_access(descriptor: int, place: Path, before: os.stat_result) -> None:
    """Gives an open file the owner, group, mode and access list of another, as far as the system allows.

    Where the group cannot be kept, the new one may do no more than all others.
    """
    if not hasattr(os, "fchown"):
        return
    mode = stat.S_IMODE(before.st_mode) & 0o777
    for owner in (before.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, before.st_gid)
            break
    else:
        if os.fstat(descriptor).st_gid != before.st_gid:
            mode = mode & 0o707 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)
    if hasattr(os, "setxattr"):
        access = None
        with contextlib.suppress(OSError):  # there is none, or the file system does not have them
            access = os.getxattr(place, ACL)
        with contextlib.suppress(OSError):
            os.removexattr(descriptor, ACL) if access is None else os.setxattr(descriptor, ACL, access)


def sync_folder(folder: Path) -> None:
    """Waits until the disk has a folder's list of files."""
    if os.name == "nt":  # there, folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
