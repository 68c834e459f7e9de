"""Several models at once, in lanes: `specialize` gives the copy of a driver for an architecture and its rules.

The examples are read once for all lanes. A feature's row holds each part's numbers and slots in every lane and then
its statistics: adjacent cache lines. The model sees each value centred and scaled by them, as `engines.scaling` says.

A step gathers the rows of the features that take part side by side, part by part, lets the model's functions predict
and compute gradients, calls each part's rule on all of its numbers in one loop, and puts the rows back. Names in
capitals are filled in by `compiling`: those of the family `…_PARTS` call a function of `parts`, or one below, once
for each part, in its copy for that part's rule; PART_WIDTH and PART_BEGIN say where a part lies.
"""

import math

import numpy as np

from surefoot.engines.cpu.bank.arguments import VECTOR
from surefoot.engines.cpu.drivers.deferred import steps_in_stretch, stretch_of
from surefoot.engines.cpu.prefetch import prefetch, prefetch_number
from surefoot.engines.cpu.slots import load, store
from surefoot.engines.cpu.unrolling import to_fixed_tuple
from surefoot.engines.cpu.vectors import AT_ONCE, put_columns, take_columns
from surefoot.engines.scaling import FAR, FEWEST, LEAST_SQUARE, NOISE, PENALIZED

# ruff: noqa: F821

LINE = 64
"""Bytes of a line of a cache."""
FEATURES_AHEAD = 24
ENTRIES_AHEAD = 1 << 10
ENTRIES_IN_LINE = 8
EVALUATIONS = 60
ENOUGH = 1e-3
"""A share is found once it is as exact as this: what a step is shortened by need not be known better."""
ONCE_AN_EXAMPLE = ("against_others", "damping", "damp", "slopes_of")
"""What is called once for an example, or not much more often: compiled apart, in half the time."""


# Drivers


def learn(examples, first, last, table, loss, predictions, entries, parts, waiting, averages):
    """Learns from the examples first … last − 1, a step for each; returns how many coordinates were skipped.

    What every lane predicted before it learned from an example is written to `predictions`.
    """
    lanes = LANE_COUNT if LANE_COUNT else entries.slopes.size
    skipped = 0
    for i in range(first, last):
        begin, end = examples.indptr[i], examples.indptr[i + 1]
        rows, size = examples.rows[begin:end], end - begin
        scaled, fields = entries.scaled[:size], examples.fields[begin * FIELDS : end * FIELDS]
        predicted = predictions[i - first]
        GATHER(examples, begin, end, examples.indptr[last], table, entries, parts, waiting, lanes)
        PREDICT(scaled, fields, parts, base_of(examples, i), predicted, lanes)
        slopes_of(loss, predicted, examples.targets[i], examples.weights[i], entries, lanes)
        GRADIENT(scaled, fields, parts, entries.slopes, lanes)
        SPREAD_PARTS(i - first, size, parts, lanes)
        if loss.damped.size > 0:
            skipped += TRIAL_PARTS(size, parts, lanes)
            SHIFT(scaled, fields, parts, F(0), entries.shares, lanes)
            damp(loss, examples.targets[i], entries)
        PENALTIES_PARTS(entries.scales, i - first, size, parts, lanes)
        SHARE_PARTS(i - first, size, parts, lanes)
        AVERAGE(table, rows, averages, i - first, lanes)
        if loss.damped.size > 0:
            skipped += MOVE_PARTS(entries.shares, size, parts, lanes)
        else:
            skipped += STEP_PARTS(size, parts, lanes)
        PUT(table, rows, size, entries, parts, lanes)
        NEXT(waiting)
    return skipped


def learn_batches(examples, edges, table, loss, predictions, entries, parts, batch, waiting, averages):
    """Learns from mini-batches, one step for each; batch b has the examples edges[b] … edges[b + 1] − 1.

    The gradient is the mean over the batch, by the examples' weights. Batches of one example, whose weight multiplies
    its gradient as in `learn`, come here where a feature may occur several times in an example.
    """
    lanes = LANE_COUNT if LANE_COUNT else entries.slopes.size
    touched, places, skipped = batch.touched, batch.places, 0
    for b in range(edges.size - 1):
        count, total = 0, 0.0
        CLEAR_PARTS(0, 0, batch.parts, lanes)
        for i in range(edges[b], edges[b + 1]):
            total += examples.weights[i]
        for i in range(edges[b], edges[b + 1]):
            begin, end = examples.indptr[i], examples.indptr[i + 1]
            rows, size = examples.rows[begin:end], end - begin
            scaled, fields = entries.scaled[:size], examples.fields[begin * FIELDS : end * FIELDS]
            predicted = predictions[i - edges[0]]
            gather(examples, begin, end, examples.indptr[edges[-1]], table, entries, parts, waiting, lanes)
            PREDICT(scaled, fields, parts, base_of(examples, i), predicted, lanes)
            slopes_of(loss, predicted, examples.targets[i], examples.weights[i], entries, lanes)
            GRADIENT(scaled, fields, parts, entries.slopes, lanes)
            for e in range(size):
                if places[rows[e]] < 0:
                    places[rows[e]], touched[count] = count, rows[e]
                    CLEAR_PARTS(count, count + 1, batch.parts, lanes)
                    count += 1
            ADD_PARTS(rows, places, size, entries.first, parts, batch.parts, lanes)
        for u in range(count):
            places[touched[u]] = -1
            batch.scales[u] = SCALE_OF(table.sums[touched[u]], table.statistics, table.seen[0])
        MEAN_PARTS(total if batch.mean else 1.0, count, batch.parts, lanes)
        SPREAD_PARTS(b, count, batch.parts, lanes)
        TAKE_PARTS(table, touched, count, entries.first, batch.parts, lanes)
        PENALTIES_PARTS(batch.scales, b, count, batch.parts, lanes)
        SHARE_PARTS(b, count, batch.parts, lanes)
        AVERAGE(table, touched[:count], averages, b, lanes)
        skipped += STEP_PARTS(count, batch.parts, lanes)
        PUT_PARTS(table, touched, count, entries.first, batch.parts, lanes)
        NEXT(waiting)
    return skipped


def settle_rows(table, waiting, averages, rows, lanes):
    """Lets every feature catch up, and then every average."""
    for j in range(table.cells.shape[0]):
        CATCH_UP(table, j, waiting, lanes)
    AVERAGE(table, rows, averages, 0, lanes)
    return 0


# An example


def gather(examples, begin, end, stop, table, entries, parts, waiting, lanes):
    """Scales an example's values and gathers the rows of its features."""
    prefetch_next(examples, begin, end, stop, table)
    rows, values = examples.rows[begin:end], examples.values[begin:end]
    CATCH_UP_ALL(table, rows, waiting, lanes)
    table.seen[0] += table.seen[1]
    COUNT_IN(table, rows, values, entries)
    TAKE_PARTS(table, rows, rows.size, entries.first, parts, lanes)


def put(table, rows, size, entries, parts, lanes):
    """Puts the rows back."""
    PUT_PARTS(table, rows, size, entries.first, parts, lanes)


def gather_vectors(examples, begin, end, stop, table, entries, parts, waiting, lanes):
    """`gather` for rows of four float64, the first of which has the number and the slot of a single lane: they are
    read as vectors, a column of many features after the other. The last ones may be read twice.
    """
    rows, values = examples.rows[begin:end], examples.values[begin:end]
    size = rows.size
    if size < AT_ONCE:
        gather(examples, begin, end, stop, table, entries, parts, waiting, lanes)
    else:
        prefetch_next(examples, begin, end, stop, table)
        CATCH_UP_ALL(table, rows, waiting, lanes)
        table.seen[0] += table.seen[1]
        columns = (entries.packed, entries.counts, entries.means, entries.deviations)
        for e in range(0, size, AT_ONCE):
            take_columns(table.sums, rows, min(e, size - AT_ONCE), columns)
        for e in range(size):
            entries.values[e] = values[e]
        SCALE(size, entries, table.seen[0])
        TAKE_MODEL(table, entries.first, parts, lanes)
        UNPACK(entries.numbers, size, parts)


def put_vectors(table, rows, size, entries, parts, lanes):
    if size < AT_ONCE:
        PUT_PARTS(table, rows, size, entries.first, parts, lanes)
    else:
        PACK(entries.numbers, size, parts)
        columns = (entries.packed, entries.counts, entries.means, entries.deviations)
        for e in range(0, size, AT_ONCE):
            put_columns(table.sums, rows, min(e, size - AT_ONCE), columns)
        PUT_MODEL(table, entries.first, parts, lanes)


def unpack_number(numbers, size, part):
    for e in range(size):
        part.x[e] = numbers[2 * e]


def unpack_number_and_slot(numbers, size, part):
    for e in range(size):
        part.x[e], part.slots[0][e] = numbers[2 * e], numbers[2 * e + 1]


def pack_number(numbers, size, part):
    for e in range(size):
        numbers[2 * e] = part.x[e]


def pack_number_and_slot(numbers, size, part):
    for e in range(size):
        numbers[2 * e], numbers[2 * e + 1] = part.x[e], part.slots[0][e]


def prefetch_next(examples, begin, end, stop, table):
    """Rows that come soon are prefetched, and the next example, which lies ahead of where the processor looks."""
    soon = examples.rows[min(begin + FEATURES_AHEAD, stop) : min(end + FEATURES_AHEAD, stop)]
    for e in range(soon.size):
        for k in range(0, CELLS if LANE_COUNT else table.cells.shape[1], CELLS_IN_LINE):
            prefetch_number(table.cells, soon[e], k)
    for entry in range(end, min(2 * end - begin, end + ENTRIES_AHEAD, stop), ENTRIES_IN_LINE):
        prefetch(examples.values, entry)
        prefetch(examples.rows, entry + FEATURES_AHEAD)


def base_of(examples, i):
    return F(examples.bases[i]) if BASES else F(0)


# Statistics


def count_in(table, rows, values, entries):
    """Counts an example's values in, and scales them."""
    at = STATISTICS if LANE_COUNT else table.statistics
    for e in range(values.size):
        row = table.sums[rows[e]]
        entries.values[e] = values[e]
        entries.counts[e], entries.means[e], entries.deviations[e] = row[at], row[at + 1], row[at + 2]
    SCALE(values.size, entries, table.seen[0])
    for e in range(values.size):
        row = table.sums[rows[e]]
        row[at], row[at + 1], row[at + 2] = entries.counts[e], entries.means[e], entries.deviations[e]


def count_in_turn(table, rows, values, entries):
    """The same where a feature may occur several times in an example: one value after the other."""
    at = STATISTICS if LANE_COUNT else table.statistics
    for e in range(values.size):
        row = table.sums[rows[e]]
        entries.values[0] = values[e]
        entries.counts[0], entries.means[0], entries.deviations[0] = row[at], row[at + 1], row[at + 2]
        SCALE(1, entries, table.seen[0])
        row[at], row[at + 1], row[at + 2] = entries.counts[0], entries.means[0], entries.deviations[0]
        entries.repeated[e] = entries.scaled[0]
    for e in range(values.size):
        entries.scaled[e] = entries.repeated[e]


def scale_values(size, entries, seen):
    """Winsorizes, counts, centres and scales the values of features, whose statistics become those after them."""
    counts, means, deviations, values = entries.counts, entries.means, entries.deviations, entries.values
    beyond = False
    for e in range(whole_vectors(size)):
        count, mean, spread = counts[e], means[e], deviations[e]
        centred = count + 1.0 >= seen and spread > count * (NOISE * mean) * (NOISE * mean)
        way = values[e] - (mean if centred else 0.0)
        squares = spread if centred else spread + count * mean * mean
        # Without a division, and so only nearly as exact as below.
        beyond |= count >= FEWEST and way * way * count > 0.999 * squares * max(FAR * FAR, count)
    if beyond:
        for e in range(size):
            count, mean, spread = counts[e], means[e], deviations[e]
            centred = count + 1.0 >= seen and spread > count * (NOISE * mean) * (NOISE * mean)
            center = mean if centred else 0.0
            way = values[e] - center
            squares = spread if centred else spread + count * mean * mean
            most = squares * max(FAR * FAR, count) / max(count, 1.0)
            entries.limits[e] = np.inf
            if count >= FEWEST and way * way > most > 0.0:
                values[e] = center + math.copysign(np.sqrt(most), way)
                entries.limits[e] = FAR
    for e in range(whole_vectors(size)):
        count, before, x = counts[e] + 1.0, means[e], values[e]
        way = x - before
        mean = before + way / count
        spread = deviations[e] + way * (x - mean)
        centred = count >= seen and spread > count * (NOISE * mean) * (NOISE * mean)
        squares = spread if centred else spread + count * mean * mean
        scale = np.sqrt(count / max(squares, count * LEAST_SQUARE))
        counts[e], means[e], deviations[e], entries.scales[e] = count, mean, spread, scale
        entries.scaled[e] = F((x - (mean if centred else 0.0)) * scale)
    if beyond:
        for e in range(size):
            limit = F(entries.limits[e])
            entries.scaled[e] = min(max(entries.scaled[e], -limit), limit)


def copy_values(size, entries, seen):
    """Counts values, which stay as they are."""
    counts, means, deviations, values = entries.counts, entries.means, entries.deviations, entries.values
    for e in range(whole_vectors(size)):
        counts[e] += 1.0
        way = values[e] - means[e]
        means[e] += way / counts[e]
        deviations[e] += way * (values[e] - means[e])
        entries.scales[e], entries.scaled[e] = 1.0, F(values[e])


def whole_vectors(numbers):
    """As many numbers as whole vectors have: those beyond the last one are computed in vain, faster than alone."""
    return (numbers + VECTOR - 1) // VECTOR * VECTOR


def scale_of(row, at, seen):
    """What a feature's values are multiplied by."""
    count, mean, spread = row[at], row[at + 1], row[at + 2]
    centred = count >= seen and spread > count * (NOISE * mean) * (NOISE * mean)
    squares = spread if centred else spread + count * mean * mean
    return np.sqrt(count / max(squares, count * LEAST_SQUARE)) if count > 0.0 else 1.0


def no_scale(row, at, seen):
    return 1.0


# Slopes


def target_of(target, k, outputs, lanes):
    """What lane k is to predict: of several outputs, 1 for the class that it is and 0 for the others."""
    if outputs == 1:
        return target
    return 1.0 if k // (lanes // outputs) == np.int64(target) else 0.0


def slopes_of(loss, predicted, target, weight, entries, lanes):
    """The derivative of the loss by every lane's prediction, times the example's weight.

    Of a joint loss it is the slope at the prediction less the log-sum-exp of the others, that is `shifted`.
    """
    shifted, outputs = entries.shifted, loss.outputs
    for k in range(lanes):
        shifted[k] = np.float64(predicted[k])
    if outputs > 1 and loss.code >= FIRST_JOINT:
        against_others(predicted, shifted, outputs, lanes // outputs)
    for k in range(lanes):
        wanted = target_of(target, k, outputs, lanes)
        entries.slopes[k] = F(SLOPE_OF(loss.code, shifted[k], wanted, loss.parameter) * weight)


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


def damp(loss, target, entries):
    """The share that every lane takes of its step, where the steps of damped lanes are implicit.

    Before, `shares` are how far every step would move its lane's prediction.
    """
    shares = entries.shares
    for k in range(shares.size):
        share = 1.0
        if loss.damped[k]:
            wanted = target_of(target, k, loss.outputs, shares.size)
            share = damping(loss, entries.shifted[k], wanted, np.float64(shares[k]))
        shares[k] = F(share)


def damping(loss, prediction, target, move):
    """The share of the slope that the loss has where a step along this share leads: an implicit step.

    The root of slope(p − share · move) = share · slope(p) by false position (the Illinois variant), which a kink does
    not stop. Kulis & Bartlett (2010), Implicit online learning; Karampatziakis & Langford (2011).
    """
    here = SLOPE_OF(loss.code, prediction, target, loss.parameter)
    if not (here * move > 0.0) or not np.isfinite(move):
        return 1.0
    low, high = 0.0, 1.0
    below, above = 1.0, SLOPE_OF(loss.code, prediction - move, target, loss.parameter) / here - 1.0
    if above >= 0.0:
        return 1.0
    share, side = 1.0, 0
    for _ in range(EVALUATIONS):
        share = (low * above - high * below) / (above - below)
        value = SLOPE_OF(loss.code, prediction - share * move, target, loss.parameter) / here - share
        if abs(value) <= ENOUGH * share or high - low <= 1e-7 * high:
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


# Features that have not occurred for a while


def catch_up_row(table, j, waiting, lanes):
    """Makes a feature's row what it would be after the steps in which it did not occur."""
    until = waiting.now[0] - 1
    if waiting.last[j] < until:
        scale = min(SCALE_OF(table.sums[j], table.statistics, table.seen[0]), PENALIZED)
        WAIT_PARTS(table.cells[j], scale, waiting.last[j], until, waiting.starts, waiting.parts, lanes)
    waiting.last[j] = waiting.now[0]


def catch_up_averaged_row(table, j, waiting, lanes):
    """The same where averages of the iterates are kept: that of the row gets those of the steps that it waited for."""
    until, averages = waiting.now[0] - 1, waiting.averages
    steps = max(averages.totals.size - 1, 1)  # of a call, which is repeated where examples come one by one
    total = averages.totals[(waiting.now[0] - waiting.first) % steps]
    if waiting.last[j] < until:
        scale = min(SCALE_OF(table.sums[j], table.statistics, table.seen[0]), PENALIZED)
        gap = total - averages.upto[j]
        if gap > 0.0:
            BLEND_STILL(table.cells[j], j, F(gap / total), averages.means, lanes)
            averages.upto[j] = total
        shares = gap, total
        WAIT_AVERAGED(table.cells[j], scale, waiting.last[j], until, waiting, shares, j, averages.means, lanes)
    waiting.last[j] = waiting.now[0]


def wait_averaged_part(row, scale, last, until, rows, waiting, shares, mean, lanes):
    """Lets a part's numbers wait, and their averages with them: before the first of these steps it stood still."""
    span, begin, starts = PART_WIDTH * lanes, PART_BEGIN * lanes, rows.starts
    x, slots = row[begin : begin + span], SLOTS_OF(row, begin, span)
    gap, total = shares
    for s in range(stretch_of(last, starts), starts.size):
        gap -= rows.rates[s] * max(steps_in_stretch(s, last, until, starts), 0)
    gap, total = max(gap, 0.0), total if total > 0.0 else 1.0
    for m in range(span):
        mean[m] = F(1.0 - shares[0] / total) * mean[m] + F(gap / total) * x[m]
    for s in range(stretch_of(last, starts), starts.size):
        count = steps_in_stretch(s, last, until, starts)
        if count > 0:
            kept = waiting.keep[min(s, waiting.keep.shape[0] - 1)]
            l1, l2 = waiting.l1 * F(scale), waiting.l2 * (F(scale) * F(scale))
            for m in range(span):
                k = m % lanes
                c = to_fixed_tuple(waiting.table[s][:, k], COUNT)
                views = VIEWS(slots, waiting.common, k)
                found = SUM_NUMBER(x, m, views, c, count, kept[k], np.float64(l1), np.float64(l2))
                mean[m] += F(rows.rates[s] / total * found)
                ZERO_GRAD_NUMBER(x, m, views, c, count, kept[k], np.float64(l1), np.float64(l2))


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


def wait_part(row, scale, last, until, starts, waiting, lanes):
    span = PART_WIDTH * lanes
    begin = PART_BEGIN * lanes
    x, slots = row[begin : begin + span], SLOTS_OF(row, begin, span)
    for s in range(stretch_of(last, starts), starts.size):
        count = steps_in_stretch(s, last, until, starts)
        if count > 0:
            kept = waiting.keep[min(s, waiting.keep.shape[0] - 1)]
            l1, l2 = waiting.l1 * F(scale), waiting.l2 * (F(scale) * F(scale))
            for m in range(span):
                k = m % lanes
                c = to_fixed_tuple(waiting.table[s][:, k], COUNT)
                views = VIEWS(slots, waiting.common, k)
                ZERO_GRAD_NUMBER(x, m, views, c, count, kept[k], np.float64(l1), np.float64(l2))


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


# Averages of the iterates


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
