"""Sorts the ids of a sparse gradient, so that equal ones lie together in order of occurrence."""

import numba
import numpy as np

BITS = 11


@numba.njit(cache=True, nogil=True)
def sort_ids(ids, rows):
    """(row << 32 | position) for every id, sorted by row, and where each distinct row begins: a radix sort.

    Rows and positions must be below 2³².
    """
    size, buckets = ids.size, 1 << BITS
    order, other = np.empty(size, np.uint64), np.empty(size, np.uint64)
    for k in range(size):
        order[k] = np.uint64(ids[k]) << np.uint64(32) | np.uint64(k)
    count = np.empty(buckets, np.int64)
    shift = 32
    while (rows - 1) >> (shift - 32) > 0:
        count[:] = 0
        for k in range(size):
            count[np.int64(order[k] >> np.uint64(shift)) & (buckets - 1)] += 1
        total = 0
        for digit in range(buckets):
            here = count[digit]
            count[digit] = total
            total += here
        for k in range(size):
            digit = np.int64(order[k] >> np.uint64(shift)) & (buckets - 1)
            other[count[digit]] = order[k]
            count[digit] += 1
        order, other = other, order
        shift += BITS
    starts = np.empty(size + 1, np.int64)
    distinct = 0
    for k in range(size):
        if k == 0 or order[k] >> np.uint64(32) != order[k - 1] >> np.uint64(32):
            starts[distinct] = k
            distinct += 1
    starts[distinct] = size
    return order, starts[: distinct + 1]
