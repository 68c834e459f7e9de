"""AdaGrad by dual averaging: each step starts from the origin with the sum of all gradients, so L1 gives exact zeros.

With z the sum of gradients and t steps taken, x minimizes  z·x + λ t ‖x‖₁ + ½ xᵀ diag(√s + δ) x / η.  The weights
start at the origin: any other starting value is forgotten at the first step. The learning rate of a step scales the
whole sum, by the definition of the method; for networks and for schedules that decay, use `ftrl`.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scale, sum_of


def coefficients(t, lr, l1, initial_accumulator_value, eps, eps_root):
    return lr, l1 * t, eps, eps_root


@rule(
    formula="z ← z + g;  s ← s + g²;  x ← −η sgn(z) max(|z| − λ t, 0) / (√(s + ε_root) + ε)",
    source="Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12, section 5",
    slots={"total": scale("initial_accumulator_value", moment=sum_of("squares")), "dual": direction()},
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "l1": nonnegative(0.0, "λ: the L1 penalty per step"),
        "initial_accumulator_value": nonnegative(0.0, "s before the first step"),
        "eps": nonnegative(0.0, "ε, added outside the root (the paper's δ)"),
        "eps_root": nonnegative(1e-6, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    from_origin=True,
    lazy_exact=True,
)
def dual_averaging(x, g, g2, total, dual, lr, threshold, eps, eps_root):
    """AdaGrad by dual averaging: from the origin, with exact zeros under L1."""
    total = total + g2
    dual = dual + g
    shrunk = dual - ops.minimum(ops.maximum(dual, -threshold), threshold)
    return lr / (ops.sqrt(total + eps_root) + eps), shrunk, total, dual
