"""Schedule-free SGD, AdamW and AdaGrad: an average of the iterates in place of a schedule that ends at some step.

Gradients are those at y, between the iterate z and the average x, which is what to evaluate and to keep. The parameter
is y, and `difference` is z − y; x is y − (1 − β)/β (z − y). Averages have the weights of the largest learning rate
so far, squared, so that a warm-up counts little. A learning rate of 0 is a pause.
"""

from surefoot import ops
from surefoot.records.hyper import Hyper, fraction, nonnegative, positive
from surefoot.rules.record import rule
from surefoot.rules.slots import average_of, direction, scalar, scale, sum_of

SOURCE = "Defazio et al. (2024), The road less scheduled, NeurIPS"
MOMENTUM = Hyper(0.9, (0.0, 1.0), "β: how near to the average gradients are taken", open_low=True, open_high=True)
DECAY = nonnegative(0.0, "λ: weight decay at y, times the learning rate")


def to_average(difference, momentum):
    """x − y."""
    return (1.0 - 1.0 / momentum) * difference


@rule(
    formula="z ← z − η g(y);  x ← (1 − c) x + c z,  c = η²/Σ η²;  y ← (1 − β) z + β x",
    source=SOURCE,
    slots={"difference": direction(), "fastest": scalar(), "weight": scalar()},
    hyper={"lr": nonnegative(1.0, "learning rate η"), "momentum": MOMENTUM},
    conventions={"textbook": {"momentum": 0.9}, "optax": {"momentum": 0.9}},
    evaluation=to_average,
)
def schedule_free_sgd(x, g, g2, difference, fastest, weight, lr, momentum):
    """Schedule-free SGD: steps from between the iterate and the average of the iterates."""
    fastest = ops.maximum(fastest, lr)
    fresh = ops.where(lr > 0.0, fastest * fastest, 0.0)
    weight = weight + fresh
    share = ops.where(weight > 0.0, fresh / ops.where(weight > 0.0, weight, 1.0), 0.0)
    rate = lr * (1.0 - momentum * (1.0 - share))
    ahead = g - ops.where(rate > 0.0, share * difference / ops.where(rate > 0.0, rate, 1.0), 0.0)
    return rate, ahead, (1.0 - share) * (difference - lr * momentum * g), fastest, weight


def coefficients(t, lr, momentum, beta2, decay, eps):
    return lr, momentum, beta2, 1 - beta2, 1 / (1 - beta2**t), decay, eps


@rule(
    formula="s ← β₂ s + (1 − β₂) g²;  z ← z − η (g/(√ŝ + ε) + λ y);  x ← (1 − c) x + c z;  y ← (1 − β) z + β x",
    source=SOURCE + ", algorithm 1",
    slots={
        "difference": direction(),
        "square": scale(moment=average_of("squares", "beta2")),
        "fastest": scalar(),
        "weight": scalar(),
    },
    hyper={
        "lr": nonnegative(0.0025, "learning rate η"),
        "momentum": MOMENTUM,
        "beta2": fraction(0.999, "share β₂ of the average square that is kept"),
        "decay": DECAY,
        "eps": positive(1e-8, "ε, added outside the root"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"eps": 1e-8}, "optax": {"eps": 1e-8}},
    evaluation=to_average,
)
def schedule_free_adamw(
    x, g, g2, difference, square, fastest, weight, lr, momentum, beta2, fresh2, correction, decay, eps
):
    """Schedule-free AdamW: the average of the iterates takes the place of Adam's velocity."""
    fastest = ops.maximum(fastest, lr)
    fresh = ops.where(lr > 0.0, fastest * fastest, 0.0)
    weight = weight + fresh
    share = ops.where(weight > 0.0, fresh / ops.where(weight > 0.0, weight, 1.0), 0.0)
    square = beta2 * square + fresh2 * g2
    root = ops.sqrt(square * correction) + eps
    scaled = g + root * (decay * x)
    rate = lr * (1.0 - momentum * (1.0 - share)) / root
    ahead = scaled - ops.where(rate > 0.0, share * difference / ops.where(rate > 0.0, rate, 1.0), 0.0)
    difference = (1.0 - share) * (difference - lr * momentum / root * scaled)
    return rate, ahead, difference, square, fastest, weight


@rule(
    formula="s ← s + g²;  z ← z − η (g/(√s + ε) + λ y);  x ← (1 − c) x + c z;  y ← (1 − β) z + β x",
    source=SOURCE + ", with the accumulator of Duchi, Hazan & Singer (2011)",
    slots={
        "difference": direction(),
        "total": scale(moment=sum_of("squares")),
        "fastest": scalar(),
        "weight": scalar(),
    },
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "momentum": MOMENTUM,
        "decay": DECAY,
        "eps": positive(1e-8, "ε, added outside the root"),
    },
    conventions={"textbook": {"eps": 1e-8}},
    evaluation=to_average,
)
def schedule_free_adagrad(x, g, g2, difference, total, fastest, weight, lr, momentum, decay, eps):
    """Schedule-free AdaGrad: the rate is η over the root of the sum of squared gradients."""
    fastest = ops.maximum(fastest, lr)
    fresh = ops.where(lr > 0.0, fastest * fastest, 0.0)
    weight = weight + fresh
    share = ops.where(weight > 0.0, fresh / ops.where(weight > 0.0, weight, 1.0), 0.0)
    total = total + g2
    root = ops.sqrt(total) + eps
    scaled = g + root * (decay * x)
    rate = lr * (1.0 - momentum * (1.0 - share)) / root
    ahead = scaled - ops.where(rate > 0.0, share * difference / ops.where(rate > 0.0, rate, 1.0), 0.0)
    difference = (1.0 - share) * (difference - lr * momentum / root * scaled)
    return rate, ahead, difference, total, fastest, weight
