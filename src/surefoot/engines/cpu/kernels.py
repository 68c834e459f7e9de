"""One generic driver per layout. `specialising.specialise` gives the compiled, disk-cached copy of a driver for a rule.

Names in capitals are filled in by `compiling`: F, the type of the arithmetic; RULE, the rule's function; SLOPE, the
loss's derivative; SHARED, whether coordinates share a rate; and functions chosen by what is done around the rule:
GRADIENT, START and PROXIMAL act before and after it, IDLE makes up for steps in which a row was left out, TOUCH and
GATHER say which weights of a linear model a mini-batch steps.
"""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from surefoot.engines.cpu.layout import MOST_BITS
from surefoot.engines.cpu.memory import (
    array_at,
    arrays_at,
    column,
    column_of,
    cut,
    decode,
    encode,
    entries,
    load,
    not_finite,
    prefetch_row,
    prefetch_rows,
    row_of,
    running_squares,
    squares_of,
    store,
    store_row,
)
from surefoot.engines.numerics import BLOCK

# ruff: noqa: F821

AHEAD = 32
"""Places of the order for which values and rows are asked for ahead."""
HIGH = np.uint64(32)


# Drivers


def dense(x, g, slots, after, coefficients, around, means, key, place, scratch, edges, part):
    """Steps the rows of x, or the coordinates of its only row; returns how many coordinates were left as they were."""
    alone = x.shape[0] == 1
    skipped = 0
    for i in range(0 if alone else edges[part], 1 if alone else edges[part + 1]):
        begin, end = (edges[part], edges[part + 1]) if alone else (0, x.shape[1])
        xs, gs, views = x[i][begin:end], g[i][begin:end], cut(row_of(slots, i), begin, end)
        mean = MEAN_SQUARE(xs, gs, around, means, scratch[part])
        skipped += step_row(xs, gs, views, after, i, coefficients, around, mean, key, place + i * x.shape[1] + begin)
    return skipped


def many(addresses, sizes, places, like, slots_like, skipped, numbers, acting, edges, part):
    """Steps the arrays that lie at these addresses, stored as in `like`, each with the numbers that act on it."""
    total = 0
    for i in range(edges[part], edges[part + 1]):
        coefficients, around, key = numbers_at(numbers, acting[i])
        x, g = array_at(addresses[i, 0], 1, sizes[i], like), array_at(addresses[i, 1], 1, sizes[i], like)
        slots = arrays_at(addresses[i], 1, sizes[i], slots_like)
        views = row_of(slots, 0)
        skipped[i] = step_row(x[0], g[0], views, slots, 0, coefficients, around, F(0), key, places[i])
        total += skipped[i]
    return total


def rows(x, values, order, slots, after, coefficients, around, means, key, work, idle, edges, part):
    """Steps distinct rows that a sparse gradient names; equal ids are summed before.

    A part is some places in the order, moved on to where a distinct row begins.
    """
    begin, end = row_from(order, edges[part]), row_from(order, edges[part + 1])
    total, scratch = work[0][part, : x.shape[1]], work[1][part]
    around_rule = coefficients, around, means, key
    return step_rows(x, values, order, slots, after, around_rule, total, scratch, idle, part, begin, end)


def tables(addresses, shapes, found, like, slots_like, order, numbers, acting, work, nobody, skipped, edges, part):
    """Steps rows of the tables that lie at these addresses, stored as in `like`, along their sparse gradients, each
    with the numbers that act on it.

    A part is some places in the order of all tables, as in `rows`. `found` has for each table how many ids there are,
    and where its order begins. `nobody` are no means, and no rows that have something to make up for.
    """
    first, last, total = edges[part], edges[part + 1], 0
    for k in range(found.shape[0]):
        coefficients, around, key = numbers_at(numbers, acting[k])
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
                slots,
                (coefficients, around, nobody, key),
                work[0][part, :width],
                work[1][part],
                nobody,
                part,
                begin,
                end,
            )
            total += skipped[part, k]
    return total


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

    The place of an id is its own where `places` are empty. Returns 1 where an id is no row's, else 0.
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


def sums(values, order, starts, result, edges, part):
    """The sums of the values of equal ids, in order of occurrence."""
    k = starts[edges[part]]
    for u in range(edges[part], edges[part + 1]):
        k = sum_of_row(result[u], values, order, k)
    return 0


def settle(x, slots, after, idle):
    """Lets every row catch up."""
    for row in range(x.shape[0]):
        IDLE(x[row], slots, after, row, row, idle, 0)
    return 0


def linear(examples, y, order, batch_size, x, slots, after, table, keys, clip_norm, average, work, scratch, idle):
    """One pass of mini-batches through the examples; returns how many coordinates were left as they were."""
    coefficients, spared, arounds, shares = table
    raw, seen, gradient, touched = work
    weights, bias = x[0], x.shape[1] - 1
    skipped = 0
    for b in range(-(-order.size // batch_size)):
        begin, end = b * batch_size, min((b + 1) * batch_size, order.size)
        count = 0
        for k in range(begin, end):
            columns, values = entries(examples, order[k])
            count = TOUCH(columns, touched, count, weights, slots, after, idle)
            prediction = decode(weights, weights[bias])
            for e in range(values.size):
                prediction = prediction + decode(weights, weights[column(columns, e)]) * values[e]
            slope = F(SLOPE(np.float64(prediction), np.float64(y[order[k]])))
            for e in range(values.size):
                gradient[column(columns, e)] += slope * values[e]
            gradient[bias] += slope
        count = GATHER(gradient, raw, touched, count, F(end - begin))
        around = AROUND(arounds, acting(arounds, b), clip_norm, raw[:count], scratch)
        lone = SPARED(around)
        mean = MEAN_OF(raw, seen, count, weights, touched, around, lone, scratch)
        key = keys[acting(keys, b)]
        views = row_of(slots, 0)
        c = to_fixed_tuple(coefficients[acting(coefficients, b)], COUNT)
        fresh = RULE(decode(weights, weights[0]), F(0), mean, *load(views, 0), *c)
        for u in range(count - 1):
            ok = step_coordinate(weights, touched[u], raw[u], views, c, around, mean, key, touched[u])
            skipped += 0 if ok else 1
        c = to_fixed_tuple(spared[acting(spared, b)], COUNT)
        ok = step_coordinate(weights, bias, raw[count - 1], views, c, lone, mean, key, bias)
        skipped += 0 if ok else 1
        store_row(after, 0, fresh[2:], PROPAGATE)
        for j in range(average.size):
            average[j] += shares[b] * (np.float64(decode(weights, weights[j])) - average[j])
        idle[1][0] += 1
    SETTLE_WEIGHTS(weights, slots, after, idle)
    return skipped


def acting(table, b):
    """The row of a table that acts in mini-batch b: a table of one row acts in all."""
    return min(b, table.shape[0] - 1)


def dense_squares(x, g, around, scratch, sums, edges, part):
    """The sum of the squares of each block of a dense gradient of one row."""
    for m in range(edges[part], edges[part + 1]):
        begin, end = m * BLOCK, min((m + 1) * BLOCK, g.shape[1])
        sums[m] = BLOCK_SQUARES(x[0, begin:end], g[0, begin:end], around, scratch[part])
    return 0


def rows_squares(x, values, order, around, scratch, total):
    """The sum of the squares of a sparse gradient once equal ids are summed."""
    result, k = 0.0, 0
    while k < order.size:
        row, k = row_at(order, k), sum_of_row(total, values, order, k)
        result += sum_squares(x[row], total, around, scratch)
    return result


# Rows, one row, one coordinate


def step_rows(x, values, order, slots, after, around_rule, total, scratch, idle, part, first, last):
    """Steps the rows from the first to before the last place of the order; returns how many coordinates were left as
    they were. Rows and values are asked for ahead: sending them takes longer than the arithmetic.
    """
    coefficients, around, means, key = around_rule
    skipped, k, asked = 0, first, first
    while k < last:
        row, k = row_at(order, k), sum_of_row(total, values, order, k)
        while asked < min(k + AHEAD, last):
            ask_for_row(x, slots, order, asked)
            asked += 1
        IDLE(x[row], slots, after, row, row, idle, part)
        mean, views = MEAN_SQUARE(x[row], total, around, means, scratch), row_of(slots, row)
        skipped += step_row(x[row], total, views, after, row, coefficients, around, mean, key, row * x.shape[1])
    return skipped


def ask_for_row(x, slots, order, k):
    """Asks for the row at a place of the order, where it begins."""
    row = row_at(order, k)
    if k == 0 or row != row_at(order, k - 1):
        prefetch_row(x, row)
        prefetch_rows(slots, row)


def step_row(x, g, views, after, row, coefficients, around, mean, key, place):
    """Steps one row; `mean` is the mean square of its gradient, where coordinates share a rate."""
    if x.size == 0:
        return 0
    fresh = RULE(decode(x, x[0]), F(0), mean, *load(views, 0), *coefficients)
    skipped = np.int32(0)  # as wide as the values, or counting would halve the width of the vectors
    for j in range(x.size):
        ok = step_coordinate(x, j, decode(g, g[j]), views, coefficients, around, mean, key, place + j)
        skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
    store_row(after, row, fresh[2:], PROPAGATE)
    return skipped


def step_coordinate(x, j, raw, views, coefficients, around, mean, key, place):
    """Steps one coordinate, unless something about it is not finite; returns whether it was stepped."""
    before = decode(x, x[j])
    g, start = GRADIENT(raw, before, around), START(before, around)
    square = g * g
    new = RULE(start, g, mean if SHARED else square, *load(views, j), *coefficients)
    moved = ADVANCE(F(0) if FROM_ORIGIN else start, new[0], new[1])
    stored = encode(x, PROXIMAL(moved, new[0], around), key, place)
    back = decode(x, stored)
    ok = PROPAGATE or not_finite(views, new[2:], (raw - raw) + (square - square) + (back - back)) == F(0)
    store(views, j, new[2:], ok)
    x[j] = stored if ok else x[j]
    return ok


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


def row_at(order, k):
    return np.int64(order[k] >> np.uint64(32))


def place_at(order, k):
    return np.int64(order[k] & np.uint64(0xFFFFFFFF))


def numbers_at(numbers, k):
    """The rule's coefficients, the numbers around it, and the key of rounding, from row k of each of three tables."""
    coefficients, arounds, keys = numbers
    return to_fixed_tuple(coefficients[k], COUNT), NUMBERS_AROUND(arounds, k), keys[k]


# What is done around the rule: `plain_…` where that is nothing


def plain_gradient(raw, x, around):
    return raw


def full_gradient(raw, x, around):
    return AROUND_GRADIENT(raw, x, around[0], around[1], around[2])


def plain_start(x, around):
    return x


def full_start(x, around):
    return around[3] * x


def plain_proximal(x, rate, around):
    return x


def full_proximal(x, rate, around):
    return AROUND_PROXIMAL(x, rate, around[4], around[5])


def plain_numbers(arounds, k):
    return ()


def full_numbers(arounds, k):
    """The numbers around the rule in row k of a table."""
    numbers = arounds[k]
    return F(numbers[0]), F(numbers[1]), F(numbers[2]), F(numbers[3]), F(numbers[4]), F(numbers[5])


def plain_around(arounds, b, clip_norm, raw, scratch):
    return ()


def full_around(arounds, b, clip_norm, raw, scratch):
    """The numbers around the rule in mini-batch b, with the gradient scaled down to clip_norm."""
    scale = arounds[b, 0]
    if clip_norm < np.inf:
        length = np.sqrt(RAW_SQUARES(raw, raw, (), scratch))
        if length > clip_norm:
            scale = scale * clip_norm / length
    return F(scale), *full_numbers(arounds, b)[1:]


def plain_spared(around):
    return ()


def full_spared(around):
    """The same for a bias, which penalties spare."""
    return around[0], around[1], F(0), F(1), F(0), F(0)


# Squares, for rates that coordinates share and for the norm of a gradient


def own_square(x, g, around, means, scratch):
    return F(0)


def shared_square(x, g, around, means, scratch):
    """The mean square of a row's gradient; means[0] where one number serves all rows."""
    if means.size > 0:
        return means[0]
    return F(sum_squares(x, g, around, scratch) / max(x.size, 1))


def own_mean(raw, seen, count, weights, touched, around, lone, scratch):
    return F(0)


def shared_mean(raw, seen, count, weights, touched, around, lone, scratch):
    """The mean square of a linear model's gradient as the rule sees it; weights that are not touched count as zero."""
    for u in range(count - 1):
        seen[u] = seen_by_rule(raw[u], weights, touched[u], around)
    seen[count - 1] = seen_by_rule(raw[count - 1], weights, weights.size - 1, lone)
    return F(RAW_SQUARES(seen[:count], seen[:count], (), scratch) / weights.size)


def seen_by_rule(raw, weights, j, around):
    """The gradient as the rule sees it; NaN where the raw one is not finite."""
    return GRADIENT(raw, decode(weights, weights[j]), around) + (raw - raw)


def sum_squares(x, g, around, scratch):
    """The sum of the squared gradient in float64, in an order that does not depend on the number of threads."""
    result = 0.0
    for begin in range(0, g.size, BLOCK):
        result += BLOCK_SQUARES(x[begin : begin + BLOCK], g[begin : begin + BLOCK], around, scratch)
    return result


def plain_squares(x, g, around, scratch):
    return squares_of(g, scratch)


def full_squares(x, g, around, scratch):
    for j in range(g.size):
        scratch[j] = seen_by_rule(decode(g, g[j]), x, j, around)
    return running_squares(scratch[: g.size])


# What steps with zero gradient do to a row that was left out; `idle` is (last, now, starts, coefficients, arounds,
# wide, wide_slots): the last step of every row, the step that is being taken, the stretches of constant coefficients,
# and for each part room for a row in the type of the arithmetic, so that it is rounded once, after all stretches.


def idle_nothing(x, slots, after, row, place, idle, part):
    pass


def idle_steps(stretch, last, until, starts):
    """How many of the steps last + 1 … until fall into a stretch."""
    end = starts[stretch + 1] - 1 if stretch + 1 < starts.size else until
    return min(end, until) - max(starts[stretch] - 1, last)


def idle_stretch(last, starts):
    """The stretch that step last + 1 falls into: there may be as many as steps, and rows that wait for few."""
    low, high = 0, starts.size
    while high - low > 1:
        middle = (low + high) // 2
        if starts[middle] <= last + 1:
            low = middle
        else:
            high = middle
    return low


def idle_row(x, slots, after, row, place, idle, part):
    """Makes a row what it would be after zero-gradient steps up to this one; `place` is its place in last."""
    last, now, starts, coefficients, arounds, wide, wide_slots = idle
    until = now[0] - 1
    if last[place] < until and x.size > 0:
        copy = wide[part, : x.size]
        copy_row(x, slots, row, copy, wide_slots, part)
        for s in range(idle_stretch(last[place], starts), starts.size):
            k = idle_steps(s, last[place], until, starts)
            if k > 0:
                numbers = to_fixed_tuple(coefficients[s], COUNT)
                IDLE_STRETCH(copy, k, wide_slots, wide_slots, part, numbers, arounds[s])
        copy_row(copy, wide_slots, part, x, after, row)
    last[place] = now[0]


def copy_row(x, slots, row, to, to_slots, to_row):
    """Copies a row and its memory to where they may be stored in another type."""
    views, to_views = row_of(slots, row), row_of(to_slots, to_row)
    for j in range(x.size):
        to[j] = encode(to, decode(x, x[j]), np.uint32(0), 0)
        store(to_views, j, load(views, j), True)
    store_row(to_slots, to_row, load(views, 0), True)


def idle_from_origin(x, k, slots, after, row, coefficients, around):
    views = row_of(slots, row)
    for j in range(x.size):
        new = RULE(decode(x, x[j]), F(0), F(0), *load(views, j), *coefficients)
        x[j] = encode(x, ADVANCE(F(0), new[0], new[1]), np.uint32(0), 0)


def idle_steady(x, k, slots, after, row, coefficients, around):
    views = row_of(slots, row)
    keep, l1, l2 = np.float64(around[3]), np.float64(around[4]), np.float64(around[5])
    for j in range(x.size):
        value = decode(x, x[j])
        rate = np.float64(RULE(value, F(0), F(0), *load(views, j), *coefficients)[0])
        x[j] = encode(x, F(AROUND_IDLE(np.float64(value), k, rate, keep, l1, l2)), np.uint32(0), 0)


def idle_by_rule(x, k, slots, after, row, coefficients, around):
    views = row_of(slots, row)
    fresh = RULE_IDLE(decode(x, x[0]), k, *load(views, 0), *coefficients)
    for j in range(x.size):
        new = RULE_IDLE(decode(x, x[j]), k, *load(views, j), *coefficients)
        x[j] = encode(x, new[0], np.uint32(0), 0)
        store(views, j, new[1:], True)
    store_row(after, row, fresh[1:], True)


# Which weights of a linear model a mini-batch steps: all of them, or the bias and those of the features that occur


def touch_all(columns, touched, count, weights, slots, after, idle):
    return count


def touch_new(columns, touched, count, weights, slots, after, idle):
    last, now = idle[0], idle[1]
    for e in range(columns.size):
        j = column(columns, e)
        if last[j] != now[0]:
            touched[count] = j
            count += 1
            IDLE(weights[j : j + 1], column_of(slots, j), column_of(after, j), 0, j, idle, 0)
            last[j] = now[0]
    return count


def gather_all(gradient, raw, touched, count, size):
    for j in range(gradient.size):
        raw[j] = gradient[j] / size
        gradient[j] = F(0)
    return gradient.size


def gather_new(gradient, raw, touched, count, size):
    touched[count] = gradient.size - 1
    for u in range(count + 1):
        raw[u] = gradient[touched[u]] / size
        gradient[touched[u]] = F(0)
    return count + 1


def settle_weights(weights, slots, after, idle):
    for j in range(weights.size - 1):
        IDLE(weights[j : j + 1], column_of(slots, j), column_of(after, j), 0, j, idle, 0)


def settle_nothing(weights, slots, after, idle):
    pass
