"""Arrays as kernels take them."""

import numpy as np

from surefoot.engines.numerics import BLOCK


def stored(array: np.ndarray) -> np.ndarray:
    """float16 as int16, which stands for it in the kernels."""
    return array.view(np.int16) if array.dtype == np.float16 else array


def together(part: np.ndarray) -> np.ndarray:
    """A long evenly spaced row as it is; anything else copied together where it has gaps."""
    if part.shape[0] == 1 and part.size > BLOCK:
        row = part.reshape(1, -1)
        if np.may_share_memory(row, part):
            return row
    return np.ascontiguousarray(part)
