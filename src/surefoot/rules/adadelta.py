"""Adadelta: the rate is the ratio of the typical past update to the typical past gradient; no learning rate to set."""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, scale


def coefficients(t, lr, rho, eps, eps_root):
    return lr, rho, 1 - rho, eps, eps_root


def zero_grad_steps(x, k, square, change, lr, rho, fresh, eps, eps_root):
    """k steps with g = 0: both averages decay."""
    decay = ops.power(rho, k)
    return x, decay * square, decay * change


@rule(
    formula="s ← ρ s + (1 − ρ) g²;  u = (√(Δ + ε_root) + ε)/(√(s + ε_root) + ε) g;  x ← x − η u;  Δ ← ρ Δ + (1 − ρ) u²",
    source="Zeiler (2012), ADADELTA: an adaptive learning rate method, arXiv:1212.5701",
    slots={"square": scale(moment=average_of("squares", "rho", corrected=False)), "change": scale()},
    hyper={
        "lr": nonnegative(1.0, "learning rate η: scales the update, not its memory"),
        "rho": fraction(0.9, "share ρ of both averages that is kept"),
        "eps": nonnegative(0.0, "ε, added outside the roots"),
        "eps_root": nonnegative(1e-5, "ε_root, added inside the roots"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"rho": 0.9, "eps_root": 1e-5},
        "pytorch": {"lr": 1.0, "rho": 0.9, "eps_root": 1e-6},
        "keras": {"lr": 0.001, "rho": 0.95, "eps_root": 1e-7},
        "optax": {"rho": 0.9, "eps_root": 1e-6},
    },
    zero_grad_steps=zero_grad_steps,
)
def adadelta(x, g, g2, square, change, lr, rho, fresh, eps, eps_root):
    """Adadelta: the rate is the typical past update over the typical past gradient."""
    square = rho * square + fresh * g2
    rate = (ops.sqrt(change + eps_root) + eps) / (ops.sqrt(square + eps_root) + eps)
    return lr * rate, g, square, rho * change + fresh * (rate * rate * g2)
