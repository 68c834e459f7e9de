"""Prodigy: Adam at the rate d, a lower bound of the distance to the minimum that grows; no learning rate to be chosen.

d belongs to all parameters of a group, and needs their dense gradients. As in the authors' code, ε is scaled by d as it
is after the step. What is kept of the start x₀ is how far the steps have led.
"""

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative, positive
from surefoot.records.statistic import total
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scalar, scale


def along(g, distance):
    return -(g * distance)


def size(g, sum, bound, beta3, lr, d0):
    return ops.abs(beta3 * sum + bound / d0 * (bound * lr) * g)


def coefficients(t, lr, beta1, beta2, d0, coef, bias_correction, eps):
    corrected = bias_correction * ((1 - beta2**t) ** 0.5 / (1 - beta1**t)) + (1.0 - bias_correction)
    return lr * corrected, beta1, 1 - beta1, beta2, 1 - beta2, beta2**0.5, d0, coef, eps


@rule(
    formula="v ← β₁ v + (1 − β₁) d g;  s ← β₂ s + (1 − β₂) d² g²;  r ← √β₂ r + η d² ⟨g, x₀ − x⟩;  "
    "u ← √β₂ u + η d² g;  d' = max(d, r/‖u‖₁);  x ← x − η d v/(√s + d' ε);  d ← d'",
    source="Mishchenko & Defazio (2023), Prodigy: an expeditiously adaptive parameter-free learner, algorithm 4",
    slots={
        "velocity": direction(),
        "square": scale(),
        "sum": direction(),
        "distance": direction(),
        "bound": scalar("d0", over="group"),
        "numerator": scalar(over="group"),
    },
    statistics={"ahead": total(along, "group"), "norm": total(size, "group")},
    hyper={
        "lr": nonnegative(1.0, "η: what d is scaled by, also by a schedule"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average square that is kept, and √β₂ of the sums of d"),
        "d0": positive(1e-6, "d₀: the first bound, below the distance to the minimum"),
        "coef": positive(1.0, "what the bound of the distance is scaled by"),
        "bias_correction": flag(False, "correct v and s for starting at zero, as Adam does"),
        "eps": positive(1e-8, "ε, added outside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"d0": 1e-6}, "optax": {"bias_correction": True}},
    dense=True,
)
def prodigy(
    x,
    g,
    g2,
    velocity,
    square,
    sum,
    distance,
    bound,
    numerator,
    ahead,
    norm,
    lr,
    beta1,
    fresh1,
    beta2,
    fresh2,
    beta3,
    d0,
    coef,
    eps,
):
    """Prodigy: Adam whose rate is the largest lower bound of the distance to the minimum so far."""
    share = bound / d0 * (bound * lr)
    velocity = beta1 * velocity + fresh1 * (bound * g)
    square = beta2 * square + fresh2 * (bound * bound * g2)
    numerator = beta3 * numerator + share * ahead
    known = ops.where(norm > 0.0, coef * numerator / ops.where(norm > 0.0, norm, 1.0), 0.0)
    after = ops.maximum(bound, known)
    rate = bound * lr / (ops.sqrt(square) + after * eps)
    sum = beta3 * sum + share * g
    return rate, velocity, velocity, square, sum, distance - rate * velocity, after, numerator
