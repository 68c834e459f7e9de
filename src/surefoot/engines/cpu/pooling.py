"""Kernels that pool the rows that bags of ids name, for many tables at once, and sum the gradients of equal rows.

An output is a feature of a table: a row of `places`, see `bags.PLACES`. Its bags are columns of the result.
"""

import numpy as np

from surefoot.engines.cpu.addresses import array_at
from surefoot.engines.cpu.codecs import decode
from surefoot.engines.cpu.prefetch import prefetch, prefetch_row
from surefoot.native.codegen import jitted

AHEAD = 8
"""Ids for which rows are prefetched."""
LINE = 16
"""Numbers between those that are prefetched of a slope; a cache line of float32."""


def pool(places, like, ids_like, pooled, named, starts, factors, edges, part):
    """Pools the bags of a part; returns how many ids and bags are wrong.

    A part is some bags of all outputs, one output behind the other. Notes, where there is room, of each id its row,
    where the slope of its bag begins, and what its row is multiplied by.
    """
    batch, wrong, u = pooled.shape[0], 0, edges[part]
    while u < edges[part + 1]:
        output = u // batch
        first = u - output * batch
        last = min(batch, first + edges[part + 1] - u)
        wrong += pool_output(places[output], like, ids_like, pooled, named, starts, factors, first, last)
        u += last - first
    return wrong


@jitted
def pool_output(place, like, ids_like, pooled, named, starts, factors, first, last):
    """Pools some bags of an output."""
    rows, width, count, column, room = place[1], place[2], place[4], place[7], place[8]
    x, ids = array_at(place[0], rows, width, like), array_at(place[3], count, 1, ids_like)
    ends = array_at(place[5], pooled.shape[0] + 1, 1, ids_like)
    given = array_at(place[6], count, 1, pooled[0])
    base, end_of_all, wrong = ends[0], ends[pooled.shape[0]], 0
    if base < 0 or end_of_all > count:
        return 1
    for b in range(first, last):
        begin, end = ends[b], ends[b + 1]
        if begin < base or end < begin or end > end_of_all:
            return wrong + 1
        total = pooled[b, column : column + width]
        for d in range(total.size):
            total[d] = 0
        size = pooled.dtype.type(max(end - begin, 1))
        for k in range(begin, end):
            if k + AHEAD < end_of_all and np.uint64(ids[k + AHEAD]) < np.uint64(rows):
                prefetch_row(x, ids[k + AHEAD])
            if np.uint64(ids[k]) >= np.uint64(rows):  # a negative one is a large one here
                wrong += 1
                continue
            row = x[ids[k]]
            if place[6] != 0:
                factor = given[k]
                for d in range(total.size):
                    total[d] += factor * decode(row, row[d])
            else:
                for d in range(total.size):
                    total[d] += decode(row, row[d])
            if named.size > 0:
                at = room + k - base
                named[at], starts[at] = ids[k], b * pooled.shape[1] + column
                if factors.size > 0:
                    factors[at] = given[k] if place[6] != 0 else pooled.dtype.type(1)
                    if place[9] != 0:
                        factors[at] *= pooled.dtype.type(1) / size  # as torch, which divides values alone
        if place[9] != 0:
            for d in range(total.size):
                total[d] /= size
    return wrong


def note(order, found, rows, begins, counts):
    """Writes the distinct rows that each table's part of an order names, and where they begin."""
    count = 0
    for t in range(found.shape[0]):
        before, begin = count, found[t, 1]
        for k in range(begin, begin + found[t, 0]):
            # Written for every id and kept where a row begins: a jump here would often be mispredicted.
            row = order[k] >> np.uint64(32)
            rows[count], begins[count] = row, k
            count += 1 if k == begin or row != order[k - 1] >> np.uint64(32) else 0
        counts[t] = count - before
    begins[count] = order.size
    return count


def add(slope, order, found, begins, tables, starts, factors, sums, edges, part):
    """Sums the slopes of each distinct row in order of occurrence.

    A part is some distinct rows of all tables. `tables` has for each its first distinct row, how many there are, their
    width, and where their sums begin.
    """
    for t in range(tables.shape[0]):
        first, last = max(edges[part], tables[t, 0]), min(edges[part + 1], tables[t, 0] + tables[t, 1])
        width, place = tables[t, 2], found[t, 1]
        for u in range(first, last):
            at = tables[t, 3] + (u - tables[t, 0]) * width
            total = sums[at : at + width]
            for k in range(begins[u], begins[u + 1]):
                if k + AHEAD < place + found[t, 0]:
                    ahead = starts[place + np.int64(order[k + AHEAD] & np.uint64(0xFFFFFFFF))]
                    for d in range(0, width, LINE):
                        prefetch(slope, ahead + d)
                own = place + np.int64(order[k] & np.uint64(0xFFFFFFFF))
                more, factor = slope[starts[own] : starts[own] + width], slope.dtype.type(1)
                if factors.size > 0:
                    factor = factors[own]
                if k == begins[u]:
                    for d in range(total.size):
                        total[d] = more[d] * factor
                else:
                    for d in range(total.size):
                        total[d] += more[d] * factor
    return 0
