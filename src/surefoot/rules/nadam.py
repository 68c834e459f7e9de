"""NAdam: Adam whose direction looks ahead along its velocity, as Nesterov's momentum does."""

import functools

import numpy as np

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import direction, rule, scale


@functools.lru_cache(maxsize=16)
def products(beta1, momentum_decay, steps):
    """μ_t = β₁ (1 − ½ 0.96^{t ψ}) for t = 1 … steps, and their running products."""
    mu = beta1 * (1 - 0.5 * 0.96 ** (np.arange(1, steps + 1) * momentum_decay))
    return mu, np.cumprod(mu)


def momentum_product(t, beta1, momentum_decay):
    """Π_t = μ₁ ⋯ μ_t; 1 before the first step."""
    return float(products(beta1, momentum_decay, t)[1][-1]) if t else 1.0


def coefficients(t, lr, beta1, beta2, momentum_decay, eps, eps_root):
    # Tables are made for a power of two of steps, so that a run of T steps makes log T of them.
    last = int(np.max(t)) + 1
    mu, product = products(beta1, momentum_decay, 1 << last.bit_length())
    gradient = (1 - mu[t - 1]) / (1 - product[t - 1])
    ahead = mu[t] / (1 - product[t])
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**t), gradient, ahead, eps, eps_root


@rule(
    formula="v, s as in Adam;  x ← x − η (μ_{t+1} v/(1 − Π_{t+1}) + (1 − μ_t) g/(1 − Π_t)) / (√(ŝ + ε_root) + ε),  "
    "μ_t = β₁(1 − ½ 0.96^{tψ}), Π_t = μ₁ ⋯ μ_t",
    source="Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop",
    slots={"velocity": direction(), "square": scale()},
    hyper={
        "lr": nonnegative(0.002, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
        "momentum_decay": nonnegative(0.004, "ψ: how fast μ_t rises to β₁"),
        "eps": nonnegative(1e-8, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={"pytorch": {"lr": 0.002, "eps": 1e-8}},
)
def nadam(x, g, g2, velocity, square, lr, beta1, fresh1, beta2, fresh2, correction, gradient, ahead, eps, eps_root):
    """NAdam: Adam with Nesterov's look ahead."""
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    rate = lr / (ops.sqrt(square * correction + eps_root) + eps)
    return rate, gradient * g + ahead * velocity, velocity, square
