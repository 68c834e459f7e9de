"""SM3: AdaGrad with an accumulator for each row and each column of a matrix in place of one for each weight.

A weight's sum of squares is at most the accumulator of its row and that of its column: the smaller one takes its place.
Neither ever falls, so what rows without a gradient would add is there already. A vector has AdaGrad's own accumulators;
of an array with more dimensions, x[:, j, …] is a column.
"""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.records.statistic import maximum
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale


def cover(g2, rows, columns):
    return ops.minimum(rows, columns) + g2


def coefficients(t, lr, momentum, eps, eps_root):
    return lr, eps, eps_root


@rule(
    formula="ν = min(row, column) + g²;  row, column ← max of its ν;  x ← x − η g / (√(ν + ε_root) + ε)",
    source="Anil, Gupta, Koren & Singer (2019), Memory-efficient adaptive optimization, NeurIPS, SM3-II",
    slots={"rows": scale(over="row"), "columns": scale(over="column")},
    statistics={"of_row": maximum(cover, "row"), "of_column": maximum(cover, "column")},
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "momentum": fraction(0.0, "share β of the velocity that is kept: v ← β v + (1 − β) g/√ν"),
        "eps": nonnegative(0.0, "ε, added outside the root"),
        "eps_root": nonnegative(1e-8, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"eps_root": 0.0}, "optax": {"momentum": 0.9, "eps_root": 1e-8}},
    lazy_exact=True,
)
def sm3(x, g, g2, rows, columns, of_row, of_column, lr, eps, eps_root):
    """SM3: the rate is η over the root of the smaller accumulator, of the row or the column."""
    covered = ops.minimum(rows, columns) + g2
    rate = lr / (ops.sqrt(covered + eps_root) + eps)
    return rate, g, ops.maximum(rows, of_row), ops.maximum(columns, of_column)


def coefficients_with_velocity(t, lr, momentum, eps, eps_root):
    return lr, momentum, 1 - momentum, eps, eps_root


@sm3.when(
    "momentum",
    slots={
        "rows": scale(over="row"),
        "columns": scale(over="column"),
        "velocity": direction(moment=average_of("updates", "momentum", corrected=False)),
    },
    coefficients=coefficients_with_velocity,
    lazy_exact=False,
)
def with_momentum(x, g, g2, rows, columns, velocity, of_row, of_column, lr, momentum, fresh, eps, eps_root):
    covered = ops.minimum(rows, columns) + g2
    scaled = ops.where(g == 0.0, 0.0, g / (ops.sqrt(covered + eps_root) + eps))
    velocity = momentum * velocity + fresh * scaled
    return lr, velocity, ops.maximum(rows, of_row), ops.maximum(columns, of_column), velocity
