"""DoG: no learning rate; the rate is the distance from the start so far over the root of the sum of squared gradients.

All parameters of a group have one rate; with `layerwise`, each has its own (L-DoG). What is kept of the start x₀ is how
far the steps have led, w = x − x₀, and its norm follows from that of the step before. So steps of sparse gradients
count, too, and whatever else moves a parameter, such as decoupled weight decay, moves its start along.
The authors recommend it with an average of the iterates.
"""

from surefoot import ops
from surefoot.records.hyper import flag, nonnegative, positive
from surefoot.records.statistic import total
from surefoot.rules.record import rule
from surefoot.rules.slots import direction, scalar


def square_of_gradient(g):
    return g * g


def along(g, distance):
    return g * distance


def square_of_start(x, distance):
    return (x - distance) * (x - distance)


def coefficients(t, lr, first, layerwise, eps):
    return lr, first, eps


def slots(over):
    return {
        "distance": direction(),
        "square": scalar(over=over),
        "largest": scalar(over=over),
        "total": scalar(over=over),
    }


def statistics(over):
    return {
        "squares": total(square_of_gradient, over),
        "ahead": total(along, over),
        "start": total(square_of_start, over),
    }


@rule(
    formula="r ← max(r, ‖x − x₀‖), r = r_ε (1 + ‖x₀‖) at first;  s ← s + ‖g‖²;  x ← x − η r/√(s + ε) g",
    source="Ivgi, Hinder & Carmon (2023), DoG is SGD's best friend: a parameter-free dynamic step size schedule, ICML",
    slots=slots("group"),
    statistics=statistics("group"),
    hyper={
        "lr": nonnegative(1.0, "η: what the rate is scaled by"),
        "first": positive(1e-6, "r_ε: the first distance, relative to 1 + ‖x₀‖"),
        "layerwise": flag(False, "a distance and a sum for each parameter (L-DoG)"),
        "eps": positive(1e-8, "ε, added to the sum of squares"),
    },
    coefficients=coefficients,
    conventions={"textbook": {"lr": 1.0}, "optax": {"first": 1e-6, "eps": 1e-8}},
    lazy_exact=True,
)
def dog(x, g, g2, distance, square, largest, total, squares, ahead, start, lr, first, eps):
    """DoG: one rate, the largest distance from the start over the norm of all gradients so far."""
    largest = ops.maximum(ops.maximum(largest, ops.sqrt(square)), first * (1.0 + ops.sqrt(start)))
    total = total + squares
    rate = lr * largest / ops.sqrt(total + eps)
    square = ops.maximum(square + rate * (rate * squares - 2.0 * ahead), 0.0)
    return rate, g, distance - rate * g, square, largest, total


dog.when("layerwise", slots=slots("tensor"), statistics=statistics("tensor"))(dog.function)
