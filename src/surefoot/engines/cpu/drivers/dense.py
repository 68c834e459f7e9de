"""Drivers for dense gradients."""

from surefoot.engines.cpu.addresses import array_at, arrays_at
from surefoot.engines.cpu.drivers.coordinate import numbers_at, step_row
from surefoot.engines.cpu.slots import cut, row_of
from surefoot.engines.numerics import BLOCK

# ruff: noqa: F821


def dense(x, g, slots, after, coefficients, modifiers, means, key, place, scratch, edges, part):
    """Steps the rows of x, or the coordinates of its only row; returns how many coordinates were skipped."""
    alone = x.shape[0] == 1
    skipped = 0
    for i in range(0 if alone else edges[part], 1 if alone else edges[part + 1]):
        begin, end = (edges[part], edges[part + 1]) if alone else (0, x.shape[1])
        xs, gs, views = x[i][begin:end], g[i][begin:end], cut(row_of(slots, i), begin, end)
        mean = MEAN_SQUARE(xs, gs, modifiers, means, scratch[part])
        skipped += step_row(xs, gs, views, after, i, coefficients, modifiers, mean, key, place + i * x.shape[1] + begin)
    return skipped


def many(addresses, sizes, places, like, slots_like, skipped, numbers, which, edges, part):
    """Steps the arrays that lie at these addresses, stored as in `like`, with row which[i] of the tables of numbers."""
    total = 0
    for i in range(edges[part], edges[part + 1]):
        coefficients, modifiers, key = numbers_at(numbers, which[i])
        x, g = array_at(addresses[i, 0], 1, sizes[i], like), array_at(addresses[i, 1], 1, sizes[i], like)
        slots = arrays_at(addresses[i], 1, sizes[i], slots_like)
        views = row_of(slots, 0)
        skipped[i] = step_row(x[0], g[0], views, slots, 0, coefficients, modifiers, F(0), key, places[i])
        total += skipped[i]
    return total


def dense_squares(x, g, modifiers, scratch, sums, edges, part):
    """The sum of the squares of each block of a dense gradient of one row."""
    for m in range(edges[part], edges[part + 1]):
        begin, end = m * BLOCK, min((m + 1) * BLOCK, g.shape[1])
        sums[m] = BLOCK_SQUARES(x[0, begin:end], g[0, begin:end], modifiers, scratch[part])
    return 0
