"""AdaGrad's learning rate, found during training: how far its steps have led a parameter, weighted as it weights them.

η ← min(max(η, √(Σ s (x − x₀)²/Σ s)), 1/√n), with AdaGrad's sum s, the parameter x₀ before the first step, and n numbers
in a row: each parameter has its own η, which begins with `FIRST`. The distance from the start is that of DoG (Ivgi,
Hinder & Carmon 2023), one for each parameter as in L-DoG; where gradients are large or frequent it counts more. The
bound is the size with which weights are initialized, and at which one step changes what a row of weights adds up to by
about 1: without it, rates of small layers grow until they diverge.
"""

import math
from typing import Any

FIRST = 0.01
"""η before the first step."""


def distance(x: Any, start: Any, total: Any) -> float:
    """√(Σ s (x − x₀)²/Σ s), for arrays of NumPy or torch; NaN where there was no gradient yet.

    >>> import numpy as np
    >>> distance(np.array([1.0, 5.0]), np.array([0.0, 5.0]), np.array([3.0, 1.0]))
    0.866...
    """
    weight = float(total.sum())
    return math.sqrt(float((total * (x - start) ** 2).sum()) / weight) if 0.0 < weight < math.inf else math.nan


def automatic_rate(before: float, moved: float, inputs: int) -> float:
    """η for the next steps.

    Args:
        before: η of the steps so far.
        moved: the distance, which may be NaN.
        inputs: n, the numbers in a row of the parameter; 1 for a vector.

    >>> automatic_rate(0.01, 0.05, 16), automatic_rate(0.01, 3.0, 16), automatic_rate(0.01, math.nan, 16)
    (0.05, 0.25, 0.01)
    """
    found = max(before, moved) if math.isfinite(moved) else before
    return min(found, 1.0 / math.sqrt(inputs))
