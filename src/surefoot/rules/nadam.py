"""NAdam: Adam whose direction looks ahead along its velocity, as Nesterov's momentum does."""

import functools

import numpy as np

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import Moment, average_of, direction, scale, with_shares

TABLE = 4096
"""More factors than matter: where ψ ≥ 0.35, those after 2,600 are 1; where it is less, their product is below 2⁻⁶⁰."""


@functools.lru_cache(maxsize=16)
def products(momentum_decay):
    """Π (1 − ½ 0.96^{kψ}) over k = 1 … n, for n = 0 … TABLE."""
    return np.cumprod(np.append(1.0, 1 - 0.5 * 0.96 ** (np.arange(1, TABLE + 1) * momentum_decay)))


def momentum_product(t, beta1, momentum_decay):
    """Π_t = μ₁ ⋯ μ_t; 1 before the first step."""
    return beta1**t * ops.lookup(products(momentum_decay), t)


def momentum(t, beta1, momentum_decay):
    """μ_t."""
    return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))


def coefficients(t, lr, beta1, beta2, momentum_decay, eps, eps_root):
    now, after = momentum(t, beta1, momentum_decay), momentum(t + 1, beta1, momentum_decay)
    gradient = (1 - now) / (1 - momentum_product(t, beta1, momentum_decay))
    ahead = after / (1 - momentum_product(t + 1, beta1, momentum_decay))
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**t), gradient, ahead, eps, eps_root


@rule(
    formula="v, s as in Adam;  x ← x − η (μ_{t+1} v/(1 − Π_{t+1}) + (1 − μ_t) g/(1 − Π_t)) / (√(ŝ + ε_root) + ε),  "
    "μ_t = β₁(1 − ½ 0.96^{tψ}), Π_t = μ₁ ⋯ μ_t",
    source="Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop",
    slots={
        "velocity": direction(moment=average_of("gradients", "beta1")),
        "square": scale(moment=average_of("squares", "beta2")),
    },
    hyper={
        "lr": nonnegative(0.002, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
        "momentum_decay": nonnegative(0.004, "ψ: how fast μ_t rises to β₁"),
        "eps": nonnegative(1e-8, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={
        "pytorch": {"lr": 0.002, "eps": 1e-8},
        "optax": {"momentum_decay": 1e6, "eps": 1e-8},  # μ_t = β₁ from the first step: 0.96^ψ is 0
    },
)
def nadam(x, g, g2, velocity, square, lr, beta1, fresh1, beta2, fresh2, correction, gradient, ahead, eps, eps_root):
    """NAdam: Adam with Nesterov's look ahead."""
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    rate = lr / (ops.sqrt(square * correction + eps_root) + eps)
    return rate, gradient * g + ahead * velocity, velocity, square


def coefficients_by_row(t, lr, beta1, beta2, momentum_decay, eps, eps_root):
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, 0.96**momentum_decay, eps, eps_root


def faded(t, hyper):
    return 0.96 ** (t * hyper["momentum_decay"])


def product(t, hyper):
    return float(momentum_product(t, hyper["beta1"], hyper["momentum_decay"]))


BY_ROW = with_shares(nadam.slots, "seen2") | {
    "faded": scale(1.0, over="row", moment=Moment("ones", faded)),
    "product": scale(1.0, over="row", moment=Moment("ones", product)),
}
"""In its k-th step a row has 0.96^{kψ} and Π_k in the last two."""


@nadam.when("clock", slots=BY_ROW, coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, square, seen2, faded, product, lr, beta1, fresh1, beta2, fresh2, fade, eps, eps_root):
    seen2, faded = beta2 * seen2 + fresh2, fade * faded
    now, after = beta1 * (1.0 - 0.5 * faded), beta1 * (1.0 - 0.5 * fade * faded)
    product = now * product
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    rate = lr / (ops.sqrt(square / seen2 + eps_root) + eps)
    ahead = (1.0 - now) / (1.0 - product) * g + after / (1.0 - after * product) * velocity
    return rate, ahead, velocity, square, seen2, faded, product
