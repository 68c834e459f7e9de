"""Steps of parameters on CPUs by compiled kernels, which find many of them by their addresses in one call."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from torch import Tensor

from surefoot.engines import driver
from surefoot.engines.cpu import MultiTable, MultiTensor, Sorted
from surefoot.engines.pending import Pending
from surefoot.optim.backends.arrays import ArrayBackend, state_of
from surefoot.optim.backends.base import Amp, Job
from surefoot.optim.backends.fused import FusedGroup, addresses_of
from surefoot.optim.faults import Fault
from surefoot.optim.gradients import expect_sparse
from surefoot.optim.memory import Rows, is_aligned, local, own_gradient


class CPUBackend(ArrayBackend):
    """Parameters that do not fit into a call of many are stepped as arrays."""

    def fusible(self, job: Job) -> tuple[type, Hashable] | None:
        step, memory, gradient = job.step, job.memory, job.gradient
        if step.rule.whole or not step.is_local or not is_aligned(job.parameter):
            return None
        if isinstance(gradient, Rows):
            named = own_gradient(job.parameter)
            alike = memory.tabular and step.granularity != "tensor" and is_plain(named._indices(), named._values())
            return (WaitingTables if step.catches_up else FusedTables, memory.kind) if alike else None
        if "last" in memory.tensors:
            return None
        alike = memory.packed and step.granularity == "coordinate" and gradient.stride() == memory.strides
        return (FusedTensors, memory.kind) if alike and not gradient.is_neg() and not gradient.is_conj() else None


def is_plain(ids: Tensor, values: Tensor) -> bool:
    """Whether the rows of a sparse gradient can be found by the addresses of its ids and values."""
    lie_close = ids.shape[0] == 1 and ids.is_contiguous() and values.is_contiguous()
    return lie_close and not values.is_neg() and not values.is_conj()


class FusedTensors(FusedGroup):
    """Parameters with dense gradients."""

    def plan(self, parameters: list[Tensor]) -> MultiTensor:
        return MultiTensor(self.steps, self.storage, np.array([memory.size for memory in self.memories]))


class FusedTables(FusedGroup):
    """Parameters with sparse gradients, which may be of other sizes in each step."""

    sorted: Sorted | None = None

    def plan(self, parameters: list[Tensor]) -> MultiTable:
        for parameter in parameters:
            expect_sparse(parameter)
        own = map(local, parameters)
        shapes = [(len(part), memory.size // len(part)) for part, memory in zip(own, self.memories, strict=True)]
        return MultiTable(self.steps, self.storage, np.array(shapes))

    def fixed(self, gradients: list[Tensor]) -> list[Tensor]:
        return []

    def take(self, gradients: list[Tensor]) -> bool:
        """Notes where the gradients lie, and sorts their ids; False also where they name rows that are not there."""
        gradients = [gradients[k] for k in self.chosen]
        ids, values = list(map(Tensor._indices, gradients)), list(map(Tensor._values, gradients))
        for k, gradient in zip(self.chosen, gradients, strict=True):
            if gradient.shape != self.memories[k].shape or gradient.dtype is not self.memories[k].dtype:
                return False
        if not all(map(is_plain, ids, values)):
            return False
        self.addresses[self.chosen, 1] = addresses_of(values)
        places = np.zeros((2, len(self.memories)), np.int64)
        places[:, self.chosen] = addresses_of(ids), [part.shape[1] for part in ids]
        self.sorted = self.many.sort(*places)
        return self.sorted is not None

    def run(self, amp: Amp | None = None) -> list[Fault]:
        try:
            return super().run(amp)
        finally:
            self.sorted = None

    def go(self, steps: np.ndarray) -> np.ndarray | None:
        return self.many.run(self.addresses, self.sorted, steps)


class WaitingTables(FusedTables):
    """The same where rows that a gradient does not name catch up when they are next touched."""

    waiting: np.ndarray

    def plan(self, parameters: list[Tensor]) -> MultiTable:
        self.waiting = np.zeros((len(self.memories), 4), np.int64)
        self.seen: list[tuple[Pending | None, int]] = [(None, 0)] * len(self.memories)
        return super().plan(parameters)

    def go(self, steps: np.ndarray) -> np.ndarray | None:
        acting = {
            (step, t): (step.coefficients(t, {}), step.shrinkage(t))
            for step, t in {(self.steps[k], int(steps[k])) for k in self.chosen}
        }
        states = [(k, self.memories[k], state_of(self.memories[k]), int(steps[k])) for k in self.chosen]
        for k, memory, state, t in states:
            step, state.t = self.steps[k], t - 1
            pending = driver.note(step, state, memory.shape[0], t, *acting[step, t])
            if self.seen[k] != (pending, pending.changes):
                self.waiting[k], self.seen[k] = self.places_of(pending), (pending, pending.changes)
        skipped = self.many.run(self.addresses, self.sorted, steps, self.waiting)
        for k, memory, state, t in states:
            driver.note_taken(self.steps[k], state, *acting[self.steps[k], t])
            state.t = t
            if "last" not in memory.tensors:
                memory.backend.keep(memory)
        return skipped

    def places_of(self, pending: Pending) -> tuple[int, int, int, int]:
        starts, table = pending.arrays("int64"), pending.arrays(self.many.kind.dtype)
        return pending.last.ctypes.data, starts.ctypes.data, table.ctypes.data, len(table)
