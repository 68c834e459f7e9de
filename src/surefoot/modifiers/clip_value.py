"""Clipping of every coordinate of the gradient."""

import math

from surefoot import ops
from surefoot.modifiers.record import modifier
from surefoot.records.hyper import positive


@modifier(
    stage="gradient",
    settings={"clip_value": positive(math.inf, "bound for each coordinate of the gradient")},
    formula="g ← max(−c, min(g, c))",
    zero_grad="nothing",
)
def clip_value(g, clip_value):
    """The gradient, with every coordinate in [−clip_value, clip_value]."""
    return ops.minimum(ops.maximum(g, -clip_value), clip_value)
