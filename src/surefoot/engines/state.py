"""What a rule remembers of an array of parameters, whatever the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from surefoot.engines.modifiers import Modifiers


class NonFiniteError(ArithmeticError):
    """Gradients that were not finite, or whose square overflows: those coordinates were skipped."""


@dataclass
class State:
    """What a rule remembers about one array of parameters.

    Attributes:
        slots: the rule's memory by name. A slot that takes the granularity has the parameters' shape, (n, 1, …) with
            one number per row, or (1, 1, …) with one for the tensor.
        t: the number of steps taken.
        last: per row, the last step in which it took part; only where rows catch up when next touched.
        history: (step, coefficients, modifiers) from that step on, for rows that have yet to catch up; append-only.
        average: the average of the iterates, weighted by their learning rates, where it is kept.
        average_seen: per row, the weight of the average up to the row's last touch.
        weight: the sum of the learning rates so far.
        skipped: coordinates that were skipped because something was not finite, in all steps.
        columns: the history as arrays, which an engine keeps here.
    """

    slots: dict[str, np.ndarray]
    t: int = 0
    last: np.ndarray | None = None
    history: list[tuple[int, tuple, Modifiers]] = field(default_factory=list)
    average: np.ndarray | None = None
    average_seen: np.ndarray | None = None
    weight: float = 0.0
    skipped: int = 0
    columns: Columns | None = field(default=None, repr=False, compare=False)


class Columns:
    """A state's history as arrays. It may get an entry at every step, so they grow with it.

    Args:
        history: the list that the arrays follow.
        dtype: the type of the coefficients and of the numbers around the rule.
    """

    def __init__(self, history: list, dtype: str):
        self.history, self.dtype, self.count = history, dtype, 0
        coefficients, modifiers = (len(numbers) for numbers in history[0][1:])
        self.arrays = np.empty(0, np.int64), np.empty((0, coefficients), dtype), np.empty((0, modifiers), dtype)

    def upto_now(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first step of each entry, its coefficients, and its numbers around the rule."""
        size = len(self.history)
        if size > len(self.arrays[0]):
            self.arrays = tuple(np.resize(array, (2 * size, *array.shape[1:])) for array in self.arrays)
        for column, array in enumerate(self.arrays):
            if self.count < size:
                array[self.count : size] = [entry[column] for entry in self.history[self.count :]]
        self.count = size
        starts, coefficients, modifiers = self.arrays
        return starts[:size], coefficients[:size], modifiers[:size]
