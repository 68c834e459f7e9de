"""Squares of gradients, for rates that coordinates share and for the norm of a gradient."""

from surefoot.engines.cpu.codecs import decode
from surefoot.engines.cpu.vectors import running_squares, squares_of
from surefoot.engines.numerics import BLOCK

# ruff: noqa: F821


def own_square(x, g, modifiers, means, scratch):
    return F(0)


def shared_square(x, g, modifiers, means, scratch):
    """The mean square of a row's gradient; means[0] where one number serves all rows."""
    if means.size > 0:
        return means[0]
    return F(sum_squares(x, g, modifiers, scratch) / max(x.size, 1))


def sum_squares(x, g, modifiers, scratch):
    """The sum of the squared gradient in float64, in an order that does not depend on the number of threads."""
    result = 0.0
    for begin in range(0, g.size, BLOCK):
        result += BLOCK_SQUARES(x[begin : begin + BLOCK], g[begin : begin + BLOCK], modifiers, scratch)
    return result


def plain_squares(x, g, modifiers, scratch):
    return squares_of(g, scratch)


def full_squares(x, g, modifiers, scratch):
    for j in range(g.size):
        scratch[j] = seen_by_rule(decode(g, g[j]), x, j, modifiers)
    return running_squares(scratch[: g.size])


def seen_by_rule(raw, weights, j, modifiers):
    """The gradient as the rule sees it; NaN where the raw one is not finite."""
    return GRADIENT(raw, decode(weights, weights[j]), modifiers) + (raw - raw)
