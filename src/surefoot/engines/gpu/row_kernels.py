"""Drivers for the rows of a sparse gradient, and for rows that catch up; see `kernels`."""

import triton.language as tl

from surefoot.engines.gpu.kernels import (
    add,
    coefficients,
    decode,
    encode,
    finite_terms,
    mean_of,
    step_values,
    stepped,
    unscaled,
)

# ruff: noqa: F821


def rows(
    x,
    ids,
    order,
    count,
    values,
    slots,
    height,
    width,
    numbers,
    last,
    history,
    stretches,
    mean,
    shared,
    counts,
    place,
    outside,
    sums,
    scale,
    found,
):
    """Steps the row that the k-th id names, if it is the first of its kind: equal ids, side by side, are summed."""
    k = tl.program_id(0).to(tl.int64)
    row = tl.load(ids + k).to(tl.int64)
    before = tl.load(ids + k - 1, k > 0, -1).to(tl.int64)
    inside = (row >= 0) & (row < height)
    if not inside:
        tl.atomic_add(counts + outside, 1, tl.program_id(1) == 0, sem="relaxed")
    if (row != before) & inside & (stepped(1, found) > 0):
        j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
        mask = j < width
        i = row * width + j
        total = sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale)
        memory = load_row(slots, shared, row, i, mask)
        value = decode(tl.load(x + i, mask))
        if CATCHES_UP:
            now, seen = tl.load(numbers).to(tl.int64), tl.load(last + row)
            value, memory = zero_grad_row(x, slots, value, memory, seen, now - 1, history, stretches)
        if CATCHES_UP or BY_ROW:
            tl.debug_barrier()  # every thread has read what the row shares before one of them writes it
        if CATCHES_UP:
            tl.store(last + row, now)
        common = mean_of(mean, 0)
        if BY_ROW:
            common = (tl.reduce(finite_terms(total, value, mask, numbers), 0, add) / width).to(F)
        # The first row there is writes what all share; ids that are in order before it are below 0.
        step_values(x, slots, value, total, memory, i, mask, row, BY_ROW or before < 0, common, numbers, counts + place)


def rows_terms(x, ids, order, count, values, height, width, numbers, parts, sums, scale):
    """The sum of EXPRESSION over each merged row, into parts; 0 where an id is not the first of its kind."""
    k = tl.program_id(0).to(tl.int64)
    row = tl.load(ids + k).to(tl.int64)
    before = tl.load(ids + k - 1, k > 0, -1).to(tl.int64)
    result = tl.full((), 0.0, tl.float64)
    if (row != before) & (row >= 0) & (row < height):
        for begin in range(0, width, WIDTH):
            j = begin + tl.arange(0, WIDTH)
            mask = j < width
            total = sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale)
            value = decode(tl.load(x + row * width + j, mask))
            result += tl.reduce(finite_terms(total, value, mask, numbers), 0, add)
    tl.store(parts + k, result)


def settle(x, slots, width, now, last, history, stretches, shared):
    """Lets a row catch up with the steps before `now`."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, WIDTH)
    mask = j < width
    i = row * width + j
    memory = load_row(slots, shared, row, i, mask)
    value = decode(tl.load(x + i, mask))
    value, memory = zero_grad_row(x, slots, value, memory, tl.load(last + row), now - 1, history, stretches)
    tl.debug_barrier()  # every thread has read what the row shares before one of them writes it
    tl.store(x + i, encode(value, x, None, None), mask)
    for s in tl.static_range(len(SLOTS)):
        if not SHARES[s]:
            tl.store(slots[s] + i, encode(memory[s], slots[s], None, None), mask)
        elif BY_ROW:
            tl.store(slots[s] + row, encode(memory[s], slots[s], None, None))
    tl.store(last + row, now - 1)


def long_runs(ids, order, count, values, width, sums, scale):
    """Sums, in order of occurrence, each run of equal ids that holds two multiples of RUN or more, into the row of
    `sums` that the first of them numbers. A frequent row would keep a program of `rows` busy long after all others are
    done: here its columns are shared among programs, each of which has IN_RUN loads under way."""
    m = tl.program_id(0).to(tl.int64)
    k = m * RUN
    row = tl.load(ids + k)
    is_first = tl.load(ids + k - RUN, k > 0, -1) != row
    if (row >= 0) & is_first & (tl.load(ids + k + RUN, k + RUN < count, -1) == row):
        near = k - tl.arange(0, RUN)
        begin = k + 1 - tl.reduce((tl.load(ids + near, near >= 0, -1) == row).to(tl.int64), 0, add)
        low, end = k + RUN, count.to(tl.int64)
        while end - low > 1:
            middle = (low + end) // 2
            same = tl.load(ids + middle) == row
            low = tl.where(same, middle, low)
            end = tl.where(same, end, middle)
        j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
        mask = j < width
        total = unscaled(decode(tl.load(values + tl.load(order + begin) * width + j, mask)), scale)
        for start in range(begin + 1, end, IN_RUN):
            total = add_in_order(total, values, order, start, end - start, width, j, mask, IN_RUN, scale)
        tl.store(sums + m * width + j, total, mask)


def sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale):
    """The sum of a row's gradients in order of occurrence, from position k on: from `long_runs`, or made here."""
    m = (k + RUN - 1) // RUN
    if tl.load(ids + (m + 1) * RUN, (m + 1) * RUN < count, -1).to(tl.int64) == row:
        total = tl.load(sums + m * width + j, mask)
    else:
        total = unscaled(decode(tl.load(values + tl.load(order + k) * width + j, mask)), scale)
        k += 1
        more = tl.load(ids + k, k < count, -1).to(tl.int64) == row
        while more:
            size = 0
            for n in tl.static_range(AHEAD):
                size += (tl.load(ids + k + n, k + n < count, -1).to(tl.int64) == row).to(tl.int32)
            total = add_in_order(total, values, order, k, size, width, j, mask, AHEAD, scale)
            k += AHEAD
            more = size == AHEAD
    return total


def add_in_order(total, values, order, k, size, width, j, mask, AT_ONCE: tl.constexpr, scale):
    """The total plus the gradients at positions k … k + size − 1, of which AT_ONCE at most: all are loaded before the
    first is added."""
    places = ()
    for n in tl.static_range(AT_ONCE):
        places = places + (tl.load(order + k + n, n < size, 0),)
    loaded = ()
    for n in tl.static_range(AT_ONCE):
        loaded = loaded + (tl.load(values + places[n] * width + j, mask & (n < size)),)
    for n in tl.static_range(AT_ONCE):
        total = tl.where(n < size, total + unscaled(decode(loaded[n]), scale), total)
    return total


def load_row(slots, shared, row, i, mask):
    memory = ()
    for s in tl.static_range(len(SLOTS)):
        if not SHARES[s]:
            memory = memory + (decode(tl.load(slots[s] + i, mask)),)
        elif BY_ROW:
            memory = memory + (decode(tl.load(slots[s] + row)),)
        else:
            memory = memory + (tl.load(shared + s).to(F),)
    return memory


def zero_grad_row(x, slots, value, before, last, until, history, stretches):
    """What zero-gradient steps last + 1 … until make of a row and its memory, rounded as they are stored; a row of
    `history` is (first step, coefficients, shrinkage) of a stretch in which they did not change."""
    memory = before
    low = stretches * 0
    high = stretches
    while high - low > 1:
        middle = (low + high) // 2
        begins = tl.load(history + middle * HISTORY).to(tl.int64) <= last + 1
        low = tl.where(begins, middle, low)
        high = tl.where(begins, high, middle)
    for s in range(low, stretches):
        stretch = history + s * HISTORY
        first = tl.load(stretch).to(tl.int64)
        end = tl.load(stretch + HISTORY, s + 1 < stretches, 0.0).to(tl.int64) - 1
        end = tl.where(s + 1 < stretches, tl.minimum(end, until), until)
        k = end - tl.maximum(first - 1, last)
        if k > 0:
            value, memory = ZERO_GRAD_STRETCH(value, k, memory, stretch)
    after = ()
    for n in tl.static_range(len(SLOTS)):
        common = SHARES[n] and not BY_ROW
        after = after + (before[n] if common else decode(encode(memory[n], slots[n], None, None)),)
    return decode(encode(value, x, None, None)), after


def zero_grad_from_origin(x, k, memory, numbers):
    new = call_rule(x, memory, numbers)
    return ADVANCE_FROM_ORIGIN(new[0], new[1]), memory


def zero_grad_lazy_exact(x, k, memory, numbers):
    rate = call_rule(x, memory, numbers)[0].to(tl.float64)
    keep, l1, l2 = shrinkage(numbers, 0), shrinkage(numbers, 1), shrinkage(numbers, 2)
    return ZERO_GRAD_CLOSED_FORM(x.to(tl.float64), k, rate, keep, l1, l2).to(F), memory


def shrinkage(numbers, n):
    return tl.load(numbers + 1 + COUNT + n).to(F).to(tl.float64)


def zero_grad_by_rule(x, k, memory, numbers):
    new = RULE_ZERO_GRAD(x, k, *memory, *coefficients(numbers))
    after = ()
    for s in tl.static_range(len(SLOTS)):
        after = after + (new[1 + s],)
    return new[0], after


def call_rule(x, memory, numbers):
    zero = tl.full((), 0.0, F)
    return RULE(x, zero, zero, *memory, *coefficients(numbers))
