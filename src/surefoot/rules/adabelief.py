"""AdaBelief: Adam whose rate is high where the gradient is what the velocity predicts, and low where it surprises."""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, with_shares


def coefficients(t, lr, beta1, beta2, eps, eps_root):
    return lr / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**t), eps, eps_root


@rule(
    formula="v ← β₁ v + (1 − β₁) g;  s ← β₂ s + (1 − β₂)(g − v)² + ε_root;  x ← x − η v̂ / (√ŝ + ε),  "
    "v̂ = v/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ)",
    source="Zhuang et al. (2020), AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, NeurIPS",
    slots={"velocity": direction(moment=average_of("gradients", "beta1")), "surprise": direction()},
    hyper={
        "lr": nonnegative(0.001, "learning rate η"),
        "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
        "beta2": fraction(0.999, "share β₂ of the average surprise s that is kept"),
        "eps": nonnegative(1e-8, "ε, added outside the root"),
        "eps_root": nonnegative(1e-8, "ε_root, added to s at each step"),
    },
    coefficients=coefficients,
    conventions={
        "textbook": {"lr": 0.001, "eps": 1e-8, "eps_root": 1e-8},
        "optax": {"eps": 1e-16, "eps_root": 1e-16},
    },
)
def adabelief(x, g, g2, velocity, surprise, lr, beta1, fresh1, beta2, fresh2, correction, eps, eps_root):
    """AdaBelief: a leaky average of gradients over the root of their average squared distance from it."""
    velocity = beta1 * velocity + fresh1 * g
    apart = g - velocity
    surprise = beta2 * surprise + fresh2 * (apart * apart) + eps_root
    return lr / (ops.sqrt(surprise * correction) + eps), velocity, velocity, surprise


def coefficients_by_row(t, lr, beta1, beta2, eps, eps_root):
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, eps, eps_root


@adabelief.when("clock", slots=with_shares(adabelief.slots), coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, surprise, seen1, seen2, lr, beta1, fresh1, beta2, fresh2, eps, eps_root):
    seen1, seen2 = beta1 * seen1 + fresh1, beta2 * seen2 + fresh2
    velocity = beta1 * velocity + fresh1 * g
    apart = g - velocity
    surprise = beta2 * surprise + fresh2 * (apart * apart) + eps_root
    return lr / seen1 / (ops.sqrt(surprise / seen2) + eps), velocity, velocity, surprise, seen1, seen2
