"""Gradients before the step: clipped by norm or value, and sparse ones merged, which torch's own functions reject."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from surefoot.engines.cpu import merge
from surefoot.optim.memory import array, move_to_huge_pages, on_host, rows_of


def merged(gradient: Tensor) -> Tensor:
    """A sparse gradient with equal rows summed in order of occurrence; its rows are in order.

    >>> twice = torch.sparse_coo_tensor([[1, 1]], [[1.0], [2.0]], (3, 1), check_invariants=True)
    >>> merged(twice).values()
    tensor([[3.]])
    """
    if gradient.is_coalesced():
        return gradient
    rows = rows_of(gradient)
    if not on_host(gradient) or gradient.sparse_dim() > 1:
        return gradient.coalesce()
    ids, sums = merge(rows.ids.numpy(), array(rows.values), gradient.shape[0])
    sums = torch.from_numpy(sums).view(gradient.dtype if gradient.dtype == torch.bfloat16 else rows.values.real.dtype)
    values = torch.view_as_complex(sums) if gradient.is_complex() else sums
    return torch.sparse_coo_tensor(
        torch.from_numpy(ids)[None],
        values,
        gradient.shape,
        device=gradient.device,
        is_coalesced=True,
        check_invariants=False,
    )


class MergeWhenAccumulated:
    """Merges what backward passes add to a sparse gradient, once it has doubled: autograd only strings it together."""

    def __init__(self):
        self.count = 0

    def __call__(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None or not gradient.is_sparse:
            return
        if 0 < 2 * self.count <= gradient._nnz():
            parameter.grad = merged(gradient)
        self.count = parameter.grad._nnz()  # pyright: ignore[reportOptionalMemberAccess]


def expect_sparse(parameter: Tensor) -> None:
    """At a parameter's first sparse gradient: prepares for more of them.

    Those of several backward passes are merged rather than strung together, and rows lie where they are found faster.
    """
    hooks: Any = parameter._post_accumulate_grad_hooks
    known = any(isinstance(hook, MergeWhenAccumulated) for hook in (hooks or {}).values())
    if parameter.is_leaf and parameter.requires_grad and not known:
        parameter.register_post_accumulate_grad_hook(MergeWhenAccumulated())
        move_to_huge_pages(parameter)


def gradients_of(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The parameters that have a gradient; sparse ones are replaced by their merged rows.

    The values of those that are merged already may be shared: autograd passes on the gradient of the output.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    having = [parameter for parameter in parameters if parameter.grad is not None]
    for parameter in having:
        gradient: Any = parameter.grad
        if gradient.is_sparse:
            own = merged(gradient)
            parameter.grad = own if own is not gradient else with_own_values(gradient)
    return having


def with_own_values(gradient: Tensor) -> Tensor:
    """The same coalesced gradient with a copy of its values."""
    values = gradient._values().clone(memory_format=torch.contiguous_format)
    return torch.sparse_coo_tensor(
        gradient._indices(),
        values,
        gradient.shape,
        device=gradient.device,
        is_coalesced=True,
        check_invariants=False,
    )


def stand_ins(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    """What torch's own functions take for parameters: the gradient of each, or the values of a sparse one."""
    having = [parameter.grad for parameter in gradients_of(parameters)]
    return [types.SimpleNamespace(grad=g._values() if g.is_sparse else g) for g in having]  # pyright: ignore


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales gradients, sparse ones too, so that the norm of all of them together is at most max_norm.

    Args:
        parameters: the parameters whose gradients are scaled, in place; equal rows of sparse gradients are merged.
        max_norm: the largest norm.
        norm_type: p of the p-norm; inf for the largest absolute value.
        error_if_nonfinite: raise if the norm is not finite; gradients are unchanged then.
        foreach: as in torch, a hint.

    Returns:
        The norm before, a tensor of shape ().

    Raises:
        RuntimeError: if the norm is not finite and error_if_nonfinite.

    >>> table = torch.nn.Embedding(4, 1, sparse=True)
    >>> (3 * table(torch.tensor([2, 2])).sum()).backward()
    >>> clip_grad_norm_(table.parameters(), max_norm=1.0)
    tensor(6.)
    >>> table.weight.grad.coalesce().values()
    tensor([[1.0000]])
    """
    return torch.nn.utils.clip_grad_norm_(stand_ins(parameters), max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clips each gradient coordinate, of sparse gradients too, to −clip_value … clip_value.

    Args:
        parameters: the parameters whose gradients are clipped, in place; equal rows of sparse gradients are merged.
        clip_value: the largest absolute value.
        foreach: as in torch, a hint.

    >>> table = torch.nn.Embedding(4, 1, sparse=True)
    >>> (3 * table(torch.tensor([2, 2])).sum()).backward()
    >>> clip_grad_value_(table.parameters(), 2.0)
    >>> table.weight.grad.coalesce().values()
    tensor([[2.]])
    """
    if having := stand_ins(parameters):
        torch.nn.utils.clip_grad_value_(having, clip_value, foreach)
