"""FTRL-Proximal: follow the regularized leader, with AdaGrad's rate per coordinate and exact zeros under L1.

With 1/η_t = (β + √n_t)/α_t, which may change with n and with the learning rate α, the leader is the minimizer of

    g₁:ₜ·x + ½ Σ_s σ_s (x − x_s)² + λ₁ |x| + ½ λ₂ x²,   σ_s = 1/η_s − 1/η_{s−1},

and z holds what this says about x besides the last square: x = −S(z)/(1/η + λ₂), S(z) = sgn(z) max(|z| − λ₁, 0).
Where x is something else, the rate has changed since the last step, or x was set from outside, as initial weights are.
Then z becomes what belongs to x at the present rate, −sgn(x) λ₁ − (1/η + λ₂) x: after a change of the rate, this adds
what σ_s above adds; at the first step, it centres the leader at the initial weight.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scale, sum_of

SMALLEST = 2.0**-60
"""A smaller learning rate is a pause: weights and z stay the same. Its inverse could overflow in float32."""


def coefficients(t, lr, beta, l1, l2, initial_accumulator_value):
    """In a pause 1/α is 0, and the denominator a power of two, which rounds nothing. `lr` may be an array or tensor."""
    moves = (lr >= SMALLEST) * 1.0
    divisor = lr + (1.0 - moves)
    return moves / divisor, moves * (beta / divisor + l2) + (1.0 - moves) / SMALLEST, l1


@rule(
    formula="1/η = (β + √n)/α;  z ← z + g − σ x, σ the change of 1/η;  n ← n + g²;  "
    "x ← −sgn(z) max(|z| − λ₁, 0) / (1/η + λ₂)",
    source="McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD",
    slots={"total": scale("initial_accumulator_value", moment=sum_of("squares")), "dual": direction()},
    hyper={
        "lr": nonnegative(0.1, "learning rate (the paper's α)"),
        "beta": nonnegative(1.0, "β: damps the first steps; the ε of this rule"),
        "l1": nonnegative(0.0, "λ₁: the L1 penalty"),
        "l2": nonnegative(0.0, "λ₂: the L2 penalty"),
        "initial_accumulator_value": nonnegative(0.0, "n before the first step"),
    },
    coefficients=coefficients,
    conventions={"keras": {"lr": 0.001, "beta": 0.0, "initial_accumulator_value": 0.1}},
    from_origin=True,
    lazy_exact=True,
    zero_grad_steps="still",
)
def ftrl(x, g, g2, total, dual, per_lr, base, l1):
    """FTRL-Proximal: the regularized leader, with AdaGrad's rates and exact zeros under L1."""
    moves = per_lr > 0.0
    before, root = ops.sqrt(total), ops.sqrt(total + g2)
    old, new = before * per_lr + base, root * per_lr + base
    held = ops.where(dual > l1, l1, ops.where(dual < -l1, -l1, dual))
    held = ops.where(x > 0.0, -l1, ops.where(x < 0.0, l1, held))
    free = dual - held
    follows = free + 0.125 * (free + old * x) == free  # x is −free/old within its rounding
    moved = ops.where(follows, dual, held - old * x) + g - (root - before) * per_lr * x
    shrunk = moved - ops.where(moved > l1, l1, ops.where(moved < -l1, -l1, moved))
    return 1.0 / new, ops.where(moves, shrunk, -x * new), total + g2, ops.where(moves, moved, dual)
