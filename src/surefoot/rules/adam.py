"""Adam: momentum for the direction and RMSProp for the rate, both corrected for starting at zero.

With `amsgrad` the largest average square so far is used, so that the rate cannot rise again. AdamW is Adam with weight
decay taken off the weights themselves instead of being added to the gradient. With `clock="row"` of a step, corrections
count the steps in which a row had a gradient: a row that is first seen late steps as it would have at the beginning.
"""

from dataclasses import replace

from surefoot import ops
from surefoot.records.hyper import flag, fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scale, with_shares


def coefficients(t, lr, beta1, beta2, amsgrad, eps, eps_root):
    return lr / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**t), eps, eps_root


VELOCITY, SQUARE = direction(moment=average_of("gradients", "beta1")), scale(moment=average_of("squares", "beta2"))
HYPER = {
    "lr": nonnegative(0.01, "learning rate η"),
    "beta1": fraction(0.9, "share β₁ of the velocity that is kept"),
    "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
    "amsgrad": flag(False, "use the largest average square so far"),
    "eps": nonnegative(1e-6, "ε, added outside the root"),
    "eps_root": nonnegative(0.0, "ε_root, added inside the root"),
}


@rule(
    formula="v ← β₁ v + (1 − β₁) g;  s ← β₂ s + (1 − β₂) g²;  x ← x − η v̂ / (√(ŝ + ε_root) + ε),  "
    "v̂ = v/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ)",
    source="Kingma & Ba (2015), Adam: a method for stochastic optimization, ICLR; Reddi et al. (2018) for amsgrad",
    slots={"velocity": VELOCITY, "square": SQUARE},
    hyper=HYPER,
    coefficients=coefficients,
    conventions={
        "textbook": {"eps": 1e-6},
        "pytorch": {"lr": 1e-3, "eps": 1e-8},
        "optax": {"eps": 1e-8},
        "fbgemm": {"lr": 0.01, "eps": 1e-8},
    },
)
def adam(x, g, g2, velocity, square, lr, beta1, fresh1, beta2, fresh2, correction, eps, eps_root):
    """Adam: a leaky average of gradients over the root of a leaky average of their squares."""
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    return lr / (ops.sqrt(square * correction + eps_root) + eps), velocity, velocity, square


AMSGRAD_SLOTS = {"velocity": VELOCITY, "square": SQUARE, "largest": SQUARE}


@adam.when("amsgrad", slots=AMSGRAD_SLOTS)
def amsgrad(x, g, g2, velocity, square, largest, lr, beta1, fresh1, beta2, fresh2, correction, eps, eps_root):
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    largest = ops.maximum(largest, square)
    return lr / (ops.sqrt(largest * correction + eps_root) + eps), velocity, velocity, square, largest


def coefficients_by_row(t, lr, beta1, beta2, amsgrad, eps, eps_root):
    return lr, beta1, 1 - beta1, beta2, 1 - beta2, eps, eps_root


@adam.when("clock", slots=with_shares(adam.slots), coefficients=coefficients_by_row)
def by_row(x, g, g2, velocity, square, seen1, seen2, lr, beta1, fresh1, beta2, fresh2, eps, eps_root):
    seen1, seen2 = beta1 * seen1 + fresh1, beta2 * seen2 + fresh2
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    return lr / seen1 / (ops.sqrt(square / seen2 + eps_root) + eps), velocity, velocity, square, seen1, seen2


@adam.when("amsgrad", "clock", slots=with_shares(AMSGRAD_SLOTS), coefficients=coefficients_by_row)
def amsgrad_by_row(x, g, g2, velocity, square, largest, seen1, seen2, lr, beta1, fresh1, beta2, fresh2, eps, eps_root):
    seen1, seen2 = beta1 * seen1 + fresh1, beta2 * seen2 + fresh2
    velocity = beta1 * velocity + fresh1 * g
    square = beta2 * square + fresh2 * g2
    largest = ops.maximum(largest, square)
    rate = lr / seen1 / (ops.sqrt(largest / seen2 + eps_root) + eps)
    return rate, velocity, velocity, square, largest, seen1, seen2


adamw = replace(
    adam,
    name="adamw",
    formula="x ← (1 − η λ) x, then the step of Adam",
    source="Loshchilov & Hutter (2019), Decoupled weight decay regularization, ICLR",
    options={"decoupled_weight_decay": 0.01},
    conventions={"pytorch": {"lr": 1e-3, "eps": 1e-8}, "optax": {"eps": 1e-8, "decoupled_weight_decay": 1e-4}},
    variants={},
)
adamw.when("amsgrad", slots=AMSGRAD_SLOTS)(amsgrad.function)
adamw.when("clock", slots=by_row.slots, coefficients=coefficients_by_row)(by_row.function)
adamw.when("amsgrad", "clock", slots=amsgrad_by_row.slots, coefficients=coefficients_by_row)(amsgrad_by_row.function)
