"""What an optimizer knows of its parameters from step to step, for as long as they exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from surefoot.engines import Step
from surefoot.optim import gpu
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.fused import FusedGroup, FusedSparseGroup, Job, can_fuse
from surefoot.optim.memory import Memory, Rows, check_parameter


class Members:
    """The parameters of one group that are stepped together.

    Attributes:
        ids: those of all parameters of the group.
        fused: the parameters that are stepped in one call, by kind.
    """

    def __init__(self, ids: list[int]):
        self.ids = ids
        self.fused: dict[tuple, FusedGroup] = {}

    def others(self, parameters: list[Tensor], step: Step) -> list[int]:
        """Where the group has parameters that are to be stepped, and not yet with others; all, if anything moved."""
        count = 0
        for fused in self.fused.values():
            if fused.step is not step or not fused.is_ready(parameters):
                self.fused, count = {}, 0
                break
            count += len(fused.memories)
        if count == len(parameters):
            return []
        known = {index for fused in self.fused.values() for index in fused.indices}
        return [k for k, parameter in enumerate(parameters) if k not in known and parameter.grad is not None]

    def fuse(
        self,
        step: Step,
        parameters: list[Tensor],
        jobs: list[tuple[int, Job]],
        counters: Callable[[torch.device], gpu.FaultCounters],
    ) -> list[Job]:
        """Takes in those that can be stepped together; returns the others.

        Args:
            step: the settings of the group.
            parameters: all of the group.
            jobs: each with its index in the group.
            counters: those of a GPU.
        """
        joining: dict[tuple, list[tuple[int, Memory]]] = defaultdict(list)
        single = []
        for index, job in jobs:
            if gpu.can_fuse(job) if job.engine == "gpu" else can_fuse(job):
                joining[job.engine, isinstance(job.gradient, Rows), job.memory.kind].append((index, job.memory))
            else:
                single.append(job)
        for kind, found in joining.items():
            if kind in self.fused:
                found = [*zip(self.fused[kind].indices, self.fused[kind].memories, strict=True), *found]
            indices, memories = [index for index, _ in found], [memory for _, memory in found]
            engine, by_rows, _ = kind
            if engine == "gpu":
                faults = counters(memories[0].device)
                fused = gpu.FusedGroupOnGPU(step, memories, indices, parameters, faults)
            else:
                fused = (FusedSparseGroup if by_rows else FusedGroup)(step, memories, indices, parameters)
            self.fused[kind] = fused
        return single


class Known:
    """Where parameters and their states lie, as last seen. Nothing here keeps a parameter alive.

    Attributes:
        memories: by the id of the parameter.
        fused: what is stepped together, of each group.
        states: the states of all parameters, as last seen.
    """

    def __init__(self):
        self.memories: dict[int, Memory] = {}
        self.fused: dict[int, Members] = {}
        self.states: list[dict] = []

    def get(self, parameter: Tensor) -> Memory | None:
        return self.memories.get(id(parameter))

    def keep(self, ids: set[int]) -> None:
        """Keeps what is known of the parameters with these ids."""
        self.memories = {key: memory for key, memory in self.memories.items() if key in ids}

    def members(self, number: int, parameters: list[Tensor]) -> tuple[Members, bool]:
        """Those of a group, and whether others took their place since the last step."""
        ids, members = list(map(id, parameters)), self.fused.get(number)
        replaced = members is not None and members.ids != ids
        if members is None or replaced:
            members = self.fused[number] = Members(ids)
        return members, replaced

    def memory(
        self,
        name: str,
        parameter: Tensor,
        step: Step,
        tensors: dict[str, Any],
        state_format: StateFormat,
        engine: str,
        counts_on_device: bool,
    ) -> Memory:
        """What is known of a parameter; looked up again where it or its state has moved.

        Args:
            name: what errors call the parameter.
            parameter: the parameter.
            step: the settings of its group.
            tensors: its state, by the keys of state_format.
            state_format: how its optimizer names the state.
            engine: what steps it.
            counts_on_device: steps are counted where the parameter lies.
        """
        memory = self.get(parameter)
        if memory is not None and memory.holds(tensors) and memory.counts_on_device == counts_on_device:
            flush_before(parameter, memory, step, engine)
            if memory.step.layout == step.layout and memory.is_unmoved(parameter):
                if memory.step is not step:
                    check_parameter(name, parameter, step)
                memory.step = step
                return memory
            memory.keep()
            tensors = memory.tensors
        check_parameter(name, parameter, step)
        t = min(len(tensors), 1)
        fitted = state_format.fitted(name, parameter, step, tensors) if tensors else state_format.fresh(parameter, step)
        gpu.place_counter(fitted, parameter, counts_on_device)
        return Memory(name, parameter, step, fitted, state_format.keys_of(step), t, counts_on_device)

    def add(self, parameter: Tensor, memory: Memory) -> None:
        self.memories[id(parameter)] = memory

    def pop(self, parameter: Tensor) -> None:
        self.memories.pop(id(parameter), None)


def flush(parameter: Tensor, memory: Memory, on_gpu: bool) -> None:
    """Lets the rows of a parameter catch up with all steps so far."""
    gpu.flush(parameter, memory) if on_gpu else memory.flush(parameter)


def flush_before(parameter: Tensor, memory: Memory, step: Step, engine: str) -> None:
    """Lets rows catch up before a step with which, or by an engine for which, they need no longer wait."""
    if "last" not in memory.tensors:
        return
    waits = step.catches_up and engine != "torch"
    if waits and (step is memory.step or step.rule is memory.step.rule):
        return
    if step.granularity != memory.step.granularity:
        return  # which is rejected, with nothing changed
    flush(parameter, memory, memory.device.type != "cpu")
