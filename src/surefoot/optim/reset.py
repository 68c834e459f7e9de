"""Rows of a parameter that begin again: other values, and the state that they had before the first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.memory import local


def rows_of(name: str, parameter: Tensor, rows: Any) -> Tensor | None:
    """The numbers of the rows that a user names; None for all.

    Raises:
        ValueError: for rows that the parameter does not have, or that are named twice.

    >>> rows_of("w", torch.zeros(3, 2), [True, False, True]), rows_of("w", torch.zeros(3, 2), [2, 1])
    (tensor([0, 2]), tensor([2, 1]))
    """
    if rows is None:
        return None
    if local(parameter) is not parameter:
        raise ValueError(f"{name}: is split among processes, so rows are not numbered alike; expected rows=None")
    if parameter.ndim == 0:
        raise ValueError(f"{name}: is a single number, without rows; expected rows=None")
    try:
        chosen = torch.as_tensor(
            range(len(parameter))[rows] if isinstance(rows, slice) else rows, device=parameter.device
        )
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: rows are {rows!r}; expected {what_rows(parameter)}") from None
    if chosen.dtype == torch.bool and chosen.shape == parameter.shape[:1]:
        return chosen.nonzero().flatten()
    if chosen.numel() == 0:
        return chosen.new_zeros(0, dtype=torch.int64)
    if chosen.dtype == torch.bool or chosen.is_floating_point() or chosen.is_complex() or chosen.ndim > 1:
        raise ValueError(
            f"{name}: rows are {chosen.dtype} of shape {tuple(chosen.shape)}; expected {what_rows(parameter)}"
        )
    chosen = chosen.flatten()
    if int(chosen.min()) < 0 or int(chosen.max()) >= len(parameter):
        wrong = int(chosen.min()) if int(chosen.min()) < 0 else int(chosen.max())
        raise ValueError(f"{name}: there is no row {wrong}; expected 0 … {len(parameter) - 1}")
    if len(chosen.unique()) < len(chosen):
        raise ValueError(f"{name}: {len(chosen) - len(chosen.unique())} rows are named twice; expected each once")
    return chosen


def what_rows(parameter: Tensor) -> str:
    """What errors expect."""
    return f"whole numbers, a slice, or a mask of {len(parameter)} rows"


def checked_values(name: str, parameter: Tensor, rows: Tensor | None, values: Any) -> Any:
    """Values as `write_values` writes them, see `RuleOptimizer.reset`; functions are called there.

    Raises:
        ValueError: for values of another shape.
    """
    if values is None or callable(values):
        return values
    shape = parameter.shape if rows is None else (len(rows), *parameter.shape[1:])
    try:
        values = torch.as_tensor(values, dtype=parameter.dtype, device=parameter.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{name}: the values are of type {type(values).__name__}; expected a tensor, a number or a function"
        ) from None
    try:
        return values.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"{name}: the values have shape {tuple(values.shape)}; expected {tuple(shape)}, or what broadcasts to it"
        ) from None


@torch.no_grad()
def write_values(parameter: Tensor, rows: Tensor | None, values: Any) -> None:
    """Writes values into rows of a parameter."""
    part = parameter if rows is None else parameter[rows]
    if callable(values):
        made = values(part)  # functions may fill what they get, or return others
        values = part if made is None else checked_values("values", parameter, rows, made)
    if values is not None and values is not parameter:
        parameter[... if rows is None else rows] = values


def start_again(parameter: Tensor, rows: Tensor | None, values: Any, tensors: dict[str, Any] | None) -> None:
    """Writes values into rows of a parameter with that state; with adaptive decay, they decay towards these."""
    write_values(parameter, rows, values)
    if tensors and "decay_initial" in tensors:
        where = ... if rows is None else rows
        tensors["decay_initial"][where] = parameter.detach()[where]


@torch.no_grad()
def reset_rows(
    parameter: Tensor, rows: Tensor, tensors: dict[str, Any], step: Settings, state_format: StateFormat
) -> None:
    """Makes the state of some rows what it was before the first step, as far as it is their own.

    Args:
        parameter: the parameter, with its values after the reset.
        rows: their numbers.
        tensors: its state.
        step: the settings of its group.
        state_format: how its optimizer names the state.
    """
    fresh = state_format.fresh(parameter[rows], step)
    for key in state_format.keys_of_rows(step):
        tensors[key][rows] = fresh[key]
