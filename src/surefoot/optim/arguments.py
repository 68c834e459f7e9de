"""What torch.optim's classes have in common here."""

from __future__ import annotations

from torch import Tensor

from surefoot.optim.optimizer import RuleOptimizer

Number = float | Tensor


class WithArguments(RuleOptimizer):
    """What the classes here have in common: their arguments name every setting, and have the defaults."""

    has_arguments = True
