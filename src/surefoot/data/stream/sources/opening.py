"""Files, open for reading bytes; compressed ones decompressed, and their first bytes without reading them for good."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import zlib
from pathlib import Path
from typing import Any

from surefoot.data.errors import DataError
from surefoot.data.stream.sources import limits, remote
from surefoot.data.stream.sources.paths import is_read_once, name_of

GZIP, BZIP2, ZSTD = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"
COMPRESSED = (GZIP, BZIP2, ZSTD)
"""What compressed files begin with."""
PEEKED = 16
"""Bytes that tell whether a file is compressed, or of a format with first bytes of its own."""
BOM = b"\xef\xbb\xbf"
"""What some programs begin a text in UTF-8 with."""


def opened(file: Any, name: str) -> Any:
    """The file, open for reading bytes.

    Raises:
        DataError: it is not there, is a folder, or may not be read.
    """
    try:
        if not isinstance(file, str):
            return _Kept(file)
        if file == "-":
            return _Kept(standard_input())
        if remote.is_url(file):
            return remote.opened(file)
        if os.path.isdir(file):
            raise DataError(f"{name}: is a folder, expected a file; name a file in it, or all of them by {name}/*")
        return Path(file).open("rb")
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file; check the name and the folder") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read it; change its permissions or copy it") from None
    except OSError as error:
        raise DataError(f"{name}: could not be read ({error.strerror or error})") from None


def standard_input() -> Any:
    if sys.stdin is None:
        raise DataError("standard input: is closed, expected something to read")
    return sys.stdin.buffer


class _Kept:
    """A stream that its opener closes."""

    def __init__(self, stream: Any):
        self.wrapped = not hasattr(stream, "peek")
        self.stream = io.BufferedReader(stream) if self.wrapped else stream

    def __enter__(self) -> Any:
        return self.stream

    def __exit__(self, *_: object) -> None:
        if self.wrapped:
            # The collector of garbage may have closed the stream before it comes here.
            with contextlib.suppress(ValueError):
                self.stream.detach()


def peek(stream: Any, name: str) -> bytes:
    """The first bytes of a stream, 16 at most, which are read again later."""
    try:
        if hasattr(stream, "peek"):
            return stream.peek(PEEKED)[:PEEKED]
        start = stream.read(PEEKED)
        stream.seek(0)
        return start
    except OSError as error:
        raise DataError(f"{name}: could not be read ({error.strerror or error})") from None


def beginning(file: Any) -> tuple[bytes, Any]:
    """The first bytes of a file, decompressed, and the file to be read in its place: a pipe gives them only once."""
    name = name_of(file)
    try:
        if not is_read_once(file):
            with opened(file, name) as stream:
                return _unpacked(stream.read(limits.BEGINNING), name), file
        own = isinstance(file, str) and file != "-"
        stream: Any = opened(file, name) if own else standard_input() if file == "-" else file
        if stream.seekable() and not own:
            place = stream.tell()
            start = stream.read(limits.BEGINNING)
            stream.seek(place)
        else:
            start = stream.read(limits.BEGINNING)
            file = io.BufferedReader(_Begun(start, stream, name, own))  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise DataError(f"{name}: could not be read ({error.strerror or error})") from None
    return _unpacked(start, name), file


def _unpacked(start: bytes, name: str) -> bytes:
    """As much of a beginning as can be decompressed; what is damaged is found when all of the file is read."""
    text = io.BytesIO()
    try:
        stream = decompressed(io.BytesIO(start), start, name)
        while text.tell() < limits.BEGINNING and (chunk := stream.read(1 << 14)):
            text.write(chunk)
    except (EOFError, OSError, zlib.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        if not text.tell() and len(start) < limits.BEGINNING:
            raise damaged(name, error) from None
    return text.getvalue()


class _Begun(io.RawIOBase):
    """A stream of which the beginning has been read already; `own`: it is closed with this one."""

    def __init__(self, start: bytes, stream: Any, name: str, own: bool):
        self.start, self.stream, self.name, self.own = start, stream, name, own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self.start[: len(buffer)] or self.stream.read(len(buffer))
        self.start = self.start[len(buffer) :]
        buffer[: len(got)] = got
        return len(got)

    def close(self) -> None:
        if self.own and not self.closed:
            self.stream.close()
        super().close()


def decompressed(stream: Any, start: bytes, name: str) -> Any:
    """The stream as it was before compression; what it is, its first bytes say, whatever its name."""
    if start.startswith(GZIP):
        import gzip

        return gzip.GzipFile(fileobj=io.BufferedReader(stream, 1 << 20) if isinstance(stream, io.RawIOBase) else stream)
    if start.startswith(BZIP2):
        import bz2

        return bz2.BZ2File(stream)
    if start.startswith(ZSTD):
        try:
            import pyarrow
        except ImportError:
            raise DataError(f'{name}: zstd files are read by PyArrow; run pip install "surefoot[table]"') from None
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")
    return stream


def damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: is damaged ({error}); download or compress it again")
