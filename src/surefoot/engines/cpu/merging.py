"""Which rows a sparse gradient names, where the values of each are, and columns of tables."""

import numpy as np

from surefoot.engines.cpu.specialising import Kind, specialise
from surefoot.native import kernel
from surefoot.rules import REGISTRY

MOST_BITS = 11
"""Of a digit: with more, its counts no longer fit into the nearest cache."""
COUNTS = 3, 1 << MOST_BITS
"""The shape of what a sort counts with: ids have up to 32 bits, in three digits."""
MOST = 1 << 32
"""Rows, and ids."""
IN_ORDER = np.empty(0, np.int64)


def sort_ids(ids: np.ndarray, rows: int, places: np.ndarray = IN_ORDER) -> tuple[np.ndarray, np.ndarray]:
    """(row << 32 | place) for every id, sorted by row, and where each distinct row begins.

    Args:
        ids: (k,), of rows 0 … rows − 1.
        rows: how many there are.
        places: (k,), int64: where the values of each id are; those of the k-th are the k-th unless something is said.

    Raises:
        IndexError: for an id that is no row's, and for more than 2³² rows or ids.
    """
    if max(rows, ids.size) > MOST:
        raise IndexError(f"{ids.size:,} ids of {rows:,} rows; sparse gradients are for at most {MOST:,} of each")
    order, starts = np.empty((2, ids.size), np.uint64), np.empty(ids.size + 1, np.int64)
    sort = specialise("sort", REGISTRY["sgd"], Kind("float32"))
    distinct = sort(ids, places, rows, np.empty(COUNTS, np.uint64), order[0], order[1], starts)
    if distinct < 0:
        wrong = ids[(ids < 0) | (ids >= rows)][0]
        raise IndexError(f"the gradient names row {wrong}; expected 0 … {rows - 1}")
    return order[0], starts[: distinct + 1]


@kernel
def copy_columns(source, columns, target, counted):
    """Some columns of every row; of those rows alone whose last number is not 0, where that counts their values."""
    for j in range(source.shape[0]):
        if j == 0 or not counted or source[j, source.shape[1] - 1] != 0:
            for c in range(columns.size):
                target[j, c] = source[j, columns[c]]
