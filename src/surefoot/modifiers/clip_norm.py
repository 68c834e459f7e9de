"""Clipping of the gradient's norm: a gradient that is longer is made that long."""

import math

from surefoot import ops
from surefoot.modifiers.record import modifier
from surefoot.records.hyper import positive
from surefoot.records.statistic import total


def square(g):
    return g * g


def numbers(t, lr, clip_norm, squares):
    """1 where the norm is at most clip_norm."""
    return (clip_norm / ops.maximum(ops.sqrt(squares), clip_norm),)


@modifier(
    stage="gradient",
    settings={"clip_norm": positive(math.inf, "bound for the gradient's Euclidean norm")},
    formula="g ← min(1, c/‖g‖) g",
    source="Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks, ICML",
    statistics={"squares": total(square, "tensor")},
    numbers=numbers,
    zero_grad="nothing",
)
def clip_norm(g, scale):
    """The gradient, scaled down to a norm of at most clip_norm."""
    return scale * g
