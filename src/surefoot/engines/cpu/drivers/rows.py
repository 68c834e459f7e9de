"""Drivers for sparse gradients, whose ids are sorted by row; see `sort`."""

import numpy as np

from surefoot.engines.cpu.addresses import array_at, arrays_at
from surefoot.engines.cpu.codecs import decode
from surefoot.engines.cpu.drivers.coordinate import acting_in, step_row
from surefoot.engines.cpu.drivers.statistics import add_to_columns, reduced
from surefoot.engines.cpu.prefetch import prefetch_row, prefetch_rows
from surefoot.engines.cpu.slots import row_of

# ruff: noqa: F821

AHEAD = 32
"""Places of the order for which values and rows are prefetched."""


def rows(x, values, order, slots, acting, work, waiting, edges, part):
    """Steps distinct rows that a sparse gradient names; equal ids are summed before.

    A part is some places in the order, moved on to where a distinct row begins.
    """
    begin, end = row_from(order, edges[part]), row_from(order, edges[part + 1])
    total, scratch = work.totals[part, : x.shape[1]], work.values[part]
    return step_rows(x, values, order, slots, acting, total, scratch, waiting, part, begin, end)


def tables(
    addresses, shapes, found, like, slots_like, order, numbers, which, work, waiting, empty, skipped, edges, part
):
    """Steps rows of the tables that lie at these addresses, stored as in `like`, along their sparse gradients, each
    with the numbers that act on it: row which[k] of their tables on the k-th.

    A part is some places in the order of all tables, as in `rows`. `found` has for each table how many ids there are,
    and where its order begins. No means are shared: they are `empty`.
    """
    first, last, total = edges[part], edges[part + 1], 0
    for k in range(found.shape[0]):
        acting = acting_in(numbers, which[k], empty)
        ids, place = found[k]
        if place < last and place + ids > first:
            height, width = shapes[k]
            x, values = array_at(addresses[k, 0], height, width, like), array_at(addresses[k, 1], ids, width, like)
            slots = arrays_at(addresses[k], height, width, slots_like)
            own = order[place : place + ids]
            begin, end = row_from(own, first - place), row_from(own, last - place)
            skipped[part, k] = step_rows(
                x,
                values,
                own,
                slots,
                acting,
                work.totals[part, :width],
                work.values[part],
                WAITING_IN(waiting, k, height),
                part,
                begin,
                end,
            )
            total += skipped[part, k]
    return total


def sums(values, order, starts, result, edges, part):
    """The sums of the values of equal ids, in order of occurrence."""
    k = starts[edges[part]]
    for u in range(edges[part], edges[part + 1]):
        k = sum_of_row(result[u], values, order, k)
    return 0


def rows_statistic(x, values, order, slots, acting, scratch, total, found):
    """The statistic's sum or maximum of each row that a sparse gradient names; returns how many there are."""
    k, count = 0, 0
    while k < order.size:
        row, k = row_at(order, k), sum_of_row(total, values, order, k)
        found[count] = reduced(x[row], total, row_of(slots, row), acting, scratch)
        count += 1
    return count


def rows_columns(x, values, order, slots, acting, scratch, total, found, rows):
    """The same of every column, for some of the named rows at a time, into the rows of `found`."""
    k, count = 0, 0
    while k < order.size:
        row, k = row_at(order, k), sum_of_row(total, values, order, k)
        add_to_columns(found[count // rows], x[row], total, row_of(slots, row), acting, scratch)
        count += 1
    return count


def step_rows(x, values, order, slots, acting, total, scratch, waiting, part, first, last):
    """Steps the rows from the first to before the last place of the order; returns how many coordinates were skipped.

    Rows and values are prefetched: memory takes longer than the arithmetic.
    """
    skipped, k, asked = 0, first, first
    while k < last:
        row, k = row_at(order, k), sum_of_row(total, values, order, k)
        while asked < min(k + AHEAD, last):
            ask_for_row(x, slots, order, asked)
            asked += 1
        ZERO_GRAD(x[row], slots, row, row, waiting, part)
        skipped += step_row(x[row], total, row_of(slots, row), slots, row, acting, scratch, row * x.shape[1])
    return skipped


def ask_for_row(x, slots, order, k):
    """Prefetches the row at a place of the order, where it begins."""
    row = row_at(order, k)
    if k == 0 or row != row_at(order, k - 1):
        prefetch_row(x, row)
        prefetch_rows(slots, row)


def sum_of_row(total, values, order, k):
    """Sums the gradient of the row at place k of the order, as its values occur; returns where the next row begins."""
    row, begin = row_at(order, k), k
    while k < order.size and row_at(order, k) == row:
        if k + AHEAD < order.size:
            prefetch_row(values, place_at(order, k + AHEAD))
        more = values[place_at(order, k)]
        if k == begin:
            for d in range(total.size):
                total[d] = decode(more, more[d])
        else:
            for d in range(total.size):
                total[d] += decode(more, more[d])
        k += 1
    return k


def row_from(order, place):
    """The first place from this one on at which a distinct row begins, or the end."""
    low, high = min(max(place, 0), order.size), order.size
    while 0 < low < high:
        middle = (low + high) // 2
        if row_at(order, middle) == row_at(order, low - 1):
            low = middle + 1
        else:
            high = middle
    return low


def row_at(order, k):
    return np.int64(order[k] >> np.uint64(32))


def place_at(order, k):
    return np.int64(order[k] & np.uint64(0xFFFFFFFF))
