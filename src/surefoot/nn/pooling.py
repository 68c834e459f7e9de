"""Bags of many features, pooled by one node of autograd; the gradient of each table is sparse, with each row once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from surefoot import hugepages
from surefoot.engines.cpu import bags as kernels
from surefoot.engines.numerics import ARITHMETIC
from surefoot.nn.configs import EmbeddingBagConfig
from surefoot.nn.features import Bags

Outputs = list[tuple[int, str, Bags]]
"""The features, table by table: the number of the table, the name and the bags."""


STORAGE = {getattr(torch, name): name for name in ARITHMETIC}
"""The names of the types that kernels take."""


def is_pooled_here(weights: list[Tensor], outputs: Outputs) -> bool:
    """Whether kernels take these tables; torch's operations take others, such as those on GPUs."""
    given = [tensor for _, _, bags in outputs for tensor in bags if tensor is not None]
    return (
        # Another type stands for a function transform, a distributed or a fake tensor.
        all(type(weight) is torch.nn.Parameter and weight.is_contiguous() for weight in weights)
        and all(type(tensor) is Tensor and tensor.device.type == "cpu" for tensor in given)
        and all(weight.device.type == "cpu" for weight in weights)
        and all(weight.dtype in STORAGE for weight in weights)
        and len({ARITHMETIC[STORAGE[weight.dtype]] for weight in weights}) == 1
        and not any(bags.factors is not None and bags.factors.requires_grad for _, _, bags in outputs)
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # pyright: ignore[reportPrivateImportUsage]
    )


class WrongIds(ValueError):
    """Some ids or offsets are out of range."""


class Call(NamedTuple):
    """The tables that are stored in one type.

    Attributes:
        storage: the type.
        tables: their numbers.
        places: (outputs, …), of their outputs, as kernels take them.
        counts: how many ids each table has.
    """

    storage: str
    tables: list[int]
    places: np.ndarray
    counts: list[int]


def calls_of(configs: list[EmbeddingBagConfig], weights: list[Tensor], outputs: Outputs) -> tuple[list[Call], list]:
    """What kernels are called with, and the tensors that lie at the addresses."""
    arithmetic = getattr(torch, ARITHMETIC[STORAGE[weights[0].dtype]])
    places: dict[str, list[tuple[int, ...]]] = {}
    counts: dict[str, dict[int, int]] = {}
    kept, column, spans = [], 0, {}
    for number, _, bags in outputs:
        weight, ids, ends = weights[number], bags.ids.contiguous(), bags.ends.contiguous()
        factors = None if bags.factors is None else bags.factors.detach().to(arithmetic).contiguous()
        kept += [ids, ends, factors]
        name = STORAGE[weight.dtype]
        own = counts.setdefault(name, {})
        lies = weight.data_ptr(), *weight.shape, ids.data_ptr(), len(ids), ends.data_ptr()
        more = 0 if factors is None else factors.data_ptr(), column, sum(own.values())
        places.setdefault(name, []).append((*lies, *more, configs[number].pooling == "mean"))
        if id(bags.ends) not in spans:  # features with bags of one size share them
            bounds = ends.numpy()
            spans[id(bags.ends)] = max(0, int(bounds[-1]) - int(bounds[0]))
        own[number] = own.get(number, 0) + spans[id(bags.ends)]
        column += weight.shape[1]
    calls = [
        Call(name, list(own), np.array(places[name], np.int64), list(own.values())) for name, own in counts.items()
    ]
    return calls, kept


def pooled(configs: list[EmbeddingBagConfig], weights: list[Tensor], outputs: Outputs) -> Tensor:
    """The pooled rows of all outputs, (batch, Σ their widths).

    Raises:
        WrongIds: where an id or an offset is out of range; the caller finds out which.
    """
    calls, kept = calls_of(configs, weights, outputs)
    shape = len(outputs[0][2].ends) - 1, sum(weights[number].shape[1] for number, *_ in outputs)
    return SumOfRows.apply(calls, shape, kept, *weights)  # pyright: ignore[reportReturnType]


class SumOfRows(torch.autograd.Function):
    """Sums or means of the rows that bags of ids name, for all features of all tables."""

    @staticmethod
    def forward(ctx: Any, calls: list[Call], shape: tuple[int, int], kept: list, *weights: Tensor):
        result = hugepages.empty(shape, ARITHMETIC[calls[0].storage])
        ctx.calls, ctx.shapes, ctx.noted = calls, [weight.shape for weight in weights], []
        for call in calls:
            noted, wrong = kernels.pool(
                call.places, call.storage, result, sum(call.counts), any(ctx.needs_input_grad[3:])
            )
            if wrong:
                raise WrongIds
            ctx.noted.append(noted)
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        numbers = slope.contiguous().numpy()
        found: list[Tensor | None] = [None] * len(ctx.shapes)
        for call, noted in zip(ctx.calls, ctx.noted, strict=True):
            shapes = np.array([ctx.shapes[number] for number in call.tables])
            gradients = kernels.gradients(noted, numbers, shapes, call.counts)
            for number, gradient in zip(call.tables, sparse(call, gradients, shapes), strict=True):
                found[number] = gradient if ctx.needs_input_grad[3 + number] else None
        return None, None, None, *found


def sparse(call: Call, gradients: kernels.Gradients, shapes: np.ndarray) -> list[Tensor]:
    """Gradients as torch's COO tensors."""
    rows = torch.from_numpy(gradients.rows)[None].split(gradients.counts, 1)
    sizes = [count * width for count, width in zip(gradients.counts, shapes[:, 1].tolist(), strict=True)]
    sums = torch.from_numpy(gradients.sums).to(getattr(torch, call.storage)).split(sizes)
    return [
        torch.sparse_coo_tensor(ids, values.view(-1, width), (height, width), is_coalesced=True, check_invariants=False)
        for ids, values, (height, width) in zip(rows, sums, shapes.tolist(), strict=True)
    ]
