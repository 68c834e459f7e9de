"""What drivers are compiled for, and what they take besides parameters and memory."""

from dataclasses import dataclass

import numpy as np

from surefoot.engines.cpu.arguments import Numbers
from surefoot.engines.modifiers import Modifiers
from surefoot.engines.numerics import ARITHMETIC, rounding_key
from surefoot.engines.settings import Settings

APART = 32
"""Numbers between what two threads write, so that they do not share a cache line."""


@dataclass(frozen=True)
class Kind:
    """What a driver is compiled for, besides the rule.

    Attributes:
        dtype: the type of the arithmetic, "float32" or "float64".
        shared: coordinates share a rate.
        adjusts: the gradient is changed before the rule sees it.
        decays: parameters are shrunk before the rule.
        shrinks: a proximal step follows the rule.
        catches_up: rows without a gradient catch up later.
        propagate: values that are not finite go through.
    """

    dtype: str
    shared: bool = False
    adjusts: bool = False
    decays: bool = False
    shrinks: bool = False
    catches_up: bool = False
    propagate: bool = False

    def __str__(self) -> str:
        flags = [name for name, value in vars(self).items() if value is True]
        return "_".join((self.dtype, *flags))

    @property
    def plain(self) -> bool:
        """Nothing is done around the rule."""
        return not (self.adjusts or self.decays or self.shrinks)


def kind_of(step: Settings, storage: str, **more) -> Kind:
    """What drivers are compiled for that step parameters of a storage type."""
    return Kind(
        ARITHMETIC[storage],
        step.shared,
        step.adjusts,
        step.decays,
        step.shrinks,
        propagate=step.nonfinite == "propagate",
        **more,
    )


def numbers(kind: Kind, coefficients: tuple, modifiers: Modifiers) -> tuple[tuple, Modifiers | tuple[()]]:
    """The coefficients and the numbers around the rule in the type of the arithmetic."""
    f = np.dtype(kind.dtype).type
    return tuple(map(f, coefficients)), () if kind.plain else Modifiers(*map(f, modifiers))


def numbers_of_steps(kind: Kind, step: Settings, steps: np.ndarray) -> tuple[Numbers, np.ndarray]:
    """Tables of the coefficients, of the numbers around the rule and of the keys of rounding, with a row for each of
    the different steps; and which row acts on each parameter, of which (k,) `steps` has the number of its step.
    """
    if (steps == steps[0]).all():
        different, which = steps[:1], np.zeros(len(steps), np.int64)
    else:
        different, which = np.unique(steps, return_inverse=True)
    moments = list(map(int, different))
    coefficients = np.array([tuple(map(float, step.coefficients(t))) for t in moments], kind.dtype)
    modifiers = np.array([tuple(map(float, step.modifiers(t))) for t in moments])
    keys = np.array([rounding_key(step.stochastic_rounding, t) for t in moments], np.uint32)
    return Numbers(coefficients, modifiers, keys), which


def workspaces(count: int, width: int, dtype: str) -> np.ndarray:
    """A row for each part."""
    return np.empty((count, width + APART), dtype)
