"""Adamax: Adam with the largest recent gradient in place of the root mean square."""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale, with_shares


def coefficients(t, lr, beta1, beta2, eps):
    return lr / (1 - beta1**t), beta1, 1 - beta1, beta2, eps


@rule(
    formula="v ← β₁ v + (1 − β₁) g;  u ← max(β₂ u, |g| + ε);  x ← x − η v̂ / u,  v̂ = v/(1 − β₁ᵗ)",
    source="Kingma & Ba (2015), Adam: a method for stochastic optimization, ICLR, section 7.1",
    slots={"velocity": direction(moment=average_of("gradients", "beta1")), "largest": scale()},
    hyper={
        "lr": nonnegative(0.002, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the largest gradient that is kept"),
        "eps": nonnegative(1e-8, "ε, added to |g|"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"eps": 0.0},
        "pytorch": {"lr": 0.002, "eps": 1e-8},
        "optax": {"eps": 1e-8},
    },
)
def adamax(x, g, g2, velocity, largest, lr, beta1, fresh1, beta2, eps):
    """Adamax: a leaky average of gradients over the largest gradient, which decays."""
    velocity = beta1 * velocity + fresh1 * g
    largest = ops.maximum(beta2 * largest, ops.sqrt(g2) + eps)
    return lr / largest, velocity, velocity, largest


def coefficients_by_row(t, lr, beta1, beta2, eps):
    return lr, beta1, 1 - beta1, beta2, eps


@adamax.when("clock", slots=with_shares(adamax.slots, "seen1"), coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, largest, seen1, lr, beta1, fresh1, beta2, eps):
    seen1 = beta1 * seen1 + fresh1
    velocity = beta1 * velocity + fresh1 * g
    largest = ops.maximum(beta2 * largest, ops.sqrt(g2) + eps)
    return lr / seen1 / largest, velocity, velocity, largest, seen1
