"""A part: its numbers in the rows of features, side by side, and its steps. See `drivers` for the names in capitals."""

import numpy as np

from surefoot.engines.cpu.bank.statistics import whole_vectors
from surefoot.engines.cpu.drivers.coordinate import step_coordinate
from surefoot.engines.cpu.slots import load, not_finite, store
from surefoot.engines.cpu.vectors import copy_numbers
from surefoot.engines.scaling import PENALIZED

# ruff: noqa: F821


def take_part(cells, rows, size, part, lanes):
    span = PART_WIDTH * lanes
    begin = PART_BEGIN * lanes
    for e in range(size):
        row = cells[rows[e]]
        copy_numbers(row, begin, part.x, e * span, span)
        TAKE_SLOTS(row, begin, part.slots, e * span, span)


def put_part(cells, rows, size, part, lanes):
    span = PART_WIDTH * lanes
    begin = PART_BEGIN * lanes
    for e in range(size):
        row = cells[rows[e]]
        copy_numbers(part.x, e * span, row, begin, span)
        PUT_SLOTS(row, begin, part.slots, e * span, span)


def clear_part(first, last, part, lanes):
    part.g[first * PART_WIDTH * lanes : last * PART_WIDTH * lanes] = F(0)


def add_part(rows, places, size, part, batch_part, lanes):
    """Adds an example's gradient to that of the mini-batch."""
    span = PART_WIDTH * lanes
    for e in range(size):
        place = places[rows[e]] * span
        for m in range(span):
            batch_part.g[place + m] += part.g[e * span + m]


def mean_part(total, size, part, lanes):
    for m in range(size * PART_WIDTH * lanes):
        part.g[m] = part.g[m] / F(total) if total > 0.0 else F(0)


def spread_part(b, size, part, lanes):
    """The coefficients of every lane, once for each number, where they change."""
    if part.table.shape[0] > 1:
        for m in range(size * PART_WIDTH):
            SPREAD(part.table[b], part.coefficients, m * lanes, lanes)


def trial_part(size, part, lanes):
    """Writes what a step takes off every number to `moves`, and its rate to `g`; the rule's memory gets the gradient.

    Returns how many numbers are skipped: these do not move, and their memory stays.
    """
    slots, c, x = part.slots, part.coefficients, part.x
    skipped, count = np.int32(0), size * PART_WIDTH * lanes
    for m in range(whole_vectors(count)):
        g = part.g[m]
        square = g * g
        new = RULE(x[m], g, square, *load(slots, m), *load(c, m))
        move = -ADVANCE_FROM_ORIGIN(new[0], new[1])
        ok = not_finite(slots, new[2:], (square - square) + (move - move)) == F(0)
        store(slots, m, new[2:], ok)
        part.moves[m] = move if ok else F(0)
        part.g[m] = new[0] if ok else F(0)
        skipped = np.int32(skipped + (np.int32(0) if ok or m >= count else np.int32(1)))
    return skipped


def move_part(shares, size, part, lanes):
    """Takes every lane's share of `moves` off the numbers that were gathered; returns how many were skipped."""
    x, moves, rates = part.x, part.moves, part.g
    skipped = np.int32(0)
    for n in range(size * PART_WIDTH):
        for k in range(lanes):
            moves[n * lanes + k] *= shares[k]
    for m in range(whole_vectors(size * PART_WIDTH * lanes)):
        moved = AFTER(x[m] - moves[m], rates[m], MODIFIERS_AT(part.penalties, m))
        ok = moved - moved == F(0)
        x[m] = moved if ok else x[m]
        skipped = np.int32(skipped + (np.int32(0) if ok or m >= size * PART_WIDTH * lanes else np.int32(1)))
    return skipped


def step_part(size, part, lanes):
    """Steps every number that was gathered; returns how many were skipped."""
    slots, c, x, g = part.slots, part.coefficients, part.x, part.g
    skipped, count = np.int32(0), size * PART_WIDTH * lanes
    for m in range(whole_vectors(count)):
        modifiers = MODIFIERS_AT(part.penalties, m)
        ok = step_coordinate(x, m, g[m], slots, (), F(0), load(c, m), modifiers, np.uint32(0), 0)
        skipped = np.int32(skipped + (np.int32(0) if ok or m >= count else np.int32(1)))
    return skipped


def penalties_part(scales, b, size, part, lanes):
    """Penalties of the features' own numbers as penalties of those of scaled features."""
    kept, span = part.keep[min(b, part.keep.shape[0] - 1)], PART_WIDTH * lanes
    for e in range(size):
        scale = F(min(scales[e], PENALIZED))
        for m in range(span):
            part.penalties[0, e * span + m] = part.l1 * scale
            part.penalties[1, e * span + m] = part.l2 * (scale * scale)
            part.penalties[2, e * span + m] = kept[m % lanes]


def penalties_as_they_are(scales, b, size, part, lanes):
    """The same for a part of the model, whose numbers belong to no feature, or where those of scaled features are
    penalized."""
    kept = part.keep[min(b, part.keep.shape[0] - 1)]
    for m in range(size * PART_WIDTH * lanes):
        part.penalties[0, m] = part.l1
        part.penalties[1, m] = part.l2
        part.penalties[2, m] = kept[m % lanes]
