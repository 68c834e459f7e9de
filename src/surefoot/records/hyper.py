"""Hyperparameters: a default, the interval that values must lie in, and a few words of meaning."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hyper:
    """A hyperparameter: its default, the interval it must lie in, and what it means in a few words."""

    default: float | bool | None = None
    bounds: tuple[float, float] | None = None
    meaning: str = ""
    open_low: bool = False
    open_high: bool = False

    @property
    def is_flag(self) -> bool:
        return isinstance(self.default, bool)

    def interval(self) -> str:
        """The allowed values, as a person writes them.

        >>> fraction(0.9).interval(), flag(False).interval()
        ('[0, 1)', 'True or False')
        """
        if self.is_flag or self.bounds is None:
            return "True or False"
        low, high = self.bounds
        return f"{'(' if self.open_low else '['}{low:g}, {high:g}{')' if self.open_high or math.isinf(high) else ']'}"

    def wanted(self) -> str:
        """What a value must be, in words.

        >>> nonnegative(0.0).wanted(), positive(math.inf).wanted()
        ('a finite number of at least 0', 'above 0')
        """
        if self.is_flag:
            return "True or False"
        if self.bounds == (0.0, math.inf):
            return "above 0" if self.open_low else "a finite number of at least 0"
        return f"in {self.interval()}"

    def admits(self, value) -> bool:
        if self.is_flag or self.bounds is None:
            return isinstance(value, (bool, np.bool_)) or value in (0, 1)
        low, high = self.bounds
        above = value > low if self.open_low else value >= low
        below = value < high if self.open_high else value <= high
        return bool(above and below and math.isfinite(value))


def nonnegative(default: float | None = None, meaning: str = "") -> Hyper:
    """A hyperparameter of at least 0.

    >>> nonnegative(0.1).admits(-1)
    False
    """
    return Hyper(default, (0.0, math.inf), meaning)


def positive(default: float | None = None, meaning: str = "") -> Hyper:
    """A hyperparameter above 0.

    >>> positive(0.1).admits(0)
    False
    """
    return Hyper(default, (0.0, math.inf), meaning, open_low=True)


def fraction(default: float | None = None, meaning: str = "") -> Hyper:
    """A hyperparameter in [0, 1).

    >>> fraction(0.9).admits(1)
    False
    """
    return Hyper(default, (0.0, 1.0), meaning, open_high=True)


def flag(default: bool = False, meaning: str = "") -> Hyper:
    """A hyperparameter that is on or off."""
    return Hyper(bool(default), (0.0, 1.0), meaning)
