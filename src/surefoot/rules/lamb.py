"""LAMB: Adam's step, made as long as a share of the tensor's own norm, for batches of tens of thousands."""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.records.statistic import total
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale


def square_of_parameter(x):
    return x * x


def square_of_update(rate, direction):
    return (rate * direction) * (rate * direction)


def coefficients(t, lr, beta1, beta2, decay, eps, eps_root):
    return 1 / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**t), decay, eps, eps_root, lr


def trust(rate, direction, parameter, update, lr):
    """The rate times η ‖x‖/‖u‖, or times η where one of the norms is 0."""
    ratio = ops.where(parameter > 0.0, ops.where(update > 0.0, ops.sqrt(parameter / update), 1.0), 1.0)
    return lr * ratio * rate, direction


@rule(
    formula="v, s as in Adam;  u = v̂ / (√(ŝ + ε_root) + ε) + λ x;  x ← x − η ‖x‖/‖u‖ u",
    source="You et al. (2020), Large batch optimization for deep learning: training BERT in 76 minutes, ICLR",
    slots={
        "velocity": direction(moment=average_of("gradients", "beta1")),
        "square": scale(moment=average_of("squares", "beta2")),
    },
    statistics={"parameter": total(square_of_parameter, "tensor"), "update": total(square_of_update, "tensor")},
    rescale=trust,
    hyper={
        "lr": nonnegative(0.001, "learning rate η: the share of its norm by which a tensor moves"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
        "decay": nonnegative(0.0, "λ: weight decay, part of the update whose norm is taken"),
        "eps": nonnegative(1e-6, "ε, added outside the root"),
        "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"decay": 0.01, "eps": 1e-6}, "optax": {"eps": 1e-6}},
)
def lamb(x, g, g2, velocity, square, correction1, beta1, fresh1, beta2, fresh2, correction2, decay, eps, eps_root, lr):
    """LAMB: Adam's step, rescaled to a share of the norm of the tensor."""
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    rate = correction1 / (ops.sqrt(square * correction2 + eps_root) + eps)
    return rate, velocity + decay * x / rate, velocity, square
