"""COCOB: no learning rate; each coordinate bets on its next gradient what it has won from those before.

w is the bet: the distance from the start at which a coordinate would be. Reward is what bets have won so far, L the
largest |g|, and G the sum of |g|. A zero gradient changes nothing. η scales the bets that are made, and is 1 in the
paper.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.rules.record import rule
from surefoot.rules.slots import direction


@rule(
    formula="L ← max(L, |g|);  G ← G + |g|;  R ← max(R − g w, 0);  θ ← θ − g;  w ← θ (L + R) / (L max(G + L, α L));  "
    "x ← x₀ + η w",
    source="Orabona & Tommasi (2017), Training deep networks without learning rates through coin betting, NeurIPS, "
    "algorithm 2",
    slots={"largest": direction("eps"), "total": direction(), "dual": direction(), "reward": direction()},
    hyper={
        "lr": nonnegative(1.0, "η: what bets are scaled by"),
        "alpha": positive(100.0, "α: the bet is at most the share 1/α of what was won, until G is as large as α L"),
        "eps": nonnegative(1e-8, "ε: the largest gradient that is expected before the first one"),
    },
    conventions={"textbook": {"alpha": 100.0}, "optax": {"alpha": 100.0, "eps": 1e-8}},
    lazy_exact=True,
)
def cocob(x, g, g2, largest, total, dual, reward, lr, alpha, eps):
    """COCOB: bets of what was won so far, by coordinate, in place of a learning rate."""
    size = ops.abs(g)
    before = largest * ops.maximum(total + largest, alpha * largest)
    bet = ops.where(before > 0.0, dual * (largest + reward) / ops.where(before > 0.0, before, 1.0), 0.0)
    largest = ops.maximum(largest, size)
    total = total + size
    dual = dual - g
    reward = ops.maximum(reward - g * bet, 0.0)
    scale = largest * ops.maximum(total + largest, alpha * largest)
    change = bet * scale - dual * (largest + reward)
    return lr / ops.where(scale > 0.0, scale, 1.0), ops.where(g == 0.0, 0.0, change), largest, total, dual, reward
