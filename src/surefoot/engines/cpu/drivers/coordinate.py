"""One row and one coordinate: the step that all drivers share."""

import numpy as np

from surefoot.engines.cpu.arguments import Acting
from surefoot.engines.cpu.codecs import decode, encode
from surefoot.engines.cpu.drivers.statistics import in_common
from surefoot.engines.cpu.slots import load, not_finite, store, store_row
from surefoot.engines.cpu.unrolling import to_fixed_tuple

# ruff: noqa: F821


def step_row(x, g, views, slots, row, acting, scratch, place):
    """Steps one row, which begins at `place` of the parameters; returns how many coordinates were skipped."""
    if x.size == 0:
        return 0
    coefficients, modifiers, key = acting.coefficients, acting.modifiers, acting.key
    mean, statistics = in_common(x, g, views, acting, scratch)
    fresh = PROGRAM(F(0), decode(x, x[0]), load(views, 0), load(statistics, 0), mean, coefficients, modifiers)
    skipped = np.int32(0)  # as wide as the values, or counting would halve the width of the vectors
    for j in range(x.size):
        raw = decode(g, g[j])
        ok = step_coordinate(x, j, raw, views, statistics, mean, coefficients, modifiers, key, place + j)
        skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
    store_row(slots, row, fresh[2:], PROPAGATE)
    return skipped


def step_coordinate(x, j, raw, views, statistics, mean, coefficients, modifiers, key, place):
    """Steps one coordinate, unless something about it is not finite; returns whether it was stepped."""
    before = decode(x, x[j])
    new = PROGRAM(raw, before, load(views, j), load(statistics, j), mean, coefficients, modifiers)
    square = new[1]
    stored = encode(x, new[0], key, place)
    back = decode(x, stored)
    ok = PROPAGATE or not_finite(views, new[2:], (raw - raw) + (square - square) + (back - back)) == F(0)
    store(views, j, new[2:], ok)
    x[j] = stored if ok else x[j]
    return ok


def acting_in(numbers, k, empty):
    """What acts in the step of row k of the tables of numbers."""
    coefficients = to_fixed_tuple(numbers.coefficients[k], COUNT)
    return Acting((), coefficients, MODIFIERS_IN(numbers.modifiers[k]), empty, numbers.keys[k])
