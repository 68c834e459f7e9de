"""Steps of parameters on GPUs, by the Triton engine; the host does not wait for them.

So skipped updates are reported at a later step, or by `RuleOptimizer.synchronize`. With `capturable` or `fused` the
steps are counted on the GPU too: a CUDA graph can then be replayed, and GradScaler skips a step without the host.
"""

from __future__ import annotations

import functools
import importlib
import operator
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surefoot.engines import Step
from surefoot.optim.fused import FusedGroup, Job, torch_engine
from surefoot.optim.memory import Memory, Rows, counter_type, is_aligned, local, real
from surefoot.rules import Rule, RuleError

if TYPE_CHECKING:
    from surefoot.engines.gpu import Amp, Lazy, Table

OLDEST = 8, 0
"""The compute capability of the first GPUs that Triton compiles these kernels for."""


@functools.cache
def engine() -> Any:
    """The engine, loaded when first needed.

    Raises:
        ImportError: where Triton is missing, or too old.
    """
    return importlib.import_module("surefoot.engines.gpu")


def obstacle(rule: Rule, device: torch.device) -> str | None:
    """Why the engine cannot step parameters there, and what to do about it; None if it can."""
    if device.type == "cuda":
        return obstacle_on_gpu(rule, device)
    return None if device.type == "cpu" and is_interpreted() else f"it is for GPUs of CUDA, not for {device}"


@functools.cache
def obstacle_on_gpu(rule: Rule, device: torch.device) -> str | None:
    if torch.version.cuda is None:
        return "it is for GPUs of CUDA, and this torch is made for others"
    if torch.cuda.get_device_capability(device) < OLDEST:
        return f"{torch.cuda.get_device_name(device)} is older than the GPUs it is for (compute capability 8.0)"
    try:
        engine().source_of(rule.function)
    except ImportError as error:
        return f"Triton cannot be imported ({error}); torch for CUDA on Linux brings it, or `pip install triton` does"
    except RuleError as error:
        return str(error)
    return None


def is_interpreted() -> bool:
    try:
        return engine().is_interpreted()
    except ImportError:
        return False


def chosen(rule: Rule, device: torch.device) -> str:
    """The engine for parameters on a device that is not a CPU: "gpu" where it can, else "torch", with one warning."""
    if device.type != "cuda":
        return "torch"
    reason = obstacle(rule, device)
    if reason is None:
        return "gpu"
    warn_once(f"parameters on {device} are stepped by the torch engine, which is slower than the gpu engine: {reason}")
    return "torch"


@functools.cache
def warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)


# Steps counted on the device


def place_counter(tensors: dict[str, Any], parameter: Tensor, counts_on_device: bool) -> None:
    """Moves the counter of steps to where it is counted."""
    counter, device = tensors.get("step"), local(parameter).device
    if counts_on_device and (counter is None or counter.device != device):
        # Filled in there: a copy from here would be waited for.
        tensors["step"] = torch.full((), 0.0 if counter is None else float(counter), device=device)
    elif counts_on_device:
        tensors["step"] = counter.to(torch.float32)  # pyright: ignore[reportOptionalMemberAccess]
    elif isinstance(counter, Tensor) and counter.device.type not in ("cpu", "meta"):
        tensors["step"] = counter.to("cpu", counter_type())


def lies_on(value: Any) -> bool:
    """Whether it is a tensor on a GPU, whose number must not be read: the host would wait."""
    return isinstance(value, Tensor) and value.device.type == "cuda"


def amp_of(optimizer: Any) -> Amp | None:
    """What GradScaler has handed to the optimizer for this step."""
    found = getattr(optimizer, "found_inf", None)
    if found is None:
        return None
    scale = getattr(optimizer, "grad_scale", None)
    return engine().Amp(torch.ones_like(found) if scale is None else scale, found)


def is_capturing() -> bool:
    return engine().is_capturing()


def check_capture(memories: Iterable[Memory], new: bool) -> None:
    """Raises RuntimeError where a CUDA graph is being captured that could not be replayed.

    Args:
        memories: of what is to be stepped.
        new: whether anything is stepped for the first time, has moved, or has gaps in memory.
    """
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


# Skipped updates


class FaultCounters:
    """Counts of skipped updates, which GPUs write into the host's memory: nothing is copied or waited for.

    Args:
        device: where the parameters lie.
        size: the most parameters that they are kept for.
    """

    def __init__(self, device: torch.device, size: int):
        self.device, self.size = device, size
        self.counts = torch.zeros((2, size), dtype=torch.int64, pin_memory=device.type == "cuda")
        if device.type == "cuda":
            # The allocator knows now which stream must be done before it gives this memory to others.
            self.counts.to(device, non_blocking=True)
        self.seen = self.counts.numpy()
        self.reported, self.reported_bytes = self.seen.copy(), self.seen.tobytes()
        self.memories: list[Memory] = []
        self._columns: dict[int, int] = {}

    def column(self, parameter: Tensor, memory: Memory) -> int:
        """The column of a parameter."""
        k = self._columns.get(id(parameter))
        if k is None:
            k = len(self.memories) if len(self.memories) < self.size else self._freed()
            self._columns[id(parameter)] = k
        self.memories[k : k + 1] = [memory]
        return k

    def keep(self, ids: set[int]) -> None:
        """Keeps the columns of the parameters with these ids; the others may be used again."""
        self._columns = {key: column for key, column in self._columns.items() if key in ids}

    def _freed(self) -> int:
        """The column of a parameter that is gone, once no step is under way that could write there."""
        k = min({*range(self.size)} - {*self._columns.values()})
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.reported[:, k] = self.seen[:, k]
        self.reported_bytes = self.reported.tobytes()
        return k

    def new(self, wait: bool = False) -> list[tuple[Memory, int, int]]:
        """(parameter, skipped coordinates, ids out of range) since the last report.

        Args:
            wait: of all steps so far, on whichever stream, those of replayed graphs too; else as far as known.
        """
        if wait and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self.seen.tobytes() == self.reported_bytes:
            return []
        counts = self.seen.copy()
        new, self.reported, self.reported_bytes = counts - self.reported, counts, counts.tobytes()
        rows = [(memory, int(new[0, k]), int(new[1, k])) for k, memory in enumerate(self.memories)]
        return [row for row in rows if row[1] or row[2]]


class DeviceFaults:
    """The counters on all devices on which an optimizer has parameters."""

    def __init__(self):
        self.counters: list[FaultCounters] = []

    def of(self, device: torch.device, size: int) -> FaultCounters:
        """Those of a device, with room for that number of parameters; smaller ones stay, for steps that know them."""
        for counters in self.counters:
            if counters.device == device and counters.size >= size:
                return counters
        self.counters.append(FaultCounters(device, size))
        return self.counters[-1]

    def messages(self, wait: bool = False) -> list[str]:
        """Messages for updates skipped since the last report: so far as known, or of all steps so far."""
        return messages([new for counters in self.counters for new in counters.new(wait)]) if self.counters else []


def messages(found: list[tuple[Memory, int, int]]) -> list[str]:
    """Messages for skipped updates. Ids out of range raise ValueError."""
    faults = []
    for memory, skipped, outside in found:
        memory.skipped += skipped
        if outside:
            raise ValueError(
                f"{memory.name}: sparse gradients of earlier steps named rows out of range, {outside:,} times; "
                f"expected 0 … {memory.shape[0] - 1}; all other rows were stepped"
            )
        if skipped and memory.step.nonfinite == "raise":
            faults.append(
                f"{memory.name}: in earlier steps {skipped:,} coordinates (of {memory.size:,}) had a gradient, square "
                "or step that is not finite; these coordinates were skipped; the rest were updated (nonfinite='skip' "
                "only counts them)"
            )
    return faults


# Dense gradients


def can_fuse(job: Job) -> bool:
    """Whether a parameter is stepped by its addresses, together with others."""
    parameter, memory, gradient = job.parameter, job.memory, job.gradient
    if isinstance(gradient, Rows) or "last" in memory.tensors or gradient.is_neg() or gradient.is_conj():
        return False
    part = local(parameter)
    if not lie_alike(gradient, part) or not is_aligned(parameter):
        return False
    slots = [local(memory.tensors[key]) for key in memory.keys]
    contiguous = part.is_contiguous() and all(slot.is_contiguous() for slot in slots)
    return memory.packed if job.step.granularity == "coordinate" else contiguous


def lie_alike(some: Tensor, other: Tensor) -> bool:
    """Whether equal coordinates lie equally far from the first; strides along a size of 1 mean nothing.

    >>> wide = torch.zeros(2, 3, 1)
    >>> lie_alike(wide, wide.as_strided((2, 3, 1), (3, 1, 7))), lie_alike(wide, wide.as_strided((2, 3, 1), (1, 2, 1)))
    (True, False)
    """
    strides = zip(some.shape, some.stride(), other.stride(), strict=True)
    return some.shape == other.shape and all(a == b or size < 2 for size, a, b in strides)


class FusedGroupOnGPU(FusedGroup):
    """Dense parameters of one group and device that are stepped in a few launches, for as long as nothing moves."""

    def __init__(
        self,
        step: Step,
        memories: list[Memory],
        indices: list[int],
        parameters: list[Tensor],
        faults: FaultCounters,
    ):
        self.faults, self.on_device = faults, memories[0].counts_on_device
        self.device = memories[0].device
        super().__init__(step, memories, indices, parameters)
        self.counters_on_device: list[Any] = [tensors.get("step") for tensors in self.tensors]
        if self.on_device:
            self.many.numbers.at(self.next())  # raises where they cannot be computed there

    def plan(self, parameters: list[Tensor]) -> Any:
        shapes = [tuple(real(parameter).shape) for parameter in parameters]
        columns = list(map(self.faults.column, parameters, self.memories))
        return engine().MultiTensor(self.step, self.storage, shapes, self.device, self.faults.counts, columns)

    def is_ready(self, parameters: list[Tensor]) -> bool:
        same = all(map(operator.is_, (tensors.get("step") for tensors in self.tensors), self.counters_on_device))
        return same and super().is_ready(parameters) and self.all_step()

    def next(self) -> Tensor:
        """The number of each parameter's next step, where it is counted on the device."""
        return torch.stack(self.counters_on_device).double() + 1

    def run(self, amp: Amp | None = None) -> list[str]:
        """One step; the counters report skipped updates."""
        self.is_new, amp = False, placed(amp, self.device)
        if self.on_device:
            self.many.run(self.addresses, self.next(), amp)
            torch._foreach_add_(self.counters_on_device, taken(amp))  # pyright: ignore[reportPrivateImportUsage]
        else:
            self.many.run(self.addresses, self.counted() + 1, amp)
            self.advance()
        return []


def placed(amp: Amp | None, device: torch.device) -> Amp | None:
    """What GradScaler hands over, on a device: it has it on one of several."""
    return amp and engine().Amp(*(part.to(device, non_blocking=True) for part in amp))


def taken(amp: Amp | None) -> Any:
    """1, or 0 where GradScaler found a gradient that is not finite."""
    return 1.0 if amp is None else (amp.found == 0).float().reshape(())


# One parameter


def step_single(job: Job, faults: FaultCounters, amp: Amp | None) -> list[str]:
    """Steps one parameter: one with a sparse gradient, or with gaps in its memory or its gradient's."""
    memory, amp = job.memory, placed(amp, job.memory.device)
    t: Any = memory.tensors["step"].double().reshape(1) + 1 if memory.counts_on_device else memory.count() + 1
    if isinstance(job.gradient, Rows):
        step_rows(job, job.gradient, t, faults, amp)
    else:
        step_copies(job, job.gradient, t, faults, amp)
    if memory.counts_on_device:
        memory.tensors["step"] += taken(amp)
    else:
        memory.advance(t)
    return []


def step_copies(job: Job, gradient: Tensor, t: Any, faults: FaultCounters, amp: Amp | None) -> None:
    memory = job.memory
    if "last" in memory.tensors:
        flush(job.parameter, memory)
    tensors = [real(job.parameter), *(real(memory.tensors[key]) for key in memory.keys)]
    x, *slots = close = [tensor.contiguous() for tensor in tensors]
    g = real(gradient.resolve_neg()).contiguous()
    columns = [faults.column(job.parameter, memory)]
    many = engine().MultiTensor(job.step, memory.storage, [tuple(x.shape)], memory.device, faults.counts, columns)
    steps = t if isinstance(t, Tensor) else np.array([t])
    many.run(np.array([[tensor.data_ptr() for tensor in (x, g, *slots)]], np.int64), steps, amp)
    copy_back(tensors, close)


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


def step_rows(job: Job, gradient: Rows, t: Any, faults: FaultCounters, amp: Amp | None) -> None:
    step, memory = job.step, job.memory
    table, tensors, close = table_of(job.parameter, memory)
    numbers = engine().Numbers(step, memory.device).at(t if isinstance(t, Tensor) else np.array([t]))
    lazy = pending(memory, t, numbers) if step.catches_up else None
    if len(gradient.ids) == 0 and step.granularity == "tensor":
        # A zero gradient, which fades what the tensor shares; there is nothing else for a kernel to step.
        slots = [real(memory.tensors[key]) for key in memory.keys]
        torch_engine().rows(step, real(job.parameter), gradient.ids, real(gradient.values), slots, t)
    values = real(gradient.values)
    flat = engine().Gradient(gradient.ids, values.reshape(len(values), table.x.shape[1]), gradient.distinct)
    engine().rows(step, table, flat, numbers, faults.counts, faults.column(job.parameter, memory), lazy, amp)
    copy_back(tensors, close)


def pending(memory: Memory, t: Any, numbers: Tensor) -> Lazy:
    """What rows without a gradient have to catch up on from step t on; it is kept where a state dict has it."""
    step, tensors, device = memory.step, memory.tensors, memory.device
    if "last" not in tensors:
        tensors["last"] = torch.full((memory.shape[0],), t - 1, dtype=torch.int64, device=device)
        tensors["history"] = torch.empty((0, numbers.shape[1]), dtype=torch.float64, device=device)
        tensors.setdefault("step", torch.tensor(float(memory.t)))
    tensors["last"], history = (tensors[key].to(device) for key in ("last", "history"))
    if step.rule.from_origin:
        # Parameters that are recomputed from the origin are a function of the memory and of the last step's
        # coefficients alone: those of this step are for later ones.
        tensors["history"] = numbers.clone()
        tensors["history"][:, 0] = 1
        return engine().Lazy(tensors["last"], history if len(history) else tensors["history"])
    if isinstance(step.hyper["lr"], Tensor):
        history, memory.acting = appended(history, numbers), None
    else:
        before = memory.acting or (tuple(history[-1, 1:].tolist()) if len(history) else None)
        memory.acting = (*step.coefficients(t), *step.modifiers(t)._replace(scale=1.0))
        if memory.acting != before:
            history = appended(history, numbers)
            history[-1, 1 + len(step.rule.coefficient_names)] = 1.0
    tensors["history"] = history
    return engine().Lazy(tensors["last"], history)


def appended(history: Tensor, row: Tensor) -> Tensor:
    """The history with one more row: in the room behind it, or where there is none, in memory twice as large."""
    size, width = history.shape
    if history.storage_offset() or history.untyped_storage().nbytes() < (size + 1) * width * history.element_size():
        larger = history.new_empty(2 * size + 1, width)
        larger[:size] = history
        history = larger
    history = history.as_strided((size + 1, width), (width, 1))
    history[size] = row[0]
    return history


def flush(parameter: Tensor, memory: Memory) -> None:
    """Lets the rows of a parameter catch up with all steps so far; nothing is pending then."""
    last, history = (memory.tensors[key].to(memory.device) for key in ("last", "history"))
    table, tensors, close = table_of(parameter, memory)
    engine().settle(memory.step, table, memory.count() + 1, engine().Lazy(last, history))
    copy_back(tensors, close)
    memory.acting = None
    for key in ("last", "history") if memory.counter is not None else ("last", "history", "step"):
        memory.tensors.pop(key, None)
