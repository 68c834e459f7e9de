"""MADGRAD: AdaGrad by dual averaging with a cube root, from where the parameters start, and with momentum.

Gradients count with λ_t = η √t, later ones more. z = x₀ − s/(∛ν + ε) is the point of dual averaging, and x follows it.
What is kept of the start x₀ is the distance w = x − x₀. So whatever else moves a parameter, such as decoupled weight
decay, moves its start along. A learning rate of 0 is a pause.
"""

from surefoot import ops
from surefoot.records.hyper import fraction, nonnegative
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scale


def coefficients(t, lr, momentum, eps):
    """λ, and 1/λ, or 0 in a pause."""
    moves = (lr > 0) * 1.0
    weight = lr * t**0.5
    return weight, moves / (weight + (1.0 - moves)), momentum, 1 - momentum, eps


def zero_grad_steps(x, k, total, dual, distance, weight, per_weight, momentum, share, eps):
    """k steps with g = 0: z stays, and x comes nearer to it, x − z ← βᵏ (x − z)."""
    seen = ops.where(total > 0.0, total, 1.0)
    a = ops.sqrt(ops.sqrt(seen))
    b = ops.sqrt(ops.sqrt(a))
    c = ops.sqrt(ops.sqrt(b))
    root = a * b * c * ops.sqrt(ops.sqrt(c))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    behind = distance + dual / (root + eps)  # without a gradient so far, both are 0
    moved = ops.where(weight > 0.0, behind * (ops.power(momentum, k) - 1.0), 0.0)
    return x + moved, total, dual, distance + moved


@rule(
    formula="s ← s + λ g;  ν ← ν + λ g²;  x ← β x + (1 − β)(x₀ − s/(∛ν + ε)),  λ = η √t",
    source="Defazio & Jelassi (2022), Adaptivity without compromise: a momentumized, adaptive, dual averaged gradient "
    "method for stochastic optimization, JMLR 23",
    slots={"total": scale(), "dual": direction(), "distance": direction()},
    hyper={
        "lr": nonnegative(0.01, "learning rate η"),
        "momentum": fraction(0.9, "share β of the parameter that is kept, as it follows z"),
        "eps": nonnegative(1e-6, "ε, added to the cube root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"lr": 0.01, "momentum": 0.9, "eps": 1e-6}},
    zero_grad_steps=zero_grad_steps,
)
def madgrad(x, g, g2, total, dual, distance, weight, per_weight, momentum, share, eps):
    """MADGRAD: dual averaging from the start, with the cube root of the sum of squares, and momentum."""
    total = total + weight * g2
    dual = dual + weight * g
    # ∛ν, by roots that every engine rounds alike: ν to the power ¼ + 1/16 + 1/64 + 1/256, and three steps of Halley's.
    seen = ops.where(total > 0.0, total, 1.0)
    a = ops.sqrt(ops.sqrt(seen))
    b = ops.sqrt(ops.sqrt(a))
    c = ops.sqrt(ops.sqrt(b))
    root = a * b * c * ops.sqrt(ops.sqrt(c))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    root = root * ((root * root * root + 2.0 * seen) / (2.0 * (root * root * root) + seen))
    root = ops.where(total > 0.0, root, 0.0) + eps
    rate = weight * share / root
    ahead = per_weight * (dual + distance * root)
    return rate, ahead, total, dual, distance - ops.where(ahead == 0.0, 0.0, rate * ahead)
