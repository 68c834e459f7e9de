"""How features are centred and scaled as they occur, so that neither their origin nor their unit matters.

A model sees u = (x − o) · s. Of the values of a feature so far, the present one included, n is the number, x̄ the mean
and S = Σ(x − x̄)². Where the feature is centred, o = x̄ and s = √(n / S); elsewhere o = 0 and s is 1 over the root mean
square, √(n / (S + n x̄²)). Centred are features with differing values of linear models: in tables, where an absent
number is missing, all of them, and an absent one counts as the mean, since it adds nothing; elsewhere, where an absent
number is 0, those that have had a value in every row, for which `learn.zeros` writes zeros out.

A value further from o than the root of the sum of all squares so far, and than 8 times 1/s, counts as being that far:
alone, it would change the scale for good, and if others follow, the scale soon grows. The model sees it at 8 times 1/s.
Where one of a feature's first values was far away, `learn.first_values` corrects the statistics; where a unit becomes
smaller, `learn.changes` lets them begin again.

After Ross, Mineiro & Langford (2013), Normalized online learning, who divide by the maximum; means and squares as in
Welford (1962), Note on a method for calculating corrected sums of squares and products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Statistics:
    """Those of features, as models.STATISTICS says, (features,) each."""

    count: np.ndarray
    mean: np.ndarray
    deviations: np.ndarray


NOISE = 1e-13
"""Values whose standard deviation is at most this part of their mean do not differ but by rounding."""
FEWEST = 16.0
"""Values of a feature before one may be too far away."""
FAR = 8.0
"""How far a value may be in units of 1/s, as seen by the model, and, if the sum of all squares is less, as counted."""
LEAST_SQUARE = 1e-60
"""Values of smaller mean squares are scaled as if they had this one: their weights are then numbers of float32."""
TINY = 0.25
"""Of this mean square, below which features are learned from as if they hardly varied."""
PENALIZED = 1e18
"""The largest scale by which penalties are those of weights as they are: its square is a number of float32."""


@np.errstate(under="ignore")
def centred(seen: float, count: np.ndarray, mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Whether features are centred.

    Args:
        seen: rows so far; 0 where an absent number is missing, inf where nothing is centred.
        count, mean, deviations: statistics, (features,) each.

    >>> centred(3.0, np.array([3.0, 2.0, 3.0]), np.array([2.0, 1.5, 1.0]), np.array([2.0, 0.5, 0.0])).tolist()
    [True, False, False]
    """
    return (count >= seen) & (deviations > count * (NOISE * mean) * (NOISE * mean))


def centers(seen: float, count: np.ndarray, mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """What is taken off the values of each feature."""
    return np.where(centred(seen, count, mean, deviations), mean, 0.0)


@np.errstate(under="ignore")
def scales(seen: float, count: np.ndarray, mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """What each feature's values are multiplied by then, 0 for those that have no value but 0."""
    squares = np.where(centred(seen, count, mean, deviations), deviations, deviations + count * mean * mean)
    floor = np.maximum(squares, count * LEAST_SQUARE)
    return np.sqrt(np.divide(count, floor, out=np.zeros(len(count)), where=squares > 0))


@np.errstate(under="ignore")
def tiny(count: np.ndarray, mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Whether all values of features but 0 are so small that scaling leaves them small.

    >>> tiny(np.array([2.0, 2.0, 0.0]), np.array([1e-38, 1e-20, 0.0]), np.array([1e-76, 1e-40, 0.0])).tolist()
    [True, False, False]
    """
    squares = deviations + count * mean * mean
    return ((squares > 0) | (mean != 0)) & (squares < TINY * count * LEAST_SQUARE)


def offset(centers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What centring takes off each prediction, Σ oⱼ wⱼ, (outputs, …), of weights for features as they are in the data,
    (features, 1, outputs, …): a bias less this is that of features that are not centred."""
    rows = np.flatnonzero(centers)
    return np.tensordot(centers[rows], weights[rows, 0].astype(np.float64), 1)


@np.errstate(under="ignore")
def joined(first: Statistics, second: Statistics) -> Statistics:
    """Statistics of the values of both, (features,) each; after Chan, Golub & LeVeque (1979)."""
    total = first.count + second.count
    share = np.divide(second.count, total, out=np.zeros(len(total)), where=total > 0)
    way = second.mean - first.mean
    between = first.count * share * way * way
    return Statistics(total, first.mean + share * way, first.deviations + second.deviations + between)


@np.errstate(under="ignore")
def with_zeros(rows: float, count: np.ndarray, mean: np.ndarray, deviations: np.ndarray) -> Statistics:
    """Statistics as if every row without a value had had a 0, after this many rows."""
    share = count / rows
    return Statistics(np.full(len(count), rows), mean * share, deviations + mean * mean * count * (1.0 - share))
