"""One step of some parameters: dense ones together, by their addresses, the others one by one."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.engines import NonFiniteError, Step
from surefoot.engines.cpu import many
from surefoot.optim.gradients import merge_when_accumulated
from surefoot.optim.memory import Memory, Rows, array, real, rows_of


class Job(NamedTuple):
    """One parameter to be stepped: its group's settings, its memory, and its gradient."""

    step: Step
    memory: Memory
    gradient: Tensor | Rows
    engine: str


def checked_rows(memory: Memory, gradient: Tensor, engine: str) -> Rows:
    """The rows of a sparse gradient; raises ValueError where they do not fit the parameter or the rule."""
    name, step, shape = memory.name, memory.step, memory.place[-2]
    if gradient.layout is not torch.sparse_coo:
        raise ValueError(f"{name}: the gradient has the layout {gradient.layout}; expected a dense or a COO tensor")
    if gradient.shape != shape or gradient.dtype is not memory.dtype:
        raise ValueError(
            f"{name}: the sparse gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
            f"{memory.dtype} of shape {tuple(shape)}"
        )
    if step.lazy == "exact" and (reason := step.no_closed_form) is not None:
        raise ValueError(
            f"{name}: rows that a sparse gradient leaves out cannot catch up exactly: {reason}; "
            "ask for lazy='touched' to leave them alone"
        )
    if engine == "torch" and step.catches_up:
        raise ValueError(
            f"{name}: only the cpu engine lets rows that a sparse gradient leaves out catch up; "
            "ask for lazy='touched' to leave them alone"
        )
    rows = rows_of(gradient)
    if len(rows.ids):
        low, high = (int(bound) for bound in rows.ids.aminmax())
        if low < 0 or high >= shape[0]:
            wrong = low if low < 0 else high
            raise ValueError(f"{name}: the gradient names row {wrong}; expected 0 … {shape[0] - 1}")
    return rows


def can_join(job: Job) -> bool:
    """Whether a parameter is stepped by its addresses, together with others."""
    step, memory, gradient = job.step, job.memory, job.gradient
    return (
        job.engine == "cpu"
        and memory.packed
        and step.granularity == "coordinate"
        and isinstance(gradient, Tensor)
        and gradient.stride() == memory.strides
        and not gradient.is_neg()
        and not gradient.is_conj()
        and "last" not in memory.tensors
    )


def run_together(jobs: list[Job]) -> list[str]:
    """Steps parameters of one group, kind and age at once; returns what is wrong with gradients."""
    step, first = jobs[0].step, jobs[0].memory
    t = first.t + 1
    addresses = [
        (job.memory.place[0], job.gradient.data_ptr(), *job.memory.place[1:-2])  # pyright: ignore
        for job in jobs
    ]
    sizes = np.array([job.memory.size for job in jobs])
    skipped = many(step, first.storage, np.array(addresses), sizes, t)
    for job in jobs:
        job.memory.advance(t)
    return [fault(jobs[k], int(skipped[k])) for k in skipped.nonzero()[0]]


def alone(job: Job) -> list[str]:
    """Steps one parameter; returns what is wrong with its gradient."""
    step, memory, gradient = job.step, job.memory, job.gradient
    t = memory.t + 1
    if job.engine == "torch":
        x, slots = real(memory.parameter), [real(memory.tensors[key]) for key in memory.keys]
        if isinstance(gradient, Rows):
            rows = Rows(gradient.ids, real(gradient.values))
            skipped = torch_engine().rows(step, x, *rows, slots, t)
        else:
            skipped = torch_engine().dense(step, x, real(gradient), slots, t)
    else:
        state = memory.state
        state.t, before = memory.t, state.skipped
        step.name = memory.name
        try:
            if isinstance(gradient, Rows):
                merge_when_accumulated(memory.parameter)
                step.rows(memory.x, gradient.ids.numpy(), array(gradient.values), state)
                if state.last is not None and "last" not in memory.tensors:
                    memory.keep()
            else:
                step.dense(memory.x, array(gradient), state)
        except NonFiniteError:
            pass
        skipped = state.skipped - before
    memory.advance(t)
    return [fault(job, skipped)]


def torch_engine():
    return importlib.import_module("surefoot.engines.torch")


def fault(job: Job, skipped: int) -> str:
    """What is to be said of coordinates that were left as they were."""
    memory = job.memory
    memory.skipped += skipped
    if not skipped or job.step.nonfinite != "raise":
        return ""
    return (
        f"{memory.name}: {skipped:,} of {memory.size:,} coordinates had a gradient, square or step that is not finite "
        f"at step {memory.t}; they were left as they were, all others were stepped (nonfinite='skip' only counts them)"
    )
