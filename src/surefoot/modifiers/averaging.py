"""The average of the iterates, weighted by their learning rates."""

from surefoot.modifiers.record import modifier
from surefoot.records.hyper import flag


@modifier(
    stage="average",
    settings={"average": flag(False, "keep the average of the iterates, weighted by their learning rates")},
    formula="x̄ ← x̄ + η/Σ η (x − x̄)",
    source="Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging",
    zero_grad="nothing",
)
def averaging(average, x, share):
    """The average, into which the parameter goes with a share."""
    return average + share * (x - average)
