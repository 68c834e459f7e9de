"""One step of an optimizer: what there is to do, once it is checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot.optim import gpu
from surefoot.optim.fused import FusedGroup, Job, step_single
from surefoot.optim.memory import Memory, Rows


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

    def prepare_capture(self, known: Callable[[Tensor], Memory | None]) -> list[Any]:
        """Raises RuntimeError where a CUDA graph could not replay this step; returns what the graph will use."""

        def replayable(job: Job) -> bool:
            return isinstance(job.gradient, Rows) and known(job.parameter) is job.memory

        new = any(fused.is_new for fused, _ in self.fused) or not all(map(replayable, self.single))
        gpu.check_capture(self.memories(), new)
        return [*(fused for fused, _ in self.fused), *self.memories(), *self.stepped()]

    def run(self, amp: Any, counters: Callable[[torch.device], gpu.FaultCounters]) -> list[str]:
        """Takes the step; returns messages for skipped updates, which are empty where they are only counted."""
        faults = []
        for fused, _ in self.fused:
            faults += fused.run(amp)
        for job in self.single:
            on_gpu = job.engine == "gpu"
            faults += gpu.step_single(job, counters(job.memory.device), amp) if on_gpu else step_single(job)
        return faults
