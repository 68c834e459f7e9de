"""Where bytes come from: files, several of them, globs, standard input, URLs; plain or compressed; cut at line ends.

A plain file is read in pieces that do not depend on each other: piece k has the lines that begin in its bytes, so
threads may read and parse any of them side by side. Everything else is read from its beginning to its end. Files are
read, not mapped: one that shrinks, or a network drive that fails, is an error then and not the end of the process, and
what was read does not count as memory of the process.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.kernels.layout import PADDING

Paths: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Sequence[str | os.PathLike[str] | IO[bytes]]"

PIECE = 4 << 20
"""Bytes of a piece, as far as lines allow."""
LONGEST_LINE = 16 << 20
"""Bytes; longer lines are faults, and never held in memory as a whole."""
BEGINNING = 1 << 20
"""Bytes of a file, as stored, from which its format is guessed, and the columns of a table."""
PARQUET = b"PAR1"
PARQUET_VALUES = 1 << 18
"""Values that are read at once from a Parquet file."""

_LOOK_AHEAD = 1 << 16
_GZIP, _BZIP2, _ZSTD = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"


class Buffer:
    """Bytes that are read into, one piece after the other; it grows to what the longest of them needs."""

    def __init__(self) -> None:
        self.bytes = np.empty(PIECE + 2 * _LOOK_AHEAD, np.uint8)

    def reserve(self, size: int) -> None:
        """Makes room for so many bytes and the padding; keeps what there is."""
        if size + PADDING > len(self.bytes):
            larger = np.empty(max(size + PADDING, len(self.bytes) * 3 // 2), np.uint8)
            larger[: len(self.bytes)] = self.bytes
            self.bytes = larger

    def find_line_end(self, begin: int, end: int) -> int:
        """Where the first line end in [begin, end) is; -1 if there is none."""
        found = self.bytes.data.cast("B")[begin:end].tobytes().find(b"\n") if end - begin <= _LOOK_AHEAD else -1
        if found >= 0 or end - begin <= _LOOK_AHEAD:
            return begin + found if found >= 0 else -1
        for start in range(begin, end, _LOOK_AHEAD):
            found = self.find_line_end(start, min(start + _LOOK_AHEAD, end))
            if found >= 0:
                return found
        return -1


@dataclass(frozen=True)
class Text:
    """Whole lines in a buffer, from `begin` to `end`; where `too_long`, another line follows that is left out."""

    begin: int
    end: int
    too_long: bool = False


@dataclass(frozen=True)
class Piece:
    """Some consecutive lines of a file.

    Attributes:
        source: the number of the file among all files.
        name: of the file, for messages.
        read: reads the lines into a buffer.
        position: where in the file, as stored, the next piece begins.
        first: whether it begins the file.
    """

    source: int
    name: str
    read: Callable[[Buffer], Text]
    position: int
    first: bool = False


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
                raise DataError(f"{name}: no file has such a name; check the pattern and the folder")
            found += matches
        else:
            found.append(name if name == "-" else os.path.expanduser(name))
    if not found:
        raise DataError("found no file to read, expected at least one path")
    return found


def pieces(files: Sequence[Any], columns: Sequence[str] | None = None) -> Iterator[Piece]:
    """The pieces of all files, in order; of Parquet files, where there may be some, the columns that are wanted."""
    for number, file in enumerate(files):
        name = name_of(file)
        with opened(file, name) as stream:
            start = peek(stream, name)
            if start.startswith(PARQUET):
                if columns is None:
                    raise DataError(f'{name}: is a Parquet file, expected lines of text; read it as format "parquet"')
                yield from _of_parquet(file, number, name, columns)
            elif _is_plain_file(file, start):
                yield from _of_plain_file(stream, number, name)
            else:
                yield from _of_stream(stream, start, number, name)


def beginning(file: Any) -> tuple[bytes, Any]:
    """The first bytes of a file, decompressed, and the file to be read in its place: a pipe gives them only once."""
    name = name_of(file)
    try:
        if isinstance(file, str) and file != "-":
            if "://" not in file and os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):
                raise DataError(f"{name}: is a pipe or device, whose format cannot be guessed; say which it is")
            with opened(file, name) as stream:
                start = stream.read(BEGINNING)
        else:
            stream = standard_input() if file == "-" else file
            if stream.seekable():
                place = stream.tell()
                start = stream.read(BEGINNING)
                stream.seek(place)
            else:
                start = stream.read(BEGINNING)
                file = io.BufferedReader(_Begun(start, stream, name))  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise DataError(f"{name}: could not be read ({error.strerror or error})") from None
    return _unpacked(start, name), file


def _unpacked(start: bytes, name: str) -> bytes:
    """As much of a beginning as can be decompressed; what is damaged is found when all of the file is read."""
    text = io.BytesIO()
    try:
        stream = _decompressed(io.BytesIO(start), start, name)
        while text.tell() < BEGINNING and (chunk := stream.read(1 << 14)):
            text.write(chunk)
    except (EOFError, OSError, zlib.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        if not text.tell() and len(start) < BEGINNING:
            raise _damaged(name, error) from None
    return text.getvalue()


class _Begun(io.RawIOBase):
    """A stream of which the beginning has been read already."""

    def __init__(self, start: bytes, stream: Any, name: str):
        self.start, self.stream, self.name = start, stream, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self.start[: len(buffer)] or self.stream.read(len(buffer))
        self.start = self.start[len(buffer) :]
        buffer[: len(got)] = got
        return len(got)


def parquet_columns(file: Any, name: str) -> dict[str, str]:
    """The columns of a Parquet file, and whether each holds a "number", "text" or is "nested"."""
    from pyarrow import types

    def kind(column: Any) -> str:
        if types.is_nested(column):
            return "nested"
        return "number" if types.is_integer(column) or types.is_floating(column) or types.is_decimal(column) else "text"

    place = 0 if isinstance(file, str) or not file.seekable() else file.tell()
    with _parquet(file, name) as opened:
        schema = opened.schema_arrow
        if not isinstance(file, str):
            file.seek(place)
        if len(set(schema.names)) < len(schema.names):
            raise DataError(f"{name}: found several columns of the same name, expected different names")
        return {column.name: kind(column.type) for column in schema}


def _parquet(file: Any, name: str) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f'{name}: Parquet is read by PyArrow; run pip install "surefoot[table]"') from None
    source = _fsspec().open(file, "rb").open() if isinstance(file, str) and "://" in file else file
    if source == "-" or not (isinstance(source, str) or source.seekable()):
        raise DataError(f"{name}: Parquet cannot be read from a pipe; save it to a file first")
    try:
        return parquet.ParquetFile(source)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{name}: is damaged ({error}); download or write it again") from None


def _of_parquet(file: Any, number: int, name: str, columns: Sequence[str]) -> Iterator[Piece]:
    import pyarrow

    with _parquet(file, name) as opened:
        found = opened.schema_arrow.names
        if lacking := [column for column in columns if column not in found]:
            raise DataError(f"{name}: has no column {lacking[0]!r}, which the first file has")
        rows, done = max(1, PARQUET_VALUES // max(len(columns), 1)), 0
        try:
            for batch in opened.iter_batches(rows, columns=list(columns)):
                done += batch.num_rows
                yield Piece(number, name, _Batch(batch.select(list(columns)), name), 0)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{name}: is damaged ({error}); download or write it again") from None


@dataclass(frozen=True)
class _Batch:
    """Rows of a Parquet file, as lines of text."""

    batch: Any
    name: str

    def __call__(self, buffer: Buffer) -> Text:
        import pyarrow
        from pyarrow import compute, csv, types

        try:
            self.batch.validate(full=True)
        except pyarrow.ArrowException as error:
            raise DataError(f"{self.name}: is damaged ({error}); download or write it again") from None
        columns = []
        for column in self.batch.columns:
            if types.is_dictionary(column.type):
                column = column.dictionary_decode()
            if types.is_string(column.type) or types.is_large_string(column.type):
                # A line end in a value would end the line.
                column = compute.call_function(
                    "replace_substring", [column], compute.ReplaceSubstringOptions("\n", " ")
                )
            columns.append(column)
        sink = pyarrow.BufferOutputStream()
        try:
            table = pyarrow.table(columns, names=self.batch.schema.names)
            csv.write_csv(table, sink, csv.WriteOptions(include_header=False))
        except pyarrow.ArrowException as error:
            raise DataError(f"{self.name}: has a column that cannot be read ({error}); drop it") from None
        return _Bytes(sink.getvalue().to_pybytes())(buffer)


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
        if "://" in file:
            return _fsspec().open(file, "rb").open()
        if os.path.isdir(file):
            raise DataError(f"{name}: is a folder, expected a file; name a file in it, or all of them by {name}/*")
        return Path(file).open("rb")
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file; check the name and the folder") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read it; change its permissions or copy it") from None
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: could not be read ({getattr(error, 'strerror', None) or error})") from None


def standard_input() -> Any:
    if sys.stdin is None:
        raise DataError("standard input: is closed, expected something to read")
    return sys.stdin.buffer


class _Kept:
    """A stream that whoever opened it closes."""

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
    """The first bytes of a stream, which are read again later."""
    try:
        if hasattr(stream, "peek"):
            return stream.peek(4)[:4]
        start = stream.read(4)
        stream.seek(0)
        return start
    except OSError as error:
        raise DataError(f"{name}: could not be read ({error.strerror or error})") from None


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise DataError('URLs are read by fsspec; run pip install "surefoot[table]"') from None
    return fsspec


def _remote_names(url: str) -> list[str]:
    """The files that a URL with a pattern stands for."""
    fsspec = _fsspec()
    if not glob.has_magic(url.partition("://")[2]):
        return [url]
    try:
        system, pattern = fsspec.core.url_to_fs(url)
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url}: could not be read ({error})") from None
    if not found:
        raise DataError(f"{url}: no file has such a name; check the pattern and the folder")
    return found


def _is_plain_file(file: Any, start: bytes) -> bool:
    regular = isinstance(file, str) and file != "-" and "://" not in file and os.path.isfile(file)
    return regular and not start.startswith((_GZIP, _BZIP2, _ZSTD)) and hasattr(os, "preadv")


def _of_plain_file(stream: IO[bytes], number: int, name: str) -> Iterator[Piece]:
    descriptor = os.dup(stream.fileno())
    # The last of the pieces closes the file: they may be read after the iterator has gone on to the next one.
    owner = _Descriptor(descriptor)
    length = os.fstat(descriptor).st_size
    for begin in range(0, length, PIECE):
        reader = _PlainPiece(owner, name, begin, min(begin + PIECE, length), length)
        yield Piece(number, name, reader, min(begin + PIECE, length), first=begin == 0)


class _Descriptor:
    def __init__(self, descriptor: int):
        self.number = descriptor

    def __del__(self) -> None:
        os.close(self.number)


@dataclass(frozen=True)
class _PlainPiece:
    """Reads the lines that begin in bytes [begin, end) of a file."""

    file: _Descriptor
    name: str
    begin: int
    end: int
    length: int

    def __call__(self, buffer: Buffer) -> Text:
        base = max(self.begin - 1, 0)
        filled = self._fill(buffer, base, 0, min(self.end + _LOOK_AHEAD, self.length) - base)
        first = 0
        if self.begin > 0:
            first = buffer.find_line_end(0, self.end - 1 - base) + 1
            if first == 0:
                return Text(0, 0)
        elif buffer.bytes[: min(3, filled)].tobytes() == _BOM:
            first = 3
        searched = self.end - 1 - base
        while (stop := buffer.find_line_end(searched, filled)) < 0:
            searched = filled
            if base + filled == self.length:
                stop = filled
                break
            if searched - (self.end - base) > LONGEST_LINE:
                break
            filled = self._fill(buffer, base, filled, min(2 * filled, self.length - base))
        last = _begin_of_line(buffer, first, self.end - 1 - base)
        if stop < 0 or stop - last > LONGEST_LINE:
            return _closed(buffer, first, last, too_long=True)
        return _closed(buffer, first, stop)

    def _fill(self, buffer: Buffer, base: int, filled: int, wanted: int) -> int:
        buffer.reserve(wanted)
        while filled < wanted:
            try:
                got = os.preadv(self.file.number, [buffer.bytes.data[filled:wanted]], base + filled)
            except OSError as error:
                raise DataError(f"{self.name}: could not be read ({error.strerror or error})") from None
            if got == 0:
                raise DataError(f"{self.name}: became shorter while it was read; read it when it is complete")
            filled += got
        return filled


def _begin_of_line(buffer: Buffer, first: int, position: int) -> int:
    """Where the line that holds this position begins."""
    while position > first:
        start = max(first, position - _LOOK_AHEAD)
        found = buffer.bytes[start:position].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return first


def _closed(buffer: Buffer, begin: int, end: int, too_long: bool = False) -> Text:
    """The text, with a line end and padding after it."""
    buffer.reserve(end + 1)
    buffer.bytes[end : end + PADDING] = 10
    return Text(begin, end if too_long else end + 1, too_long)


def _of_stream(stream: Any, start: bytes, number: int, name: str) -> Iterator[Piece]:
    """Reads a stream from its beginning to its end."""
    carried, skipping, beginning, first_piece = b"", False, True, True
    try:
        text = _decompressed(stream, start, name)
        while chunk := text.read(PIECE):
            if beginning and chunk.startswith(_BOM):
                chunk = chunk[3:]
            beginning = False
            first = chunk.find(b"\n") + 1
            if skipping or len(carried) + (first - 1 if first else len(chunk)) > LONGEST_LINE:
                if not skipping:
                    yield Piece(number, name, _Bytes(b"", too_long=True), _position(stream))
                    first_piece = False
                carried, skipping, chunk = b"", first == 0, chunk[first:] if first else b""
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield Piece(number, name, _Bytes(carried + chunk[:cut]), _position(stream), first_piece)
                carried, first_piece = b"", False
            carried += chunk[cut:]
    except (EOFError, OSError, zlib.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        if start.startswith((_GZIP, _BZIP2, _ZSTD)):
            raise _damaged(name, error) from None
        raise DataError(f"{name}: could not be read ({getattr(error, 'strerror', None) or error})") from None
    if carried:
        yield Piece(number, name, _Bytes(carried), _position(stream), first_piece)


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: is damaged ({error}); download or compress it again")


def _position(stream: Any) -> int:
    try:
        return stream.tell()
    except (OSError, ValueError):
        return 0


@dataclass(frozen=True)
class _Bytes:
    """Lines that have been read already."""

    content: bytes
    too_long: bool = False

    def __call__(self, buffer: Buffer) -> Text:
        end = len(self.content)
        buffer.reserve(end)
        buffer.bytes[:end] = np.frombuffer(self.content, np.uint8)
        if end and self.content[-1] == 10:
            end -= 1
        return _closed(buffer, 0, end, self.too_long)


def _decompressed(stream: Any, start: bytes, name: str) -> Any:
    """The stream as it was before compression; what it is, its first bytes say, whatever its name."""
    if start.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=io.BufferedReader(stream, 1 << 20) if isinstance(stream, io.RawIOBase) else stream)
    if start.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(stream)
    if start.startswith(_ZSTD):
        try:
            import pyarrow
        except ImportError:
            raise DataError(f'{name}: zstd files are read by PyArrow; run pip install "surefoot[table]"') from None
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")
    return stream
