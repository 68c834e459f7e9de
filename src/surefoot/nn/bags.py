"""`EmbeddingBag`: torch's, with a sparse gradient without duplicate rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from surefoot.engines import cpu


class EmbeddingBag(torch.nn.EmbeddingBag):
    """torch.nn.EmbeddingBag, faster where `sparse=True`: its gradient has one row for each distinct id.

    torch's backward pass writes a row for every id, duplicates included, which the optimizer has to sum. Here they are
    summed in the backward pass, in order of occurrence, and are written out before only with `per_sample_weights`. The
    gradient is an ordinary COO tensor for hooks, clipping, DistributedDataParallel and any optimizer, with each row
    once and in order.

    Arguments, initial weights, state dict and results are torch's. What is not sparse, not on a CPU or neither float32
    nor float64, `mode="max"`, `max_norm`, `scale_grad_by_freq`, compilation and function transforms take torch's own
    path.

    Raises:
        RuntimeError: for ids outside 0 … num_embeddings − 1, and offsets that do not cut all ids into bags.

    >>> bag = EmbeddingBag(10, 2, mode="sum", sparse=True)
    >>> bag(torch.tensor([[3, 3, 7]])).sum().backward()
    >>> bag.weight.grad
    tensor(indices=tensor([[3, 7]]),
           values=tensor([[2., 2.],
                          [1., 1.]]),
           size=(10, 2), nnz=2, layout=torch.sparse_coo)
    """

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        if not self._sums_here(input, offsets, per_sample_weights):
            check_bags(input, offsets, self.include_last_offset)
            return super().forward(input, offsets, per_sample_weights)
        if offsets is None:
            ends = torch.arange(len(input) + 1, device=input.device) * input.shape[1]
        elif self.include_last_offset:
            ends = offsets
        else:
            ends = torch.cat((offsets, offsets.new_full((1,), input.numel())))
        ids, ends = input.reshape(-1).long(), ends.long()
        check(ids.numpy(), ends.numpy(), len(self.weight))
        factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
        return SumOfRows.apply(self.weight, ids, ends, factors, self.padding_idx, self.mode)  # pyright: ignore

    def to_torch(self) -> torch.nn.EmbeddingBag:
        """torch's own module with the same weights, which are shared, for torch.export and torch.jit.script."""
        return torchs(self, torch.nn.EmbeddingBag)

    def _sums_here(self, ids: Tensor, offsets: Tensor | None, factors: Tensor | None) -> bool:
        """Whether our own path takes these arguments; torch's takes the rest, and says what is wrong with them."""
        weight = self.weight
        return (
            self.sparse
            and weight.requires_grad
            and torch.is_grad_enabled()
            and (self.mode == "sum" or (self.mode == "mean" and factors is None))
            and self.max_norm is None
            and not self.scale_grad_by_freq
            # Another type stands for a function transform, a distributed or a fake tensor.
            and type(weight) is torch.nn.Parameter
            and weight.dtype in (torch.float32, torch.float64)
            and weight.is_contiguous()
            and weight.numel() > 0
            and all(type(t) is Tensor and not t.is_floating_point() for t in (ids, offsets) if t is not None)
            and all(t.device.type == "cpu" for t in (weight, ids, offsets, factors) if t is not None)
            and ids.dtype in (torch.int64, torch.int32)
            and (
                ids.ndim == 2 and ids.shape[1] > 0
                if offsets is None
                else ids.ndim == offsets.ndim == 1 and len(offsets) > 0
            )
            and (offsets is None or offsets.dtype == ids.dtype)
            and (factors is None or (factors.shape == ids.shape and factors.dtype is weight.dtype))
            and not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # pyright: ignore[reportPrivateImportUsage]
        )


def torchs(module: torch.nn.Module, kind: Any) -> Any:
    """A module of torch's class, with the attributes and the parameters of one that is derived from it.

    >>> type(EmbeddingBag(3, 2).to_torch()).__module__
    'torch.nn.modules.sparse'
    """
    twin = kind.__new__(kind)
    torch.nn.Module.__init__(twin)
    for name in kind.__constants__:
        setattr(twin, name, getattr(module, name))
    twin.register_parameter("weight", module.weight)
    return twin.train(module.training)


def check_bags(ids: Tensor, offsets: Tensor | None, include_last_offset: bool) -> None:
    """Raises RuntimeError where there are ids, but no bag for them: torch would read beyond the offsets."""
    if offsets is not None and offsets.ndim == 1 and len(offsets) <= include_last_offset and ids.numel() > 0:
        last = ", and one more that names the number of ids" if include_last_offset else ""
        raise RuntimeError(
            f"EmbeddingBag: found {ids.numel()} ids and offsets of length {len(offsets)}, so that there is no bag; "
            f"expected one offset for each bag{last}"
        )


def check(ids: np.ndarray, ends: np.ndarray, rows: int) -> None:
    """Raises RuntimeError, as torch does, for ids out of range and for offsets that do not cut all ids into bags."""
    if len(ids) and (ids.min() < 0 or ids.max() >= rows):
        wrong = ids[(ids < 0) | (ids >= rows)][0]
        raise RuntimeError(f"EmbeddingBag: id {wrong} is out of range; expected 0 … {rows - 1}")
    if ends[0] != 0 or ends[-1] != len(ids) or (ends[1:] < ends[:-1]).any():
        raise RuntimeError(
            f"EmbeddingBag: offsets begin with {ends[0]}, go up to {ends.max()} and end with {ends[-1]}; expected "
            f"numbers that ascend from 0 to {len(ids)}, the number of ids, which include_last_offset names as well"
        )


class SumOfRows(torch.autograd.Function):
    """torch's sums or means of the rows that bags of ids name; the gradient of the table has no duplicate rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, ends: Tensor, factors: Tensor | None, padding: Any, mode: str):
        # The table itself is needed for the factors alone; kept, it could not be stepped before a backward pass.
        ctx.save_for_backward(weight if ctx.needs_input_grad[3] else None, ids, ends, factors)
        ctx.padding, ctx.shape, ctx.mean = -1 if padding is None else padding, weight.shape, mode == "mean"
        more = {"per_sample_weights": factors, "include_last_offset": True, "padding_idx": padding}
        return torch.nn.functional.embedding_bag(ids, weight, ends, mode=mode, **more)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        weight, ids, ends, factors = ctx.saved_tensors
        slope = slope.contiguous()
        bag_of = np.repeat(np.arange(len(slope)), np.diff(ends.numpy()))
        of_factors = None
        if ctx.needs_input_grad[3]:
            of_factors = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                slope, weight, ids, ends[:-1], torch.from_numpy(bag_of), 0, ctx.padding
            )
        named, slopes, places = ids.numpy(), slope.numpy(), bag_of
        if factors is not None:
            slopes, places = slopes[bag_of] * factors.detach().numpy()[:, None], np.arange(len(named))
        if ctx.padding >= 0:
            kept = named != ctx.padding
            named, places = named[kept], places[kept]
        if ctx.mean:
            # torch multiplies by the inverse, and so has other bits than a division.
            counts = np.bincount(places, minlength=len(slopes))
            slopes = slopes * (1 / np.maximum(counts, 1).astype(slopes.dtype))[:, None]
        return gradient_of(ctx.shape, named, slopes, places), None, None, of_factors, None, None


def gradient_of(shape: torch.Size, ids: np.ndarray, slopes: np.ndarray, places: np.ndarray) -> Tensor:
    """The gradient of a table as a COO tensor with each row once: of each id, the row of `slopes` at its place."""
    order = cpu.sort_ids(ids, shape[0], places)
    rows, starts = cpu.distinct_rows(order)
    sums = torch.from_numpy(cpu.sums(order, starts, slopes))
    return torch.sparse_coo_tensor(
        torch.from_numpy(rows)[None], sums, shape, device=sums.device, is_coalesced=True, check_invariants=False
    )
