"""Which rows a sparse gradient names, where the values of each are, and columns of tables."""

import numba
import numpy as np

MOST_BITS = 11
"""Of a digit: with more, its counts no longer fit into the nearest cache."""
HIGH = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def sort_ids(ids, rows):
    """(row << 32 | position) for every id, sorted by row, and where each distinct row begins: a radix sort.

    Rows and positions must be below 2³².
    """
    size, bits = ids.size, 0
    while (rows - 1) >> bits > 0:
        bits += 1
    passes = -(-bits // MOST_BITS)
    digit_bits = -(-bits // max(passes, 1))
    buckets = 1 << digit_bits
    last = np.uint64(buckets - 1)
    # The digits of all passes are counted together, so that the ids are read once for it.
    count = np.zeros((passes, buckets), np.int64)
    order, other = np.empty(size, np.uint64), np.empty(size, np.uint64)
    rises = True
    for k in range(size):
        rises &= k == 0 or ids[k] > ids[k - 1]
        row = np.uint64(ids[k])
        order[k] = row << HIGH | np.uint64(k)
        for digit in range(passes):
            count[digit, row >> np.uint64(digit * digit_bits) & last] += 1
    for digit in range(0 if rises else passes):
        place = np.cumsum(count[digit]) - count[digit]
        shift = HIGH + np.uint64(digit * digit_bits)
        for k in range(size):
            bucket = order[k] >> shift & last
            other[place[bucket]] = order[k]
            place[bucket] += 1
        order, other = other, order
    starts = np.zeros(size + 1, np.int64)
    distinct = min(size, 1)
    for k in range(1, size):
        # Written for every id and kept where a row begins: a jump here would often be mispredicted.
        starts[distinct] = k
        distinct += np.int64(order[k] >> HIGH != order[k - 1] >> HIGH)
    starts[distinct] = size
    return order, starts[: distinct + 1]


@numba.njit(cache=True, nogil=True)
def copy_columns(source, columns, target, counted):
    """Some columns of every row; of those rows alone whose last number is not 0, where that counts their values."""
    for j in range(source.shape[0]):
        if j == 0 or not counted or source[j, source.shape[1] - 1] != 0:
            for c in range(columns.size):
                target[j, c] = source[j, columns[c]]
