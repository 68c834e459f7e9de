"""What callbacks have in common: the hooks of a model while it is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from surefoot.optim import flush_before_use
from surefoot.optim.base import TorchOptimizer
from surefoot.optim.in_use import FlushBeforeUse
from surefoot.optim.wrappers import unwrapped


class Training:
    """The hooks of `flush_before_use`, from the beginning of training to its end.

    At the end all rows catch up, and parameters of schedule-free rules move to their averages: the trainer, and the
    optimizer with it, may not outlast it.
    """

    def __init__(self):
        self.optimizers: list[TorchOptimizer] = []
        self.handles: list[FlushBeforeUse] = []

    def begin(self, model: nn.Module, optimizers: Iterable[Any]) -> None:
        """Gives the model hooks for each of the optimizers that is Surefoot's, in wrappers or not.

        Raises:
            TypeError: where none is.
        """
        self.end()
        given = [unwrapped(optimizer)[0] for optimizer in optimizers]
        self.optimizers = [optimizer for optimizer in given if isinstance(optimizer, TorchOptimizer)]
        if not self.optimizers:
            found = ", ".join(type(optimizer).__name__ for optimizer in given) or "none"
            raise TypeError(f"the trainer's optimizers are: {found}; expected one of surefoot.optim among them")
        self.handles = [flush_before_use(model, optimizer) for optimizer in self.optimizers]

    def end(self) -> None:
        """Lets all rows catch up, moves parameters to their averages, and removes the hooks."""
        for optimizer in self.optimizers:
            optimizer.flush()
            optimizer.eval()
        for handle in self.handles:
            handle.remove()
        self.optimizers, self.handles = [], []
