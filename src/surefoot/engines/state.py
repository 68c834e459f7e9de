"""What a rule remembers of an array of parameters, whatever the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from surefoot.engines.pending import Pending


class NonFiniteError(ArithmeticError):
    """Gradients that were not finite, or whose square overflows: those coordinates were skipped."""


@dataclass
class State:
    """What a rule remembers about one array of parameters.

    Attributes:
        slots: the rule's memory by name. A slot has the parameters' shape, or 1 in the dimensions along which
            coordinates have it in common: (n, 1, …) with one number per row, (1, 1, …) with one for the tensor.
        t: the number of steps taken.
        pending: the steps that rows have yet to catch up on; only where they catch up when next touched.
        average: the average of the iterates, weighted by their learning rates, where it is kept.
        average_seen: per row, the weight of the average up to the row's last touch.
        weight: the sum of the learning rates so far.
        given: statistics of the next step that are known, because the array is one of a group; by name.
        skipped: coordinates that were skipped because something was not finite, in all steps.
    """

    slots: dict[str, np.ndarray]
    t: int = 0
    pending: Pending | None = None
    average: np.ndarray | None = None
    average_seen: np.ndarray | None = None
    weight: float = 0.0
    skipped: int = 0
    given: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
