"""Statistics: what coordinates have in common, for rates that they share and for what is done around a rule."""

import numpy as np

from surefoot.engines.cpu.codecs import decode
from surefoot.engines.cpu.slots import load
from surefoot.engines.cpu.vectors import running_sums, squares_of
from surefoot.engines.numerics import BLOCK

# ruff: noqa: F821


def in_common(x, g, views, acting, scratch):
    """What a row's coordinates have in common: the mean square of its gradient, and the statistics."""
    c, m = acting.coefficients, acting.modifiers
    statistics = STATISTICS_OF_GRADIENT(x, g, views, acting.statistics, F(0), c, m, scratch)
    mean = MEAN_SQUARE(x, g, views, statistics, acting, scratch)
    return mean, STATISTICS_OF_RULE(x, g, views, statistics, mean, c, m, scratch)


def own_square(x, g, views, statistics, acting, scratch):
    return F(0)


def shared_square(x, g, views, statistics, acting, scratch):
    """The mean square of a row's gradient; means[0] where one number serves all rows."""
    if acting.means.size > 0:
        return acting.means[0]
    total = SUM_OF_SQUARES(x, g, views, statistics, F(0), acting.coefficients, acting.modifiers, scratch)
    return F(total / max(x.size, 1))


def reduced(x, g, views, acting, scratch):
    """The sum or maximum of the statistic's expression over a row."""
    mean, statistics = in_common(x, g, views, acting, scratch)
    return REDUCED(x, g, views, statistics, mean, acting.coefficients, acting.modifiers, scratch)


def add_to_columns(found, x, g, views, acting, scratch):
    """Adds a row to the columns' sums, or takes it into their maxima."""
    mean, statistics = in_common(x, g, views, acting, scratch)
    for j in range(x.size):
        value = value_at(x, g, j, views, statistics, mean, acting.coefficients, acting.modifiers)
        if np.isfinite(value):
            found[j] = JOINED(found[j], np.float64(value))


def value_at(x, g, j, views, statistics, mean, coefficients, modifiers):
    """The expression at one coordinate; NaN where the gradient is not finite."""
    raw, before = decode(g, g[j]), decode(x, x[j])
    value = EXPRESSION(raw, before, load(views, j), load(statistics, j), mean, coefficients, modifiers)
    return value + (raw - raw)


def summed(x, g, views, statistics, mean, coefficients, modifiers, scratch):
    """The sum of the expression in float64, in an order that does not depend on the number of threads."""
    total = 0.0
    for begin in range(0, x.size, BLOCK):
        size = min(BLOCK, x.size - begin)
        for j in range(size):
            scratch[j] = value_at(x, g, begin + j, views, statistics, mean, coefficients, modifiers)
        total += running_sums(scratch[:size])
    return total


def summed_squares(x, g, views, statistics, mean, coefficients, modifiers, scratch):
    """The same of the squares of the gradient as it is."""
    total = 0.0
    for begin in range(0, g.size, BLOCK):
        total += squares_of(g[begin : begin + BLOCK], scratch)
    return total


def largest(x, g, views, statistics, mean, coefficients, modifiers, scratch):
    """The maximum of the expression; −∞ where it has no finite value."""
    most = -np.inf
    for j in range(x.size):
        value = np.float64(value_at(x, g, j, views, statistics, mean, coefficients, modifiers))
        if np.isfinite(value):
            most = max(most, value)
    return most


def finite_or_zero(value):
    return value if np.isfinite(value) else 0.0


def plus(a, b):
    return a + b


def greater(a, b):
    return max(a, b)
