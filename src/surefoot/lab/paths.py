"""Where one rule went on a function of two numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surefoot.schedules import Rate, first_rate, name_of

FORMULAS = {"constant": "{}", "exponential": "{} e^(−{}t)", "polynomial": "{} (1 + {}t)^(−{})"}
"""Of schedules, by the name that their written forms begin with."""


@dataclass(frozen=True, eq=False)
class Path:
    """Where one rule went.

    Attributes:
        rule: its name.
        lr: the learning rate; a function of the step where it follows a schedule.
        positions: (steps + 1, 2), the start first.
        values: f there, (steps + 1,).
        rates: (steps, 2), the effective learning rate of both coordinates after each step.
        diverged: whether it left for values above ten times the highest in the problem's window. The path is held
            where it was before numbers overflow, so everything in it is finite.
        settings: the other hyperparameters that were given, and the convention.
        noise: the standard deviation of the noise in each coordinate of the gradient.
    """

    rule: str
    lr: Rate
    positions: np.ndarray
    values: np.ndarray
    rates: np.ndarray
    diverged: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    noise: float = 0.0

    @property
    def label(self) -> str:
        """The rule and what was chosen for it, in a few words."""
        rest = [value if key == "convention" else f"{key} = {short(value)}" for key, value in self.settings.items()]
        if self.noise:
            rest.append(f"noise = {self.noise:g}")
        return ", ".join([self.rule, self.rate, *rest])

    @property
    def rate(self) -> str:
        """The learning rate as a person writes it: a schedule as a formula, by its name, or by where it starts."""
        if not callable(self.lr):
            return f"η = {self.lr:g}"
        name = name_of(self.lr) or ""
        kind, *numbers = name.split(":")
        if kind in FORMULAS:
            return "η(t) = " + FORMULAS[kind].format(*(f"{float(number):.4g}" for number in numbers))
        return f"η from {first_rate(self.lr):.4g}" if name == "<lambda>" else f"η(t) = {name}"

    def record(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and words."""
        return {
            "rule": self.rule,
            "lr": first_rate(self.lr),
            "schedule": name_of(self.lr),
            "settings": dict(self.settings),
            "noise": self.noise,
            "steps": len(self.rates),
            "x1": float(self.positions[-1, 0]),
            "x2": float(self.positions[-1, 1]),
            "value": float(self.values[-1]),
            "diverged": self.diverged,
            "positions": self.positions.tolist(),
            "values": self.values.tolist(),
            "rates": self.rates.tolist(),
        }


def short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
