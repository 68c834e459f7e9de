"""Plain files in pieces that do not depend on each other, so that threads may read any of them side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from surefoot.data.errors import DataError
from surefoot.data.stream.reader import Piece
from surefoot.data.stream.sources import limits, remote
from surefoot.data.stream.sources.buffer import Buffer, Text, begin_of_line, closed
from surefoot.data.stream.sources.opening import BOM, COMPRESSED


def is_plain(file: Any, start: bytes) -> bool:
    regular = isinstance(file, str) and file != "-" and not remote.is_url(file) and os.path.isfile(file)
    return regular and not start.startswith(COMPRESSED) and hasattr(os, "preadv")


def pieces(stream: IO[bytes], number: int, name: str) -> Iterator[Piece]:
    descriptor = os.dup(stream.fileno())
    # The last of the pieces closes the file: they may be read after the iterator has gone on to the next one.
    owner = _Descriptor(descriptor)
    length = os.fstat(descriptor).st_size
    for begin in range(0, length, limits.PIECE):
        reader = _PlainPiece(owner, name, begin, min(begin + limits.PIECE, length), length)
        yield Piece(number, name, reader, min(begin + limits.PIECE, length), first=begin == 0)


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
        filled = self._fill(buffer, base, 0, min(self.end + limits.LOOK_AHEAD, self.length) - base)
        first = 0
        if self.begin > 0:
            first = buffer.find_line_end(0, self.end - 1 - base) + 1
            if first == 0:
                return Text(0, 0)
        elif buffer.bytes[: min(3, filled)].tobytes() == BOM:
            first = 3
        searched = self.end - 1 - base
        while (stop := buffer.find_line_end(searched, filled)) < 0:
            searched = filled
            if base + filled == self.length:
                stop = filled
                break
            if searched - (self.end - base) > limits.LONGEST_LINE:
                break
            filled = self._fill(buffer, base, filled, min(2 * filled, self.length - base))
        last = begin_of_line(buffer, first, self.end - 1 - base)
        if stop < 0 or stop - last > limits.LONGEST_LINE:
            return closed(buffer, first, last, too_long=True)
        return closed(buffer, first, stop)

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
