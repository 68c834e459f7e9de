"""Yogi: Adam whose average square moves by an amount that does not depend on how far off it is.

Adam forgets its squares when gradients are rare and large; Yogi's additive change keeps them, and converges where Adam
does not.
"""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import Moment, average_of, direction, scale, with_shares


def coefficients(t, lr, beta1, beta2, initial_accumulator_value, eps, eps_root):
    return lr / (1 - beta1**t), beta1, 1 - beta1, 1 - beta2, 1 / (1 - beta2**t), eps, eps_root


def risen(t, hyper):
    """The average after t steps with squares of 1: it rises by 1 − β₂ in each, up to 1."""
    return min(1.0, t * (1 - hyper["beta2"]))


@rule(
    formula="as Adam, with  s ← s + (1 − β₂) g² sgn(g² − s)",
    source="Zaheer et al. (2018), Adaptive methods for nonconvex optimization, NeurIPS",
    slots={
        "velocity": direction(moment=average_of("gradients", "beta1")),
        "square": scale("initial_accumulator_value", moment=Moment("squares", risen, "beta2")),
    },
    hyper={
        "lr": nonnegative(0.01, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "β₂: how slowly the average square moves"),
        "initial_accumulator_value": nonnegative(0.0, "s before the first step"),
        "eps": nonnegative(1e-3, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"eps": 1e-3}, "optax": {"eps": 1e-3, "initial_accumulator_value": 1e-6}},
)
def yogi(x, g, g2, velocity, square, lr, beta1, fresh1, fresh2, correction, eps, eps_root):
    """Yogi: Adam with an additive change of the average square."""
    velocity = beta1 * velocity + fresh1 * g
    change = fresh2 * g2
    square = square + ops.where(g2 > square, change, ops.where(g2 < square, -change, 0.0))
    return lr / (ops.sqrt(square * correction + eps_root) + eps), velocity, velocity, square


def coefficients_by_row(t, lr, beta1, beta2, initial_accumulator_value, eps, eps_root):
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, eps, eps_root


@yogi.when("clock", slots=with_shares(yogi.slots), coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, square, seen1, seen2, lr, beta1, fresh1, beta2, fresh2, eps, eps_root):
    seen1, seen2 = beta1 * seen1 + fresh1, beta2 * seen2 + fresh2
    velocity = beta1 * velocity + fresh1 * g
    change = fresh2 * g2
    square = square + ops.where(g2 > square, change, ops.where(g2 < square, -change, 0.0))
    return lr / seen1 / (ops.sqrt(square / seen2 + eps_root) + eps), velocity, velocity, square, seen1, seen2
