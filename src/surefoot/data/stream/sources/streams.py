"""Streams that are read from their beginning to their end: pipes, compressed files, URLs and open files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.reader import Piece
from surefoot.data.stream.sources import limits
from surefoot.data.stream.sources.buffer import Buffer, Text, closed
from surefoot.data.stream.sources.opening import BOM, COMPRESSED, damaged, decompressed


def pieces(stream: Any, start: bytes, number: int, name: str) -> Iterator[Piece]:
    """Reads a stream from its beginning to its end."""
    carried, skipping, beginning, first_piece = b"", False, True, True
    try:
        text = decompressed(stream, start, name)
        while chunk := text.read(limits.PIECE):
            if beginning and chunk.startswith(BOM):
                chunk = chunk[3:]
            beginning = False
            first = chunk.find(b"\n") + 1
            if skipping or len(carried) + (first - 1 if first else len(chunk)) > limits.LONGEST_LINE:
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
        if start.startswith(COMPRESSED):
            raise damaged(name, error) from None
        raise DataError(f"{name}: could not be read ({getattr(error, 'strerror', None) or error})") from None
    if carried:
        yield Piece(number, name, _Bytes(carried), _position(stream), first_piece)


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
        return closed(buffer, 0, end, self.too_long)
