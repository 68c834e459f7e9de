"""Steps by torch's own operations: on any device, and such that autograd can differentiate them."""

from __future__ import annotations

import torch
from torch import Tensor

from surefoot.engines import registry
from surefoot.engines.namespaces import torch as eager
from surefoot.optim.backends.arrays import ArrayBackend
from surefoot.optim.backends.base import Amp, Job
from surefoot.optim.backends.counters import CountingBackend
from surefoot.optim.faults import Fault, fault
from surefoot.optim.memory import Memory, Rows, real


class EagerBackend(CountingBackend):
    """One parameter after the other; of another device than the CPU nothing is read."""

    differentiates = True
    catches_up = False

    @classmethod
    def is_for(cls, device: torch.device) -> bool:
        return True

    def step_single(self, job: Job, amp: Amp | None) -> list[Fault]:
        step, memory, gradient = job.step, job.memory, job.gradient
        t = memory.count() + 1
        x, slots = real(job.parameter), [real(memory.tensors[key]) for key in memory.keys]
        if isinstance(gradient, Rows):
            skipped = eager.rows(step, x, gradient.ids, real(gradient.values), slots, t)
        else:
            skipped = eager.dense(step, x, real(gradient), slots, t)
        memory.advance(t)
        if isinstance(skipped, Tensor):
            counters = self.counters_on(memory.device, [job.parameter])
            counters.counts[0, counters.column(job.parameter, memory)] += skipped
            return []
        return fault(step, memory, skipped, f"at step {t}") if skipped else []

    def flush(self, parameter: Tensor, memory: Memory) -> None:
        """On the host: rows wait here only where another engine has left them so."""
        x, tensors = (
            parameter.detach().cpu(),
            {key: t.cpu() for key, t in memory.tensors.items() if isinstance(t, Tensor)},
        )
        arrays = ArrayBackend(registry.DEFAULT)
        arrays.flush(x, Memory(memory.name, x, memory.step, tensors, memory.keys, arrays, memory.count()))
        memory.forget_waiting()
        parameter.copy_(x)
        for key in memory.keys:
            memory.tensors[key].copy_(tensors[key])
