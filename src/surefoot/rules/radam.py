"""RAdam: Adam that waits with its rates until their variance is finite, and then rectifies it: a warmup without a knob.

With ρ∞ = 2/(1 − β₂) − 1, the average square of step t is worth ρ_t = ρ∞ − 2t β₂ᵗ/(1 − β₂ᵗ) squares. The variance of
1/√ŝ is finite from ρ_t > 4 on; before, the step is that of momentum.
"""

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale, with_shares


def rectification(t, beta2, threshold):
    """r_t; 0 where the variance is not tractable."""
    most = 2 / (1 - beta2) - 1
    length = most - 2 * t * beta2**t / (1 - beta2**t)
    tractable = (length > threshold) * (length > 4) * 1.0
    squared = tractable * ((length - 4) * (length - 2) * most)
    return (squared / (tractable * ((most - 4) * (most - 2) * length) + (1.0 - tractable))) ** 0.5


def coefficients(t, lr, beta1, beta2, threshold, uncorrected_eps, eps, eps_root):
    correction = 1 / (1 - beta2**t)
    eps = eps * correction**0.5 if uncorrected_eps else eps
    rectified = rectification(t, beta2, threshold)
    return lr / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, correction, rectified, eps, eps_root


@rule(
    formula="v, s as in Adam;  x ← x − η r_t v̂ / (√(ŝ + ε_root) + ε) where ρ_t > θ, else x ← x − η v̂,  "
    "r_t = √((ρ_t − 4)(ρ_t − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ_t)), ρ_t = ρ∞ − 2t β₂ᵗ/(1 − β₂ᵗ), ρ∞ = 2/(1 − β₂) − 1",
    source="Liu et al. (2020), On the variance of the adaptive learning rate and beyond, ICLR",
    slots={
        "velocity": direction(moment=average_of("gradients", "beta1")),
        "square": scale(moment=average_of("squares", "beta2")),
    },
    hyper={
        "lr": nonnegative(0.001, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
        "threshold": nonnegative(4.0, "θ: steps are adaptive where ρ_t is larger than this and 4"),
        "uncorrected_eps": flag(False, "add ε to √s, before its correction"),
        "eps": nonnegative(1e-8, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"threshold": 4.0, "eps": 0.0},
        "pytorch": {"lr": 0.001, "threshold": 5.0, "uncorrected_eps": True, "eps": 1e-8},
        "optax": {"threshold": 5.0, "eps": 1e-8},
    },
)
def radam(x, g, g2, velocity, square, lr, beta1, fresh1, beta2, fresh2, correction, rectified, eps, eps_root):
    """RAdam: momentum until the variance of Adam's rates is finite, then Adam with that variance rectified."""
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    adaptive = lr * rectified / (ops.sqrt(square * correction + eps_root) + eps)
    return ops.where(rectified > 0.0, adaptive, lr), velocity, velocity, square


def coefficients_by_row(t, lr, beta1, beta2, threshold, uncorrected_eps, eps, eps_root):
    most = 2 / (1 - beta2) - 1
    share = most / ((most - 4) * (most - 2)) if most > 4 else 0.0
    least, grows = ops.maximum(threshold, 4.0), 1.0 if uncorrected_eps else 0.0
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, most, share, least, grows, eps, eps_root


@radam.when("clock", slots=with_shares(radam.slots, "seen1", "seen2", "visits"), coefficients=coefficients_by_row)
def by_row(
    x, g, g2, velocity, square, seen1, seen2, visits,
    lr, beta1, fresh1, beta2, fresh2, most, share, least, grows, eps, eps_root,
):  # fmt: skip
    seen1, seen2, visits = beta1 * seen1 + fresh1, beta2 * seen2 + fresh2, visits + 1.0
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    length = most - 2.0 * visits * (1.0 - seen2) / seen2
    tractable = length > least
    length = ops.where(tractable, length, least + 1.0)
    rectified = ops.sqrt((length - 4.0) * (length - 2.0) / length * share)
    eps = eps * (1.0 + grows * (1.0 / ops.sqrt(seen2) - 1.0))
    adaptive = lr / seen1 * rectified / (ops.sqrt(square / seen2 + eps_root) + eps)
    return ops.where(tractable, adaptive, lr / seen1), velocity, velocity, square, seen1, seen2, visits
