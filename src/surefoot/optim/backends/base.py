"""What an engine does for `RuleOptimizer`: the protocol, and what most engines have in common."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim.faults import Fault
from surefoot.optim.memory import Memory, Rows, own_gradient, rows_of
from surefoot.rules import Rule

Amp = tuple[Tensor, Tensor]
"""What torch's GradScaler hands over: gradients are divided by the first; if the second is not 0, there is no step."""


class Job(NamedTuple):
    """One parameter to be stepped: its group's settings, its memory, and its gradient."""

    step: Settings
    parameter: Tensor
    memory: Memory
    gradient: Tensor | Rows

    def check_schedule(self) -> None:
        """Raises RuleError where a schedule has no learning rate for the next step."""
        if callable(self.step.hyper["lr"]) and not self.memory.counts_on_device:
            self.step.lr(self.memory.count() + 1)


class Backend:
    """How one engine steps the parameters of one optimizer. `engines.registry` lists its subclasses.

    Args:
        name: the engine's.

    Attributes:
        differentiates: whether autograd can see its steps.
        catches_up: whether it lets rows without a gradient catch up when they are next touched.
        counts_on_device: whether it can count the steps where the parameters lie, without the host.
    """

    differentiates = False
    catches_up = True
    counts_on_device = False

    def __init__(self, name: str):
        self.name = name

    # What it can step

    @classmethod
    def is_for(cls, device: torch.device) -> bool:
        """Whether it is made for such devices."""
        return device.type == "cpu"

    @classmethod
    def obstacle(cls, rule: Rule, device: torch.device) -> str | None:
        """Why it cannot step parameters there, and what to do about it; None if it can."""
        return None if cls.is_for(device) else f"it is for parameters on CPUs, not on {device}"

    # Gradients

    def rows(self, memory: Memory, parameter: Tensor, gradient: Tensor) -> Rows:
        """The rows of a sparse gradient, as the engine takes them.

        Raises:
            ValueError: for places that the parameter does not have.
        """
        check_places(memory, gradient)
        return rows_of(gradient)

    # Steps

    def fusible(self, job: Job) -> tuple[type, Hashable] | None:
        """The subclass of `FusedGroup` that steps a parameter together with others, and what all of them must have in
        common; None where it is stepped alone."""
        return None

    def measure_group(self, jobs: list[Job]) -> None:
        """Called before parameters of a group whose statistics are over the group are stepped one by one.

        Raises:
            ValueError: the engine does not compute them.
        """
        raise ValueError(
            f"{jobs[0].memory.name}: the {self.name} engine does not compute statistics over a group, which "
            f"{jobs[0].step.rule.name} or what is done around it needs; expected parameters on a CPU and engine=None"
        )

    def step_single(self, job: Job, amp: Amp | None) -> list[Fault]:
        """Steps one parameter; returns the skipped updates that are to be reported."""
        raise NotImplementedError

    # Rows without a gradient

    def flush(self, parameter: Tensor, memory: Memory) -> None:
        """Lets the rows of a parameter catch up with all steps so far."""
        raise NotImplementedError

    def keep(self, memory: Memory) -> None:
        """Writes into the tensors of a state what only the engine has."""

    # Skipped updates that are known later than their step

    def report(self) -> None:
        """Called after each step: lets the counts of skipped updates come to the host."""

    def faults(self, wait: bool = False) -> list[Fault]:
        """Updates skipped since the last call: as far as known, or of all steps so far."""
        return []

    def forget(self, ids: set[int]) -> None:
        """Forgets all parameters but those with these ids."""

    # Graphs

    def is_capturing(self) -> bool:
        """Whether a graph is being captured, which will repeat the step."""
        return False

    def check_capture(self, memories: Iterable[Memory], new: bool) -> None:
        """Raises RuntimeError where the graph could not be replayed.

        Args:
            memories: of what is to be stepped.
            new: whether anything is stepped for the first time, has moved, or has gaps in memory.
        """


def amp_of(optimizer: Any) -> Amp | None:
    """What GradScaler has handed to the optimizer for this step."""
    found = getattr(optimizer, "found_inf", None)
    if found is None:
        return None
    scale = getattr(optimizer, "grad_scale", None)
    return torch.ones_like(found) if scale is None else scale, found


def checked_gradient(memory: Memory, parameter: Tensor) -> Tensor | Rows:
    """The parameter's gradient, of this process; raises ValueError where it does not fit the parameter or the rule."""
    gradient = own_gradient(parameter)
    check_gradient(memory, gradient)
    return gradient if gradient.layout is torch.strided else memory.backend.rows(memory, parameter, gradient)


def check_gradient(memory: Memory, gradient: Tensor) -> None:
    """Raises ValueError for a gradient that does not fit the parameter, the rule or the engine."""
    if gradient.layout is not torch.strided:
        check_sparse(memory, gradient)
    elif gradient.dtype is not memory.dtype or gradient.shape != memory.shape:
        raise ValueError(
            f"{memory.name}: the gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
            f"{memory.dtype} of shape {tuple(memory.shape)}"
        )


def check_sparse(memory: Memory, gradient: Tensor) -> None:
    """Raises ValueError for a sparse gradient that does not fit the parameter, the rule or the engine."""
    name, step, shape = memory.name, memory.step, memory.shape
    if gradient.layout is not torch.sparse_coo:
        raise ValueError(f"{name}: the gradient has the layout {gradient.layout}; expected a dense or a COO tensor")
    if gradient.shape != shape or gradient.dtype is not memory.dtype:
        raise ValueError(
            f"{name}: the sparse gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
            f"{memory.dtype} of shape {tuple(shape)}"
        )
    if gradient.sparse_dim() == 0:
        raise ValueError(f"{name}: the sparse gradient has no sparse dimension; expected at least one")
    step.name = name
    step.check_left_out()
    if step.catches_up and memory.counts_on_device:
        raise ValueError(
            f"{name}: lazy updates need the number of steps, which is counted on the device "
            "(capturable or fused); use lazy='touched' to skip rows without a gradient, or turn these two off"
        )
    if step.catches_up and not memory.backend.catches_up:
        raise ValueError(
            f"{name}: the {memory.backend.name} engine does not let rows without a gradient catch up; use "
            "lazy='touched' to skip such rows"
        )


def check_places(memory: Memory, gradient: Tensor, first: int = 0) -> None:
    """Raises ValueError where a sparse gradient names places that do not exist, in the dimensions from `first` on."""
    for dimension in range(first, gradient.sparse_dim() if gradient._nnz() else 0):
        places = gradient._indices()[dimension]
        low, high, size = int(places.min()), int(places.max()), memory.shape[dimension]
        if low < 0 or high >= size:
            what = "row" if dimension == 0 else f"in dimension {dimension} the place"
            raise ValueError(
                f"{memory.name}: the gradient names {what} {low if low < 0 else high}; expected 0 … {size - 1}"
            )
