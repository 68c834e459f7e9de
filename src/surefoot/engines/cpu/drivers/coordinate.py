"""One row and one coordinate: the step that all drivers share."""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from surefoot.engines.cpu.codecs import decode, encode
from surefoot.engines.cpu.slots import load, not_finite, store, store_row

# ruff: noqa: F821


def step_row(x, g, views, after, row, coefficients, modifiers, mean, key, place):
    """Steps one row; `mean` is the mean square of its gradient, where coordinates share a rate."""
    if x.size == 0:
        return 0
    fresh = RULE(decode(x, x[0]), F(0), mean, *load(views, 0), *coefficients)
    skipped = np.int32(0)  # as wide as the values, or counting would halve the width of the vectors
    for j in range(x.size):
        ok = step_coordinate(x, j, decode(g, g[j]), views, coefficients, modifiers, mean, key, place + j)
        skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
    store_row(after, row, fresh[2:], PROPAGATE)
    return skipped


def step_coordinate(x, j, raw, views, coefficients, modifiers, mean, key, place):
    """Steps one coordinate, unless something about it is not finite; returns whether it was stepped."""
    before = decode(x, x[j])
    g, start = GRADIENT(raw, before, modifiers), START(before, modifiers)
    square = g * g
    new = RULE(start, g, mean if SHARED else square, *load(views, j), *coefficients)
    moved = ADVANCE(F(0) if FROM_ORIGIN else start, new[0], new[1])
    stored = encode(x, PROXIMAL(moved, new[0], modifiers), key, place)
    back = decode(x, stored)
    ok = PROPAGATE or not_finite(views, new[2:], (raw - raw) + (square - square) + (back - back)) == F(0)
    store(views, j, new[2:], ok)
    x[j] = stored if ok else x[j]
    return ok


def numbers_at(numbers, k):
    """The rule's coefficients, the numbers around it, and the key of rounding, from row k of their tables."""
    return to_fixed_tuple(numbers.coefficients[k], COUNT), MODIFIERS_IN(numbers.modifiers, k), numbers.keys[k]
