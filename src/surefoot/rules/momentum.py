"""Momentum: the direction is a leaky sum of past gradients, which averages noise away and gains speed along valleys.

A zero gradient is still a step: the velocity rolls on. k of them are a geometric series, so rows that a sparse gradient
leaves out can catch up exactly.
"""

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import Moment, direction


def coefficients(t, lr, momentum, dampening, nesterov):
    """The first gradient enters undampened, as in PyTorch."""
    return lr, momentum, 1 - dampening * (t > 1) if dampening else 1.0


def settled(t, hyper):
    """The velocity that steady gradients of 1 lead to: (1 − τ)/(1 − β)."""
    return (1 - hyper["dampening"]) / (1 - hyper["momentum"])


def zero_grad_steps(x, k, velocity, lr, momentum, fresh):
    """k steps with g = 0: v ← βᵏv, x ← x − η v (β + … + βᵏ)."""
    decay = ops.power(momentum, k)
    return x - lr * (velocity * (momentum * (1 - decay) / (1 - momentum))), decay * velocity


def zero_grad_steps_nesterov(x, k, velocity, lr, momentum, fresh):
    """The same, one decay ahead."""
    decay = ops.power(momentum, k)
    return x - lr * (momentum * velocity * (momentum * (1 - decay) / (1 - momentum))), decay * velocity


@rule(
    formula="v ← β v + (1 − τ) g;  x ← x − η v   (Nesterov: x ← x − η (g + β v))",
    source="Polyak (1964), Some methods of speeding up the convergence of iteration methods; Sutskever et al. (2013)",
    slots={"velocity": direction(moment=Moment("gradients", settled, "momentum"))},
    hyper={
        "lr": nonnegative(0.02, "learning rate η"),
        "momentum": fraction(0.9, "share β of the velocity that is kept"),
        "dampening": fraction(0.0, "share τ of the gradient that is dropped, from the second step on"),
        "nesterov": flag(False, "look ahead along the velocity"),
    },
    coefficients=coefficients,
    conventions={"pytorch": {"lr": 1e-3}, "keras": {"lr": 0.01}},
    zero_grad_steps=zero_grad_steps,
)
def momentum(x, g, g2, velocity, lr, momentum, fresh):
    """Momentum (heavy ball): the direction is a leaky sum of past gradients."""
    velocity = momentum * velocity + fresh * g
    return lr, velocity, velocity


@momentum.when("nesterov", zero_grad_steps=zero_grad_steps_nesterov)
def nesterov(x, g, g2, velocity, lr, momentum, fresh):
    velocity = momentum * velocity + fresh * g
    return lr, g + momentum * velocity, velocity
