"""The statistics of features as values occur, and the values centred and scaled by them: see `engines.scaling`."""

import math

import numpy as np

from surefoot.engines.cpu.bank.arguments import VECTOR
from surefoot.engines.scaling import FAR, FEWEST, LEAST_SQUARE, NOISE

# ruff: noqa: F821


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
        center, squares = about(counts[e], means[e], deviations[e], seen - 1.0)
        way = values[e] - center
        # Without a division, and so only nearly as exact as below.
        beyond |= counts[e] >= FEWEST and way * way * counts[e] > 0.999 * squares * max(FAR * FAR, counts[e])
    if beyond:
        for e in range(size):
            center, squares = about(counts[e], means[e], deviations[e], seen - 1.0)
            way = values[e] - center
            most = squares * max(FAR * FAR, counts[e]) / max(counts[e], 1.0)
            entries.limits[e] = np.inf
            if counts[e] >= FEWEST and way * way > most > 0.0:
                values[e] = center + math.copysign(np.sqrt(most), way)
                entries.limits[e] = FAR
    for e in range(whole_vectors(size)):
        count, before, x = counts[e] + 1.0, means[e], values[e]
        way = x - before
        mean = before + way / count
        spread = deviations[e] + way * (x - mean)
        center, squares = about(count, mean, spread, seen)
        scale = scale_by(count, squares)
        counts[e], means[e], deviations[e], entries.scales[e] = count, mean, spread, scale
        entries.scaled[e] = F((x - center) * scale)
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


def about(count, mean, spread, seen):
    """What is taken off a feature's values, and the sum of the squares of what is left of them."""
    centred = count >= seen and spread > count * (NOISE * mean) * (NOISE * mean)
    return (mean if centred else 0.0), (spread if centred else spread + count * mean * mean)


def scale_by(count, squares):
    return np.sqrt(count / max(squares, count * LEAST_SQUARE))


def scale_of(row, at, seen):
    """What a feature's values are multiplied by."""
    count = row[at]
    return scale_by(count, about(count, row[at + 1], row[at + 2], seen)[1]) if count > 0.0 else 1.0


def no_scale(row, at, seen):
    return 1.0
