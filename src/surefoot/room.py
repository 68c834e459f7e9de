"""Memory for large tables, of which steps read and write rows that lie anywhere.

A row takes as few lines of a cache as can be where it begins with one. And where the system maps memory in large pages,
finding a row takes no time besides that for reading it: with ordinary pages it takes about as long once more.
"""

import ctypes
import functools
import math
import mmap
from collections.abc import Callable

import numpy as np

LINE = 64
"""Bytes of a line of a cache."""
LARGE = 1 << 21
"""Bytes of a large page."""


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """np.empty, beginning at a line of a cache. (NumPy itself asks for large pages.)

    >>> empty((3, 2), np.float32).shape
    (3, 2)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + size].view(dtype).reshape(shape)


def ask_for_large_pages(address: int, size: int) -> None:
    """For memory that nothing was written to yet. Nothing happens where there are none, as outside Linux."""
    begin, end = -(-address // LARGE) * LARGE, (address + size) // LARGE * LARGE
    if begin < end and (advise := madvise()):
        advise(begin, end - begin, mmap.MADV_HUGEPAGE)


@functools.cache
def madvise() -> Callable | None:
    """The system's own function."""
    try:
        function = ctypes.CDLL(None).madvise if hasattr(mmap, "MADV_HUGEPAGE") else None
    except (OSError, AttributeError):
        return None
    if function:
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
