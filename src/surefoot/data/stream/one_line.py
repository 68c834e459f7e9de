"""One line after the other: the call of a format's kernel, whose arguments are laid out once: they are most of what it
costs."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from surefoot.data.stream.kernels import layout
from surefoot.data.stream.lines import Lines
from surefoot.data.stream.reader import Request
from surefoot.data.stream.workspace import Shelf, Workspace

LONGEST = 1 << 14
"""Bytes of a line, at most."""
BEGUN = struct.Struct(f"={8 * layout.POSITION}xq{8 * (layout.STATE - layout.POSITION - 1)}x").pack_into
"""Writes a kernel's state before it begins at a position: all else is 0."""
STATE = struct.Struct(f"={layout.STATE}q").unpack_from


class Row(NamedTuple):
    """The example that a line is: arrays that hold until the next call in the same thread, label and weight."""

    indices: np.ndarray
    values: np.ndarray
    label: float
    weight: float


class OneLine(threading.local):
    """Reads single lines by the kernel that reads files, in any thread: each has arrays of its own.

    Args:
        lines: how lines are read, without fields.

    Attributes:
        read: gives the example of a line in UTF-8; None where it is not one, or has what is better parsed as a file is:
            a fault, an initial prediction, or more bytes than there is room for.
    """

    def __init__(self, lines: Lines):
        self.read = reading(lines)


def reading(lines: Lines) -> Callable[[bytes], Row | None]:
    """`OneLine.read` for one thread."""
    space = Workspace(Request(), lines.fields, Shelf())
    text, state, end = space.buffer.bytes, space.state.data, LONGEST + 1
    text[LONGEST : end + layout.PADDING] = ord("\n")
    kernel, arguments = lines.call(space)
    run, place = kernel.bound(text, end, *arguments), text.data
    indices, values, labels, weights = space.indices, space.values, space.labels, space.weights

    def read(line: bytes) -> Row | None:
        begin = LONGEST - len(line)
        if begin < 0:
            return None
        place[begin:LONGEST] = line  # so that it ends where the kernel was told
        BEGUN(state, 0, begin)
        status = run()
        _, _, rows, size, faults, _, _, weighted, _, based, _, _ = STATE(state)
        if status != layout.DONE or rows != 1 or faults or based:
            return None
        return Row(indices[:size], values[:size], labels.item(0), weights.item(0) if weighted else 1.0)

    return read
