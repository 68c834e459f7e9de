"""The learning rates of "auto": eight models learn side by side, from the first example to the last.

None is dropped while weights of the mixture are learned, so that the mixture's bound holds for each of them over any
examples in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from surefoot.engines import restoring
from surefoot.rules import Rule
from surefoot.rules.adagrad import adagrad

WIDTHS = (1, 2, 4, 8)
"""How many rates there may be at once: numbers that kernels are compiled for."""


@dataclass(frozen=True)
class Rate:
    """A learning rate.

    Attributes:
        lr: a number or a schedule.
        implicit: whether steps are implicit: by the slope that the loss has where the step leads. They work with
            larger rates than explicit ones.
        bias: how many times as fast the parts of the model learn that belong to no feature.
    """

    lr: Any
    implicit: bool = False
    bias: float = 1.0

    @property
    def lasting(self) -> bool:
        """Whether the model that is kept may be of this rate. A fast bias follows the latest labels: good for the next
        example where labels come in runs, and for no other."""
        return self.bias == 1.0

    def lr_of(self, part: str) -> Any:
        """The learning rate of a part of "feature" or "model"."""
        return self.lr if part == "feature" or self.lasting else self.lr * self.bias

    def times(self, factor: float) -> Rate:
        """The same at a rate this many times as large."""
        return replace(self, lr=self.lr * factor)


GRID = (
    *(Rate(2.0**power, implicit=True) for power in (-5, -3, -1, 1)),
    *(Rate(2.0**power) for power in (-3, -1)),
    Rate(2.0**0, implicit=True, bias=16.0),
    Rate(2.0**-3, implicit=True, bias=256.0),
)
"""For AdaGrad. Those of other rules are as many times as large as their default rate is, in whole powers of 2."""
EXPLICIT_GRID = (*(Rate(2.0**power) for power in (-7, -5, -3, -2, -1, 0, 1)), Rate(2.0**-3, bias=64.0))
"""The same where steps cannot be implicit."""


def grid_of(rule: Rule, implicit: bool) -> list[Rate]:
    """The learning rates of a rule; `implicit`: whether steps may be."""
    ratio = rule.settings()["lr"] / adagrad.settings()["lr"]
    return [rate.times(2.0 ** round(math.log2(ratio))) for rate in (GRID if implicit else EXPLICIT_GRID)]


def chosen(positions: Any, count: int) -> list[int]:
    """The positions of rates that are still trained, of `count` to begin with.

    Raises:
        ValueError: they are not that.

    >>> chosen([0, 3], 8)
    [0, 3]
    """
    if not (isinstance(positions, list) and len(positions) in WIDTHS and positions == sorted(set(positions))):
        raise ValueError(f"rates: found {positions!r}, expected {', '.join(map(str, WIDTHS))} rising positions")
    return [restoring.whole({"rates": k}, "rates", count - 1) for k in positions]
