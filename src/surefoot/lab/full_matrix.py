"""Full-matrix AdaGrad: the ideal that the diagonal of AdaGrad stands in for, for a few coordinates.

    G ← G + g gᵀ;  x ← x − η (ε I + G)^{−½} g

A matrix and its inverse root per step, where AdaGrad has a vector and its root, so nothing for large models. It does
not care how the coordinates are turned: on a rotated problem it keeps the advantage that the diagonal loses.

Source: Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12, figure 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from surefoot.rules import Hyper, RuleError, nonnegative, positive

NAME = "full_matrix"


@dataclass
class Memory:
    """What full-matrix AdaGrad remembers: G = Σ g gᵀ, (…, d, d), the numbers of steps and of skipped steps."""

    outer: np.ndarray
    t: int = 0
    skipped: int = 0


@dataclass
class FullMatrix:
    """Full-matrix AdaGrad, with the methods of `surefoot.engines.Step` that a trace needs.

    Args:
        lr: learning rate η, or a schedule t → η.
        eps: ε, added to the diagonal of G.

    Raises:
        RuleError: for a value out of its bounds.

    >>> step, x = FullMatrix(lr=1.0, eps=1e-12), np.array([3.0, 4.0])
    >>> step.dense(x, np.array([3.0, 4.0]), step.init(x))
    >>> x.round(6)
    array([2.4, 3.2])
    """

    lr: float | Callable[..., float] = 0.1
    eps: float = 1e-6
    hyper: dict[str, Hyper] = field(
        default_factory=lambda: {
            "lr": nonnegative(0.1, "learning rate η"),
            "eps": positive(1e-6, "ε, added to the diagonal of the sum of outer products"),
        },
        repr=False,
    )

    def __post_init__(self) -> None:
        for name in ("lr", "eps"):
            value = getattr(self, name)
            if not (name == "lr" and callable(value)) and not self.hyper[name].admits(value):
                raise RuleError(f"{NAME}: {name} must lie in {self.hyper[name].interval()}, got {value!r}")

    def init(self, x: np.ndarray) -> Memory:
        """The memory before the first step of points x, (…, d)."""
        return Memory(np.zeros((*x.shape, x.shape[-1])))

    def dense(self, x: np.ndarray, g: np.ndarray, memory: Memory) -> None:
        """Steps x in place along its gradient; a gradient whose square is not finite is skipped and counted."""
        outer = memory.outer + g[..., :, None] * g[..., None, :]
        memory.t += 1
        if not np.isfinite(outer).all():
            memory.skipped += 1
            return
        memory.outer = outer
        x -= (self._matrix(memory, memory.t) @ g[..., None])[..., 0]

    def rates(self, x: np.ndarray, memory: Memory) -> np.ndarray:
        """The diagonal of η (ε I + G)^{−½}: what the next step would multiply a coordinate's own gradient by."""
        return np.diagonal(self._matrix(memory, memory.t + 1), axis1=-2, axis2=-1).copy()

    def _matrix(self, memory: Memory, t: int) -> np.ndarray:
        eta = self.lr(t) if callable(self.lr) else self.lr
        values, vectors = np.linalg.eigh(memory.outer)
        # An eigenvalue of a sum of outer products is not negative, but its rounded value may be.
        scaled = vectors / np.sqrt(np.maximum(values, 0.0) + self.eps)[..., None, :]
        return eta * scaled @ np.swapaxes(vectors, -1, -2)
