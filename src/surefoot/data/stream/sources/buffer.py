"""Bytes in memory: a buffer that pieces are read into, one after the other, and the text in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surefoot.data.stream.kernels.layout import PADDING
from surefoot.data.stream.sources import limits


class Buffer:
    """Bytes that are read into, one piece after the other; it grows to what the longest of them needs."""

    def __init__(self) -> None:
        self.bytes = np.empty(limits.PIECE + 2 * limits.LOOK_AHEAD, np.uint8)

    def reserve(self, size: int) -> None:
        """Makes room for `size` bytes and the padding; keeps the content."""
        if size + PADDING > len(self.bytes):
            larger = np.empty(max(size + PADDING, len(self.bytes) * 3 // 2), np.uint8)
            larger[: len(self.bytes)] = self.bytes
            self.bytes = larger

    def find_line_end(self, begin: int, end: int) -> int:
        """Where the first line end in [begin, end) is; -1 if there is none."""
        found = self.bytes.data.cast("B")[begin:end].tobytes().find(b"\n") if end - begin <= limits.LOOK_AHEAD else -1
        if found >= 0 or end - begin <= limits.LOOK_AHEAD:
            return begin + found if found >= 0 else -1
        for start in range(begin, end, limits.LOOK_AHEAD):
            found = self.find_line_end(start, min(start + limits.LOOK_AHEAD, end))
            if found >= 0:
                return found
        return -1


@dataclass(frozen=True)
class Text:
    """Whole lines in a buffer, from `begin` to `end`; where `too_long`, another line follows that is skipped."""

    begin: int
    end: int
    too_long: bool = False


def begin_of_line(buffer: Buffer, first: int, position: int) -> int:
    """Where the line that holds this position begins."""
    while position > first:
        start = max(first, position - limits.LOOK_AHEAD)
        found = buffer.bytes[start:position].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return first


def closed(buffer: Buffer, begin: int, end: int, too_long: bool = False) -> Text:
    """The text, with a line end and padding after it."""
    buffer.reserve(end + 1)
    buffer.bytes[end : end + PADDING] = 10
    return Text(begin, end if too_long else end + 1, too_long)
