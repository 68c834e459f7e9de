"""Stochastic gradient descent: the rate is η for every coordinate at every step."""

from surefoot.records.hyper import nonnegative
from surefoot.rules.record import rule


@rule(
    formula="x ← x − η g",
    source="Robbins & Monro (1951), A stochastic approximation method",
    hyper={"lr": nonnegative(0.05, "learning rate η")},
    conventions={"pytorch": {"lr": 1e-3}, "keras": {"lr": 0.01}, "fbgemm": {"lr": 0.01}},
    lazy_exact=True,
)
def sgd(x, g, g2, lr):
    """Stochastic gradient descent: one rate for all coordinates."""
    return lr, g
