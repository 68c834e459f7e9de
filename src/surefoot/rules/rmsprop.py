"""RMSProp: AdaGrad with a leaky average in place of the sum, so that the rate follows the recent gradients.

With `centered` the mean gradient is taken out of the average square (the variance remains); with `momentum` the scaled
gradients are summed up in a velocity.
"""

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, leaky_sum_of, scale

AVERAGE = average_of("squares", "gamma", corrected=False)
SQUARE, PER_COORDINATE = scale(moment=AVERAGE), direction(moment=AVERAGE)
VELOCITY = direction(moment=leaky_sum_of("updates", "momentum"))
"""`mean` has no moment: where a rule without squares comes before, it would make variances of 0."""


def coefficients(t, lr, gamma, centered, momentum, eps, eps_root):
    return lr, gamma, 1 - gamma, eps, eps_root


def zero_grad_steps(x, k, square, lr, gamma, fresh, eps, eps_root):
    """k steps with g = 0: s ← γᵏ s."""
    return x, ops.power(gamma, k) * square


@rule(
    formula="s ← γ s + (1 − γ) g²;  x ← x − η g / (√(s + ε_root) + ε)",
    source="Tieleman & Hinton (2012), Neural networks for machine learning, lecture 6.5; Graves (2013) for centered",
    slots={"square": SQUARE},
    hyper={
        "lr": nonnegative(0.01, "learning rate η"),
        "gamma": fraction(0.9, "share γ of the average square that is kept"),
        "centered": flag(False, "divide by the standard deviation in place of the root mean square"),
        "momentum": fraction(0.0, "share of the velocity that is kept; 0 keeps no velocity"),
        "eps": nonnegative(0.0, "ε, added outside the root"),
        "eps_root": nonnegative(1e-6, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"gamma": 0.9, "eps": 0.0, "eps_root": 1e-6},
        "pytorch": {"lr": 0.01, "gamma": 0.99, "eps": 1e-8, "eps_root": 0.0},
        "keras": {"lr": 0.001, "gamma": 0.9, "eps": 0.0, "eps_root": 1e-7},
        "optax": {"gamma": 0.9, "eps": 0.0, "eps_root": 1e-8},
    },
    zero_grad_steps=zero_grad_steps,
)
def rmsprop(x, g, g2, square, lr, gamma, fresh, eps, eps_root):
    """RMSProp: the rate is η over the root of a leaky average of squared gradients."""
    square = gamma * square + fresh * g2
    return lr / (ops.sqrt(square + eps_root) + eps), g, square


def zero_grad_steps_centered(x, k, square, mean, lr, gamma, fresh, eps, eps_root):
    decay = ops.power(gamma, k)
    return x, decay * square, decay * mean


@rmsprop.when(
    "centered", slots={"square": PER_COORDINATE, "mean": direction()}, zero_grad_steps=zero_grad_steps_centered
)
def centered(x, g, g2, square, mean, lr, gamma, fresh, eps, eps_root):
    square = gamma * square + fresh * (g * g)
    mean = gamma * mean + fresh * g
    variance = ops.maximum(square - mean * mean, 0.0)
    return lr / (ops.sqrt(variance + eps_root) + eps), g, square, mean


def coefficients_with_velocity(t, lr, gamma, centered, momentum, eps, eps_root):
    return lr, gamma, 1 - gamma, momentum, eps, eps_root


@rmsprop.when(
    "momentum",
    slots={"square": SQUARE, "velocity": VELOCITY},
    coefficients=coefficients_with_velocity,
    zero_grad_steps=None,
)
def with_momentum(x, g, g2, square, velocity, lr, gamma, fresh, momentum, eps, eps_root):
    square = gamma * square + fresh * g2
    velocity = momentum * velocity + g / (ops.sqrt(square + eps_root) + eps)
    return lr, velocity, square, velocity


@rmsprop.when(
    "centered",
    "momentum",
    slots={"square": PER_COORDINATE, "mean": direction(), "velocity": VELOCITY},
    coefficients=coefficients_with_velocity,
    zero_grad_steps=None,
)
def centered_with_momentum(x, g, g2, square, mean, velocity, lr, gamma, fresh, momentum, eps, eps_root):
    square = gamma * square + fresh * (g * g)
    mean = gamma * mean + fresh * g
    variance = ops.maximum(square - mean * mean, 0.0)
    velocity = momentum * velocity + g / (ops.sqrt(variance + eps_root) + eps)
    return lr, velocity, square, mean, velocity
