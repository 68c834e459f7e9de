"""How often each row of a parameter had a gradient: counted on request, for the figure of a diagnosis."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surefoot.optim.memory import local, own_gradient
from surefoot.optim.wrappers import unwrapped

VISITS: weakref.WeakKeyDictionary[torch.optim.Optimizer, dict[Tensor, np.ndarray]] = weakref.WeakKeyDictionary()
"""The counts, by optimizer and parameter."""


def count_visits(optimizer: Any) -> Any:
    """From now on, counts for each row of each parameter the steps in which it had a gradient, for `Diagnosis.figure`.

    Costs a look at each gradient after each step, and 8 bytes a row.

    Args:
        optimizer: any that `diagnose` accepts.

    Returns:
        A handle; its remove() ends it.
    """
    optimizer = unwrapped(optimizer)[0]
    counts = VISITS.setdefault(optimizer, {})

    def count(optimizer, args, kwargs) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.numel() > 0:
                    rows = local(parameter).shape[0] if parameter.ndim else 1
                    visits = counts.setdefault(parameter, np.zeros(rows, np.int64))
                    visits[visited_rows(own_gradient(parameter))] += 1

    return optimizer.register_step_post_hook(count)


def visited_rows(gradient: Tensor) -> np.ndarray:
    """Which rows a gradient moves."""
    if gradient.is_sparse:
        return np.unique(gradient._indices()[0].cpu().numpy())
    rows = gradient.shape[0] if gradient.ndim else 1
    return (gradient.reshape(rows, -1) != 0).any(1).cpu().numpy()
