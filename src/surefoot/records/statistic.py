"""Statistics: sums, means and maxima of an expression over coordinates that belong together."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Extent = Literal["coordinate", "row", "column", "tensor", "group"]
Reduction = Literal["sum", "mean", "maximum"]

EXTENTS = ("coordinate", "row", "column", "tensor", "group")
"""What has one number: a coordinate, x[i] or x[:, j] of an array, the array, or all arrays of a parameter group."""


REDUCTIONS = ("sum", "mean", "maximum")

RESERVED = frozenset(("x", "g", "g2", "raw", "square", "mean", "rate", "direction"))
"""Names that a statistic cannot have, because other values of a step do."""


@dataclass(frozen=True)
class Statistic:
    """One number of each row, column, tensor or group: what an expression is there, reduced.

    Sums are of float64, in an order that is the same for every engine and number of threads. Coordinates whose
    gradient, or whose value of the expression, is not finite are skipped. Of a sparse gradient, so are the rows that
    it does not name.

    Args:
        of: the expression, a function of scalars that takes values by their names: x and g; the slots and coefficients
            of a rule; statistics before this one; and, after the rule, its rate and direction.
        over: the coordinates that have the number in common.
        reduction: of their values.
    """

    of: Callable
    over: Extent
    reduction: Reduction

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of what the expression takes."""
        return tuple(inspect.signature(self.of).parameters)


def total(of: Callable, over: Extent) -> Statistic:
    """The sum of an expression.

    >>> def square(g):
    ...     return g * g
    >>> total(square, "tensor").takes
    ('g',)
    """
    return Statistic(of, over, "sum")


def mean(of: Callable, over: Extent) -> Statistic:
    """The mean of an expression over all coordinates; those without a gradient in a sparse one count as 0."""
    return Statistic(of, over, "mean")


def maximum(of: Callable, over: Extent) -> Statistic:
    """The maximum of an expression; 0 where it has no finite value."""
    return Statistic(of, over, "maximum")


def fault_of(statistic: Any) -> str | None:
    """What is wrong with what was given as a statistic; None if nothing is.

    >>> fault_of(3)
    'is 3; expected total, mean or maximum of a function'
    """
    if not isinstance(statistic, Statistic) or not isinstance(statistic.of, types.FunctionType):
        found = statistic.of if isinstance(statistic, Statistic) else statistic
        return f"is {found!r}; expected total, mean or maximum of a function"
    if statistic.over not in EXTENTS[1:]:
        return f"is over {statistic.over!r}; expected one of {', '.join(EXTENTS[1:])}"
    if statistic.reduction not in REDUCTIONS:
        return f"is a {statistic.reduction!r}; expected one of {', '.join(REDUCTIONS)}"
    return None
