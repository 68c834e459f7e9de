"""Which rows a sparse gradient names, where the values of each are, and columns of tables."""

import numpy as np

from surefoot.engines.cpu.kind import Kind
from surefoot.engines.cpu.layout import COUNTS, MOST
from surefoot.engines.cpu.specialize import specialize
from surefoot.native import kernel

IN_ORDER = np.empty(0, np.int64)


def sort_ids(ids: np.ndarray, rows: int, places: np.ndarray = IN_ORDER) -> np.ndarray:
    """(row << 32 | place) for every id, sorted by row.

    Args:
        ids: (k,), of rows 0 … rows − 1.
        rows: how many there are.
        places: (k,), int64: where the values of each id are; those of the k-th are the k-th unless something is said.

    Raises:
        IndexError: for an id out of range, and for more than 2³² rows or ids.
    """
    if max(rows, ids.size) > MOST:
        raise IndexError(f"{ids.size:,} ids of {rows:,} rows; sparse gradients are for at most {MOST:,} of each")
    order = np.empty((2, ids.size), np.uint64)
    if specialize("sort", Kind("float32"))(ids, places, rows, np.empty(COUNTS, np.uint64), *order):
        wrong = ids[(ids < 0) | (ids >= rows)][0]
        raise IndexError(f"the gradient names row {wrong}; expected 0 … {rows - 1}")
    return order[0]


def distinct_rows(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of sorted ids, and where each begins; the end comes last.

    >>> distinct_rows(sort_ids(np.array([2, 0, 2]), 3))
    (array([0, 2]), array([0, 1, 3]))
    """
    rows, starts = np.empty(order.size, np.int64), np.empty(order.size + 1, np.int64)
    count = note_rows(order, rows, starts)
    return rows[:count], starts[: count + 1]


@kernel
def note_rows(order, rows, starts):
    """Writes the distinct rows of an order and where they begin; returns how many there are."""
    count = 0
    for k in range(order.size):
        # Written for every id and kept where a row begins: a jump here would often be mispredicted.
        row = order[k] >> np.uint64(32)
        rows[count], starts[count] = row, k
        count += 1 if k == 0 or row != order[k - 1] >> np.uint64(32) else 0
    starts[count] = order.size
    return count


@kernel
def copy_columns(source, columns, target, counted):
    """Some columns of every row; of those rows alone whose last number is not 0, where that counts their values."""
    for j in range(source.shape[0]):
        if j == 0 or not counted or source[j, source.shape[1] - 1] != 0:
            for c in range(columns.size):
                target[j, c] = source[j, columns[c]]
