"""Coupled weight decay, that is L2: its gradient is added to that of the loss."""

from surefoot.modifiers.record import modifier
from surefoot.records.hyper import nonnegative


@modifier(
    stage="gradient",
    settings={"weight_decay": nonnegative(0.0, "λ: this times the parameter is added to the gradient")},
    formula="g ← g + λ x",
)
def weight_decay(g, x, weight_decay):
    """The gradient of the loss and of ½ λ x²."""
    return g + weight_decay * x
