"""Features that have not occurred for a while catch up, and averages of the iterates with them."""

import numpy as np

from surefoot.engines.cpu.drivers.deferred import steps_in_stretch, stretch_of
from surefoot.engines.cpu.slots import load, store
from surefoot.engines.cpu.unrolling import to_fixed_tuple
from surefoot.engines.scaling import PENALIZED

# ruff: noqa: F821


def catch_up_row(table, j, waiting, lanes):
    """Makes a feature's row what it would be after the steps in which it did not occur."""
    until = waiting.now[0] - 1
    if waiting.last[j] < until:
        scale = min(SCALE_OF(table.sums[j], table.statistics, table.seen[0]), PENALIZED)
        total = BLEND_BEFORE(table.cells[j], j, until, waiting, lanes)
        WAIT_PARTS(table.cells[j], scale, j, until, waiting, total, lanes)
    waiting.last[j] = waiting.now[0]


def wait_part(row, scale, j, until, rows, waiting, total, lanes):
    """Lets a part's numbers take the steps of a row that waits."""
    span, begin, starts, last = PART_WIDTH * lanes, PART_BEGIN * lanes, rows.starts, rows.last[j]
    x, slots = row[begin : begin + span], SLOTS_OF(row, begin, span)
    for s in range(stretch_of(last, starts), starts.size):
        count = steps_in_stretch(s, last, until, starts)
        if count > 0:
            kept = waiting.keep[min(s, waiting.keep.shape[0] - 1)]
            l1, l2 = np.float64(waiting.l1 * F(scale)), np.float64(waiting.l2 * (F(scale) * F(scale)))
            for m in range(span):
                k = m % lanes
                c = to_fixed_tuple(waiting.table[s][:, k], COUNT)
                views = VIEWS(slots, waiting.common, k)
                AVERAGE_NUMBER(rows, s, total, j, x, m, views, c, count, kept[k], l1, l2)
                ZERO_GRAD_NUMBER(x, m, views, c, count, kept[k], l1, l2)


def blend_before(row, j, until, waiting, lanes):
    """Lets the averages of a row that waits catch up with the steps before; returns the sum of rates of them all."""
    starts, averages = waiting.starts, waiting.averages
    steps = max(averages.totals.size - 1, 1)  # of a call, which is repeated where examples come one by one
    total = averages.totals[(waiting.now[0] - waiting.first) % steps]
    gap = total - averages.upto[j]
    if gap > 0.0:
        BLEND_STILL(row, j, F(gap / total), averages.means, lanes)
        averages.upto[j] = total
    before = gap
    for s in range(stretch_of(waiting.last[j], starts), starts.size):
        before -= waiting.rates[s] * max(steps_in_stretch(s, waiting.last[j], until, starts), 0)
    total = total if total > 0.0 else 1.0
    BLEND_WAITING(row, j, F(1.0 - gap / total), F(max(before, 0.0) / total), averages.means, lanes)
    return total


def blend_waiting_part(row, j, kept, share, means, lanes):
    begin = PART_BEGIN * lanes
    for m in range(PART_WIDTH * lanes):
        means[j, m] = kept * means[j, m] + share * row[begin + m]


def nothing_before(row, j, until, waiting, lanes):
    return 0.0


def average_number(rows, s, total, j, x, m, slots, c, count, keep, l1, l2):
    """Adds to a number's average what the number is after each of the steps of stretch s."""
    rows.averages.means[PART][j, m] += F(rows.rates[s] / total * SUM_NUMBER(x, m, slots, c, count, keep, l1, l2))


def no_average_of_number(rows, s, total, j, x, m, slots, c, count, keep, l1, l2):
    pass


def sum_from_origin(x, m, slots, c, count, keep, l1, l2):
    new = RULE(x[m], F(0), F(0), *load(slots, m), *c)
    return np.float64(ADVANCE_FROM_ORIGIN(new[0], new[1])) * count


def sum_lazy_exact(x, m, slots, c, count, keep, l1, l2):
    """Of the steps before the number is zero, which are found by halving."""
    rate = np.float64(RULE(x[m], F(0), F(0), *load(slots, m), *c)[0])
    begin, keep = np.float64(x[m]), np.float64(keep)
    few, many = 0, count
    while few < many:
        middle = (few + many + 1) // 2
        if ZERO_GRAD_CLOSED_FORM(begin, middle, rate, keep, l1, l2) != 0.0:
            few = middle
        else:
            many = middle - 1
    return ZERO_GRAD_SUM(begin, few, rate, keep, l1, l2) if few > 0 else 0.0


def number_from_origin(x, m, slots, c, count, keep, l1, l2):
    new = RULE(x[m], F(0), F(0), *load(slots, m), *c)
    x[m] = ADVANCE_FROM_ORIGIN(new[0], new[1])


def number_lazy_exact(x, m, slots, c, count, keep, l1, l2):
    rate = np.float64(RULE(x[m], F(0), F(0), *load(slots, m), *c)[0])
    x[m] = F(ZERO_GRAD_CLOSED_FORM(np.float64(x[m]), count, rate, np.float64(keep), l1, l2))


def number_by_rule(x, m, slots, c, count, keep, l1, l2):
    new = RULE_ZERO_GRAD(x[m], count, *load(slots, m), *c)
    x[m] = new[0]
    store(slots, m, new[1:], True)


def catch_up_all(table, rows, waiting, lanes):
    for e in range(rows.size):
        CATCH_UP(table, rows[e], waiting, lanes)


def nothing_waits(table, j, waiting, lanes):
    pass


def none_wait(table, rows, waiting, lanes):
    pass


def next_step(waiting):
    waiting.now[0] += 1


def no_next(waiting):
    pass


def blend(table, rows, averages, b, lanes):
    """Lets averages catch up with the steps before this one; `totals` are the sums of learning rates before each."""
    total = averages.totals[b]
    for e in range(rows.size):
        gap = total - averages.upto[rows[e]]
        if gap > 0.0:
            BLEND_PARTS(table.cells[rows[e]], rows[e], F(gap / total), averages.means, lanes)
            averages.upto[rows[e]] = total
    gap = total - averages.upto_shared[0]
    if gap > 0.0:
        BLEND_SHARED(table.shared[0], 0, F(gap / total), averages.means, lanes)
        averages.upto_shared[0] = total


def blend_part(row, j, share, means, lanes):
    begin = PART_BEGIN * lanes
    for m in range(PART_WIDTH * lanes):
        means[j, m] += share * (row[begin + m] - means[j, m])


def no_average(table, rows, averages, b, lanes):
    pass
