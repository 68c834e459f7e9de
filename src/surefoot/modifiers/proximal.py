"""The proximal step: penalties λ₁ |x| + ½ λ₂ x², minimized in the metric of the rule."""

from surefoot import ops
from surefoot.modifiers.record import modifier
from surefoot.records.hyper import nonnegative


@modifier(
    stage="after",
    settings={
        "l1": nonnegative(0.0, "λ₁: penalty of |x|, which gives exact zeros"),
        "l2": nonnegative(0.0, "λ₂: penalty of ½ x²"),
    },
    formula="x ← sgn(x) max(|x| − rate λ₁, 0) / (1 + rate λ₂)",
    source="Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12",
    zero_grad="shrinks",
)
def proximal(x, rate, l1, l2):
    """argmin over z of ½ (z − x)² + rate (l1 |z| + ½ l2 z²)."""
    threshold = ops.where(l1 > 0.0, rate * l1, 0.0)
    shrunk = x - ops.minimum(ops.maximum(x, -threshold), threshold)
    return ops.where(l2 > 0.0, shrunk / (1.0 + rate * l2), shrunk)
