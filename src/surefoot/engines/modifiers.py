"""The arithmetic around a rule, the same for every rule and engine: plain functions, in which engines rebind `ops`."""

import math
from typing import NamedTuple

from surefoot import ops


class Modifiers(NamedTuple):
    """The numbers around the rule at one step, in the order in which they act.

    g ← clip(scale · g, ±clip) + weight_decay · x;  x ← keep · x;  the rule;
    x ← sgn(x) max(|x| − rate · l1, 0) / (1 + rate · l2).
    """

    scale: float = 1.0
    clip: float = math.inf
    weight_decay: float = 0.0
    keep: float = 1.0
    l1: float = 0.0
    l2: float = 0.0


def gradient(raw, x, scale, clip, weight_decay):
    """The gradient that the rule sees: scaled, clipped, and with coupled L2 added."""
    return ops.minimum(ops.maximum(scale * raw, -clip), clip) + weight_decay * x


def advance(start, rate, direction):
    """x ← start − rate · direction. A zero direction is not a step, even where the rate is infinite."""
    return start - ops.where(direction == 0.0, 0.0, rate * direction)


def proximal(x, rate, l1, l2):
    """argmin over z of ½ (z − x)² + rate (l1 |z| + ½ l2 z²): the composite step of Duchi et al. (2011)."""
    threshold = ops.where(l1 > 0.0, rate * l1, 0.0)
    shrunk = x - ops.minimum(ops.maximum(x, -threshold), threshold)
    return ops.where(l2 > 0.0, shrunk / (1.0 + rate * l2), shrunk)


def zero_grad_steps(x, k, rate, keep, l1, l2):
    """k steps with zero gradient at one constant rate, each x ← proximal(keep · x), in closed form.

    |x| shrinks to q |x| − a with q = keep/(1 + rate l2), a = rate l1/(1 + rate l2); after k steps
    to qᵏ |x| − a (1 − qᵏ)/(1 − q), and once at zero it stays there.
    """
    rate = ops.minimum(rate, 1e300)  # without ε, a coordinate that has seen no gradient has an infinite rate
    divisor = ops.where(l2 > 0.0, 1.0 + rate * l2, 1.0)
    threshold = ops.where(l1 > 0.0, rate * l1, 0.0) / divisor
    decay = keep / divisor
    kept = ops.power(decay, k)
    size = ops.abs(x) * kept - threshold * ops.where(decay < 1.0, (1.0 - kept) / (1.0 - decay), k)
    # Without l1 nothing stays at zero, and steps that shrink by more than all change the sign.
    size = ops.where(l1 > 0.0, ops.maximum(size, 0.0), size)
    return ops.where(x < 0.0, -size, size)
