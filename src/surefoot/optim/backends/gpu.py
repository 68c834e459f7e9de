"""Steps of parameters on GPUs, by the Triton engine; the host does not wait for them.

So skipped updates are reported at a later step, or by `RuleOptimizer.synchronize`. With `capturable` or `fused` the
steps are counted on the GPU too: a CUDA graph can then be replayed, and GradScaler skips a step without the host.
"""

from __future__ import annotations

import functools
import importlib
import operator
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surefoot.engines.pending import Pending
from surefoot.engines.settings import Settings
from surefoot.modifiers.record import SHRINKAGE
from surefoot.optim.backends.base import Amp, Job
from surefoot.optim.backends.counters import CountingBackend, FaultCounters
from surefoot.optim.backends.fused import FusedGroup
from surefoot.optim.faults import Fault
from surefoot.optim.memory import Memory, Rows, is_aligned, local, real, rows_of
from surefoot.rules import Rule, RuleError

if TYPE_CHECKING:
    from surefoot.engines.gpu import Lazy, MultiTensor, Numbers, Table

OLDEST = 8, 0
"""The compute capability of the first GPUs that Triton compiles these kernels for."""

OLDEST_TRITON = 3, 6
"""The first Triton that compiles all kernels, and keeps subnormal numbers."""


@functools.cache
def engine() -> Any:
    """The engine, loaded when first needed.

    Raises:
        ImportError: where Triton is missing, or too old.
    """
    version = importlib.import_module("triton").__version__
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TRITON:
        raise ImportError(f"found Triton {version}, which is too old")
    return importlib.import_module("surefoot.engines.gpu")


@functools.cache
def obstacle_on_gpu(rule: Rule, device: torch.device) -> str | None:
    if torch.version.cuda is None:
        return "it is for GPUs of CUDA, and this torch is made for others"
    if torch.cuda.get_device_capability(device) < OLDEST:
        return f"{torch.cuda.get_device_name(device)} is older than the GPUs it is for (compute capability 8.0)"
    try:
        engine().source_of(rule.function)
    except ImportError as error:
        needed = ".".join(map(str, OLDEST_TRITON))
        return (
            f"Triton cannot be used ({error}); expected Triton {needed} or later, which comes with torch 2.10 or later "
            "for CUDA on Linux: update torch, as each torch needs the Triton that it was built with"
        )
    except RuleError as error:
        return str(error)
    return engine().obstacle(Settings(rule))


def is_interpreted() -> bool:
    try:
        return engine().is_interpreted()
    except ImportError:
        return False


class GPUBackend(CountingBackend):
    """Dense parameters of a group are stepped in a few launches; tables, and parameters with gaps, one by one."""

    counts_on_device = True

    @classmethod
    def is_for(cls, device: torch.device) -> bool:
        return device.type == "cuda"

    @classmethod
    def obstacle(cls, rule: Rule, device: torch.device) -> str | None:
        if cls.is_for(device):
            return obstacle_on_gpu(rule, device)
        return None if device.type == "cpu" and is_interpreted() else f"it is for GPUs of CUDA, not for {device}"

    def rows(self, memory: Memory, parameter: Tensor, gradient: Tensor) -> Rows:
        # The kernel checks the rows itself: to ask here would be to wait for the GPU.
        return rows_of(gradient) if gradient.sparse_dim() == 1 else super().rows(memory, parameter, gradient)

    def fusible(self, job: Job) -> tuple[type, Hashable] | None:
        parameter, memory, gradient = job.parameter, job.memory, job.gradient
        if (reason := engine().obstacle(job.step)) is not None:
            raise ValueError(f"{memory.name}: the {self.name} engine cannot step it: {reason}; expected engine='torch'")
        if isinstance(gradient, Rows) or "last" in memory.tensors or gradient.is_neg() or gradient.is_conj():
            return None
        part = local(parameter)
        if not lie_alike(gradient, part) or not is_aligned(parameter):
            return None
        slots = [local(memory.tensors[key]) for key in memory.keys]
        contiguous = part.is_contiguous() and all(slot.is_contiguous() for slot in slots)
        if not (memory.packed if job.step.granularity == "coordinate" else contiguous):
            return None
        # Kernels load 16 bytes at once where all addresses allow it: one parameter must not keep others from that.
        even = all(tensor.data_ptr() % 16 == 0 for tensor in (part, gradient, *slots))
        width = memory.size // max(len(part), 1) if job.step.granularity == "row" and part.ndim else 0
        return FusedOnGPU, (memory.kind, even and width % 16 == 0, job.step)

    def step_single(self, job: Job, amp: Amp | None) -> list[Fault]:
        """One with a sparse gradient, or with gaps in its memory or its gradient's."""
        memory, amp = job.memory, placed(amp, job.memory.device)
        t: Any = memory.tensors["step"].double().reshape(1) + 1 if memory.counts_on_device else memory.count() + 1
        if isinstance(job.gradient, Rows):
            self.step_rows(job, job.gradient, t, amp)
        else:
            self.step_dense(job, job.gradient, t, amp)
        if memory.counts_on_device:
            memory.tensors["step"] += taken(amp)
        else:
            memory.advance(t)
        return []

    def step_dense(self, job: Job, gradient: Tensor, t: Any, amp: Any) -> None:
        memory = job.memory
        if "last" in memory.tensors:
            self.flush(job.parameter, memory)
        counters = self.counters_on(memory.device, [job.parameter])
        tensors = [real(job.parameter), *(real(memory.tensors[key]) for key in memory.keys)]
        x, *slots = close = [tensor.contiguous() for tensor in tensors]
        g = real(gradient.resolve_neg()).contiguous()
        held = held_of(memory)
        many = held.many
        if many is None or many.counts is not counters.counts:
            columns, shapes = [counters.column(job.parameter, memory)], [tuple(x.shape)]
            many = engine().MultiTensor(job.step, memory.storage, shapes, memory.device, counters.counts, columns)
            held.many = many
        addresses = np.array([[tensor.data_ptr() for tensor in (x, g, *slots)]], np.int64)
        many.run(addresses, numbers_of(t), amp)
        copy_back(tensors, close)

    def step_rows(self, job: Job, gradient: Rows, t: Any, amp: Any) -> None:
        step, memory = job.step, job.memory
        table, tensors, close = table_of(job.parameter, memory)
        numbers = held_of(memory).numbers.at(numbers_of(t))
        lazy = waiting(memory, t) if step.catches_up else None
        if len(gradient.ids) == 0 and step.granularity == "tensor":
            # A zero gradient, which fades what the tensor shares; there is nothing else for a kernel to step.
            slots = [real(memory.tensors[key]) for key in memory.keys]
            eager().rows(step, real(job.parameter), gradient.ids, real(gradient.values), slots, t)
        values, counters = real(gradient.values), self.counters_on(memory.device, [job.parameter])
        flat = engine().Gradient(gradient.ids, values.reshape(len(values), table.x.shape[1]), gradient.distinct)
        column = counters.column(job.parameter, memory)
        engine().rows(step, table, flat, numbers, counters.counts, column, lazy, amp, numbers_of(t))
        copy_back(tensors, close)

    def flush(self, parameter: Tensor, memory: Memory) -> None:
        t = memory.count()
        if pending_of(memory, t + 1).entries:
            table, tensors, close = table_of(parameter, memory)
            engine().settle(memory.step, table, t + 1, lazy_of(held_of(memory), memory))
            copy_back(tensors, close)
        held_of(memory).pending = None
        memory.forget_waiting()

    def keep(self, memory: Memory) -> None:
        held = memory.held
        if held is not None and held.pending is not None:
            memory.tensors["history"] = torch.from_numpy(held.pending.table(memory.count()))

    def is_capturing(self) -> bool:
        return engine().is_capturing()

    def check_capture(self, memories: Iterable[Memory], new: bool) -> None:
        for memory in memories:
            if not memory.counts_on_device:
                raise RuntimeError(
                    f"{memory.name}: a CUDA graph is being captured, which would repeat the step with the same number; "
                    "expected capturable=True"
                )
        if new:
            raise RuntimeError(
                "a CUDA graph is being captured in the first step of some parameters, or of some with gaps in memory; "
                "expected none of these, and a few steps before, as torch's notes on CUDA graphs say"
            )


@dataclass
class Held:
    """What is made once for a parameter that is stepped alone, for as long as its settings stay the same.

    Attributes:
        step: the settings.
        numbers: what acts in its steps.
        many: what takes its dense steps.
        pending: the steps that its rows have yet to catch up on.
        uploaded: the same on the device, with what it was uploaded for.
    """

    step: Settings
    numbers: Numbers
    many: MultiTensor | None = None
    pending: Pending | None = None
    uploaded: tuple[tuple, Tensor] | None = None


def held_of(memory: Memory) -> Held:
    held, step = memory.held, memory.step
    if held is None or held.step is not step:
        memory.held = Held(step, engine().Numbers(step, memory.device), pending=held and held.pending)
    return memory.held


def numbers_of(t: Any) -> Any:
    """The number of a step as `Numbers.at` takes it: it may be known to the device alone."""
    return t if isinstance(t, Tensor) else np.array([t])


def eager() -> Any:
    return importlib.import_module("surefoot.engines.namespaces.torch")


def lie_alike(some: Tensor, other: Tensor) -> bool:
    """Whether equal coordinates lie equally far from the first; strides along a size of 1 mean nothing.

    >>> wide = torch.zeros(2, 3, 1)
    >>> lie_alike(wide, wide.as_strided((2, 3, 1), (3, 1, 7))), lie_alike(wide, wide.as_strided((2, 3, 1), (1, 2, 1)))
    (True, False)
    """
    strides = zip(some.shape, some.stride(), other.stride(), strict=True)
    return some.shape == other.shape and all(a == b or size < 2 for size, a, b in strides)


class FusedOnGPU(FusedGroup):
    """Dense parameters of one group and device that are stepped in a few launches, for as long as nothing moves."""

    def __init__(self, memories: list[Memory], indices: list[int], parameters: list[Tensor]):
        self.on_device, self.device = memories[0].counts_on_device, memories[0].device
        own = [parameters[k] for k in indices]
        self.faults: FaultCounters = memories[0].backend.counters_on(self.device, own)
        super().__init__(memories, indices, parameters)
        self.counters_on_device: list[Any] = [tensors.get("step") for tensors in self.tensors]
        if self.on_device:
            self.many.numbers.at(self.next_on_device())  # raises where they cannot be computed there

    def plan(self, parameters: list[Tensor]) -> MultiTensor:
        shapes = [tuple(real(parameter).shape) for parameter in parameters]
        columns = list(map(self.faults.column, parameters, self.memories))
        return engine().MultiTensor(self.steps[0], self.storage, shapes, self.device, self.faults.counts, columns)

    def is_ready(self, parameters: list[Tensor]) -> bool:
        same = all(map(operator.is_, (tensors.get("step") for tensors in self.tensors), self.counters_on_device))
        return same and super().is_ready(parameters)

    def take(self, gradients: list[Tensor]) -> bool:
        """Also False where a gradient now lies such that it would slow down all others: they part then."""
        super().take(gradients)
        return self.is_new or not self.many.aligned or np.bitwise_or.reduce(self.addresses[:, 1]) % 16 == 0

    def next_on_device(self) -> Tensor:
        """The number of each parameter's next step, where it is counted on the device."""
        return torch.stack(self.counters_on_device).double() + 1

    def run(self, amp: Amp | None = None) -> list[Fault]:
        """One step; the counters report skipped updates."""
        self.is_new, amp = False, placed(amp, self.device)
        if not self.chosen.size:
            return []
        stepped = None
        if not self.all_step():
            stepped = np.isin(np.arange(len(self.memories)), self.chosen)
        if self.on_device:
            self.many.run(self.addresses, self.next_on_device(), amp, stepped)
            counters = [self.counters_on_device[k] for k in self.chosen]
            torch._foreach_add_(counters, taken(amp))  # pyright: ignore[reportPrivateImportUsage]
        else:
            steps = self.counted() + 1
            if stepped is not None:
                steps = np.where(stepped, self.next(), steps.max())
            self.many.run(self.addresses, steps, amp, stepped)
            self.advance()
        return []


def placed(amp: Amp | None, device: torch.device) -> Any:
    """What GradScaler hands over, on a device: it has it on one of several."""
    return amp and engine().Amp(*(part.to(device, non_blocking=True) for part in amp))


def taken(amp: Any) -> Any:
    """1, or 0 where GradScaler found a gradient that is not finite."""
    return 1.0 if amp is None else (amp.found == 0).float().reshape(())


def copy_back(tensors: list[Tensor], copies: list[Tensor]) -> None:
    for tensor, copy in zip(tensors, copies, strict=True):
        if copy.data_ptr() != tensor.data_ptr():
            tensor.copy_(copy)


def table_of(parameter: Tensor, memory: Memory) -> tuple[Table, list[Tensor], list[Tensor]]:
    """A parameter and its memory as tables of rows; the tensors that they are made of; and those without gaps."""
    tensors = [real(parameter), *(real(memory.tensors[key]) for key in memory.keys)]
    close = [tensor.contiguous() for tensor in tensors]
    x, *slots = [part.view(len(part), -1) if part.shape == close[0].shape else part.view(-1) for part in close]
    return engine().Table(x, tuple(slots), memory.storage), tensors, close


def waiting(memory: Memory, t: int) -> Lazy:
    """What rows without a gradient have to catch up on in step t, which is noted for those that it leaves out."""
    step, held, now = memory.step, held_of(memory), (memory.step.coefficients(t), memory.step.shrinkage(t))
    pending = pending_of(memory, t)
    if step.rule.from_origin:
        # Parameters that are recomputed from the origin are a function of the memory and of the last step's
        # coefficients alone: those of this step are for later ones.
        if not pending.entries:
            pending.replace(*now)
        lazy = lazy_of(held, memory)
        pending.replace(*now)
        return lazy
    pending.note(t, *now)
    return lazy_of(held, memory)


def pending_of(memory: Memory, t: int) -> Pending:
    """The steps that rows have yet to catch up on, before step t."""
    tensors, held, device = memory.tensors, held_of(memory), memory.device
    if held.pending is None:
        coefficients = len(memory.step.rule.coefficient_names)
        if "last" not in tensors:
            tensors["last"] = torch.full((memory.shape[0],), t - 1, dtype=torch.int64, device=device)
            tensors["history"] = torch.empty((0, 1 + coefficients + len(SHRINKAGE)), dtype=torch.float64, device="cpu")
            tensors.setdefault("step", torch.tensor(float(memory.t), device="cpu"))
        tensors["last"] = tensors["last"].to(device)
        held.pending = Pending(tensors["last"], coefficients, tensors["history"].cpu().numpy())
    return held.pending


def lazy_of(held: Held, memory: Memory) -> Lazy:
    """The same as kernels take it; uploaded where anything has changed."""
    assert held.pending is not None
    known = len(held.pending.entries), held.pending.entries[0], held.pending.entries[-1]
    if held.uploaded is None or held.uploaded[0] != known:
        held.uploaded = known, engine().upload(held.pending.arrays("float64").copy(), memory.device)
    return engine().Lazy(held.pending.last, held.uploaded[1])
