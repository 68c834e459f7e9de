"""The GPU engine, in Triton: the reference's arithmetic at the speed of a GPU's memory, without waiting for the GPU.

`kernels.py` and `row_kernels.py` hold one generic driver per layout, `compiling.py` makes its copy for a rule. Here
memory is laid out for them. Nothing is read back: what depends on the gradient (norms, skipped coordinates) stays on
the device until it is requested.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.engines.eager import bound
from surefoot.engines.gpu.compiling import (
    BLOCK,
    OPTIONS,
    RUN,
    WARPS,
    Kind,
    is_interpreted,
    source_of,
    specialize,
    warps_of,
)
from surefoot.engines.namespaces.torch import TORCH
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.program import statistic_of
from surefoot.engines.settings import Settings

__all__ = ["Amp", "Lazy", "MultiTensor", "Numbers", "is_capturing", "is_interpreted", "rows", "settle", "source_of"]

AHEAD = 64
"""Steps whose numbers are uploaded at once, as long as no setting changes."""

EXTENT = 1
"""The column of a table of tensors that says how many coordinates, or rows, each has to step."""

WIDEST = 1024
"""Columns of a row that one program steps, unless it has to see the whole row."""


class Amp(NamedTuple):
    """What torch's GradScaler hands over: gradients are divided by `scale`; if `found` is not 0, nothing is stepped."""

    scale: Tensor
    found: Tensor


def kind_of(step: Settings, storage: Storage, **more: Any) -> Kind:
    return Kind(
        ARITHMETIC[storage.x],
        storage.x,
        storage.slots,
        step.program,
        propagate=step.nonfinite == "propagate",
        seed=step.rounding_seed,
        **more,
    )


def launch(device: torch.device, driver: str, kind: Kind, grid: tuple[int, ...], warps: int, *arguments):
    """Launches a driver's copy, compiled for such arguments, and returns it; nothing where it is interpreted."""
    with current(device):
        return specialize(driver, kind)[grid](*arguments, num_warps=warps, **OPTIONS)


def current(device: torch.device) -> Any:
    """Makes a GPU the current one, if it is not."""
    if device.type == "cpu" or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


def is_capturing() -> bool:
    """Whether a CUDA graph is being captured: nothing runs then, and what is launched runs at each replay."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.clone()


# The numbers that act in a step


class Numbers:
    """(t, coefficients, modifiers' numbers) of steps, as rows of float64 on a device; uploaded only when they change.

    Args:
        step: the settings; the learning rate may be a tensor on the device.
        device: where they are to lie.
    """

    def __init__(self, step: Settings, device: torch.device):
        self.step, self.device = step, device
        self.known, self.uploaded = b"", torch.empty(0)
        self.first, self.ahead, self.hyper = 0, (), {}
        self.captured: list[Tensor] = []
        # Where nothing asks for t, numbers that stay the same need no upload.
        self.tells_t = step.rounding_seed is not None or step.catches_up

    def at(self, steps: np.ndarray | Tensor) -> Tensor:
        """A row for each of the steps, or a single one for all.

        Args:
            steps: the numbers of the steps, (k,); or a tensor of them on the device, of which nothing is read back.

        Raises:
            ValueError: where the rule's coefficients or the schedule cannot be computed from tensors.
        """
        if isinstance(steps, Tensor) or isinstance(self.step.hyper["lr"], Tensor):
            return self.on_device(steps)
        if len(steps) == 1 or (steps == steps[0]).all():
            return self.of_all(int(steps[0]))
        rows = {t: self.row(t) for t in np.unique(steps).tolist()}
        return self.kept(np.array([rows[t] for t in steps.tolist()], float))

    def of_all(self, t: int) -> Tensor:
        """The row of step t, one of AHEAD that are uploaded at once if nothing has changed since the last time."""
        hyper, k = self.step.hyper, t - self.first
        if self.hyper != hyper or not 0 <= k < len(self.ahead):
            count = AHEAD if self.hyper == hyper and not callable(hyper["lr"]) else 1
            array = np.array([self.row(t + n) for n in range(count)], float)
            width = array.shape[1]
            # Of an even number of columns, so that each row begins at a multiple of 16 bytes.
            block = upload(np.pad(array, ((0, 0), (0, width % 2))), self.device)
            self.first, self.hyper, self.ahead, k = t, dict(hyper), block[:, :width].split(1), 0
        return self.ahead[k]

    def row(self, t: int) -> tuple:
        return t if self.tells_t else 0, *self.step.coefficients(t), *self.step.numbers(t)

    def on_device(self, steps: np.ndarray | Tensor) -> Tensor:
        step = self.step
        t = steps if isinstance(steps, Tensor) else upload(steps.astype(float), self.device)
        try:
            columns = t if self.tells_t else 0.0, *step.coefficients(t), *step.numbers(t)
        except (TypeError, RuntimeError) as error:
            raise ValueError(
                f"{step.name}: {step.rule.name} or its schedule cannot compute its coefficients on the device "
                f"({error}); leave capturable and fused off, and give the learning rate as a number"
            ) from error
        computed = {k: column.reshape(-1) for k, column in enumerate(columns) if isinstance(column, Tensor)}
        constant = self.kept(np.array([[0.0 if k in computed else column for k, column in enumerate(columns)]]))
        if not computed:
            return constant
        result = constant.repeat(max(map(len, computed.values())), 1)
        for k, column in computed.items():
            result[:, k] = column
        return result

    def kept(self, array: np.ndarray) -> Tensor:
        """The numbers of an array on the device: those that are there, if they are the same."""
        captures, known = is_capturing(), array.tobytes()
        if known == self.known:
            self.captured += [self.uploaded] if captures else []
            return self.uploaded
        if captures:
            # A graph would copy, each time, from memory of the host that has another use by then.
            filled = [torch.full((1,), x, dtype=torch.float64, device=self.device) for x in array.ravel().tolist()]
            return torch.cat(filled).view(array.shape)
        self.known, self.uploaded = known, upload(array, self.device)
        return self.uploaded


# Dense gradients


class MultiTensor:
    """Steps of the same parameters in few launches, by a table of their addresses.

    Args:
        step: the settings.
        storage: how all parameters and their memory are stored.
        shapes: of the parameters, whose coordinates lie close together; with granularity "row", in C order.
        device: where they lie.
        counts: int64: coordinates that are skipped, are added to it.
        places: of each parameter in `counts`.
    """

    def __init__(
        self,
        step: Settings,
        storage: Storage,
        shapes: Sequence[tuple[int, ...]],
        device: torch.device,
        counts: Tensor,
        places: Sequence[int],
    ):
        self.step, self.storage, self.device, self.counts = step, storage, device, counts
        self.numbers = Numbers(step, device)
        sizes = np.array([math.prod(shape) for shape in shapes], np.int64)
        extent, width, each = sizes, np.ones_like(sizes), BLOCK
        self.tile = 32
        if step.granularity == "row":
            extent = np.array([shape[0] if shape else 1 for shape in shapes], np.int64) * (sizes > 0)
            width = sizes // np.maximum(extent, 1)
            self.tile = min(256, max(32, power_of_two(int(width.max(initial=1)))))
            each = BLOCK // self.tile
        blocks = -(-extent // each)
        first = np.cumsum(blocks) - blocks
        self.blocks, self.fixed = int(blocks.sum()), np.column_stack([first, extent, width, places])
        self.even = step.granularity != "row" or not (width % 16).any()
        self.owners = upload(np.repeat(np.arange(len(sizes), dtype=np.int32), blocks), device)
        self.first, self.last = (upload(edge.astype(np.int32), device) for edge in (first, first + blocks))
        self.sizes = upload(np.maximum(sizes, 1).astype(float), device)
        self.addresses = b""
        self.table, self.aligned = self.owners, False
        self.captured: list[Tensor] = []
        self.streams: set[Any] = set()
        self.kinds: dict[tuple[bool, bool], Kind] = {}
        self.compiled: dict[tuple[str, Kind], Any] = {}

    def look(self, addresses: np.ndarray, stepped: np.ndarray | None) -> None:
        """Takes addresses, and which of the parameters are stepped; uploaded again where anything has changed."""
        captures, known = is_capturing(), addresses.tobytes() + (b"" if stepped is None else stepped.tobytes())
        if known == self.addresses and not captures:
            return
        table = torch.from_numpy(np.concatenate([self.fixed, addresses], 1))
        if stepped is not None:
            table[:, EXTENT] *= torch.from_numpy(stepped)
        table = table.pin_memory() if self.device.type == "cuda" else table
        self.table, self.addresses = table.to(self.device, copy=True, non_blocking=True), known
        self.aligned = self.even and not (addresses % 16).any()
        if captures:
            # Each replay copies this table again. Until then it is not on the device: the next step takes another.
            self.captured.append(table)
            self.addresses = b""

    def run(
        self,
        addresses: np.ndarray,
        steps: np.ndarray | Tensor,
        amp: Amp | None = None,
        stepped: np.ndarray | None = None,
    ) -> None:
        """Takes a step.

        Args:
            addresses: (k, 2 + slots), int64: where each parameter, its gradient and its slots begin.
            steps: the number of each parameter's step; see `Numbers.at`.
            amp: from GradScaler.
            stepped: (k,), bool: which parameters are; by default all.
        """
        if self.blocks == 0:
            return
        step, numbers = self.step, self.numbers.at(steps)
        self.look(addresses, stepped)
        self.hold(numbers)
        kind = self.kind(self.aligned, amp is not None)
        measure = lambda name, now: self.sums(replace(kind, statistic=name), now, amp)  # noqa: E731
        numbers = measured(step, steps, numbers, measure, self.sizes)
        means = shared = numbers
        if step.granularity == "tensor":
            means = self.sums(kind, numbers, amp) / self.sizes
            shared = torch.empty((len(self.sizes), len(kind.slots)), dtype=torch.float64, device=self.device)
            self.launch("common", kind, len(self.sizes), self.table, shared)
        driver = "dense_by_row" if step.granularity == "row" else "dense"
        scale, found = amp or (numbers, numbers)
        self.launch(driver, kind, self.blocks, *self.places(numbers), means, shared, self.counts, scale, found)

    def hold(self, numbers: Tensor) -> None:
        """Where steps run on several streams, memory that they share is given to others when all of them are done."""
        if self.device.type == "cuda":
            stream = torch.cuda.current_stream(self.device)
            self.streams.add(stream)
            if len(self.streams) > 1:
                for tensor in (numbers, self.table, self.owners, self.first, self.last, self.sizes):
                    tensor.record_stream(stream)

    def places(self, numbers: Tensor) -> tuple[Any, ...]:
        return self.table, self.owners, numbers, 0 if len(numbers) == 1 else numbers.stride(0)

    def sums(self, kind: Kind, numbers: Tensor, amp: Amp | None) -> Tensor:
        """The sum over each gradient of what the kind sums, by default its square, (k,), float64."""
        parts = torch.empty(self.blocks, dtype=torch.float64, device=self.device)
        result = torch.empty(len(self.sizes), dtype=torch.float64, device=self.device)
        self.launch("terms", kind, self.blocks, *self.places(numbers), parts, amp.scale if amp else numbers)
        self.launch("sums", kind, len(result), parts, self.first, self.last, result)
        return result

    def kind(self, aligned: bool, amp: bool) -> Kind:
        if (aligned, amp) not in self.kinds:
            kind = kind_of(self.step, self.storage, aligned=aligned, amp=amp, width=self.tile)
            self.kinds[aligned, amp] = kind
        return self.kinds[aligned, amp]

    def launch(self, driver: str, kind: Kind, programs: int, *arguments: Any) -> None:
        """Launches a driver's copy. All arguments but GradScaler's are made here, always of the same types, and begin
        at multiples of 16: Triton, which takes its time over that, is asked once."""
        if compiled := self.compiled.get((driver, kind)):
            with current(self.device):
                compiled[programs, 1, 1](*arguments)
            return
        compiled = launch(self.device, driver, kind, (programs,), WARPS, *arguments)
        if compiled is not None and not kind.amp:
            self.compiled[driver, kind] = compiled


def measured(
    step: Settings,
    steps: np.ndarray | Tensor,
    numbers: Tensor,
    sums: Callable[[str, Tensor], Tensor],
    sizes: Tensor | int,
) -> Tensor:
    """The numbers of a step whose modifiers' numbers depend on statistics of the gradient; a row for each tensor.

    Args:
        step: the settings; `obstacle` is None of them.
        steps: the numbers of the steps; see `Numbers.at`.
        numbers: see `Numbers`.
        sums: (name, numbers) -> the sum of a statistic's expression over each tensor, (k,), float64.
        sizes: coordinates of each tensor.
    """
    column = 1 + len(step.rule.coefficient_names)
    for modifier in step.program.modifiers:
        if modifier.on_host:
            same = not isinstance(steps, Tensor) and (steps == steps[0]).all()
            t: Any = int(steps[0]) if same else steps if isinstance(steps, Tensor) else upload(steps, numbers.device)
            totals = {name: sums(statistic_of(modifier, name), numbers) for name in modifier.on_host}
            found = {
                n: total / sizes if modifier.on_host[n].reduction == "mean" else total for n, total in totals.items()
            }
            own = bound(TORCH, modifier.numbers)  # pyright: ignore[reportArgumentType]
            numbers = numbers.expand(len(next(iter(totals.values()))), -1).clone()
            for k, number in enumerate(modifier.at(t, step.lr(t), step.options, found, own)):
                numbers[:, column + k] = number
        column += len(modifier.fields)
    return numbers


def obstacle(step: Settings) -> str | None:
    """What a step needs that kernels for GPUs do not have; None if nothing."""
    for name, statistic in step.program.statistics.items():
        known = any(name == statistic_of(modifier, own) for modifier in step.modifiers for own in modifier.on_host)
        if not known or statistic.over != "tensor" or statistic.reduction == "maximum":
            return f"it does not compute the statistic {name!r}, a {statistic.reduction} over the {statistic.over}"
    for name, slot in step.rule.slots.items():
        if slot.over is not None or slot.initial == "x":
            return f"it does not keep the slot {name!r}, which the granularity does not decide"
    return None


def power_of_two(size: int) -> int:
    """The least power of two that is not below it.

    >>> power_of_two(33), power_of_two(0)
    (64, 1)
    """
    return 1 << max(size - 1, 0).bit_length()


# Sparse gradients


class Lazy(NamedTuple):
    """What rows without a gradient have to catch up on.

    Args:
        last: per row, the last step in which it took part, int64.
        history: (first step, coefficients, shrinkage) of each stretch in which they did not change, float64.
    """

    last: Tensor
    history: Tensor


class Table(NamedTuple):
    """A parameter with rows, and its memory.

    Args:
        x: (n, width), in C order.
        slots: the memory: (n, width), or (n,) with one number per row, or (1,).
        storage: how they are stored.
    """

    x: Tensor
    slots: tuple[Tensor, ...]
    storage: Storage


class Gradient(NamedTuple):
    """A sparse gradient: whole numbers (k,), the values of the rows that they name (k, width), and whether the ids are
    known to be distinct and in order."""

    ids: Tensor
    values: Tensor
    distinct: bool = False


def rows(
    step: Settings,
    table: Table,
    gradient: Gradient,
    numbers: Tensor,
    counts: Tensor,
    place: int = 0,
    lazy: Lazy | None = None,
    amp: Amp | None = None,
    steps: np.ndarray | Tensor | None = None,
) -> None:
    """Steps the rows that a gradient names; equal ids are summed before, in order of occurrence.

    Args:
        step: the settings.
        table: what is stepped.
        gradient: along which.
        numbers: what acts; see `Numbers`.
        counts: (2, m), int64: coordinates that were skipped, and ids out of range (which name no row), are
            added to its column `place`.
        lazy: where rows without a gradient catch up when they are next touched.
        amp: from GradScaler.
        steps: (1,), the number of the step, as for `Numbers.at`; by default 1.
    """
    steps = np.ones(1, np.int64) if steps is None else steps
    (x, slots, storage), (ids, values, distinct) = as_stored(table), gradient
    height, width = x.shape
    if len(ids) == 0 or width == 0:
        return
    if distinct:
        ids, order = ids.contiguous(), torch.arange(len(ids), device=ids.device)
    else:
        # An id out of range stays out of range as a number of 32 bits.
        ids = ids.clamp(-1, height).to(torch.int32) if height < 2**31 else ids
        ids, order = torch.sort(ids, stable=True)
    # What a row shares is for one program: it is read, and written, once.
    whole = step.granularity == "row" or lazy is not None
    tile = power_of_two(width) if whole else min(power_of_two(width), WIDEST)
    kind = kind_of(step, storage, amp=amp is not None, catches_up=lazy is not None, width=tile)
    scale, found = amp or (numbers, numbers)
    sorted_ = ids, order, len(ids), bits(values.contiguous())
    sums = sums_of_long_runs(kind, sorted_, width, scale, distinct)

    def sum_of(kind: Kind, numbers: Tensor) -> Tensor:
        parts = torch.empty(len(ids), dtype=torch.float64, device=x.device)
        arguments = x, *sorted_, height, width, numbers, parts, sums, scale
        launch(x.device, "rows_terms", kind, (len(ids),), warps_of(tile), *arguments)
        return parts.sum().reshape(1)

    numbers = measured(step, steps, numbers, lambda name, now: sum_of(replace(kind, statistic=name), now), x.numel())
    means = shared = numbers
    if step.granularity == "tensor":
        means, shared = sum_of(kind, numbers) / max(x.numel(), 1), firsts(table)
    last, history = lazy or (order, numbers)
    acting = height, width, numbers, last, history, len(history), means, shared
    counted = counts, place, counts.shape[1] + place
    grid, rest = (len(ids), -(-width // tile)), (*acting, *counted, sums, scale, found)
    launch(x.device, "rows", kind, grid, warps_of(tile), x, *sorted_, slots, *rest)


def sums_of_long_runs(kind: Kind, gradient: tuple, width: int, scale: Tensor, distinct: bool) -> Tensor:
    """What `row_kernels.long_runs` makes of a gradient (ids in order, order, count, values)."""
    ids, _, count, _ = gradient
    size = -(-count // RUN)
    sums = torch.empty((size, width), dtype=getattr(torch, kind.dtype), device=ids.device)
    if count > RUN and not distinct:
        tile = min(32, power_of_two(width))
        raw = Kind(kind.dtype, kind.x, kind.slots, amp=kind.amp, width=tile)
        launch(ids.device, "long_runs", raw, (size, -(-width // tile)), 1, *gradient, width, sums, scale)
    return sums


def settle(step: Settings, table: Table, now: int, lazy: Lazy) -> None:
    """Lets every row catch up with the steps before `now`."""
    height, width = table.x.shape
    if table.x.numel() == 0:
        return
    tile = power_of_two(width)
    kind = kind_of(step, table.storage, catches_up=True, width=tile)
    x, slots, _ = as_stored(table)
    arguments = x, slots, width, now, *lazy, len(lazy.history), firsts(table)
    launch(x.device, "settle", kind, (height,), warps_of(tile), *arguments)


def firsts(table: Table) -> Tensor:
    """The first number of every slot, float64: all there is of those that a tensor's coordinates share."""
    return torch.cat([slot.reshape(-1)[:1].double() for slot in table.slots] or [table.x.new_zeros(1).double()])


def bits(tensor: Tensor) -> Tensor:
    """bfloat16 as uint16, which stands for it in the kernels."""
    return tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor


def as_stored(table: Table) -> Table:
    return Table(bits(table.x), tuple(map(bits, table.slots)), table.storage)
