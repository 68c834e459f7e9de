"""Sorts the ids of a sparse gradient, so that equal ones lie together in order of occurrence."""

import numba
import numpy as np

BITS = 11
BUCKETS = 1 << BITS


@numba.njit(cache=True, nogil=True)
def sort_ids(ids, rows):
    """(row << 32 | position) for every id, sorted by row, and where each distinct row begins: a radix sort.

    Rows and positions must be below 2³².
    """
    size, passes = ids.size, 0
    while (rows - 1) >> (passes * BITS) > 0:
        passes += 1
    # The digits of all passes are counted together, so that the ids are read once for it.
    count = np.zeros((passes, BUCKETS), np.int64)
    order, other = np.empty(size, np.uint64), np.empty(size, np.uint64)
    for k in range(size):
        row = np.int64(ids[k])
        order[k] = np.uint64(row) << np.uint64(32) | np.uint64(k)
        for digit in range(passes):
            count[digit, (row >> (digit * BITS)) & (BUCKETS - 1)] += 1
    for digit in range(passes):
        place = np.cumsum(count[digit]) - count[digit]
        shift = np.uint64(32 + digit * BITS)
        for k in range(size):
            bucket = np.int64(order[k] >> shift) & (BUCKETS - 1)
            other[place[bucket]] = order[k]
            place[bucket] += 1
        order, other = other, order
    starts = np.empty(size + 1, np.int64)
    distinct = 0
    for k in range(size):
        if k == 0 or order[k] >> np.uint64(32) != order[k - 1] >> np.uint64(32):
            starts[distinct] = k
            distinct += 1
    starts[distinct] = size
    return order, starts[: distinct + 1]
