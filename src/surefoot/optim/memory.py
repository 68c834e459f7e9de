"""Where tensors lie, and NumPy's views of them: of a parameter, of its gradient and of its memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot import hugepages
from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.settings import Settings
from surefoot.optim.mapped import file_of, zeros_next_to
from surefoot.rules import Slot

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64)
"""What a parameter may be stored in."""


class Rows(NamedTuple):
    """A sparse gradient: the rows it names, with duplicates unless `distinct`, and the gradient of each.

    `grouped` is what `driver.group` made of it, for the engines that work on NumPy's arrays.
    """

    ids: Tensor
    values: Tensor
    distinct: bool = False
    grouped: tuple = ()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a distributed tensor; any other tensor as it is."""
    return getattr(tensor, "_local_tensor", tensor)


def on_host(tensor: Tensor) -> bool:
    """Whether the host can read it without waiting."""
    return tensor.device.type == "cpu"


def on_gpu(value: Any) -> bool:
    """Whether it is a tensor on a GPU, whose number must not be read: the host would wait."""
    return isinstance(value, Tensor) and value.device.type == "cuda"


def is_aligned(parameter: Tensor) -> bool:
    """Whether the gradient is split among processes as the parameter is."""
    return getattr(parameter.grad, "placements", None) == getattr(parameter, "placements", None)


def own_gradient(parameter: Tensor) -> Tensor:
    """This process's part of the gradient; autograd may leave it split otherwise, not yet summed, or on its way."""
    gradient: Any = parameter.grad
    if not is_aligned(parameter):
        gradient = gradient.redistribute(placements=parameter.placements)  # pyright: ignore
    part: Any = local(gradient)
    return part.wait() if hasattr(part, "wait") else part


def real(tensor: Tensor) -> Tensor:
    """This process's part; a complex number is two real ones in a last dimension."""
    tensor = local(tensor)
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def array(tensor: Tensor) -> np.ndarray:
    """NumPy's view of a tensor's memory; bfloat16 is uint16 there."""
    tensor = real(tensor.detach()).resolve_neg()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def storage(tensor: Tensor) -> str:
    """The name of the type in which a tensor's real numbers are stored.

    >>> storage(torch.zeros(2, dtype=torch.complex64))
    'float32'
    """
    return str(tensor.dtype.to_real() if tensor.dtype.is_complex else tensor.dtype).removeprefix("torch.")


def rows_of(gradient: Tensor) -> Rows:
    """The rows that a COO gradient names and their values; with several sparse dimensions, whole rows are made.

    >>> rows_of(torch.sparse_coo_tensor([[0, 0], [1, 2]], [1.0, 2.0], (1, 3), check_invariants=True)).values
    tensor([[0., 1., 2.]])
    """
    ids, values = gradient._indices(), gradient._values()
    if gradient.sparse_dim() > 1:
        named, place = torch.unique(ids[0], return_inverse=True)
        whole = values.new_zeros(len(named), *gradient.shape[1:])
        return Rows(named, whole.index_put_((place, *ids[1:]), values, accumulate=True), distinct=True)
    return Rows(ids[0], values, gradient.is_coalesced())


def is_packed(tensor: Tensor) -> bool:
    """Whether the coordinates lie side by side in some order."""
    if tensor.is_contiguous():
        return True
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()


class Memory:
    """What a rule remembers of a parameter, as tensors, and how they lie.

    It does not keep the parameter alive. (Nor does it refer to it weakly: torch does not swap such parameters, as
    Module.double() of fully_shard does.)

    Args:
        name: what errors call the parameter.
        parameter: the parameter.
        step: the settings of its group.
        tensors: its memory by the names that a state dict gives it; "step" counts the steps.
        keys: the names of the rule's slots there.
        backend: what steps the parameter.
        t: the number of steps taken, where the memory does not count them (as in torch's SGD).
        counts_on_device: steps are counted where the parameter lies, without the host.

    Attributes:
        held: what the backend keeps here, for as long as nothing moves.
        skipped: coordinates that were skipped, as far as known.
    """

    def __init__(
        self,
        name: str,
        parameter: Tensor,
        step: Settings,
        tensors: dict[str, Any],
        keys: tuple[str, ...],
        backend: Any,
        t: int,
        counts_on_device: bool = False,
    ):
        self.name, self.step, self.tensors, self.keys = name, step, tensors, keys
        self.backend = backend
        self.held: Any = None
        self.skipped, self.counts_on_device = 0, counts_on_device
        counter = tensors.get("step")
        self.counter = counter.detach().numpy() if isinstance(counter, Tensor) and on_host(counter) else None
        # A counter on a GPU is not read before its number is needed.
        self.t = t if self.counter is None else int(self.counter)
        self.place = self.look(parameter)
        part = local(parameter)
        self.dtype, self.device, self.shape, self.strides = part.dtype, part.device, part.shape, part.stride()
        slots = [local(tensors[key]) for key in keys]
        self.storage = Storage(storage(part), tuple(map(storage, slots)))
        counted = self.counter is None or self.counter.dtype
        self.kind = (self.storage, part.is_complex(), part is parameter, counted, counts_on_device, part.device)
        alike = all(slot.stride() == self.strides and slot.shape == part.shape for slot in slots)
        self.packed = alike and is_packed(part)
        self.tabular = part.ndim > 0 and part.numel() > 0 and all(t.is_contiguous() for t in (part, *slots))
        self.size = part.numel() * (2 if part.is_complex() else 1)

    def look(self, parameter: Tensor) -> list[tuple]:
        """Where and how the parameter and its memory lie now; what is known holds as long as this stays the same."""
        keys = self.keys if self.counter is None else (*self.keys, "step")
        tensors = [local(parameter), *(local(self.tensors[key]) for key in keys)]
        return [(tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) for tensor in tensors]

    def is_unmoved(self, parameter: Tensor) -> bool:
        """Whether all lies where and as it was found."""
        try:
            return self.look(parameter) == self.place
        except (AttributeError, KeyError, RuntimeError):
            return False  # a tensor is missing or sparse

    def holds(self, tensors: dict[str, Any]) -> bool:
        """Whether these tensors are the state that it is about."""
        return self.tensors is tensors or not (self.tensors or tensors)

    def count(self) -> int:
        """The number of steps taken, from the state dict's counter, which others may have set."""
        if self.counter is not None:
            self.t = int(self.counter.item())
        elif self.counts_on_device:
            self.t = int(self.tensors["step"])
        return self.t

    def advance(self, t: int) -> None:
        self.t = t
        if self.counter is not None:
            self.counter[...] = t
        elif "step" in self.tensors:
            self.tensors["step"].fill_(t)

    def forget_waiting(self) -> None:
        """After its rows have caught up: nothing is pending."""
        for key in ("last", "history") if self.counter is not None else ("last", "history", "step"):
            self.tensors.pop(key, None)


def counter_type() -> torch.dtype:
    """The type in which torch's state dicts count steps."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def counter(steps: float) -> Tensor:
    """A number of steps as state dicts have it; on the CPU, whatever the default device is."""
    return torch.tensor(steps, dtype=counter_type(), device="cpu")


def place_counter(tensors: dict[str, Any], parameter: Tensor, counts_on_device: bool) -> None:
    """Moves the counter of steps to where it is counted."""
    steps, device = tensors.get("step"), local(parameter).device
    if counts_on_device and (steps is None or steps.device != device):
        # Filled in there: a copy from here would be waited for.
        tensors["step"] = torch.full((), 0.0 if steps is None else float(steps), device=device)
    elif counts_on_device:
        tensors["step"] = steps.to(torch.float32)  # pyright: ignore[reportOptionalMemberAccess]
    elif isinstance(steps, Tensor) and not on_host(steps) and not steps.is_meta:
        tensors["step"] = steps.cpu().to(counter_type())


def new_slot(parameter: Tensor, step: Settings, slot: Slot, meta: bool) -> Tensor:
    """One slot of a rule before the first step, laid out like the parameter."""
    whole = parameter.detach()
    if meta:
        whole = whole.to("meta")
    dtype = getattr(torch, step.state_dtype or ARITHMETIC[storage(whole)])
    if slot.initial == "x":
        return room_like(whole, dtype.to_complex() if whole.is_complex() else dtype).copy_(whole)
    value, part = step.initial(slot), real(whole)
    shape = step.slot_shape(tuple(part.shape), slot)
    if shape == tuple(part.shape):
        if whole.is_complex():
            value, dtype = complex(value, value), dtype.to_complex()
        made = room_like(whole, dtype)
        return made if value == 0 and file_of(made) else made.fill_(value)
    if path := file_of(whole):
        made = zeros_next_to(path, shape, dtype)
        return made if value == 0 else made.fill_(value)
    made = torch.full(shape, value, dtype=dtype, device=part.device)
    if local(whole) is whole:
        return made
    # Processes may have different numbers of rows, so DTensor cannot tell the whole from one part.
    united = torch.empty(step.slot_shape((*whole.shape, *part.shape[whole.ndim :]), slot), device="meta")
    mesh, placements = whole.device_mesh, whole.placements  # pyright: ignore[reportAttributeAccessIssue]
    return type(whole).from_local(made, mesh, placements, shape=united.shape, stride=united.stride())  # pyright: ignore


def room_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Memory laid out like a tensor: zeros in a file where that is in one, else unwritten and in huge pages."""
    path = file_of(tensor) if tensor.is_contiguous() else None
    return zeros_next_to(path, tensor.shape, dtype) if path else in_huge_pages(torch.empty_like(tensor, dtype=dtype))


def in_huge_pages(tensor: Tensor) -> Tensor:
    """A tensor that nothing was written to yet, in huge pages, where rows are found faster."""
    if found := span(tensor):
        hugepages.advise_huge_pages(*found)
    return tensor


def move_to_huge_pages(tensor: Tensor) -> None:
    """The same for a tensor in use, which stays at its address for every view of it; one in a file stays there."""
    if file_of(tensor):
        hugepages.expect_random_access(tensor.data_ptr(), tensor.nbytes)
    elif found := span(tensor):
        hugepages.move_to_huge_pages(*found)


def span(tensor: Tensor) -> tuple[int, int] | None:
    """Address and bytes of a tensor's memory; None where it has none of its own here, as in a file, or if it is a fake
    or distributed one."""
    part = local(tensor)
    lies_here = type(part) in (Tensor, torch.nn.Parameter) and on_host(part) and part.is_contiguous()
    lies_here = lies_here and file_of(part) is None
    return (part.data_ptr(), part.nbytes) if lies_here else None


def copied(tensor: Tensor) -> Tensor:
    """A clone in huge pages."""
    return in_huge_pages(torch.empty_like(tensor)).copy_(tensor)


def is_supported(parameter: Tensor) -> bool:
    """Whether an engine may step it; `check_parameter` says more."""
    return parameter.dtype in DTYPES and parameter.layout is torch.strided


def check_parameter(name: str, parameter: Tensor, step: Settings) -> None:
    """Raises ValueError for a parameter that no engine can step."""
    part = local(parameter)
    if part.dtype not in DTYPES:
        raise ValueError(f"{name}: is {part.dtype}; expected one of {', '.join(map(str, DTYPES))}")
    if part.layout is not torch.strided:
        raise ValueError(f"{name}: has the layout {part.layout}; expected a dense parameter")
    if any(size > 1 and stride == 0 for size, stride in zip(part.shape, part.stride(), strict=True)):
        raise ValueError(
            f"{name}: is expanded, of shape {tuple(part.shape)} and strides {part.stride()}; expected memory of its "
            "own for each coordinate, as after clone()"
        )
    if part.is_conj() or part.is_neg():
        raise ValueError(
            f"{name}: is a view that conjugates or negates what it shows; expected numbers as they lie in memory, as "
            "after resolve_conj().resolve_neg()"
        )
    if part.device.type == "meta":
        raise ValueError(f"{name}: is on the device {part.device}; expected memory, as after to_empty(device='cpu')")
    if step.rounding_seed is not None and part.dtype != torch.bfloat16:
        raise ValueError(f"{name}: stochastic_rounding is for bfloat16 parameters; this one is {part.dtype}")
    if step.rule.whole and (part.ndim == 0 or part.is_complex() or part is not parameter):
        what = "a single number" if part.ndim == 0 else "complex" if part.is_complex() else "split among processes"
        raise ValueError(f"{name}: {step.rule.name} steps whole arrays of real numbers; this parameter is {what}")
    if part is not parameter:
        check_split(name, parameter, step)


def check_split(name: str, parameter: Tensor, step: Settings) -> None:
    """Raises ValueError for a distributed parameter of which no process has what its coordinates share."""
    placements: Any = parameter.placements  # pyright: ignore[reportAttributeAccessIssue]
    sharded = sorted({placement.dim for placement in placements if hasattr(placement, "dim")})
    shared = {*step.extents, *(each.over for each in step.program.statistics.values())} - {"coordinate"}
    if step.granularity != "coordinate":
        shared.add(step.granularity)
    if (sharded and shared - {"row"}) or (shared and any(sharded)):
        what = f"granularity={step.granularity!r}"
        if step.granularity == "coordinate":
            what = f"{step.rule.name} or what is done around it, over {', '.join(sorted(shared))}"
        raise ValueError(
            f"{name}: is split among processes along {sharded}, so no process has all that shares a rate with "
            f"{what}; expected 'coordinate', or 'row' for parameters split by rows"
        )
