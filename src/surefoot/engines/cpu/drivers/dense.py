"""Drivers for dense gradients."""

from surefoot.engines.cpu.addresses import array_at, arrays_at
from surefoot.engines.cpu.drivers.coordinate import acting_in, step_row
from surefoot.engines.cpu.drivers.statistics import add_to_columns, reduced
from surefoot.engines.cpu.slots import cut, row_of
from surefoot.engines.numerics import BLOCK


def dense(x, g, slots, acting, scratch, place, edges, part):
    """Steps the rows of x, or the coordinates of its only row; returns how many coordinates were skipped."""
    alone = x.shape[0] == 1
    skipped = 0
    for i in range(0 if alone else edges[part], 1 if alone else edges[part + 1]):
        begin, end = (edges[part], edges[part + 1]) if alone else (0, x.shape[1])
        xs, gs, views = x[i][begin:end], g[i][begin:end], cut(row_of(slots, i), begin, end)
        skipped += step_row(xs, gs, views, slots, i, acting, scratch[part], place + i * x.shape[1] + begin)
    return skipped


def many(addresses, sizes, places, like, slots_like, skipped, numbers, which, empty, edges, part):
    """Steps the arrays that lie at these addresses, stored as in `like`, with row which[i] of the tables of numbers."""
    total = 0
    for i in range(edges[part], edges[part + 1]):
        acting = acting_in(numbers, which[i], empty)
        x, g = array_at(addresses[i, 0], 1, sizes[i], like), array_at(addresses[i, 1], 1, sizes[i], like)
        slots = arrays_at(addresses[i], 1, sizes[i], slots_like)
        skipped[i] = step_row(x[0], g[0], row_of(slots, 0), slots, 0, acting, empty, places[i])
        total += skipped[i]
    return total


def dense_statistic(x, g, slots, acting, scratch, found, edges, part):
    """The statistic's sum or maximum of each row; or of each block of the only row, where `found` has several."""
    alone = x.shape[0] == 1 and found.size > 1
    for k in range(edges[part], edges[part + 1]):
        i = 0 if alone else k
        begin, end = (k * BLOCK, min((k + 1) * BLOCK, x.shape[1])) if alone else (0, x.shape[1])
        views = cut(row_of(slots, i), begin, end)
        found[k] = reduced(x[i][begin:end], g[i][begin:end], views, acting, scratch[part])
    return 0


def dense_columns(x, g, slots, acting, scratch, found, rows, edges, part):
    """The same of every column, for some rows at a time, into the rows of `found`."""
    for k in range(edges[part], edges[part + 1]):
        for i in range(k * rows, min((k + 1) * rows, x.shape[0])):
            add_to_columns(found[k], x[i], g[i], row_of(slots, i), acting, scratch[part])
    return 0
