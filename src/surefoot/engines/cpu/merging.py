"""Which rows a sparse gradient names, where the values of each are, and columns of tables."""

import numpy as np

from surefoot.native import kernel

MOST_BITS = 11
"""Of a digit: with more, its counts no longer fit into the nearest cache."""
HIGH = np.uint64(32)
IN_ORDER = np.empty(0, np.int64)


def sort_ids(ids: np.ndarray, rows: int, places: np.ndarray = IN_ORDER) -> tuple[np.ndarray, np.ndarray]:
    """(row << 32 | place) for every id, sorted by row, and where each distinct row begins.

    Rows and places must be below 2³².

    Args:
        ids: (k,), of rows 0 … rows − 1.
        rows: how many there are.
        places: (k,), int64: where the values of each id are; those of the k-th are the k-th unless something is said.

    Raises:
        IndexError: for an id that is no row's.
    """
    bits = (rows - 1).bit_length()
    passes = -(-bits // MOST_BITS)
    digit_bits = -(-bits // max(passes, 1))
    counts = np.empty((max(passes, 1), 1 << digit_bits), np.uint64)
    order, starts = np.empty((2, ids.size), np.uint64), np.empty(ids.size + 1, np.int64)
    distinct = sort(ids, places, rows, digit_bits, passes, counts, order[0], order[1], starts)
    if distinct < 0:
        wrong = ids[(ids < 0) | (ids >= rows)][0]
        raise IndexError(f"the gradient names row {wrong}; expected 0 … {rows - 1}")
    return order[0], starts[: distinct + 1]


@kernel
def sort(ids, places, rows, digit_bits, passes, counts, order, other, starts):
    """A radix sort, into `order`; returns how many distinct rows there are, or -1 where an id is no row's."""
    outside, falls = False, False
    for k in range(ids.size):
        outside |= np.uint64(ids[k]) >= np.uint64(rows)  # a negative one is a large one here
    if outside:
        return -1
    for k in range(1, ids.size):
        falls |= ids[k] <= ids[k - 1]
    passes = passes if falls else 0
    source, target = (order, other) if passes % 2 == 0 else (other, order)
    last = np.uint64(counts.shape[1] - 1)
    counts[:] = 0
    for k in range(ids.size):
        source[k] = np.uint64(ids[k]) << HIGH | np.uint64(places[k] if places.size > 0 else k)
        counts[0, np.uint64(ids[k]) & last] += np.uint64(1)
        target[k] = np.uint64(0)  # for the cache, which is slower to fetch it in the order of the buckets
    for digit in range(passes):
        shift, next_shift = HIGH + np.uint64(digit * digit_bits), HIGH + np.uint64((digit + 1) * digit_bits)
        begins, is_last, following = counts[digit], digit == passes - 1, counts[min(digit + 1, passes - 1)]
        before = np.uint64(0)
        for bucket in range(begins.size):
            before, begins[bucket] = before + begins[bucket], before
        for k in range(source.size):
            key = source[k]
            bucket = key >> shift & last
            target[begins[bucket]] = key
            begins[bucket] += np.uint64(1)
            if not is_last:
                following[key >> next_shift & last] += np.uint64(1)
        source, target = target, source
    starts[0] = 0
    distinct = min(ids.size, 1)
    for k in range(1, order.size):
        # Written for every id and kept where a row begins: a jump here would often be mispredicted.
        starts[distinct] = k
        distinct += np.int64(order[k] >> HIGH != order[k - 1] >> HIGH)
    starts[distinct] = order.size
    return distinct


@kernel
def copy_columns(source, columns, target, counted):
    """Some columns of every row; of those rows alone whose last number is not 0, where that counts their values."""
    for j in range(source.shape[0]):
        if j == 0 or not counted or source[j, source.shape[1] - 1] != 0:
            for c in range(columns.size):
                target[j, c] = source[j, columns[c]]
