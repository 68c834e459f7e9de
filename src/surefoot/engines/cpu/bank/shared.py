"""Parts whose numbers share a rate in every lane: a step sees the mean square of their whole gradient.

What the rule remembers of squares is then one number for each lane. The numbers of features that take no part in a
step have gradient 0, so that they count in the mean, and their own memory waits as it does elsewhere.
"""

import numpy as np

from surefoot.engines.cpu.drivers.coordinate import step_coordinate
from surefoot.engines.cpu.slots import load
from surefoot.engines.cpu.unrolling import to_fixed_tuple

# ruff: noqa: F821


def share_part(b, size, part, lanes):
    """The mean square of the gradient in every lane, and what becomes of the slots in common."""
    common, c, g = part.common, part.table[min(b, part.table.shape[0] - 1)], part.g
    for k in range(lanes):
        total = 0.0
        for m in range(k, size * PART_WIDTH * lanes, lanes):
            square = g[m] * g[m]
            total += np.float64(square if square - square == F(0) else F(0))
        mean = F(total / common.numbers)
        new = RULE(F(0), F(0), mean, *COMMON_AT(F(0), common.slots, k), *to_fixed_tuple(c[:, k], COUNT))
        PUT_COMMON(common.after, k, new[2:])
        common.means[k] = mean


def step_shared_part(size, part, lanes):
    """Steps every number that was gathered along the rate in common; returns how many were skipped."""
    x, g, c, common = part.x, part.g, part.coefficients, part.common
    skipped = np.int32(0)
    for k in range(lanes):
        views, mean = VIEWS(part.slots, common.slots, k), common.means[k]
        for m in range(k, size * PART_WIDTH * lanes, lanes):
            modifiers = MODIFIERS_AT(part.penalties, m)
            ok = step_coordinate(x, m, g[m], views, (), mean, load(c, m), modifiers, np.uint32(0), 0)
            skipped = np.int32(skipped + (np.int32(0) if ok else np.int32(1)))
        for j in range(common.slots.shape[0]):
            if np.isfinite(common.after[j, k]):
                common.slots[j, k] = common.after[j, k]
    return skipped
