"""Parameters that are stepped together, by their addresses, for as long as nothing about them moves."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
from torch import Tensor

from surefoot.engines.cpu import count, read
from surefoot.optim.backends.base import Amp
from surefoot.optim.faults import Fault, fault
from surefoot.optim.memory import Memory, is_aligned, local, own_gradient


def addresses_of(tensors: list) -> list[int]:
    return list(map(Tensor.data_ptr, tensors))


class Alike:
    """Checks one by one that other tensors have the types, sizes and strides of these."""

    def __init__(self, *tensors: Tensor, **_):
        self.wanted = list(map(self.facts, tensors))

    @staticmethod
    def facts(tensor: Tensor) -> tuple:
        return type(tensor), tensor.dtype, tensor.shape, tensor.stride(), tensor.is_neg(), tensor.is_conj()

    def check(self, *tensors: Tensor) -> bool:
        return list(map(self.facts, tensors)) == self.wanted


def alike(tensors: list[Tensor]) -> Any:
    """Checks that other tensors are like these, in one call where this torch has TensorGuards, which is private."""
    try:
        from torch._C._dynamo.guards import TensorGuards
    except ImportError:
        TensorGuards = Alike
    sizes: Any = [list(tensor.shape) for tensor in tensors]
    strides: Any = [list(tensor.stride()) for tensor in tensors]
    try:
        return TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
    except TypeError:
        return Alike(*tensors)


class FusedGroup:
    """Dense parameters that are stepped in one call, for as long as nothing about them moves.

    They are of one group, or of several whose settings differ in the learning rate alone.

    A subclass says what takes the steps, given the addresses: `plan`, and `go` or `run`.

    Args:
        memories: those of the parameters.
        indices: where the parameters are among all of their groups.
        parameters: all of the groups.
    """

    def __init__(self, memories: list[Memory], indices: list[int], parameters: list[Tensor]):
        self.memories, self.indices = memories, indices
        self.steps = [memory.step for memory in memories]
        self.in_order = indices == list(range(len(indices)))
        first = memories[0]
        self.storage, self.counter = first.storage, first.counter
        parameters = self.members(parameters)
        own = list(map(local, parameters))
        self.distributed = own[0] is not parameters[0]
        self.tensors = [memory.tensors for memory in memories]
        keys = first.keys if first.counter is None else (*first.keys, "step")
        self.slots = {key: [tensors[key] for tensors in self.tensors] for key in keys}
        self.parts = list(map(local, itertools.chain(*self.slots.values())))
        self.places = addresses_of([*own, *self.parts])
        self.kept = self.parts[: len(memories) * len(first.keys)]
        self.counts = list(map(Tensor.numel, self.kept))
        columns = np.reshape(self.places, (-1, len(memories)))
        slots = columns[1 : 1 + len(first.keys)]
        self.addresses = np.column_stack([columns[0], np.zeros(len(memories), np.int64), *slots])
        self.counters = columns[-1]
        self.many = self.plan(parameters)
        self.is_new = True
        gradients = self.choose([own_gradient(p) if p.grad is not None else None for p in parameters], own)
        self.alike = alike([*own, *self.fixed(gradients)])
        self.take(gradients)

    def plan(self, parameters: list[Tensor]) -> Any:
        """What takes the steps, given the addresses."""
        raise NotImplementedError

    def fixed(self, gradients: list[Tensor]) -> list[Tensor]:
        """Those gradients whose types, sizes and strides are always the same."""
        return gradients

    def members(self, parameters: list[Tensor]) -> list[Tensor]:
        """Its own parameters among all of the groups."""
        are_all = self.in_order and len(parameters) == len(self.indices)
        return parameters if are_all else [parameters[k] for k in self.indices]

    def is_ready(self, parameters: list[Tensor]) -> bool:
        """Whether nothing has moved since the last step and there are gradients that fit; of all parameters."""
        parameters = self.members(parameters)
        try:
            for key, slots in self.slots.items():
                if not all(map(operator.is_, map(operator.itemgetter(key), self.tensors), slots)):
                    return False
            gradients: list[Any] = [parameter.grad for parameter in parameters]
            own = parameters
            if self.distributed:
                if not all(map(is_aligned, parameters)):
                    return False
                gradients, own = list(map(own_gradient, parameters)), list(map(local, parameters))
            gradients = self.choose(gradients, own)
            # Another type or size may lie at the same address.
            unmoved = addresses_of([*own, *self.parts]) == self.places
            unmoved = unmoved and list(map(Tensor.numel, self.kept)) == self.counts
            return unmoved and self.alike.check(*own, *self.fixed(gradients)) and self.take(gradients)
        except (AttributeError, KeyError, RuntimeError, TypeError):
            return False  # a gradient or a slot is missing, or is of another kind

    def choose(self, gradients: list, own: list[Tensor]) -> list:
        """Notes which parameters have gradients, and are stepped; the other parameters stand in for theirs."""
        missing = list(map(operator.is_, gradients, itertools.repeat(None)))
        if not any(missing):
            self.chosen = np.arange(len(gradients))
            return gradients
        self.chosen = np.flatnonzero(np.logical_not(missing))
        pairs = zip(gradients, own, strict=True)
        return [part.detach() if gradient is None else gradient for gradient, part in pairs]

    def take(self, gradients: list[Tensor]) -> bool:
        """Notes where the gradients lie; whether they are as they should be."""
        self.addresses[:, 1] = addresses_of(gradients)
        return True

    def stepped(self, parameters: list[Tensor]) -> list[Tensor]:
        """Those of all parameters that take the next step here."""
        own = self.members(parameters)
        return own if self.all_step() else [own[k] for k in self.chosen]

    def all_step(self) -> bool:
        return len(self.chosen) == len(self.memories)

    def check_schedule(self) -> None:
        """Raises RuleError where a schedule has no learning rate for the next step."""
        if not self.memories[0].counts_on_device and any(callable(step.hyper["lr"]) for step in set(self.steps)):
            for step, taken in {(self.steps[k], int(t)) for k, t in zip(self.chosen, self.counted(), strict=True)}:
                step.lr(taken + 1)

    def run(self, amp: Amp | None = None) -> list[Fault]:
        """One step; returns the skipped updates that are to be reported.

        GradScaler hands `amp` over only where a step can be skipped without the host; elsewhere it acts by itself.
        """
        self.is_new = False
        if not self.chosen.size:
            return []
        steps = self.next()
        skipped = self.go(steps)
        self.advance()
        if skipped is None:
            return []
        found = np.flatnonzero(skipped)
        parts = [fault(self.steps[k], self.memories[k], int(skipped[k]), f"at step {steps[k]:.0f}") for k in found]
        return list(itertools.chain(*parts))

    def go(self, steps: np.ndarray) -> np.ndarray | None:
        """Takes these steps; returns how many coordinates of each parameter were skipped, or None where none was."""
        return self.many.run(self.addresses, steps)

    def next(self) -> np.ndarray:
        """The number of each parameter's step; 0 where it takes none."""
        steps = np.zeros(len(self.memories), np.int64)
        steps[self.chosen] = self.counted() + 1
        return steps

    def counted(self) -> np.ndarray:
        """How many steps each of those that are stepped has taken."""
        if self.counter is not None:
            return read(self.counters[self.chosen], self.counter.reshape(1, 1))
        return np.array([self.memories[k].t for k in self.chosen])

    def advance(self) -> None:
        if self.counter is not None:
            count(self.counters[self.chosen], self.counter.reshape(1, 1))
        else:
            for k in self.chosen:
                self.memories[k].advance(self.memories[k].t + 1)
