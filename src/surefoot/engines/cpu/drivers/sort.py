"""Drivers that sort the ids of sparse gradients by row."""

import numpy as np

from surefoot.engines.cpu.addresses import array_at
from surefoot.engines.cpu.layout import MOST_BITS

HIGH = np.uint64(32)


def sort_tables(ids_at, heights, found, like, order, other, counts, edges, part):
    """Sorts the ids of tables, which lie at these addresses; see `tables` and `sort`. Returns how many are wrong."""
    wrong = 0
    for k in range(edges[part], edges[part + 1]):
        begin, end = found[k, 1], found[k, 0] + found[k, 1]
        ids = array_at(ids_at[k], found[k, 0], 1, like)
        wrong += sort(ids, ids[:0], heights[k], counts[part], order[begin:end], other[begin:end])
    return wrong


def sort(ids, places, rows, counts, order, other):
    """(row << 32 | place) for every id into `order`, sorted by row: a radix sort.

    The place of an id is its own where `places` are empty. Returns 1 where an id is out of range, else 0.
    """
    outside, falls = False, False
    for k in range(ids.size):
        outside |= np.uint64(ids[k]) >= np.uint64(rows)  # a negative one is a large one here
    if outside:
        return 1
    for k in range(1, ids.size):
        falls |= ids[k] <= ids[k - 1]
    bits = 0
    while (rows - 1) >> bits > 0:
        bits += 1
    passes = -(-bits // MOST_BITS)
    digit_bits = -(-bits // max(passes, 1))
    passes = passes if falls else 0
    source, target = (order, other) if passes % 2 == 0 else (other, order)
    last = np.uint64((1 << digit_bits) - 1)
    for digit in range(max(passes, 1)):
        counts[digit, : 1 << digit_bits] = 0
    for k in range(ids.size):
        source[k] = np.uint64(ids[k]) << HIGH | np.uint64(places[k] if places.size > 0 else k)
        counts[0, np.uint64(ids[k]) & last] += np.uint64(1)
        target[k] = np.uint64(0)  # for the cache, which is slower to fetch it in the order of the buckets
    for digit in range(passes):
        shift, next_shift = HIGH + np.uint64(digit * digit_bits), HIGH + np.uint64((digit + 1) * digit_bits)
        begins, is_last, following = counts[digit], digit == passes - 1, counts[min(digit + 1, passes - 1)]
        before = np.uint64(0)
        for bucket in range(1 << digit_bits):
            before, begins[bucket] = before + begins[bucket], before
        for k in range(source.size):
            key = source[k]
            bucket = key >> shift & last
            target[begins[bucket]] = key
            begins[bucket] += np.uint64(1)
            if not is_last:
                following[key >> next_shift & last] += np.uint64(1)
        source, target = target, source
    return 0
