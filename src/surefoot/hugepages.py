"""Huge pages and cache-line alignment for tables whose rows are accessed at random.

A row that starts at a cache line occupies as few of them as possible. With huge pages it is found without a TLB miss;
with ordinary pages the miss takes about as long as reading the row.
"""

import ctypes
import functools
import math
import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LINE = 64
"""Bytes of a cache line."""
HUGE = 1 << 21
"""Bytes of a huge page."""
PIECE = 8 * HUGE
"""Bytes that are moved at a time."""
LONGEST = 10.0
"""Seconds that moving may take; the system slowly moves what is left."""
MOVING = "surefoot-huge-pages"
"""The name of threads that move tables."""
MADV_COLLAPSE = 25
"""Linux's number, since version 6.1; Python has no name for it."""
MADV_NOHUGEPAGE = getattr(mmap, "MADV_NOHUGEPAGE", 15)
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")

_one_at_a_time = threading.Lock()


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """np.empty, aligned to a cache line. (NumPy itself requests huge pages.)

    >>> empty((3, 2), np.float32).shape
    (3, 2)
    """
    return at_line(np.empty, shape, dtype)


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    """np.zeros, beginning at a cache line.

    >>> zeros((1, 2), np.float32)
    array([[0., 0.]], dtype=float32)
    """
    return at_line(np.zeros, shape, dtype)


def at_line(make: Callable, shape: tuple[int, ...], dtype) -> np.ndarray:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    block = make(size + LINE, np.uint8)
    begin = -block.ctypes.data % LINE
    return block[begin : begin + size].view(dtype).reshape(shape)


def advise_huge_pages(address: int, size: int) -> None:
    """For memory that nothing was written to yet. Nothing happens where there are none, as outside Linux."""
    begin, end = whole_pages(address, size)
    if begin < end and (advise := madvise()):
        advise(begin, end - begin, mmap.MADV_HUGEPAGE)


def decline_huge_pages(address: int, size: int) -> None:
    """For memory that is written to here and there: a huge page takes the system milliseconds to clear."""
    begin, end = whole_pages(address, size)
    if begin < end and (advise := madvise()):
        advise(begin, end - begin, MADV_NOHUGEPAGE)


def move_to_huge_pages(address: int, size: int) -> None:
    """For memory in use: it stays at its address, and others may read and write it meanwhile.

    A thread does it in the background, as the system takes some seconds for a gigabyte. It only has the system look for
    the pages, so that memory may also be freed meanwhile.
    """
    advise_huge_pages(address, size)
    begin, end = whole_pages(address, size)
    if begin < end and (advise := madvise()):
        threading.Thread(target=move, args=(advise, begin, end), name=MOVING, daemon=True).start()


def move(advise: Callable, begin: int, end: int) -> None:
    """Moves whole pages, unless that takes too long; the pages of one table at a time."""
    with _one_at_a_time:
        until = time.perf_counter() + LONGEST
        while begin < end and time.perf_counter() < until:
            advise(begin, min(PIECE, end - begin), MADV_COLLAPSE)
            begin += PIECE


def whole_pages(address: int, size: int) -> tuple[int, int]:
    """Where the huge pages within the memory start and end.

    >>> whole_pages(HUGE - 64, 2 * HUGE) == (HUGE, 2 * HUGE)
    True
    """
    return -(-address // HUGE) * HUGE, (address + size) // HUGE * HUGE


def expect_random_access(address: int, size: int) -> None:
    """For a mapped file, of which the system otherwise reads many pages around the one that is needed."""
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    if begin < address + size and hasattr(mmap, "MADV_RANDOM") and (advise := of_system()):
        advise(begin, address + size - begin, mmap.MADV_RANDOM)


@functools.cache
def madvise() -> Callable | None:
    """The system's own function, unless huge pages are disabled."""
    try:
        unwanted = "[never]" in SETTING.read_text()
    except OSError:
        return None
    return None if unwanted or not hasattr(mmap, "MADV_HUGEPAGE") else of_system()


@functools.cache
def of_system() -> Callable | None:
    """The system's function, where it has one."""
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
