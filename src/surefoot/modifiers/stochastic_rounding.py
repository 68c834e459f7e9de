"""Stochastic rounding: bfloat16 parameters are rounded up or down at random, right on average."""

from dataclasses import dataclass
from typing import Any

from surefoot.modifiers.record import modifier
from surefoot.records.hyper import Hyper


@dataclass(frozen=True)
class Seed(Hyper):
    """A whole number that random bits are made from, or None for no random bits."""

    def admits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def wanted(self) -> str:
        return "a seed, a whole number, or None for rounding to nearest"


@modifier(
    stage="storage",
    settings={"stochastic_rounding": Seed(None, (0.0, 0.0), "a seed; bfloat16 is then rounded at random")},
    formula="x is rounded up with the probability of its remainder",
    source="Forsythe (1950), Round-off errors in numerical integration on automatic machinery",
    zero_grad="nothing",
)
def stochastic_rounding(bits, noise):
    """The upper 16 of the 32 bits of a number, after 16 random bits were added to the lower ones."""
    return (bits + noise) >> 16
