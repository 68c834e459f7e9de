"""What acts in each of many steps, as arrays."""

from typing import NamedTuple

import numpy as np

from surefoot.engines.settings import Settings


class Table(NamedTuple):
    """What acts in each of many steps, in float64: a row a step, or a single row where nothing depends on t."""

    coefficients: np.ndarray
    spared: np.ndarray
    modifiers: np.ndarray
    lr: np.ndarray


def table(step: Settings, first: int, steps: int) -> Table:
    """The coefficients (of weights, and of the bias, which penalties spare), the numbers around the rule, and the rate.

    Computed for all steps at once where the rule's `coefficients` and the schedule take arrays, else step by step.
    """
    ts = np.arange(first, first + steps)
    parts = (step.coefficients, step.spared_coefficients, step.modifiers, lambda t: (step.lr(t),))
    try:
        columns = [stack(part(ts), steps) for part in parts]
    except (TypeError, ValueError):
        columns = [np.array([part(int(t)) for t in ts], float).reshape(steps, -1) for part in parts]
    coefficients, spared, modifiers, lr = columns
    return Table(coefficients, spared, modifiers, lr[:, 0])


def stack(columns: tuple, steps: int) -> np.ndarray:
    """Numbers and arrays of numbers as the columns of one array, of a single row where all are numbers."""
    stacked = np.empty((steps if any(np.ndim(column) for column in columns) else 1, len(columns)))
    for k, column in enumerate(columns):
        stacked[:, k] = column
    return stacked
