"""One step of an optimizer: what there is to do, once it is checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot.optim.backends import Backends
from surefoot.optim.backends.base import Amp, Job
from surefoot.optim.backends.fused import FusedGroup
from surefoot.optim.group import plain
from surefoot.optim.memory import Memory, Rows, local, on_gpu


class Work(NamedTuple):
    """The parameters to be stepped.

    Attributes:
        fused: those that are stepped together, each with the parameters of its group.
        single: those that are stepped one by one.
    """

    fused: list[tuple[FusedGroup, list[Tensor]]]
    single: list[Job]

    def new(self) -> list[tuple[Tensor, Memory]]:
        """The parameters that may not be known yet."""
        found = [(job.parameter, job.memory) for job in self.single]
        for fused, parameters in self.fused:
            if fused.is_new:
                found += zip(fused.members(parameters), fused.memories, strict=True)
        return found

    def memories(self) -> list[Memory]:
        """Those of all parameters."""
        return [*itertools.chain(*(fused.memories for fused, _ in self.fused)), *(job.memory for job in self.single)]

    def stepped(self) -> list[Tensor]:
        """The parameters that are stepped."""
        found = [job.parameter for job in self.single]
        for fused, parameters in self.fused:
            found += fused.stepped(parameters)
        return found

    def check_schedules(self) -> None:
        """Raises RuleError where a schedule has no learning rate for the next step."""
        for fused, _ in self.fused:
            fused.check_schedule()
        for job in self.single:
            job.check_schedule()

    def prepare_capture(self, known: Callable[[Tensor], Memory | None], backends: Backends) -> list[Any]:
        """Raises RuntimeError where a graph is being captured that could not replay this step.

        Returns:
            What the graph will use, if there is one.
        """
        capturing = [backend for backend in backends if backend.is_capturing()]
        if not capturing:
            return []

        def replayable(job: Job) -> bool:
            return isinstance(job.gradient, Rows) and known(job.parameter) is job.memory

        new = any(fused.is_new for fused, _ in self.fused) or not all(map(replayable, self.single))
        memories = self.memories()
        for backend in capturing:
            backend.check_capture(memories, new)
        held = [memory.held for memory in memories]
        return [*capturing, *(fused for fused, _ in self.fused), *memories, *held, *self.stepped()]

    def of_groups(self) -> list[list[Job]]:
        """The parameters of each group of which statistics are needed that all of them have in common."""
        found: dict[int, list[Job]] = {}
        for job in self.single:
            if job.step.is_of_group:
                found.setdefault(id(job.step), []).append(job)
        return list(found.values())

    def run(self, amp: Amp | None) -> list[str]:
        """Takes the step; returns messages for skipped updates, which are empty where they are only counted."""
        faults = []
        for jobs in self.of_groups():
            jobs[0].memory.backend.measure_group(jobs)
        for fused, _ in self.fused:
            faults += fused.run(amp)
        for job in self.single:
            faults += job.memory.backend.step_single(job, amp)
        return faults


def moves_nothing(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all learning rates and all gradients are 0, and there are gradients.

    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> w.grad = torch.zeros(2)
    >>> moves_nothing([{"params": [w], "lr": 0.0}]), moves_nothing([{"params": [w], "lr": 0.1}])
    (True, False)
    """
    for group in groups:
        lr = group.get("lr", 1.0)  # a class of another library may have none
        if callable(lr) or isinstance(lr, str) or on_gpu(lr) or plain(lr) != 0.0:
            return False
    gradients = [local(p.grad) for group in groups for p in group["params"] if p.grad is not None]
    return bool(gradients) and all(g.layout is torch.strided and not g.count_nonzero() for g in gradients)
