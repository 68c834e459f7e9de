"""`Embedding`: torch's, with a sparse gradient without duplicate rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from surefoot.nn.bags import gradient_of, torchs


class Embedding(torch.nn.Embedding):
    """torch.nn.Embedding, whose gradient has one row for each distinct id where `sparse=True`.

    torch's has one for each id, duplicates included, which clipping, communication and the optimizer each have to sum.
    Here they are summed in the backward pass, in order of occurrence.

    Arguments, initial weights, state dict and results are torch's. What is not sparse, not on a CPU or neither float32
    nor float64, `max_norm`, compilation and function transforms take torch's own path.

    >>> table = Embedding(10, 2, sparse=True)
    >>> table(torch.tensor([[3, 3, 7]])).sum().backward()
    >>> table.weight.grad
    tensor(indices=tensor([[3, 7]]),
           values=tensor([[2., 2.],
                          [1., 1.]]),
           size=(10, 2), nnz=2, layout=torch.sparse_coo)
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self._sums_here(input):
            return super().forward(input)
        return Rows.apply(self.weight, input, self.padding_idx)  # pyright: ignore[reportReturnType]

    def to_torch(self) -> torch.nn.Embedding:
        """torch's own module with the same weights, which are shared, for torch.export and torch.jit.script."""
        return torchs(self, torch.nn.Embedding)

    def _sums_here(self, ids: Tensor) -> bool:
        """Whether our own path takes these ids; torch's takes the rest, and says what is wrong with them."""
        weight = self.weight
        return (
            self.sparse
            and weight.requires_grad
            and torch.is_grad_enabled()
            and self.max_norm is None
            and not self.scale_grad_by_freq
            # Another type stands for a function transform, a distributed or a fake tensor.
            and type(weight) is torch.nn.Parameter
            and type(ids) is Tensor
            and weight.device.type == ids.device.type == "cpu"
            and weight.dtype in (torch.float32, torch.float64)
            and weight.numel() > 0
            and ids.dtype in (torch.int64, torch.int32)
            and not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # pyright: ignore[reportPrivateImportUsage]
        )


class Rows(torch.autograd.Function):
    """The rows that ids name; the gradient of the table has no duplicate rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None):
        ctx.save_for_backward(ids)
        ctx.padding, ctx.shape = padding, weight.shape
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (ids,) = ctx.saved_tensors
        named, slopes = ids.reshape(-1).long().numpy(), slope.reshape(-1, ctx.shape[1]).contiguous().numpy()
        places = np.arange(len(named))
        if ctx.padding is not None:
            places = np.flatnonzero(named != ctx.padding)
            named = named[places]
        return gradient_of(ctx.shape, named, slopes, places), None, None
