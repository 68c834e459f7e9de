"""What an optimizer knows of its parameters from step to step, for as long as they exist."""

from __future__ import annotations

import itertools
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim.backends.base import Backend, Job
from surefoot.optim.backends.fused import FusedGroup
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.group import Steps
from surefoot.optim.memory import Memory, check_parameter, place_counter


class Members:
    """The parameters that can be stepped together: of one group, or of several that differ in the learning rate alone.

    Attributes:
        ids: those of all parameters, for each group.
        steps: the settings of each group.
        fused: the parameters that are stepped in one call, by kind.
    """

    def __init__(self, ids: list[list[int]]):
        self.ids = ids
        self.steps: list[Settings] = []
        self.fused: dict[tuple, FusedGroup] = {}

    def others(self, parameters: list[Tensor], steps: list[Settings]) -> list[int]:
        """Which of all parameters are to be stepped, and not yet with others; all of these, if anything moved."""
        if not are_same(steps, self.steps):
            self.steps, self.fused = steps, {}
        count = 0
        for fused in self.fused.values():
            if not fused.is_ready(parameters):
                self.fused, count = {}, 0
                break
            count += len(fused.memories)
        if count == len(parameters):
            return []
        known = {index for fused in self.fused.values() for index in fused.indices}
        return [k for k, parameter in enumerate(parameters) if k not in known and parameter.grad is not None]

    def fuse(self, parameters: list[Tensor], jobs: list[tuple[int, Job]]) -> list[Job]:
        """Takes in those that can be stepped together; returns the others.

        Args:
            parameters: all of the groups.
            jobs: each with its index among these.
        """
        joining: dict[tuple, list[tuple[int, Memory]]] = defaultdict(list)
        single = []
        for index, job in jobs:
            kind = job.memory.backend.fusible(job)
            if kind is None:
                single.append(job)
            else:
                joining[kind].append((index, job.memory))
        for kind, found in joining.items():
            if kind in self.fused:
                found = [*zip(self.fused[kind].indices, self.fused[kind].memories, strict=True), *found]
            indices, memories = [index for index, _ in found], [memory for _, memory in found]
            self.fused[kind] = kind[0](memories, indices, parameters)
        return single


class Known:
    """Where parameters and their states lie, as last seen. Nothing here keeps a parameter alive.

    Attributes:
        memories: by the id of the parameter.
        fused: what is stepped together, by the number of the first group.
        states: the states of all parameters, as last seen.
    """

    def __init__(self):
        self.memories: dict[int, Memory] = {}
        self.fused: dict[int, Members] = {}
        self.states: list[dict] = []
        self._steps: list[Settings] = []
        self._alike: list[list[int]] = []

    def get(self, parameter: Tensor) -> Memory | None:
        return self.memories.get(id(parameter))

    def has_seen(self, states: Iterable[dict]) -> bool:
        """Whether these are the same objects as the states last seen.

        >>> Known().has_seen([]), Known().has_seen([{}])
        (True, False)
        """
        return are_same(list(states), self.states)

    def together(
        self, groups: list[dict[str, Any]], steps: list[Settings], known: Steps
    ) -> Iterator[tuple[list[int], list[Tensor]]]:
        """The numbers of groups that can be stepped together, and all their parameters, if any has a gradient.

        Args:
            groups: all of the optimizer.
            steps: the settings of each.
            known: which has these.
        """
        if not are_same(steps, self._steps):
            found: list[list[int]] = []
            for number in range(len(steps)):
                fits = next((some for some in found if known.differ_in_rate(some[0], number)), None)
                found.append([number]) if fits is None else fits.append(number)
            if found != self._alike:
                self.fused.clear()
            self._steps, self._alike = steps, found
        for numbers in self._alike:
            first, *others = (groups[number]["params"] for number in numbers)
            parameters = list(itertools.chain(first, *others)) if others else first
            if not all(parameter.grad is None for parameter in parameters):
                yield numbers, parameters

    def keep(self, ids: set[int]) -> None:
        """Keeps what is known of the parameters with these ids."""
        self.memories = {key: memory for key, memory in self.memories.items() if key in ids}

    def members(self, groups: list[dict[str, Any]], numbers: list[int]) -> tuple[Members, bool]:
        """Those of these groups, and whether others took their place, or changed the group, since the last step."""
        ids, members = [list(map(id, groups[number]["params"])) for number in numbers], self.fused.get(numbers[0])
        replaced = members is not None and members.ids != ids
        if members is None or replaced:
            members = self.fused[numbers[0]] = Members(ids)
        return members, replaced

    def memory(
        self,
        name: str,
        parameter: Tensor,
        step: Settings,
        tensors: dict[str, Any],
        state_format: StateFormat,
        backend: Backend,
        counts_on_device: bool,
    ) -> Memory:
        """What is known of a parameter; looked up again where it or its state has moved.

        Args:
            name: what errors call the parameter.
            parameter: the parameter.
            step: the settings of its group.
            tensors: its state, by the keys of state_format.
            state_format: how its optimizer names the state.
            backend: what steps it.
            counts_on_device: steps are counted where the parameter lies.
        """
        memory = self.get(parameter)
        if memory is not None and memory.holds(tensors):
            flush_before(parameter, memory, step, backend)
            same = memory.backend is backend and memory.counts_on_device == counts_on_device
            if same and memory.step.layout == step.layout and memory.is_unmoved(parameter):
                if memory.step is not step:
                    check_parameter(name, parameter, step)
                memory.name, memory.step = name, step
                return memory
            memory.backend.keep(memory)
            tensors = memory.tensors
        check_parameter(name, parameter, step)
        t = min(len(tensors), 1)
        fitted = state_format.fitted(name, parameter, step, tensors) if tensors else state_format.fresh(parameter, step)
        place_counter(fitted, parameter, counts_on_device)
        memory = Memory(name, parameter, step, fitted, state_format.keys_of(step), backend, t, counts_on_device)
        flush_before(parameter, memory, step, backend)
        return memory

    def add(self, parameter: Tensor, memory: Memory) -> None:
        self.memories[id(parameter)] = memory

    def pop(self, parameter: Tensor) -> None:
        self.memories.pop(id(parameter), None)


def are_same(some: list, others: list) -> bool:
    """Whether two lists have the same objects, in the same order.

    >>> are_same([], []), are_same([{}], [{}])
    (True, False)
    """
    return len(some) == len(others) and all(map(operator.is_, some, others))


def flush_before(parameter: Tensor, memory: Memory, step: Settings, backend: Backend) -> None:
    """Lets rows catch up before a step with which, or by a backend for which, they need no longer wait."""
    if "last" not in memory.tensors:
        return
    waits = step.catches_up and backend.catches_up
    if waits and (step is memory.step or step.rule is memory.step.rule):
        return
    if step.granularity != memory.step.granularity:
        return  # which is rejected, with nothing changed
    memory.backend.flush(parameter, memory)
