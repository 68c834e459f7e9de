"""D-Adapted AdaGrad: AdaGrad by dual averaging at the rate d, a lower bound of the distance to the minimum that grows.

d belongs to all parameters of a group. A zero gradient changes nothing, so sparse gradients give the steps of dense
ones. As in the authors' code, the bound has no factor ½, and squares are divided by the roots that include them. What
is kept of the start x₀ is how far the steps have led. A learning rate of 0 is a pause.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.records.statistic import total
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scalar


def weighted(g, seen, dual, bound, lr, moves, eps):
    """What g changes of s²/√a."""
    before = dual * dual / (ops.sqrt(seen) + eps)
    after = dual + lr * bound * g
    return after * after / (ops.sqrt(seen + moves * (g * g)) + eps) - before


def squared(g, seen, moves, eps):
    return moves * (g * g) / (ops.sqrt(seen + moves * (g * g)) + eps)


def size(g, dual, bound, lr):
    """What g changes of |s|."""
    return ops.abs(dual + lr * bound * g) - ops.abs(dual)


def coefficients(t, lr, a0, d0, eps):
    return lr, (lr > 0) * 1.0, eps


@rule(
    formula="s ← s + η d g;  a ← a + g²;  x ← x₀ − s/(√a + ε);  d ← max(d, (Σ s²/√a − Σ (η d)² g²/√a) / ‖s‖₁)",
    source="Defazio & Mishchenko (2023), Learning-rate-free learning by D-adaptation, ICML, and its code",
    slots={
        "seen": direction("a0"),
        "dual": direction(),
        "distance": direction(),
        "bound": scalar("d0", over="group"),
        "length": scalar(over="group"),
        "spent": scalar(over="group"),
        "norm": scalar(over="group"),
    },
    statistics={
        "lengths": total(weighted, "group"),
        "squares": total(squared, "group"),
        "sizes": total(size, "group"),
    },
    hyper={
        "lr": nonnegative(1.0, "η: what d is scaled by"),
        "a0": positive(1e-6, "what a starts from"),
        "d0": positive(1e-6, "d₀: the first bound, below the distance to the minimum"),
        "eps": nonnegative(0.0, "ε, added outside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"d0": 1e-6}},
    lazy_exact=True,
)
def dadapt_adagrad(x, g, g2, seen, dual, distance, bound, length, spent, norm, lengths, squares, sizes, lr, moves, eps):
    """D-Adapted AdaGrad: the rate is the largest lower bound of the distance so far over the root of AdaGrad's sum."""
    root = ops.sqrt(seen + moves * (g * g)) + eps
    dual = dual + lr * bound * g
    ahead = ops.where(moves * g == 0.0, 0.0, distance * root + dual)
    length = length + lengths
    spent = spent + (lr * bound) * (lr * bound) * squares
    norm = norm + sizes
    known = ops.where(norm > 0.0, (length - spent) / ops.where(norm > 0.0, norm, 1.0), 0.0)
    bound = ops.where(moves > 0.0, ops.maximum(bound, known), bound)
    return 1.0 / root, ahead, seen + moves * (g * g), dual, distance - ahead / root, bound, length, spent, norm
