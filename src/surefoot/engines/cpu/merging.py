"""Which rows a sparse gradient names, where the values of each are, and columns of tables."""

import numpy as np

from surefoot.native import kernel

MOST_BITS = 11
"""Of a digit: with more, its counts no longer fit into the nearest cache."""
HIGH = np.uint64(32)


def sort_ids(ids: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(row << 32 | position) for every id, sorted by row, and where each distinct row begins.

    Rows and positions must be below 2³².
    """
    bits = (rows - 1).bit_length()
    passes = -(-bits // MOST_BITS)
    digit_bits = -(-bits // max(passes, 1))
    count = np.zeros((passes, 1 << digit_bits), np.int64)
    order, starts = np.empty((2, ids.size), np.uint64), np.empty(ids.size + 1, np.int64)
    distinct = sort(ids, digit_bits, count, order[0], order[1], starts)
    return order[int(distinct < 0)], starts[: abs(distinct) + 1]


@kernel
def sort(ids, digit_bits, count, order, other, starts):
    """A radix sort; returns how many distinct rows there are, negative where the sorted ids are in `other`."""
    size, passes = ids.size, count.shape[0]
    last = np.uint64(count.shape[1] - 1)
    # The digits of all passes are counted together, so that the ids are read once for it.
    rises = True
    for k in range(size):
        rises &= k == 0 or ids[k] > ids[k - 1]
        row = np.uint64(ids[k])
        order[k] = row << HIGH | np.uint64(k)
        for digit in range(passes):
            count[digit, row >> np.uint64(digit * digit_bits) & last] += 1
    passes = 0 if rises else passes
    for digit in range(passes):
        before = 0
        for bucket in range(count.shape[1]):
            before, count[digit, bucket] = before + count[digit, bucket], before
        place = count[digit]
        shift = HIGH + np.uint64(digit * digit_bits)
        for k in range(size):
            bucket = order[k] >> shift & last
            other[place[bucket]] = order[k]
            place[bucket] += 1
        order, other = other, order
    starts[0] = 0
    distinct = min(size, 1)
    for k in range(1, size):
        # Written for every id and kept where a row begins: a jump here would often be mispredicted.
        starts[distinct] = k
        distinct += np.int64(order[k] >> HIGH != order[k - 1] >> HIGH)
    starts[distinct] = size
    return -distinct if passes % 2 else distinct


@kernel
def copy_columns(source, columns, target, counted):
    """Some columns of every row; of those rows alone whose last number is not 0, where that counts their values."""
    for j in range(source.shape[0]):
        if j == 0 or not counted or source[j, source.shape[1] - 1] != 0:
            for c in range(columns.size):
                target[j, c] = source[j, columns[c]]
