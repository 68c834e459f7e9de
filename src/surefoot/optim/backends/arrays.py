"""Steps of parameters on CPUs by any engine that steps NumPy arrays: one parameter after the other, where it lies."""

from __future__ import annotations

import torch
from torch import Tensor

from surefoot.engines import NonFiniteError, State, driver, registry
from surefoot.engines.driver import Engine
from surefoot.engines.pending import Pending
from surefoot.optim.backends.base import Amp, Backend, Job, check_places
from surefoot.optim.faults import Fault, fault
from surefoot.optim.gradients import expect_sparse
from surefoot.optim.memory import Memory, Rows, array, counter, rows_of


class ArrayBackend(Backend):
    """The backend of an engine with `arrays` and nothing faster for tensors."""

    @property
    def engine(self) -> Engine:
        return registry.load(self.name, "arrays")

    def rows(self, memory: Memory, parameter: Tensor, gradient: Tensor) -> Rows:
        check_places(memory, gradient, first=1)
        rows = rows_of(gradient)
        grouped = driver.group(memory.step, self.engine, array(parameter), rows.ids.numpy(), array(rows.values))
        return rows._replace(grouped=grouped)

    def measure_group(self, jobs: list[Job]) -> None:
        parts = []
        for job in jobs:
            gradient, state = job.gradient, state_of(job.memory)
            state.t = job.memory.count()
            sparse = isinstance(gradient, Rows)
            taken = (gradient.ids.numpy(), array(gradient.values)) if sparse else array(gradient)
            parts.append((array(job.parameter), taken, state))
        driver.measure_group(jobs[0].step, parts)

    def step_single(self, job: Job, amp: Amp | None) -> list[Fault]:
        step, memory, gradient = job.step, job.memory, job.gradient
        t, state = memory.count() + 1, state_of(memory)
        state.t, before = memory.t, state.skipped
        step.name = memory.name
        try:
            if isinstance(gradient, Rows):
                expect_sparse(job.parameter)
                driver.grouped_rows(step, self.engine, array(job.parameter), gradient.grouped, state)
            else:
                engine = registry.imported(registry.MATRICES) if step.rule.whole else self.engine
                driver.dense(step, engine, array(job.parameter), array(gradient), state)
        except NonFiniteError:
            pass
        if state.pending is not None and "last" not in memory.tensors:
            self.keep(memory)
        memory.advance(t)
        skipped = state.skipped - before
        return fault(step, memory, skipped, f"at step {t}") if skipped else []

    def flush(self, parameter: Tensor, memory: Memory) -> None:
        state = state_of(memory)
        driver.flush(memory.step, self.engine, array(parameter), state)
        state.pending = None
        memory.forget_waiting()

    def keep(self, memory: Memory) -> None:
        state: State | None = memory.held
        if state is None or state.pending is None:
            return
        if "step" not in memory.tensors:
            memory.tensors["step"] = counter(float(memory.t))
        memory.tensors["last"] = torch.from_numpy(state.pending.last)
        memory.tensors["history"] = torch.from_numpy(state.pending.table(state.t))


def state_of(memory: Memory) -> State:
    """Views of the memory as engines take it, and the steps that rows have yet to catch up on."""
    if memory.held is None:
        slots = zip(memory.step.rule.slots, memory.keys, strict=True)
        state = memory.held = State({slot: array(memory.tensors[key]) for slot, key in slots}, memory.t)
        if "last" in memory.tensors:
            last, history = (memory.tensors[key].numpy() for key in ("last", "history"))
            state.pending = Pending(last, len(memory.step.rule.coefficient_names), history)
    return memory.held
