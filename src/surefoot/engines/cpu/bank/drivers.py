"""Several models at once, in lanes: `specialize` gives the copy of a driver for an architecture and its rules.

The examples are read once for all lanes. A feature's row holds each part's numbers and slots in every lane and then
its statistics: adjacent cache lines. The model sees each value centred and scaled by them, as `statistics` computes.

A step gathers the rows of the features that take part side by side, part by part, lets the model's functions predict
and compute gradients, calls each part's rule on all of its numbers in one loop, and puts the rows back. Names in
capitals are filled in by `compiling`: those of the family `…_PARTS` call a function of `parts`, or one below, once
for each part, in its copy for that part's rule; PART_WIDTH and PART_BEGIN say where a part lies.
"""

import numpy as np

from surefoot.engines.cpu.prefetch import prefetch, prefetch_number
from surefoot.engines.cpu.vectors import AT_ONCE, put_columns, take_columns

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
