"""Lion: every coordinate moves by the learning rate, along the sign of a mixture of its velocity and its gradient.

Found by a search over programs. It keeps one number per coordinate; its learning rate is a third to a tenth of Adam's,
and its weight decay as many times larger.
"""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction


def coefficients(t, lr, beta1, beta2):
    return lr, beta1, 1 - beta1, beta2, 1 - beta2


@rule(
    formula="x ← x − η sgn(β₁ v + (1 − β₁) g);  v ← β₂ v + (1 − β₂) g",
    source="Chen et al. (2023), Symbolic discovery of optimization algorithms, NeurIPS",
    slots={"velocity": direction(moment=average_of("gradients", "beta2", corrected=False))},
    hyper={
        "lr": nonnegative(1e-3, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity in the mixture whose sign is taken"),
        "beta2": fraction(0.99, "share β₂ of the velocity that is kept"),
    },
    coefficients=coefficients,
    options={"decoupled_weight_decay": 0.0},
    conventions={"textbook": {"lr": 1e-4}, "optax": {"decoupled_weight_decay": 1e-3}},
)
def lion(x, g, g2, velocity, lr, beta1, fresh1, beta2, fresh2):
    """Lion: the rate is η, along the sign of a mixture of velocity and gradient."""
    mixed = beta1 * velocity + fresh1 * g
    sign = mixed / ops.where(mixed == 0.0, 1.0, ops.abs(mixed))
    return lr, sign, beta2 * velocity + fresh2 * g
