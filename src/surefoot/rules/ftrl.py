"""FTRL-Proximal: follow the regularized leader, with AdaGrad's rate per coordinate and exact zeros under L1.

The step starts from the origin, so the weights are a function of the memory: start them at zero.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.rules.record import direction, rule, scale


def coefficients(t, lr, beta, l1, l2, initial_accumulator_value):
    return 1 / lr, beta / lr + l2, l1


@rule(
    formula="σ = (√(n + g²) − √n)/η;  z ← z + g − σ x;  n ← n + g²;  x ← −sgn(z) max(|z| − λ₁, 0) / ((β + √n)/η + λ₂)",
    source="McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD",
    slots={"total": scale("initial_accumulator_value"), "dual": direction()},
    hyper={
        "lr": positive(0.1, "learning rate η (the paper's α)"),
        "beta": nonnegative(1.0, "β: damps the first steps; the ε of this rule"),
        "l1": nonnegative(0.0, "λ₁: the L1 penalty"),
        "l2": nonnegative(0.0, "λ₂: the L2 penalty"),
        "initial_accumulator_value": nonnegative(0.0, "n before the first step"),
    },
    coefficients=coefficients,
    conventions={"keras": {"lr": 0.001, "beta": 0.0, "initial_accumulator_value": 0.1}},
    from_origin=True,
    steady=True,
)
def ftrl(x, g, g2, total, dual, per_lr, base, l1):
    """FTRL-Proximal: the regularized leader, with AdaGrad's rates and exact zeros under L1."""
    root = ops.sqrt(total + g2)
    dual = dual + g - (root - ops.sqrt(total)) * per_lr * x
    shrunk = dual - ops.minimum(ops.maximum(dual, -l1), l1)
    return 1.0 / (root * per_lr + base), shrunk, total + g2, dual
