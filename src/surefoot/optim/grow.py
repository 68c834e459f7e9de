"""Tables that grow in mid-training: their rows, gradients and state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim import decay
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.mapped import file_of, has_file_alone, longer
from surefoot.optim.memory import in_huge_pages, local
from surefoot.optim.reset import checked_values, write_values


def new_rows(name: str, parameter: Tensor, rows: int, values: Any) -> Tensor:
    """The rows that a parameter is to get, see `TorchOptimizer.grow`.

    Raises:
        ValueError: for a parameter that cannot grow, and for fewer rows than it has.

    >>> new_rows("w", torch.zeros(3, 2), 5, 1.0)
    tensor([[1., 1.],
            [1., 1.]])
    """
    if local(parameter) is not parameter:
        raise ValueError(f"{name}: is split among processes; expected a parameter that one process has whole")
    if parameter.ndim == 0:
        raise ValueError(f"{name}: is a single number; expected a parameter with rows")
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < len(parameter):
        raise ValueError(f"{name}: rows is {rows!r}; expected the number of rows to grow to, {len(parameter)} or more")
    if file_of(parameter) and not has_file_alone(parameter):
        raise ValueError(f"{name}: is a part of the file {file_of(parameter)}; expected all of it, so that it can grow")
    made = parameter.detach().new_zeros(rows - len(parameter), *parameter.shape[1:])
    write_values(made, None, checked_values(name, made, None, values))
    return made


@torch.no_grad()
def extend(parameter: Tensor, rows: Tensor) -> None:
    """Gives a parameter more rows, and its gradient zeros there; it remains the object that it is."""
    gradient: Any = parameter.grad
    parameter.grad = None
    parameter.data = extended(parameter.detach(), rows)
    if gradient is not None and gradient.is_sparse:
        parameter.grad = torch.sparse_coo_tensor(
            gradient._indices(),
            gradient._values(),
            parameter.shape,
            is_coalesced=gradient.is_coalesced(),
            check_invariants=False,
        )
    elif gradient is not None:
        parameter.grad = extended(gradient, torch.zeros_like(rows))


def extended(tensor: Tensor, rows: Tensor) -> Tensor:
    """A tensor with further rows: in its file, or in huge pages where the system has them."""
    if file_of(tensor):
        whole = longer(tensor, len(tensor) + len(rows))
    else:
        whole = in_huge_pages(tensor.new_empty(len(tensor) + len(rows), *tensor.shape[1:]))
        whole[: len(tensor)] = tensor
    whole[len(tensor) :] = rows
    return whole


def extended_state(tensors: dict[str, Any], rows: Tensor, step: Settings, state_format: StateFormat) -> dict[str, Any]:
    """The state of a parameter that gets more rows: theirs is that before the first step.

    Args:
        tensors: its state; no row is behind.
        rows: the new rows.
        step: the settings of its group.
        state_format: how its optimizer names the state.
    """
    if step.rule.whole:
        raise ValueError(
            f"{step.rule.name}: the state is not of rows, and cannot get more; expected a rule of coordinates"
        )
    fresh, found = state_format.fresh(rows, step), dict(tensors)
    for key in state_format.keys_of_rows(step):
        found[key] = extended(tensors[key], fresh[key].to(tensors[key].dtype))
    more = decay.of_new_rows(tensors, rows)
    return found | {key: extended(tensors[key], values) for key, values in more.items()}


def extended_by_twin(tensors: dict[str, Any], twin: dict[str, Any], size: int) -> dict[str, Any]:
    """The same of a class of torch or of another library, which does not say what belongs to rows.

    Args:
        tensors: the state of a parameter.
        twin: that of a parameter of the new rows alone, after a step with a gradient of zeros.
        size: the number of rows of the parameter.

    Raises:
        ValueError: for a tensor of which this cannot be told.
    """
    found = dict(tensors)
    for key, value in tensors.items():
        other = twin.get(key)
        if not isinstance(value, Tensor) or value.ndim == 0:
            continue
        if isinstance(other, Tensor) and value.shape[1:] == other.shape[1:] and len(value) == size:
            found[key] = extended(value, other.to(value.dtype))
        elif not isinstance(other, Tensor) or value.shape != other.shape:
            raise ValueError(
                f"the state {key!r} has the shape {tuple(value.shape)}, of which it is not known what belongs to rows; "
                "expected a rule of Surefoot, such as 'adagrad'"
            )
    return found
