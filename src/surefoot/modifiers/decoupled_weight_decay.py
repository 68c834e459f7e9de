"""Decoupled weight decay: the parameter itself is shrunk, whatever the rule makes of gradients."""

from surefoot.modifiers.record import modifier
from surefoot.records.hyper import nonnegative


def numbers(t, lr, decoupled_weight_decay):
    return (1.0 - lr * decoupled_weight_decay,)


@modifier(
    stage="before",
    settings={"decoupled_weight_decay": nonnegative(0.0, "λ: the parameter is first multiplied by 1 − η λ")},
    formula="x ← (1 − η λ) x",
    source="Loshchilov & Hutter (2019), Decoupled weight decay regularization, ICLR",
    numbers=numbers,
    zero_grad="shrinks",
)
def decoupled_weight_decay(x, keep):
    """What is kept of the parameter."""
    return keep * x
