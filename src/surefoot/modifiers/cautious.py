"""Cautious steps: coordinates whose direction disagrees with the gradient do not move, and the others go farther."""

from surefoot import ops
from surefoot.modifiers.record import modifier
from surefoot.records.hyper import flag
from surefoot.records.statistic import total


def agrees(direction, g):
    """1 where both have the same sign; their product may underflow."""
    same = ops.where(direction > 0.0, ops.where(g > 0.0, 1.0, 0.0), ops.where(g < 0.0, 1.0, 0.0))
    return ops.where(direction == 0.0, 0.0, same)


def one(g):
    """What counts coordinates; of a sparse gradient, those of the rows that it names."""
    return 1.0 + 0.0 * g


@modifier(
    stage="direction",
    settings={"cautious": flag(False, "only coordinates move whose direction agrees in sign with the gradient")},
    statistics={"agreeing": total(agrees, "tensor"), "all": total(one, "tensor")},
    formula="d ← n/(m + 1) [d g > 0] d, of n coordinates, m agree",
    source="Liang, Chen, Liu & Liu (2024), Cautious optimizers: improving training with one line of code",
)
def cautious(direction, g, agreeing, all):
    """The direction where it agrees with the gradient, about as long as before on average."""
    forward = ops.where(direction > 0.0, g > 0.0, g < 0.0)
    return ops.where(forward, direction, 0.0) * (all / (agreeing + 1.0))
