"""ADOPT: Adam in another order: a gradient is scaled by the squares before it and then averaged.

A gradient and its own square are no longer correlated, so that it converges with any β₂. The first gradient only gives
the squares a value, and no step. Scaled gradients are clipped at (t − 1)^¼, as squares know little at first.
"""

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative, positive
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale, with_shares

UNBOUNDED = 1e30
"""In place of a bound; its square is finite in float32's range of exponents, as is its inverse."""


def coefficients(t, lr, beta1, beta2, clips, eps):
    """At the first step the bound is 0, and s becomes g²."""
    moves = (t > 1) + 0.0 * t
    kept = moves * beta2
    bound = (t - 1) ** 0.25 if clips else moves * UNBOUNDED
    return lr, beta1, 1 - beta1, kept, 1 - kept, bound, eps


@rule(
    formula="v ← β₁ v + (1 − β₁) clip(g / max(√s, ε), ±(t − 1)^¼);  x ← x − η v;  s ← β₂ s + (1 − β₂) g²;  "
    "after the first gradient s = g² and v = 0",
    source="Taniguchi et al. (2024), ADOPT: modified Adam can converge with any β₂ with the optimal rate, NeurIPS",
    slots={
        "velocity": direction(moment=average_of("updates", "beta1", corrected=False)),
        "square": scale(moment=average_of("squares", "beta2", corrected=False)),
    },
    hyper={
        "lr": nonnegative(0.001, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.9999, "share β₂ of the average square that is kept"),
        "clips": flag(True, "clip scaled gradients at (t − 1)^¼"),
        "eps": positive(1e-6, "ε: the least that gradients are divided by"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"lr": 0.001, "beta2": 0.9999, "eps": 1e-6}, "optax": {"eps": 1e-6}},
)
def adopt(x, g, g2, velocity, square, lr, beta1, fresh1, beta2, fresh2, bound, eps):
    """ADOPT: a leaky average of gradients, each over the root of the average square before it."""
    scaled = g / ops.maximum(ops.sqrt(square), eps)
    velocity = beta1 * velocity + fresh1 * ops.minimum(ops.maximum(scaled, -bound), bound)
    return lr, velocity, velocity, beta2 * square + fresh2 * g2


def coefficients_by_row(t, lr, beta1, beta2, clips, eps):
    return lr, beta1, 1 - beta1, beta2, 0.0 if clips else UNBOUNDED, eps


@adopt.when("clock", slots=with_shares(adopt.slots, "visits"), coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, square, visits, lr, beta1, fresh1, beta2, unbounded, eps):
    moves = ops.where(visits > 0.0, 1.0, 0.0)
    kept, bound = moves * beta2, moves * (ops.sqrt(ops.sqrt(visits)) + unbounded)
    scaled = g / ops.maximum(ops.sqrt(square), eps)
    velocity = beta1 * velocity + fresh1 * ops.minimum(ops.maximum(scaled, -bound), bound)
    return lr, velocity, velocity, kept * square + (1.0 - kept) * g2, visits + 1.0
