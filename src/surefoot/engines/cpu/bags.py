"""The rows that bags of ids name, pooled for many tables in one call of a kernel, which finds them by addresses."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from surefoot import hugepages, threads
from surefoot.engines.cpu.multi_tensor import sample, sorted_tables
from surefoot.engines.cpu.specialize import engine_fingerprint
from surefoot.native import Kernel, digest

PLACES = ("table", "rows", "width", "ids", "count", "ends", "factors", "column", "room", "mean")
"""What is said of an output, a feature of a table: the addresses of the table, of the ids, of where bags begin and end
(one more than there are bags) and of factors (0 without any); the table's shape and the number of ids; the first column
of the result; where its ids are noted; and whether means are taken."""


class Noted(NamedTuple):
    """What a backward pass needs of a forward pass, for each id.

    Attributes:
        ids: (n,), int64: its row.
        starts: (n,), int64: where the slope of its bag begins.
        factors: (n,): what its row is multiplied by; (0,) where nothing is.
    """

    ids: np.ndarray
    starts: np.ndarray
    factors: np.ndarray


class Gradients(NamedTuple):
    """The gradients of tables, one behind the other.

    Attributes:
        rows: the distinct rows of each table that have one, in order.
        counts: how many there are, for each table.
        sums: the numbers of these rows, one row behind the other.
    """

    rows: np.ndarray
    counts: list[int]
    sums: np.ndarray


def pool(places: np.ndarray, storage: str, pooled: np.ndarray, count: int, notes: bool) -> tuple[Noted, int]:
    """Pools the bags of outputs.

    Args:
        places: (outputs, len(PLACES)), int64.
        storage: the type that their tables are stored in.
        pooled: (batch, columns), of which the outputs' columns are written.
        count: how many ids there are.
        notes: a backward pass will follow.

    Returns:
        What that needs, and how many ids and bags are wrong; the result is of no use where some are.
    """
    scaled = notes and bool((places[:, [6, 9]] != 0).any())
    room = count if notes else 0
    noted = Noted(np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room if scaled else 0, pooled.dtype))
    edges = threads.edges(count * int(places[:, 2].max()), len(places) * pooled.shape[0], None, each=threads.FEW)
    arguments = places, sample(storage), np.empty(0, np.int64), pooled, *noted, edges
    return noted, threads.run(kernel_of("pool"), len(edges) - 1, *arguments) if pooled.size else 0


def gradients(noted: Noted, slope: np.ndarray, shapes: np.ndarray, counts: list[int]) -> Gradients:
    """The gradients of tables, each row once.

    Args:
        noted: from pool.
        slope: the gradient of the pooled rows.
        shapes: (k, 2), int64: how many rows each table has, and how many coordinates a row.
        counts: how many ids each has.
    """
    ids = noted.ids
    begins_of_ids = np.cumsum([0, *counts[:-1]])
    found = sorted_tables((ids.ctypes.data + 8 * begins_of_ids).tolist(), counts, shapes[:, 0].copy(), slope.dtype.name)
    assert found is not None  # the ids were checked in the forward pass
    rows, begins = np.empty(len(ids), np.int64), np.empty(len(ids) + 1, np.int64)
    distinct = np.empty(len(counts), np.int64)
    total = kernel_of("note")(found.order, found.found, rows, begins, distinct)
    sizes = distinct * shapes[:, 1]
    tables = np.stack([np.cumsum(distinct) - distinct, distinct, shapes[:, 1], np.cumsum(sizes) - sizes], 1)
    sums = hugepages.empty((int(sizes.sum()),), slope.dtype)
    edges = threads.edges(len(ids) * int(shapes[:, 1].max()), total, None, each=threads.FEW)
    arguments = slope.reshape(-1), found.order, found.found, begins, tables, noted.starts, noted.factors, sums, edges
    if total:
        threads.run(kernel_of("add"), len(edges) - 1, *arguments)
    return Gradients(rows[:total], distinct.tolist(), sums)


@functools.cache
def kernel_of(name: str) -> Kernel:
    """A function of `pooling`."""
    source = (Path(__file__).parent / "pooling.py").read_bytes()
    name_of_kernel = f"{name}__{digest(source, engine_fingerprint())}"

    def compiled(arguments):
        from surefoot.engines.cpu import pooling
        from surefoot.native.codegen import emit, jitted

        return emit(jitted(getattr(pooling, name)), arguments, name_of_kernel)

    return Kernel(name_of_kernel, compiled)
