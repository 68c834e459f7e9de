"""One step of an optimizer: what there is to do, once it is checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from surefoot.optim.backends import Backends
from surefoot.optim.backends.base import Amp, Job
from surefoot.optim.backends.fused import FusedGroup
from surefoot.optim.faults import Fault
from surefoot.optim.memory import Memory, Rows


class Work(NamedTuple):
    """The parameters to be stepped.

    Attributes:
        fused: those that are stepped together, each with all parameters of their groups.
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

    def run(self, amp: Amp | None) -> list[Fault]:
        """Takes the step; returns the skipped updates that are to be reported."""
        faults = []
        for jobs in self.of_groups():
            jobs[0].memory.backend.measure_group(jobs)
        for fused, _ in self.fused:
            faults += fused.run(amp)
        for job in self.single:
            faults += job.memory.backend.step_single(job, amp)
        return faults
