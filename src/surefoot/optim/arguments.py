"""What torch.optim's classes have in common here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from surefoot.optim.optimizer import RuleOptimizer

Number = float | Tensor
Rate = Number | str | Callable[[Any], Any]
"""A learning rate: a number, or a schedule, see `RuleOptimizer`."""


class WithArguments(RuleOptimizer):
    """What the classes here have in common: their arguments name every setting, and have the defaults."""

    has_arguments = True
