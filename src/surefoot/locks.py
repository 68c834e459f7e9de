"""Locks on files that end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Links are not followed, and programs that are started do not inherit what is open."""
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
FAR = 1 << 30
"""Where Windows locks a byte: what is locked there cannot be read by others, and what the file says lies before it."""
LONGEST = 200
"""Bytes of a lock file that are read."""


class HeldError(OSError):
    """A lock that another process holds; the message says which."""


def acquire(descriptor: int) -> bool:
    """Locks an open file until it is closed; False where it is locked by another process, or was opened twice.

    Raises:
        OSError: the file system does not support locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether a path leads to an open file, which another process may have removed before it was locked."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock file, which names this process and is removed in the end.

    The system releases the lock when the process ends: a lock file that a killed process leaves behind is taken over.

    Raises:
        HeldError: another process holds it.
        OSError: it cannot be created, or the file system does not support locks.
    """
    import socket

    descriptor = _acquired(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        if os.name == "nt":  # there, open files cannot be removed
            os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
        if os.name != "nt":
            os.close(descriptor)


def _acquired(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o666)
        try:
            if not acquire(descriptor):
                raise HeldError(os.read(descriptor, LONGEST).decode("utf-8", "replace") or "another process")
            if is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it at this moment
