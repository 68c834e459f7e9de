"""One step of some parameters: fused, by their addresses, or one by one."""

from __future__ import annotations

import importlib
import itertools
import operator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.engines import NonFiniteError, Step
from surefoot.engines.cpu import MultiTable, MultiTensor, Sorted, count, read
from surefoot.optim.gradients import expect_sparse
from surefoot.optim.memory import Memory, Rows, array, is_aligned, local, own_gradient, real, rows_of


class Job(NamedTuple):
    """One parameter to be stepped: its group's settings, its memory, and its gradient."""

    step: Step
    parameter: Tensor
    memory: Memory
    gradient: Tensor | Rows
    engine: str

    def check_schedule(self) -> None:
        """Raises RuleError where a schedule has no learning rate for the next step."""
        if callable(self.step.hyper["lr"]) and not self.memory.counts_on_device:
            self.step.lr(self.memory.count() + 1)


def checked_gradient(memory: Memory, parameter: Tensor, engine: str) -> Tensor | Rows:
    """The parameter's gradient, of this process; raises ValueError where it does not fit the parameter or the rule."""
    gradient = own_gradient(parameter)
    if gradient.layout is not torch.strided:
        return checked_rows(memory, parameter, gradient, engine)
    if gradient.dtype is not memory.dtype or gradient.shape != memory.shape:
        raise ValueError(
            f"{memory.name}: the gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
            f"{memory.dtype} of shape {tuple(memory.shape)}"
        )
    return gradient


def checked_rows(memory: Memory, parameter: Tensor, gradient: Tensor, engine: str) -> Rows:
    """The rows of a sparse gradient; raises ValueError where they do not fit the parameter or the rule."""
    name, step, shape = memory.name, memory.step, memory.shape
    if gradient.layout is not torch.sparse_coo:
        raise ValueError(f"{name}: the gradient has the layout {gradient.layout}; expected a dense or a COO tensor")
    if gradient.shape != shape or gradient.dtype is not memory.dtype:
        raise ValueError(
            f"{name}: the sparse gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
            f"{memory.dtype} of shape {tuple(shape)}"
        )
    if gradient.sparse_dim() == 0:
        raise ValueError(f"{name}: the sparse gradient has no sparse dimension; expected at least one")
    step.name = name
    step.check_left_out()
    if step.catches_up and memory.counts_on_device:
        raise ValueError(
            f"{name}: lazy updates need the number of steps, which is counted on the device "
            "(capturable or fused); use lazy='touched' to skip rows without a gradient, or turn these two off"
        )
    if engine == "torch" and step.catches_up:
        raise ValueError(
            f"{name}: only the engines cpu and gpu let rows without a gradient catch up; use lazy='touched' to "
            "skip such rows"
        )
    if engine == "gpu" and gradient.sparse_dim() == 1:
        return rows_of(gradient)  # which checks the rows itself: to ask here would be to wait for the GPU
    groups = engine in ("cpu", "reference")
    for dimension in range(1 if groups else 0, gradient.sparse_dim() if gradient._nnz() else 0):
        places = gradient._indices()[dimension]
        low, high = int(places.min()), int(places.max())
        if low < 0 or high >= shape[dimension]:
            what = "row" if dimension == 0 else f"in dimension {dimension} the place"
            raise ValueError(
                f"{name}: the gradient names {what} {low if low < 0 else high}; expected 0 … {shape[dimension] - 1}"
            )
    rows = rows_of(gradient)
    return rows._replace(grouped=step.group(array(parameter), rows.ids.numpy(), array(rows.values))) if groups else rows


def can_fuse(job: Job) -> bool:
    """Whether a parameter is stepped by its addresses, together with others."""
    step, memory, gradient = job.step, job.memory, job.gradient
    if job.engine != "cpu" or "last" in memory.tensors or not is_aligned(job.parameter):
        return False
    if isinstance(gradient, Rows):
        alike = memory.tabular and step.granularity != "tensor" and not step.catches_up
        named = own_gradient(job.parameter)
        return alike and is_plain(named._indices(), named._values())
    alike = memory.packed and step.granularity == "coordinate" and gradient.stride() == memory.strides
    return alike and not gradient.is_neg() and not gradient.is_conj()


def is_plain(ids: Tensor, values: Tensor) -> bool:
    """Whether the rows of a sparse gradient can be found by the addresses of its ids and values."""
    lie_close = ids.shape[0] == 1 and ids.is_contiguous() and values.is_contiguous()
    return lie_close and not values.is_neg() and not values.is_conj()


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
    """Dense parameters of one group that are stepped in one call, for as long as nothing about them moves.

    Args:
        step: the settings of the group.
        memories: those of the parameters.
        indices: where the parameters are in their group.
        parameters: all of the group.
    """

    def __init__(self, step: Step, memories: list[Memory], indices: list[int], parameters: list[Tensor]):
        self.step, self.memories, self.indices = step, memories, indices
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
        return MultiTensor(self.step, self.storage, np.array([memory.size for memory in self.memories]))

    def fixed(self, gradients: list[Tensor]) -> list[Tensor]:
        """Those gradients whose types, sizes and strides are always the same."""
        return gradients

    def members(self, parameters: list[Tensor]) -> list[Tensor]:
        """Its own parameters among all of the group."""
        return [parameters[k] for k in self.indices]

    def is_ready(self, parameters: list[Tensor]) -> bool:
        """Whether nothing has moved since the last step and there are gradients that fit; of the group's parameters."""
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
        """Those of the group's parameters that take the next step."""
        own = self.members(parameters)
        return own if self.all_step() else [own[k] for k in self.chosen]

    def all_step(self) -> bool:
        return len(self.chosen) == len(self.memories)

    def check_schedule(self) -> None:
        """Raises RuleError where a schedule has no learning rate for the next step."""
        if callable(self.step.hyper["lr"]) and not self.memories[0].counts_on_device:
            for taken in np.unique(self.counted()):
                self.step.lr(int(taken) + 1)

    def run(self, amp: Any = None) -> list[str]:
        """One step; returns what is wrong with gradients. `amp` is for GPUs: on CPUs GradScaler itself acts on it."""
        self.is_new = False
        if not self.chosen.size:
            return []
        steps = np.zeros(len(self.memories), np.int64)
        steps[self.chosen] = self.counted() + 1
        skipped = self.go(steps)
        self.advance()
        if skipped is None:
            return []
        return [fault(self.step, self.memories[k], int(skipped[k]), int(steps[k])) for k in np.flatnonzero(skipped)]

    def go(self, steps: np.ndarray) -> np.ndarray | None:
        """Takes these steps; returns how many coordinates of each parameter were skipped, or None where none was."""
        return self.many.run(self.addresses, steps)

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
                self.memories[k].t += 1


class FusedSparseGroup(FusedGroup):
    """The same for sparse gradients, which may be of other sizes in each step."""

    sorted: Sorted | None = None

    def plan(self, parameters: list[Tensor]) -> MultiTable:
        for parameter in parameters:
            expect_sparse(parameter)
        own = map(local, parameters)
        shapes = [(len(part), memory.size // len(part)) for part, memory in zip(own, self.memories, strict=True)]
        return MultiTable(self.step, self.storage, np.array(shapes))

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

    def run(self, amp: Any = None) -> list[str]:
        try:
            return super().run(amp)
        finally:
            self.sorted = None

    def go(self, steps: np.ndarray) -> np.ndarray | None:
        return self.many.run(self.addresses, self.sorted, steps)


def step_single(job: Job) -> list[str]:
    """Steps one parameter; returns what is wrong with its gradient."""
    step, memory, gradient = job.step, job.memory, job.gradient
    t = memory.count() + 1
    if job.engine == "torch":
        x, slots = real(job.parameter), [real(memory.tensors[key]) for key in memory.keys]
        if isinstance(gradient, Rows):
            skipped = torch_engine().rows(step, x, gradient.ids, real(gradient.values), slots, t)
        else:
            skipped = torch_engine().dense(step, x, real(gradient), slots, t)
    else:
        state = memory.state
        state.t, before = memory.t, state.skipped
        step.name = memory.name
        try:
            if isinstance(gradient, Rows):
                expect_sparse(job.parameter)
                step.grouped_rows(array(job.parameter), gradient.grouped, state)
            else:
                step.dense(array(job.parameter), array(gradient), state)
        except NonFiniteError:
            pass
        if state.last is not None and "last" not in memory.tensors:
            memory.keep()
        skipped = state.skipped - before
    memory.advance(t)
    return [fault(step, memory, skipped, t)] if skipped else []


def torch_engine():
    return importlib.import_module("surefoot.engines.namespaces.torch")


def fault(step: Step, memory: Memory, skipped: int, t: int) -> str:
    """The message for skipped coordinates; empty where they are only counted."""
    memory.skipped += skipped
    if step.nonfinite != "raise":
        return ""
    return (
        f"{memory.name}: {skipped:,} of {memory.size:,} coordinates had a gradient, square or step that is not finite "
        f"at step {t}; these coordinates were skipped; the rest were updated (nonfinite='skip' only counts them)"
    )
