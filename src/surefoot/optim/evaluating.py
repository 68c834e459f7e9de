"""Rules whose parameter is not what it is to be evaluated at: schedule-free ones, which return an average."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch

from surefoot.optim.memory import local

MODE = "train_mode"
"""The key of groups that says where their parameters are: True or missing, where gradients are taken; as the groups of
the package schedulefree have it."""


@torch.no_grad()
def move(optimizer: Any, to_average: bool) -> None:
    """Moves the parameters to where they are evaluated, or back; those that are there already stay."""
    if all(rule.evaluation is None for rule in optimizer._rules):
        return  # trainers call this in each step, which must not let all rows of a table catch up
    groups = [group for group in optimizer.param_groups if group.get(MODE, True) is to_average]
    moved = {id(parameter): group for group in groups for parameter in group["params"]}
    if not moved:
        return
    optimizer.flush()
    optimizer._keep()
    for parameter, _, step in optimizer.memories():
        rule, state = step.rule, optimizer.state.get(parameter)
        if rule.evaluation is None or id(parameter) not in moved or not state:
            continue
        known = step.hyper | state
        way = rule.evaluation(**{name: known[name] for name in inspect.signature(rule.evaluation).parameters})
        local(parameter).add_(local(way).to(parameter.dtype), alpha=1 if to_average else -1)
        moved[id(parameter)][MODE] = not to_average


@contextlib.contextmanager
def in_training(optimizer: Any) -> Iterator[None]:
    """Moves parameters that are at their averages to where gradients are taken, and back afterwards."""
    evaluated = any(group.get(MODE) is False for group in optimizer.param_groups)
    if evaluated:
        optimizer.train()
    try:
        yield
    finally:
        if evaluated:
            optimizer.eval()


def check_mode(optimizer: Any) -> None:
    """Raises RuntimeError where parameters are at their averages."""
    if any(group.get(MODE) is False for group in optimizer.param_groups):
        raise RuntimeError(
            f"{type(optimizer).__name__}: the parameters are where they are to be evaluated, as after eval(); call "
            "train() before gradients are computed"
        )
