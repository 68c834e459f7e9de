"""What drivers take, by name: kernels read the fields, and Numba knows their places when it compiles."""

from typing import Any, NamedTuple

import numpy as np


class Numbers(NamedTuple):
    """Tables of what acts in several steps, a row a step.

    Attributes:
        coefficients: the rule's, (steps, coefficients).
        modifiers: the modifiers' numbers, (steps, numbers).
        keys: of rounding, (steps,), uint32.
    """

    coefficients: np.ndarray
    modifiers: np.ndarray
    keys: np.ndarray


class Acting(NamedTuple):
    """What acts on all rows in one step.

    Attributes:
        statistics: in the order of the program: a number, the array of a column's in a tuple, or for one of a row,
            which drivers compute, any number.
        coefficients: the rule's.
        modifiers: the named tuple of the modifiers' numbers, or () where there are none.
        means: (1,), the mean square that all rows share; empty where each has its own.
        key: of rounding.
    """

    statistics: tuple
    coefficients: tuple
    modifiers: Any
    means: np.ndarray
    key: np.uint32


class Workspace(NamedTuple):
    """Room for each part of the work: for the summed gradient of a row, and for the values of a block."""

    totals: np.ndarray
    values: np.ndarray


class Waiting(NamedTuple):
    """What rows need to catch up on steps without a gradient.

    Attributes:
        last: the last step of every row.
        now: (1,), the step that is being taken.
        starts: the first step of each stretch of constant coefficients.
        table: what acts in each: its first step, coefficients, and shrinkage (keep, l1, l2).
        wide, wide_slots: for each part, room for a row and its memory in the type of the arithmetic, so that it is
            rounded once, after all stretches.
    """

    last: np.ndarray
    now: np.ndarray
    starts: np.ndarray
    table: np.ndarray
    wide: np.ndarray
    wide_slots: tuple[np.ndarray, ...]


class WaitingTables(NamedTuple):
    """The same of several tables.

    Attributes:
        places: (tables, 4), int64: where `last`, the table as int64, of which `starts` is the first column, and `table`
            of each begin, and how many stretches there are.
        now: (tables,), the step that each takes.
        last_like, starts_like, table_like: arrays that tell their types.
        wide, wide_slots: as above.
    """

    places: np.ndarray
    now: np.ndarray
    last_like: np.ndarray
    starts_like: np.ndarray
    table_like: np.ndarray
    wide: np.ndarray
    wide_slots: tuple[np.ndarray, ...]
