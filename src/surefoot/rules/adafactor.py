"""Adafactor: the average squares of a matrix by those of its rows and columns, and steps relative to its size.

A vector has one for each of its numbers. Of an array with more dimensions, x[:, j, …] is a column.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.records.statistic import mean
from surefoot.rules.record import rule
from surefoot.rules.slots import scalar, scale


def square_of_gradient(g):
    return g * g


def square_of_parameter(x):
    return x * x


def square_of_update(rate, direction):
    return (rate * direction) * (rate * direction)


def coefficients(t, lr, forgetting, threshold, eps_scale, eps_root):
    """ρ_t is η or 1/√t, the smaller of the two."""
    fresh, most = t**-forgetting, t**-0.5
    below = (lr < most) * 1.0
    return 1 - fresh, fresh, eps_root, below * lr + (1.0 - below) * most, threshold, eps_scale


def relative(rate, direction, size, length, relative_rate, threshold, eps_scale):
    """The rate times ρ max(ε, RMS(x)) / max(1, RMS(u)/d)."""
    clipped = ops.maximum(1.0, ops.sqrt(length) / threshold)
    return rate * (relative_rate * ops.maximum(eps_scale, ops.sqrt(size)) / clipped), direction


@rule(
    formula="R, C, S ← β R + (1 − β)(mean of g² + ε_root) of the row, the column, all;  u = g / √(R C / S);  "
    "x ← x − ρ max(ε, RMS(x)) u / max(1, RMS(u)/d),  β = 1 − t^(−κ), ρ = min(η, 1/√t)",
    source="Shazeer & Stern (2018), Adafactor: adaptive learning rates with sublinear memory cost, ICML",
    slots={"rows": scale(over="row"), "columns": scale(over="column"), "whole": scalar()},
    statistics={
        "of_row": mean(square_of_gradient, "row"),
        "of_column": mean(square_of_gradient, "column"),
        "of_all": mean(square_of_gradient, "tensor"),
        "size": mean(square_of_parameter, "tensor"),
        "length": mean(square_of_update, "tensor"),
    },
    rescale=relative,
    hyper={
        "lr": nonnegative(0.01, "η: the largest relative step"),
        "forgetting": nonnegative(0.8, "κ: the averages keep 1 − t^(−κ)"),
        "threshold": positive(1.0, "d: bound for the root mean square of an update"),
        "eps_scale": nonnegative(1e-3, "ε: the least size that a step is relative to"),
        "eps_root": positive(1e-30, "ε_root, added to squares"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"lr": 0.01, "forgetting": 0.8, "threshold": 1.0, "eps_scale": 1e-3, "eps_root": 1e-30}},
)
def adafactor(
    x,
    g,
    g2,
    rows,
    columns,
    whole,
    of_row,
    of_column,
    of_all,
    kept,
    fresh,
    eps_root,
    relative_rate,
    threshold,
    eps_scale,
):
    """Adafactor: average squares by rows and columns, updates bounded and relative to the size of the tensor."""
    rows = kept * rows + fresh * (of_row + eps_root)
    columns = kept * columns + fresh * (of_column + eps_root)
    whole = kept * whole + fresh * (of_all + eps_root)
    return 1.0 / ops.sqrt(rows * (columns / whole)), g, rows, columns, whole
