"""Functions of two numbers to walk on: value, gradient and minimizer of each, and the window in which to look at it.

`PROBLEMS` is the table; a problem of your own is one more `Problem`, and `surefoot.trace` takes it wherever it takes a
name.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Problem:
    """A function f(x₁, x₂) with its gradient.

    Args:
        name: what it is called on the command line and in figures.
        formula: f, as a person writes it.
        value: (x1, x2) -> f, for numbers and for arrays.
        gradient: (x1, x2) -> (∂f/∂x₁, ∂f/∂x₂), for numbers and for arrays.
        minimizer: the point at which f is smallest.
        start: where traces start by default.
        window: (x₁ from, x₁ to, x₂ from, x₂ to), what a figure shows at least.
        source: where it was published.

    >>> PROBLEMS["bowl"].value(1.0, 1.0)
    3.0
    """

    name: str
    formula: str
    value: Callable[..., Any]
    gradient: Callable[..., tuple[Any, Any]]
    minimizer: Point = (0.0, 0.0)
    start: Point = (-5.0, -2.0)
    window: tuple[float, float, float, float] = (-5.5, 1.5, -3.0, 3.0)
    source: str = "Zhang, Lipton, Li & Smola, Dive into Deep Learning"

    def at(self, points: np.ndarray) -> np.ndarray:
        """f at points, (…, 2)."""
        with np.errstate(over="ignore"):
            return np.asarray(self.value(points[..., 0], points[..., 1]), np.float64)

    def slope(self, points: np.ndarray) -> np.ndarray:
        """The gradient at points, (…, 2)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.stack(self.gradient(points[..., 0], points[..., 1]), axis=-1)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """The Euclidean distance of points, (…, 2), from the minimizer."""
        return np.linalg.norm(points - np.asarray(self.minimizer), axis=-1)


def quadratic(name: str, formula: str, matrix, **description) -> Problem:
    """f(x) = ½ xᵀ Q x for a symmetric 2 × 2 matrix Q.

    >>> quadratic("round", "½(x₁² + x₂²)", [[1, 0], [0, 1]]).gradient(3.0, 4.0)
    (3.0, 4.0)
    """
    (a, b), (c, d) = matrix
    if b != c:
        raise ValueError(f"{name}: the matrix must be symmetric, got {b!r} and {c!r} off its diagonal")
    return Problem(
        name,
        formula,
        lambda x1, x2: 0.5 * (a * x1 * x1 + d * x2 * x2) + b * x1 * x2,
        lambda x1, x2: (a * x1 + b * x2, b * x1 + d * x2),
        **description,
    )


def rosenbrock_value(x1, x2):
    return (1 - x1) ** 2 + 100 * (x2 - x1 * x1) ** 2


def rosenbrock_gradient(x1, x2):
    return -2 * (1 - x1) - 400 * x1 * (x2 - x1 * x1), 200 * (x2 - x1 * x1)


BEALE = ((1.5, 1), (2.25, 2), (2.625, 3))


def beale_value(x1, x2):
    return sum((c - x1 + x1 * x2**k) ** 2 for c, k in BEALE)


def beale_gradient(x1, x2):
    terms = [(c - x1 + x1 * x2**k, k) for c, k in BEALE]
    return (
        sum(2 * term * (x2**k - 1) for term, k in terms),
        sum(2 * term * x1 * k * x2 ** (k - 1) for term, k in terms),
    )


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        quadratic("elongated", "0.1 x₁² + 2 x₂²", [[0.2, 0.0], [0.0, 4.0]]),
        quadratic("bowl", "x₁² + 2 x₂²", [[2.0, 0.0], [0.0, 4.0]]),
        quadratic(
            "rotated", "0.1 (x₁ + x₂)² + 2 (x₁ − x₂)²", [[4.2, -3.8], [-3.8, 4.2]], window=(-5.5, 1.5, -5.0, 2.0)
        ),
        Problem(
            "rosenbrock",
            "(1 − x₁)² + 100 (x₂ − x₁²)²",
            rosenbrock_value,
            rosenbrock_gradient,
            minimizer=(1.0, 1.0),
            start=(-1.2, 1.0),
            window=(-2.0, 2.0, -1.0, 3.0),
            source="Rosenbrock (1960), An automatic method for finding the greatest or least value of a function",
        ),
        Problem(
            "beale",
            "Σₖ (cₖ − x₁ + x₁ x₂ᵏ)²,  c = 1.5, 2.25, 2.625",
            beale_value,
            beale_gradient,
            minimizer=(3.0, 0.5),
            start=(1.0, 1.5),
            window=(-1.0, 4.5, -1.5, 2.0),
            source="Beale (1958), On an iterative method for finding a local minimum",
        ),
    )
}


def get(name: "str | Problem") -> Problem:
    """The problem of that name; a Problem is returned as it is.

    Raises:
        ValueError: for an unknown name, with the nearest known one.

    >>> get("rotated").minimizer
    (0.0, 0.0)
    """
    if isinstance(name, Problem):
        return name
    if name not in PROBLEMS:
        near = difflib.get_close_matches(str(name), PROBLEMS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROBLEMS)}"
        raise ValueError(f"there is no problem {name!r}; {hint}")
    return PROBLEMS[name]
