"""AdaGrad: each coordinate's rate is the learning rate over the root of the sum of its squared gradients.

Frequent features are stepped gently, rare ones boldly. The sum never falls, so neither does the rate ever rise.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import scale, sum_of


def coefficients(t, lr, lr_decay, initial_accumulator_value, eps, eps_root):
    return lr / (1 + (t - 1) * lr_decay) if lr_decay else lr, eps, eps_root


@rule(
    formula="s ← s + g²;  x ← x − η g / (√(s + ε_root) + ε)",
    source="Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12",
    slots={"total": scale("initial_accumulator_value", moment=sum_of("squares"))},
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "lr_decay": nonnegative(0.0, "η becomes η / (1 + (t − 1) · lr_decay)"),
        "initial_accumulator_value": nonnegative(0.0, "s before the first step"),
        "eps": nonnegative(0.0, "ε, added outside the root"),
        "eps_root": nonnegative(1e-6, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"eps": 0.0, "eps_root": 1e-6},
        "pytorch": {"lr": 0.01, "eps": 1e-10, "eps_root": 0.0},
        "keras": {"lr": 0.001, "eps": 0.0, "eps_root": 1e-7, "initial_accumulator_value": 0.1},
        "optax": {"eps": 0.0, "eps_root": 1e-7, "initial_accumulator_value": 0.1},
        "fbgemm": {"lr": 0.01, "eps": 1e-8, "eps_root": 0.0},
    },
    lazy_exact=True,
)
def adagrad(x, g, g2, total, lr, eps, eps_root):
    """AdaGrad: the rate is η over the root of the sum of squared gradients."""
    total = total + g2
    return lr / (ops.sqrt(total + eps_root) + eps), g, total
