"""What steps with zero gradient do to a row."""

import numpy as np

from surefoot.engines.cpu.addresses import array_at
from surefoot.engines.cpu.arguments import Waiting
from surefoot.engines.cpu.codecs import decode, encode
from surefoot.engines.cpu.numba_ops import power
from surefoot.engines.cpu.slots import load, row_of, store, store_row
from surefoot.engines.cpu.unrolling import to_fixed_tuple

# ruff: noqa: F821


def flush(x, slots, waiting):
    """Lets every row catch up."""
    for row in range(x.shape[0]):
        ZERO_GRAD(x[row], slots, row, row, waiting, 0)
    return 0


def zero_grad_nothing(x, slots, row, place, waiting, part):
    pass


def zero_grad_row(x, slots, row, place, waiting, part):
    """Makes a row what it would be after zero-gradient steps up to this one; `place` is its place in last."""
    last, starts, wide_slots = waiting.last, waiting.starts, waiting.wide_slots
    until = waiting.now[0] - 1
    if last[place] < until and x.size > 0:
        copy = waiting.wide[part, : x.size]
        copy_row(x, slots, row, copy, wide_slots, part)
        for s in range(stretch_of(last[place], starts), starts.size):
            k = steps_in_stretch(s, last[place], until, starts)
            if k > 0:
                coefficients = to_fixed_tuple(waiting.table[s, 1 : 1 + COUNT], COUNT)
                ZERO_GRAD_STRETCH(copy, k, wide_slots, part, coefficients, waiting.table[s, 1 + COUNT :])
        copy_row(copy, wide_slots, part, x, slots, row)
    last[place] = waiting.now[0]


def nothing_in(waiting, k, rows):
    """What the rows of table k need to catch up, where none waits."""
    return waiting


def waiting_in(waiting, k, rows):
    """The same of `WaitingTables`."""
    last, starts, table, stretches = waiting.places[k]
    width = 1 + COUNT + SHRINKS
    return Waiting(
        array_at(last, rows, 1, waiting.last_like),
        waiting.now[k : k + 1],
        array_at(starts, stretches, width, waiting.starts_like)[:, 0],
        array_at(table, stretches, width, waiting.table_like),
        waiting.wide,
        waiting.wide_slots,
    )


def steps_in_stretch(stretch, last, until, starts):
    """How many of the steps last + 1 … until fall into a stretch."""
    end = starts[stretch + 1] - 1 if stretch + 1 < starts.size else until
    return min(end, until) - max(starts[stretch] - 1, last)


def stretch_of(last, starts):
    """The stretch that step last + 1 falls into: there may be as many as steps, and rows that wait for few."""
    low, high = 0, starts.size
    while high - low > 1:
        middle = (low + high) // 2
        if starts[middle] <= last + 1:
            low = middle
        else:
            high = middle
    return low


def copy_row(x, slots, row, to, to_slots, to_row):
    """Copies a row and its memory to where they may be stored in another type."""
    views, to_views = row_of(slots, row), row_of(to_slots, to_row)
    for j in range(x.size):
        to[j] = encode(to, decode(x, x[j]), np.uint32(0), 0)
        store(to_views, j, load(views, j), True)
    store_row(to_slots, to_row, load(views, 0), True)


def zero_grad_from_origin(x, k, slots, row, coefficients, shrinkage):
    views = row_of(slots, row)
    for j in range(x.size):
        new = RULE(decode(x, x[j]), F(0), F(0), *load(views, j), *coefficients)
        x[j] = encode(x, ADVANCE_FROM_ORIGIN(new[0], new[1]), np.uint32(0), 0)


def zero_grad_lazy_exact(x, k, slots, row, coefficients, shrinkage):
    views = row_of(slots, row)
    keep, l1, l2 = np.float64(shrinkage[0]), np.float64(shrinkage[1]), np.float64(shrinkage[2])
    if l2 > 0.0:
        for j in range(x.size):
            value = decode(x, x[j])
            rate = np.float64(RULE(value, F(0), F(0), *load(views, j), *coefficients)[0])
            x[j] = encode(x, F(ZERO_GRAD_CLOSED_FORM(np.float64(value), k, rate, keep, l1, l2)), np.uint32(0), 0)
    else:
        kept = power(keep, k)  # for all coordinates alike
        for j in range(x.size):
            value = decode(x, x[j])
            rate = np.float64(RULE(value, F(0), F(0), *load(views, j), *coefficients)[0])
            x[j] = encode(x, F(ZERO_GRAD_CLOSED_FORM(np.float64(value), k, rate, keep, l1, 0.0, kept)), np.uint32(0), 0)


def zero_grad_by_rule(x, k, slots, row, coefficients, shrinkage):
    views = row_of(slots, row)
    fresh = RULE_ZERO_GRAD(decode(x, x[0]), k, *load(views, 0), *coefficients)
    for j in range(x.size):
        new = RULE_ZERO_GRAD(decode(x, x[j]), k, *load(views, j), *coefficients)
        x[j] = encode(x, new[0], np.uint32(0), 0)
        store(views, j, new[1:], True)
    store_row(slots, row, fresh[1:], True)


def acting(table, b):
    """The row of a table that acts in mini-batch b: a table of one row acts in all."""
    return min(b, table.shape[0] - 1)
