"""NovoGrad: momentum of gradients that are divided by the norm of their tensor; one number of memory for squares."""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.records.statistic import total
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, leaky_sum_of, scalar


def square_of_gradient(g):
    return g * g


def coefficients(t, lr, beta1, beta2, decay, eps, eps_root):
    """At the first step, s becomes ‖g‖²."""
    kept = beta2 * ((t > 1) + 0.0 * t)
    return lr, beta1, kept, 1 - kept, decay, eps, eps_root


@rule(
    formula="s ← β₂ s + (1 − β₂) ‖g‖², s = ‖g‖² at first;  v ← β₁ v + g / (√(s + ε_root) + ε) + λ x;  x ← x − η v",
    source="Ginsburg et al. (2019), Stochastic gradient methods with layer-wise adaptive moments, arXiv:1905.11286",
    slots={"velocity": direction(moment=leaky_sum_of("updates", "beta1")), "square": scalar()},
    statistics={"squares": total(square_of_gradient, "tensor")},
    hyper={
        "lr": nonnegative(0.01, "learning rate η"),
        "beta1": fraction(0.95, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.98, "share β₂ of the average squared norm that is kept"),
        "decay": nonnegative(0.0, "λ: weight decay, part of the velocity"),
        "eps": nonnegative(1e-8, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"eps": 1e-8}, "optax": {"beta1": 0.9, "beta2": 0.25, "eps": 1e-6}},
)
def novograd(x, g, g2, velocity, square, squares, lr, beta1, kept, fresh, decay, eps, eps_root):
    """NovoGrad: a leaky sum of gradients, each over the root of the average squared norm of the tensor's."""
    square = kept * square + fresh * squares
    root = ops.sqrt(square + eps_root) + eps
    velocity = beta1 * velocity + ops.where(g == 0.0, 0.0, g / root) + decay * x
    return lr, velocity, velocity, square
