"""What drivers take, by name: kernels read the fields, and Numba knows their places when it compiles."""

from typing import NamedTuple

import numpy as np

from surefoot.engines.modifiers import Modifiers


class Numbers(NamedTuple):
    """Tables of what acts in several steps, a row a step.

    Attributes:
        coefficients: the rule's, (steps, coefficients).
        modifiers: the numbers around the rule, (steps, 6), float64.
        keys: of rounding, (steps,), uint32.
    """

    coefficients: np.ndarray
    modifiers: np.ndarray
    keys: np.ndarray


class Acting(NamedTuple):
    """What acts on all rows in one step.

    Attributes:
        coefficients: the rule's.
        modifiers: the numbers around the rule, or () where nothing is done around it.
        means: (1,), the mean square that all rows share; empty where each has its own.
        key: of rounding.
    """

    coefficients: tuple
    modifiers: Modifiers | tuple[()]
    means: np.ndarray
    key: np.uint32


class Workspace(NamedTuple):
    """Room for each part of the work: for the summed gradient of a row, and for the squares of a block."""

    totals: np.ndarray
    squares: np.ndarray


class Waiting(NamedTuple):
    """What rows need to catch up on steps without a gradient.

    Attributes:
        last: the last step of every row.
        now: (1,), the step that is being taken.
        starts: the first step of each stretch of constant coefficients.
        coefficients, modifiers: what acts in each.
        wide, wide_slots: for each part, room for a row and its memory in the type of the arithmetic, so that it is
            rounded once, after all stretches.
    """

    last: np.ndarray
    now: np.ndarray
    starts: np.ndarray
    coefficients: np.ndarray
    modifiers: np.ndarray
    wide: np.ndarray
    wide_slots: tuple[np.ndarray, ...]
