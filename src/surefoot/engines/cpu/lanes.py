"""Several linear models at once, in lanes: `specialize.specialize` gives the copy of a driver for a rule.

The examples are read once for all of them. A feature's row of `memory` holds its weight in every lane, then each of the
rule's slots in every lane, then its root mean square and how many values that is of: adjacent cache lines. Row 0 is the
bias; feature j has row j + 1. The rule sees each feature divided by its root mean square so far, so weights are those
of such features, and no scale of the data matters to it; after Ross, Mineiro & Langford (2013), Normalized online
learning, who divide by the maximum.

A step gathers the rows of the features that take part side by side into `gathered`, one number for each feature and
lane, calls the rule on all of them in one loop, and puts the rows back. Names in capitals are filled in by `compiling`:
those that `kernels` has, LANE_COUNT, the number of lanes (0 where only the call tells), and functions chosen by what is
asked for.
"""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from surefoot.engines.cpu.drivers.coordinate import step_coordinate
from surefoot.engines.cpu.drivers.deferred import acting, steps_in_stretch, stretch_of
from surefoot.engines.cpu.prefetch import prefetch, prefetch_number
from surefoot.engines.cpu.slots import load, not_finite, store
from surefoot.engines.cpu.vectors import AT_ONCE, put_columns, take_columns
from surefoot.engines.modifiers import Modifiers

# ruff: noqa: F821

LINE = 16
"""Numbers in a line of a cache."""
FEATURES_AHEAD = 24
ENTRIES_AHEAD = 1 << 10
EVALUATIONS = 60
ONCE_AN_EXAMPLE = ("against_others", "damping", "damp", "slopes_of")
"""What is called once for an example, or not much more often: compiled apart, in half the time."""


# Drivers


def learn(examples, targets, weights, first, last, memory, settings, predictions, gathered, entries_, idle, average):
    """Learns from the examples first … last − 1, a step for each; returns how many coordinates were skipped.

    What every lane predicted before it learned from an example is written to `predictions`.
    """
    indptr, indices, values = examples
    loss, parameter, outputs, damped, tables, modifiers = settings
    features, scaled, roots, counts, slopes, shifted, shares = entries_
    x, g, slots, c, moves, penalties = gathered
    lanes = LANE_COUNT if LANE_COUNT else slopes.size
    skipped = 0
    for i in range(first, last):
        predicted = predictions[i - first]
        size = gather(
            indices, values, indptr[i], indptr[i + 1], indptr[last], memory, entries_, gathered, predicted, idle, lanes
        )
        slopes_of(loss, parameter, outputs, predicted, targets[i], weights[i], slopes, shifted, lanes)
        gradients(g, slopes, scaled, size, lanes)
        spread(tables, i - first, c, size, size - 1, lanes)
        if damped.size > 0:
            trial(x[: size * lanes], g, slots, c, moves)
            PREDICT(moves, scaled[:size], shares, lanes)
            damp(loss, parameter, outputs, targets[i], damped, slopes, shifted, shares)
            scale_lanes(moves, shares, size, lanes)
            gradients(g, slopes, scaled, size, lanes)
        PENALTIES(penalties, modifiers, i - first, roots, size, size - 1, lanes)
        AVERAGE(features, size, memory, average, i - first, lanes)
        if damped.size > 0:
            skipped += move_gathered(x[: size * lanes], g, slots, c, penalties, moves)
        else:
            skipped += step_gathered(x[: size * lanes], g, slots, c, penalties)
        SPREAD(tables[0][0], c, (size - 1) * lanes, lanes)
        PUT_ROWS(memory, features, size, x, slots, roots, counts, lanes)
        NEXT(idle)
    return skipped


def learn_batches(
    examples, targets, weights, edges, memory, settings, predictions, gathered, entries_, idle, average, batch
):
    """Learns from mini-batches, one step for each; batch b has the examples edges[b] … edges[b + 1] − 1.

    The gradient is the mean over the batch, by the examples' weights.
    """
    indptr, indices, values = examples
    loss, parameter, outputs, _, tables, modifiers = settings
    features, scaled, roots, counts, slopes, shifted, _ = entries_
    x, g, slots, c, _, penalties = gathered
    touched, places, roots_touched = batch
    lanes = LANE_COUNT if LANE_COUNT else slopes.size
    skipped = 0
    for b in range(edges.size - 1):
        places[0], touched[0], count, total = 0, 0, 1, 0.0
        g[:lanes] = F(0)
        for i in range(edges[b], edges[b + 1]):
            total += weights[i]
        for i in range(edges[b], edges[b + 1]):
            predicted = predictions[i - edges[0]]
            end = indptr[edges[-1]]
            size = gather(
                indices, values, indptr[i], indptr[i + 1], end, memory, entries_, gathered, predicted, idle, lanes
            )
            put_scales(features, size, memory, roots, counts)
            slopes_of(loss, parameter, outputs, predicted, targets[i], weights[i], slopes, shifted, lanes)
            for e in range(size):
                j = features[e]
                if places[j] < 0:
                    places[j], touched[count] = count, j
                    g[count * lanes : (count + 1) * lanes] = F(0)
                    count += 1
                place = places[j] * lanes
                for k in range(lanes):
                    g[place + k] += slopes[k] * scaled[e]
        spread(tables, b, c, count, 0, lanes)
        for u in range(count):
            places[touched[u]] = -1
            for k in range(lanes):
                g[u * lanes + k] = g[u * lanes + k] / F(total) if total > 0.0 else F(0)
            roots_touched[u] = root_of(memory[touched[u]])
            take(memory[touched[u]], u * lanes, x, slots, lanes)
        PENALTIES(penalties, modifiers, b, roots_touched, count, 0, lanes)
        AVERAGE(touched, count, memory, average, b, lanes)
        skipped += step_gathered(x[: count * lanes], g, slots, c, penalties)
        for u in range(count):
            put(memory[touched[u]], u, x, slots, lanes)
        NEXT(idle)
    return skipped


def settle_lanes(memory, idle, average, features, lanes):
    """Lets every feature catch up, and then every average."""
    for j in range(1, memory.shape[0]):
        CATCH_UP(memory[j], j, root_of(memory[j]), idle, lanes)
    AVERAGE(features, memory.shape[0], memory, average, 0, lanes)
    return 0


# An example


def gather(indices, values, begin, end, stop, memory, entries_, gathered, predicted, idle, lanes):
    """Scales an example's entries, gathers their rows and predicts; returns the number of entries, with the bias.

    The bias comes last, as a feature that is always 1.
    """
    features, scaled, roots, counts, _, _, _ = entries_
    x, _, slots, _, _, _ = gathered
    size = end - begin + 1
    soon = indices[min(begin + FEATURES_AHEAD, stop) : min(end + FEATURES_AHEAD, stop)]
    for e in range(soon.size):
        for k in range(0, WIDTH if WIDTH else memory.shape[1], LINE):
            prefetch_number(memory, soon[e] + 1, k)
    # The next example is asked for as well: it lies ahead of where the processor looks by itself.
    for entry in range(end, min(2 * end - begin, end + ENTRIES_AHEAD, stop), LINE):
        prefetch(values, entry)
        prefetch(indices, entry + FEATURES_AHEAD)
        prefetch(indices, entry + FEATURES_AHEAD + LINE // 2)
    own, numbers = indices[begin:end], values[begin:end]
    for e in range(own.size):
        features[e] = own[e] + 1
    for e in range(numbers.size):
        scaled[e] = numbers[e]
    features[size - 1], scaled[size - 1] = 0, F(1)
    CATCH_UP_ALL(memory, features[: size - 1], idle, lanes)
    TAKE_ROWS(memory, features, size, x, slots, roots, counts, lanes)
    roots[size - 1], counts[size - 1] = F(1), F(0)
    SCALE(scaled[:size], roots, counts)
    PREDICT(x, scaled[:size], predicted, lanes)
    return size


def predict(x, scaled, predicted, lanes):
    """What every lane predicts: the bias, and then the other features' shares added in their order."""
    bias = scaled.size - 1
    for k in range(lanes):
        predicted[k] = x[bias * lanes + k]
    for e in range(bias):
        for k in range(lanes):
            predicted[k] += x[e * lanes + k] * scaled[e]


def predict_one(x, scaled, predicted, lanes):
    """The same for one lane: its sum stays in a register."""
    total = x[scaled.size - 1]
    for e in range(scaled.size - 1):
        total += x[e] * scaled[e]
    predicted[0] = total


# Rows of features, side by side


def take_rows(memory, features, size, x, slots, roots, counts, lanes):
    """Gathers the rows of an example's features."""
    for e in range(size):
        take_row(memory[features[e]], e, x, slots, roots, counts, lanes)


def take_rows_of_one(memory, features, size, x, slots, roots, counts, lanes):
    """The same for one lane, as vectors of many features; the last ones may be gathered twice."""
    if size < AT_ONCE:
        take_rows(memory, features, size, x, slots, roots, counts, 1)
    else:
        for e in range(0, size, AT_ONCE):
            take_columns(memory, features, min(e, size - AT_ONCE), (x, *slots, roots, counts))


def put_rows(memory, features, size, x, slots, roots, counts, lanes):
    """Puts the rows back."""
    for e in range(size):
        put_row(memory[features[e]], e, x, slots, roots, counts, lanes)


def put_rows_of_one(memory, features, size, x, slots, roots, counts, lanes):
    if size < AT_ONCE:
        put_rows(memory, features, size, x, slots, roots, counts, 1)
    else:
        for e in range(0, size, AT_ONCE):
            put_columns(memory, features, min(e, size - AT_ONCE), (x, *slots, roots, counts))


def take_row(row, e, x, slots, roots, counts, lanes):
    take(row, e * lanes, x, slots, lanes)
    roots[e], counts[e] = row[row.size - 2], row[row.size - 1]


def put_row(row, e, x, slots, roots, counts, lanes):
    put(row, e, x, slots, lanes)
    row[row.size - 2], row[row.size - 1] = roots[e], counts[e]


def take(row, place, x, slots, lanes):
    for k in range(lanes):
        x[place + k] = row[k]
    TAKE_SLOTS(row, place, slots, lanes)


def put(row, e, x, slots, lanes):
    for k in range(lanes):
        row[k] = x[e * lanes + k]
    PUT_SLOTS(row, e * lanes, slots, lanes)


def put_scales(features, size, memory, roots, counts):
    for e in range(size):
        row = memory[features[e]]
        row[row.size - 2], row[row.size - 1] = roots[e], counts[e]


def root_of(row):
    """The root mean square of a feature so far, 1 where there is none."""
    root = row[row.size - 2]
    return root if root > F(0) else F(1)


def running_scales(scaled, roots, counts):
    """Divides values by their features' root mean squares, which they are counted in before.

    In float64, so that no square overflows. A feature that was always 0 stays as it is.
    """
    for e in range(scaled.size):
        x, root = np.float64(scaled[e]), np.float64(roots[e])
        count = counts[e] + F(1)
        square = root * root
        root = np.sqrt(square + (x * x - square) / np.float64(count))
        counts[e], roots[e] = count, F(root)
        scaled[e] = F(x / root) if root > 0.0 else F(0)


def no_scales(scaled, roots, counts):
    pass


# Slopes


def target_of(target, k, outputs, lanes):
    """What lane k is to predict: of several outputs, 1 for the class that it is and 0 for the others."""
    if outputs == 1:
        return target
    return 1.0 if k // (lanes // outputs) == np.int64(target) else 0.0


def slopes_of(loss, parameter, outputs, predicted, target, weight, slopes, shifted, lanes):
    """The derivative of the loss by every lane's prediction, times the example's weight.

    Of a joint loss it is the slope at the prediction less the log-sum-exp of the others, that is `shifted`.
    """
    for k in range(lanes):
        shifted[k] = np.float64(predicted[k])
    if outputs > 1 and loss >= FIRST_JOINT:
        against_others(predicted, shifted, outputs, lanes // outputs)
    for k in range(lanes):
        slopes[k] = F(SLOPE_OF(loss, shifted[k], target_of(target, k, outputs, lanes), parameter) * weight)


def against_others(predicted, shifted, outputs, rates):
    """Every prediction less the log-sum-exp of the other outputs' in the same rate."""
    for r in range(rates):
        for c in range(outputs):
            largest = -np.inf
            for o in range(outputs):
                if o != c:
                    largest = max(largest, np.float64(predicted[o * rates + r]))
            total = 0.0
            for o in range(outputs):
                if o != c:
                    total += np.exp(np.float64(predicted[o * rates + r]) - largest)
            shifted[c * rates + r] = np.float64(predicted[c * rates + r]) - largest - np.log(total)


def gradients(g, slopes, scaled, size, lanes):
    """The gradient of every scaled feature's weight in every lane."""
    for e in range(size):
        for k in range(lanes):
            g[e * lanes + k] = slopes[k] * scaled[e]


def scale_lanes(numbers, factors, size, lanes):
    """Multiplies the numbers of every lane by its factor."""
    for e in range(size):
        for k in range(lanes):
            numbers[e * lanes + k] *= factors[k]


def damp(loss, parameter, outputs, target, damped, slopes, shifted, shares):
    """Takes the slopes that the loss has where the steps of damped lanes lead, shortened in the same way.

    How far every lane's step would move its prediction becomes the share of the step that is taken.
    """
    for k in range(shares.size):
        share = F(1)
        if damped[k]:
            wanted = target_of(target, k, outputs, shares.size)
            share = F(damping(loss, parameter, shifted[k], wanted, np.float64(shares[k])))
        slopes[k] *= share
        shares[k] = share


def damping(loss, parameter, prediction, target, move):
    """The share of the slope that the loss has where a step along this share leads: an implicit step.

    The root of slope(p − share · move) = share · slope(p) by false position (the Illinois variant), which a kink does
    not stop. Kulis & Bartlett (2010), Implicit online learning; Karampatziakis & Langford (2011).
    """
    here = SLOPE_OF(loss, prediction, target, parameter)
    if not (here * move > 0.0) or not np.isfinite(move):
        return 1.0
    low, high = 0.0, 1.0
    below, above = 1.0, SLOPE_OF(loss, prediction - move, target, parameter) / here - 1.0
    if above >= 0.0:
        return 1.0
    share, side = 1.0, 0
    for _ in range(EVALUATIONS):
        share = (low * above - high * below) / (above - below)
        value = SLOPE_OF(loss, prediction - share * move, target, parameter) / here - share
        if abs(value) <= 1e-5 * share or high - low <= 1e-7 * high:
            break
        if value > 0.0:
            low, below = share, value
            above = above / 2.0 if side > 0 else above
            side = 1
        else:
            high, above = share, value
            below = below / 2.0 if side < 0 else below
            side = -1
    return share


# Steps


def spread(tables, b, c, size, bias, lanes):
    """The coefficients of every lane, once for each feature, where they change; the bias has its own."""
    if tables[0].shape[0] > 1:
        for e in range(size):
            SPREAD(tables[0][b], c, e * lanes, lanes)
    SPREAD(tables[1][min(b, tables[1].shape[0] - 1)], c, bias * lanes, lanes)


def trial(x, g, slots, c, moves):
    """What a step would take off every weight."""
    for m in range(x.size):
        new = RULE(x[m], g[m], g[m] * g[m], *load(slots, m), *load(c, m))
        moves[m] = -ADVANCE(F(0), new[0], new[1])


def move_gathered(x, g, slots, c, penalties, moves):
    """Takes `moves` off the weights that were gathered; the rule's memory gets the gradient."""
    skipped = np.int32(0)
    for m in range(x.size):
        square = g[m] * g[m]
        new = RULE(x[m], g[m], square, *load(slots, m), *load(c, m))
        moved = PROXIMAL(x[m] - moves[m], new[0], MODIFIERS_AT(penalties, m))
        ok = not_finite(slots, new[2:], (square - square) + (moved - moved)) == F(0)
        store(slots, m, new[2:], ok)
        x[m] = moved if ok else x[m]
        skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
    return skipped


def step_gathered(x, g, slots, c, penalties):
    """Steps every weight that was gathered; returns how many were skipped."""
    skipped = np.int32(0)
    for m in range(x.size):
        modifiers = MODIFIERS_AT(penalties, m)
        ok = step_coordinate(x, m, g[m], slots, load(c, m), modifiers, F(0), np.uint32(0), 0)
        skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
    return skipped


def no_penalties(penalties, modifiers, b, roots, size, bias, lanes):
    pass


def spread_penalties(penalties, modifiers, b, roots, size, bias, lanes):
    """Penalties of the features' own weights as penalties of the scaled ones; the bias has none."""
    l1, l2, keep = modifiers
    kept = keep[min(b, keep.shape[0] - 1)]
    for e in range(size):
        root = roots[e] if roots[e] > F(0) else F(1)
        for k in range(lanes):
            penalties[0, e * lanes + k] = l1 / root
            penalties[1, e * lanes + k] = l2 / (root * root)
            penalties[2, e * lanes + k] = kept[k]
    for k in range(lanes):
        place = bias * lanes + k
        penalties[0, place], penalties[1, place], penalties[2, place] = F(0), F(0), F(1)


def no_modifiers(penalties, m):
    return ()


def penalties_as_modifiers(penalties, m):
    """The numbers around the rule as `kernels` takes them."""
    return Modifiers(F(1), F(np.inf), F(0), penalties[2, m], penalties[0, m], penalties[1, m])


# Features that have not occurred for a while


def lanes_that_wait(row, j, root, idle, lanes):
    """Makes a feature's row what it would be after the steps in which it did not occur."""
    last, now, starts, tables, keeps, penalties = idle
    for s in range(stretch_of(last[j], starts), starts.size):
        count = steps_in_stretch(s, last[j], now[0] - 1, starts)
        if count > 0:
            slots = SLOTS_OF(row, lanes)
            kept = keeps[acting(keeps, s)]
            for k in range(lanes):
                c = to_fixed_tuple(tables[s][:, k], COUNT)
                ZERO_GRAD_LANE(row, k, slots, c, count, kept[k], penalties[0] / root, penalties[1] / (root * root))
    last[j] = now[0]


def lane_from_origin(row, k, slots, c, count, keep, l1, l2):
    new = RULE(row[k], F(0), F(0), *load(slots, k), *c)
    row[k] = ADVANCE(F(0), new[0], new[1])


def lane_lazy_exact(row, k, slots, c, count, keep, l1, l2):
    rate = np.float64(RULE(row[k], F(0), F(0), *load(slots, k), *c)[0])
    row[k] = F(ZERO_GRAD_CLOSED_FORM(np.float64(row[k]), count, rate, np.float64(keep), l1, l2))


def lane_by_rule(row, k, slots, c, count, keep, l1, l2):
    new = RULE_ZERO_GRAD(row[k], count, *load(slots, k), *c)
    row[k] = new[0]
    store(slots, k, new[1:], True)


def catch_up_all(memory, features, idle, lanes):
    for e in range(features.size):
        row = memory[features[e]]
        CATCH_UP(row, features[e], root_of(row), idle, lanes)


def none_waits(row, j, root, idle, lanes):
    pass


def none_idle(memory, features, idle, lanes):
    pass


def next_step(idle):
    idle[1][0] += 1


def no_next(idle):
    pass


# Averages of the iterates


def blend_lanes(features, size, memory, average, b, lanes):
    """Lets averages catch up with the steps before this one; `totals` are the sums of learning rates before each."""
    means, upto, totals = average
    for e in range(size):
        j = features[e]
        gap = totals[b] - upto[j]
        if gap > 0.0:
            share = F(gap / totals[b])
            for k in range(lanes):
                means[j, k] += share * (memory[j, k] - means[j, k])
            upto[j] = totals[b]


def no_average(features, size, memory, average, b, lanes):
    pass
