"""Arrays that grow where they are: large ones have addresses reserved ahead, and memory only as far as they are used.

A longer copy would need memory for both, and all of it would be written twice.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from surefoot import hugepages, system

LARGE = 1 << 22
"""Bytes from which on addresses are reserved; smaller arrays are copied, with room for half as much again."""
MOST = 1 << 42
"""Bytes of addresses that are reserved at most: a process has about 32 times as many."""


class Growing:
    """A flat array that becomes longer or shorter; what is added is 0.

    Args:
        dtype: of its numbers.

    Attributes:
        size: how many there are.
        block: all that there is room for: another one where the numbers move.

    >>> numbers = Growing(np.dtype(np.int64))
    >>> numbers.resize(2)
    >>> numbers.array[:] = 7
    >>> numbers.resize(3)
    >>> numbers.array
    array([7, 7, 0])
    """

    def __init__(self, dtype: np.dtype):
        self.size = self._written = 0
        self.block = hugepages.zeros((0,), dtype)

    @classmethod
    def of(cls, array: np.ndarray) -> Growing:
        """One with these numbers, which are copied.

        >>> Growing.of(np.array([[1, 2], [3, 4]])).array
        array([1, 2, 3, 4])
        """
        found = cls(array.dtype)
        found.resize(array.size)
        found.array[:] = array.ravel()
        return found

    @property
    def array(self) -> np.ndarray:
        """A view of the numbers, (size,). Those of before `resize` stay valid, but may be of other memory."""
        return self.block[: self.size]

    def resize(self, size: int) -> None:
        """Makes it this long."""
        if size > len(self.block):
            block = longer(self.size, size, self.block.dtype)
            block[: self.size] = self.array
            self.block, self._written = block, self.size
        elif size > self.size:
            self.block[self.size : min(size, self._written)] = 0
        self.size, self._written = size, max(self._written, size)

    def decline_huge_pages(self) -> None:
        """Lets the system give it a small page at a time, where it is written to for the first time."""
        hugepages.decline_huge_pages(self.array.ctypes.data, self.array.nbytes)

    def move_to_huge_pages(self, is_new: bool) -> None:
        """Lets it have huge pages, also where it has small ones unless it is new."""
        move = hugepages.advise_huge_pages if is_new else hugepages.move_to_huge_pages
        move(self.array.ctypes.data, self.array.nbytes)

    def __getstate__(self) -> dict[str, Any]:
        """Copies have memory for what is there, not for what may come."""
        return {"array": self.array.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["array"].dtype)
        self.resize(state["array"].size)
        self.array[:] = state["array"]


def longer(before: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros with room for `size` numbers, and for more where there were some before."""
    room = max(size, before + before // 2) if before else size
    if before and room * dtype.itemsize >= LARGE:
        reserved = addresses(max(room * dtype.itemsize, min(int(system.memory()), MOST)))
        if reserved is not None:
            return reserved[: len(reserved) // dtype.itemsize * dtype.itemsize].view(dtype)
    return hugepages.zeros((room,), dtype)


def addresses(size: int) -> np.ndarray | None:
    """Zeros that take no memory until they are written to, if the system has such, (size,) uint8."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)  # Python has it since 3.12
    try:
        block = mmap.mmap(-1, size, flags=flags)
    except OSError:  # the system, or a limit of this process, counts addresses as memory
        return None
    found = np.frombuffer(block, np.uint8)
    hugepages.advise_huge_pages(found.ctypes.data, size)
    return found
