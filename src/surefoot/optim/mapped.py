"""Parameters in mapped files: what an optimizer keeps for them lies in files, too, and grows with them there."""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

import torch
from torch import Tensor

from surefoot import hugepages
from surefoot.atomic_write import new_file


def file_of(tensor: Tensor) -> str | None:
    """The file that a tensor shares memory with, by torch.from_file(…, shared=True).

    >>> file_of(torch.zeros(2)) is None
    True
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
        return None
    return getattr(tensor.untyped_storage(), "filename", None)


def zeros_next_to(path: str, shape: Any, dtype: torch.dtype) -> Tensor:
    """Zeros in a file of their own, in the folder of another file.

    The file has no name any longer, so it ends with the process, and its blocks are those that were written to.
    """
    size = math.prod(shape)
    if size == 0:
        return torch.zeros(shape, dtype=dtype)
    made = new_file(os.path.dirname(path) or ".", ".state")
    try:
        return from_file(str(made), shape, dtype)
    finally:
        with contextlib.suppress(PermissionError):  # Windows keeps the names of files that are mapped
            made.unlink()


def from_file(path: str, shape: Any, dtype: torch.dtype) -> Tensor:
    """A tensor that shares its memory with a file, which gets the size that this needs."""
    size = math.prod(shape)
    os.truncate(path, size * dtype.itemsize)
    made = torch.from_file(path, shared=True, size=size, dtype=dtype).view(shape)
    hugepages.expect_random_access(made.data_ptr(), made.nbytes)
    return made


def copied_next_to(path: str, tensor: Tensor) -> Tensor:
    """A copy of a tensor in a file, in the folder of another file."""
    return zeros_next_to(path, tensor.shape, tensor.dtype).copy_(tensor)


def has_file_alone(tensor: Tensor) -> bool:
    """Whether a tensor in a file is all of that file, which still has its name."""
    path = file_of(tensor)
    is_whole = tensor.is_contiguous() and tensor.storage_offset() == 0
    return path is not None and is_whole and os.path.isfile(path) and os.path.getsize(path) == tensor.nbytes


def longer(tensor: Tensor, rows: int) -> Tensor:
    """A tensor in a file with more rows, which are zeros: in its file, which grows, or in another one next to it."""
    path, shape = file_of(tensor) or "", (rows, *tensor.shape[1:])
    if has_file_alone(tensor):
        return from_file(path, shape, tensor.dtype)
    whole = zeros_next_to(path, shape, tensor.dtype)
    whole[: len(tensor)] = tensor
    return whole
