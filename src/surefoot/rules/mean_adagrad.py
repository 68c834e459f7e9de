"""Mean AdaGrad: the mean of the squared gradients in place of their sum, so that the rate need not die out."""

from surefoot import ops
from surefoot.records.hyper import nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import scale, sum_of


def coefficients(t, lr, eps, eps_root):
    return lr, 1 / t, eps, eps_root


@rule(
    formula="s ← s + g²;  x ← x − η g / (√(s/t + ε_root) + ε)",
    source="Zhang, Lipton, Li & Smola, Dive into Deep Learning, chapter AdaGrad",
    slots={"total": scale(moment=sum_of("squares"))},
    hyper={
        "lr": nonnegative(0.01, "learning rate η"),
        "eps": nonnegative(0.0, "ε, added outside the root"),
        "eps_root": nonnegative(1e-6, "ε_root, added inside the root"),
    },
    coefficients=coefficients,
    zero_grad_steps="still",
)
def mean_adagrad(x, g, g2, total, lr, per_step, eps, eps_root):
    """Mean AdaGrad: the rate is η over the root mean square of all gradients."""
    total = total + g2
    return lr / (ops.sqrt(total * per_step + eps_root) + eps), g, total
