"""Whether a loss grows without bound, and the last state from before it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from surefoot.engines.examples import Examples
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.settings import Settings
from surefoot.records.restored import Count

State: TypeAlias = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]
"""A learner's."""
WITHOUT_BOUND = 1e4
"""Times what a constant loses: more than that over twice as many examples as before is divergence."""
FIRST = 1024
"""Examples before the first comparison."""


class Window(NamedTuple):
    """What is compared: the losses since the last comparison.

    Attributes:
        begin: examples up to then.
        lost: since then.
        constant: what a constant prediction would have lost.
    """

    begin: Count = FIRST // 2
    lost: float = 0.0
    constant: float = 0.0


class Divergence:
    """Compares the loss with that of a constant prediction, whenever the number of examples has doubled.

    Args:
        watch: whether to. Of lr="auto", rates that diverge are dropped, and nothing is compared.

    Attributes:
        window: what will be compared next.
        good: the learner's state at the last comparison, or that it was resumed from; None before.
    """

    def __init__(self, watch: bool):
        self.watch, self.window = watch, Window()
        self.good: State | None = None

    def look(self, learner: Learner, examples: Examples, predictions: np.ndarray) -> None:
        """Takes what was predicted for examples before they were learned from.

        Raises:
            DivergedError: the loss grows without bound.
        """
        if not self.watch:
            return
        begin, lost, constant = self.window
        settings = learner.settings
        same = np.full(predictions.shape, learner.center)
        constant += float((settings.loss.reported(same, examples.targets, settings.parameter) * examples.weights).sum())
        lost += float(
            (settings.loss.reported(predictions, examples.targets, settings.parameter) * examples.weights).sum()
        )
        self.window = Window(begin, lost, constant)
        if learner.examples < 2 * begin:
            return
        if not np.isfinite(lost) or lost > WITHOUT_BOUND * max(constant, 1e-30):
            raise DivergedError(
                f"the loss grew without bound: over the last {learner.examples - begin:,} of {learner.examples:,} "
                f"examples it was {lost / max(constant, 1e-300):.2g} times that of a constant; use --lr auto or a "
                "smaller learning rate"
            )
        self.window = Window(learner.examples)
        arrays, numbers = learner.state()
        self.good = {name: array.copy() for name, array in arrays.items()}, numbers

    def last_good(self, settings: Settings, reason: str) -> Learner:
        """The learner as it was before it diverged.

        Raises:
            DivergedError: there was no comparison yet.
        """
        if self.good is None:
            raise DivergedError(f"{reason}; no model was written")
        return Learner.from_state(settings, *self.good)
