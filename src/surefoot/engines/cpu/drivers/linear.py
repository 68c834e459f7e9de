"""A linear model, a mini-batch at a time."""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from surefoot.engines.cpu.codecs import decode
from surefoot.engines.cpu.drivers.coordinate import step_coordinate
from surefoot.engines.cpu.drivers.deferred import acting
from surefoot.engines.cpu.drivers.squares import seen_by_rule
from surefoot.engines.cpu.drivers.variants import full_numbers
from surefoot.engines.cpu.examples import column, entries
from surefoot.engines.cpu.slots import column_of, load, row_of, store_row
from surefoot.engines.modifiers import Modifiers

# ruff: noqa: F821


def linear(examples, y, order, batch_size, x, slots, after, table, keys, clip_norm, average, work, scratch, waiting):
    """One pass of mini-batches through the examples; returns how many coordinates were skipped."""
    coefficients, spared, in_steps, shares = table
    raw, seen, gradient, touched = work
    weights, bias = x[0], x.shape[1] - 1
    skipped = 0
    for b in range(-(-order.size // batch_size)):
        begin, end = b * batch_size, min((b + 1) * batch_size, order.size)
        count = 0
        for k in range(begin, end):
            columns, values = entries(examples, order[k])
            count = TOUCH(columns, touched, count, weights, slots, after, waiting)
            prediction = decode(weights, weights[bias])
            for e in range(values.size):
                prediction = prediction + decode(weights, weights[column(columns, e)]) * values[e]
            slope = F(SLOPE(np.float64(prediction), np.float64(y[order[k]])))
            for e in range(values.size):
                gradient[column(columns, e)] += slope * values[e]
            gradient[bias] += slope
        count = GATHER(gradient, raw, touched, count, F(end - begin))
        modifiers = AROUND(in_steps, acting(in_steps, b), clip_norm, raw[:count], scratch)
        lone = SPARED(modifiers)
        mean = MEAN_OF(raw, seen, count, weights, touched, modifiers, lone, scratch)
        key = keys[acting(keys, b)]
        views = row_of(slots, 0)
        c = to_fixed_tuple(coefficients[acting(coefficients, b)], COUNT)
        fresh = RULE(decode(weights, weights[0]), F(0), mean, *load(views, 0), *c)
        for u in range(count - 1):
            ok = step_coordinate(weights, touched[u], raw[u], views, c, modifiers, mean, key, touched[u])
            skipped += 0 if ok else 1
        c = to_fixed_tuple(spared[acting(spared, b)], COUNT)
        ok = step_coordinate(weights, bias, raw[count - 1], views, c, lone, mean, key, bias)
        skipped += 0 if ok else 1
        store_row(after, 0, fresh[2:], PROPAGATE)
        for j in range(average.size):
            average[j] += shares[b] * (np.float64(decode(weights, weights[j])) - average[j])
        waiting.now[0] += 1
    SETTLE_WEIGHTS(weights, slots, after, waiting)
    return skipped


def plain_around(modifiers, b, clip_norm, raw, scratch):
    return ()


def full_around(modifiers, b, clip_norm, raw, scratch):
    """The numbers around the rule in mini-batch b, with the gradient scaled down to clip_norm."""
    scale = modifiers[b, 0]
    if clip_norm < np.inf:
        length = np.sqrt(RAW_SQUARES(raw, raw, (), scratch))
        if length > clip_norm:
            scale = scale * clip_norm / length
    numbers = full_numbers(modifiers, b)
    return Modifiers(F(scale), numbers.clip, numbers.weight_decay, numbers.keep, numbers.l1, numbers.l2)


def plain_spared(modifiers):
    return ()


def full_spared(modifiers):
    """The same for a bias, which penalties spare."""
    return Modifiers(modifiers.scale, modifiers.clip, F(0), F(1), F(0), F(0))


def own_mean(raw, seen, count, weights, touched, modifiers, lone, scratch):
    return F(0)


def shared_mean(raw, seen, count, weights, touched, modifiers, lone, scratch):
    """The mean square of a linear model's gradient as the rule sees it; weights that are not touched count as zero."""
    for u in range(count - 1):
        seen[u] = seen_by_rule(raw[u], weights, touched[u], modifiers)
    seen[count - 1] = seen_by_rule(raw[count - 1], weights, weights.size - 1, lone)
    return F(RAW_SQUARES(seen[:count], seen[:count], (), scratch) / weights.size)


def touch_all(columns, touched, count, weights, slots, after, waiting):
    return count


def touch_new(columns, touched, count, weights, slots, after, waiting):
    last, now = waiting.last, waiting.now
    for e in range(columns.size):
        j = column(columns, e)
        if last[j] != now[0]:
            touched[count] = j
            count += 1
            ZERO_GRAD(weights[j : j + 1], column_of(slots, j), column_of(after, j), 0, j, waiting, 0)
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


def settle_weights(weights, slots, after, waiting):
    for j in range(weights.size - 1):
        ZERO_GRAD(weights[j : j + 1], column_of(slots, j), column_of(after, j), 0, j, waiting, 0)


def settle_nothing(weights, slots, after, waiting):
    pass
