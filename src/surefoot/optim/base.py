"""torch's base class of optimizers, adapted: its wrapper of `step` is slow, and it casts the state that it loads."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from surefoot.optim.checkpoint import Checkpoint, unboxed

TORCHS: Any = sys.modules[torch.optim.Optimizer.__module__]
"""Where torch's own optimizer is defined, with the hooks of all optimizers."""


class TorchOptimizer(torch.optim.Optimizer):
    """An optimizer that remembers more than its state dict says, and whose state keeps its types when it is loaded."""

    def _forget(self) -> None:
        """Forgets what is remembered besides the state dict."""
        raise NotImplementedError

    def _recall(self) -> None:
        """Remembers, of a state that was loaded, what later changes of the settings must not change."""
        raise NotImplementedError

    def _keep(self) -> None:
        """Brings the tensors of the state dict up to date."""
        raise NotImplementedError

    def _fitted(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The groups and states of a checkpoint as they fit the parameters."""
        raise NotImplementedError

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """torch's wrapper of `step`, which calls hooks and notifies profilers, only where there are any: it is slow."""
        announced = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self, *args, **kwargs):
            return (announced if is_watched(self) else func)(self, *args, **kwargs)

        return step

    def state_dict(self) -> dict[str, Any]:
        """As torch's: the state of every parameter, by the same names, and the settings of every group."""
        self._keep()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the state of a Surefoot or torch optimizer, which keeps its type (torch casts it).

        Raises:
            ValueError: naming the parameter, for groups that do not match and for keys that are missing, unknown or of
                another shape; nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        fitted = state_dict | self._fitted(Checkpoint(state_dict))
        hooks, self._optimizer_load_state_dict_pre_hooks = self._optimizer_load_state_dict_pre_hooks, OrderedDict()
        try:
            super().load_state_dict(fitted)
        finally:
            self._optimizer_load_state_dict_pre_hooks = hooks

    def __getstate__(self) -> dict[str, Any]:
        self._keep()
        return super().__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        super().__setstate__(state)
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
        unboxed(self.state)
        self._recall()


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks or a profiler are interested in an optimizer's steps, as far as torch's private names tell."""
    try:
        own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        common = TORCHS._global_optimizer_pre_hooks or TORCHS._global_optimizer_post_hooks
        return bool(own or common or torch.autograd.profiler._is_profiler_enabled)
    except AttributeError:
        return True
