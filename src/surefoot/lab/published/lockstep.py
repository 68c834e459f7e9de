"""A rule of the engine and its printed formula, stepped side by side.

A row about a rule moves its parameters by `Lockstep`: the engine steps them, and the formula, which shares no code with
it, gets the same gradients and moves a copy. The row states rule and setting twice, once for the engine and once as
`Printed` for the formula. Where the two part the row ends with an error, and so fails: a broken rule and a wrong
setting are noticed even where what the row claims would still hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot.engines import ORACLE, Step
from surefoot.lab.published.formulas import FORMULAS, states_of

TOLERANCE = 1e-9
"""How far the engine may get from the formula, relative to the largest parameter: the rounding of many steps."""


class DisagreementError(ArithmeticError):
    """The engine does not step as the printed formula does."""


class Printed:
    """A formula and its setting, written from the text.

    Args:
        formula: a name in `formulas.FORMULAS`.
        lr: the learning rate η, or the schedule t -> η(t).
        **setting: the formula's; also `initial_accumulator_value`. Without it the formula has its own defaults.
    """

    def __init__(self, formula: str, lr: float | Callable[[int], float], **setting: float):
        self.formula, self.setting = FORMULAS[formula], setting
        self.states = states_of(self.formula, setting.pop("initial_accumulator_value", 0.0))
        self.rate = lr if callable(lr) else lambda t: lr


class Lockstep:
    """A rule of the engine and its printed formula, at the same gradients.

    Args:
        rule: the name of the engine's rule.
        x: where both start; the engine steps it in place.
        printed: the formula that it has to follow.
        lr: the engine's learning rate, or the schedule that it follows.
        engine: steps the rule; all have the bits of the reference, and "cpu" takes a third of the time.
        **hyper: the engine's hyperparameters; without them it has its own defaults.

    >>> run = Lockstep("adagrad", np.array([-5.0]), Printed("adagrad", 0.4), lr=0.4)
    >>> run(2 * run.x)
    >>> run.x
    array([-4.6])
    """

    def __init__(self, rule: str, x: np.ndarray, printed: Printed, lr: Any, engine: str = ORACLE, **hyper: Any):
        self.x, self.copy, self.t = x, x.copy(), 0
        self.step = Step(rule, engine=engine, lr=lr, **hyper)
        self.state = self.step.init(x)
        self.printed, self.states = printed, printed.states

    def __call__(self, g: np.ndarray) -> None:
        """One step of both.

        Raises:
            DisagreementError: where the engine and the formula part.
        """
        self.t += 1
        self.step.dense(self.x, g, self.state)
        text = self.printed
        self.copy, *self.states = text.formula(self.t, self.copy, g, *self.states, lr=text.rate(self.t), **text.setting)
        apart = float(np.abs(self.x - self.copy).max())
        if not apart <= TOLERANCE * max(1.0, float(np.abs(self.copy).max())):  # NaN is not
            raise DisagreementError(
                f"{self.step.rule.name}: step {self.t} ends {apart:.0e} away from the printed formula's; expected the "
                "same but for rounding"
            )

    def clip(self, low: float, high: float) -> None:
        """Moves both into an interval."""
        np.clip(self.x, low, high, out=self.x)
        self.copy = np.clip(self.copy, low, high)
