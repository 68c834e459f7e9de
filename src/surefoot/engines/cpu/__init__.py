"""The CPU engine, in Numba: the reference's bits at the speed of memory.

`drivers/` holds one generic driver per layout, `bank/` those of several models that learn at once; `codecs.py` reads
and writes storage types, `slots.py` a rule's memory. `specialize.py` gives a driver's copy for a rule, and
`compiling.py` makes it where that has not been done before. Here memory is laid out for them and shared among threads.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from surefoot import hugepages, threads
from surefoot.engines.cpu import measuring
from surefoot.engines.cpu.arguments import Waiting, Workspace
from surefoot.engines.cpu.kind import Kind, kind_of, wide, workspaces
from surefoot.engines.cpu.measuring import Measured
from surefoot.engines.cpu.memory import stored, together
from surefoot.engines.cpu.multi_tensor import MultiTable, MultiTensor, Sorted, count, read
from surefoot.engines.cpu.sorting import distinct_rows, sort_ids
from surefoot.engines.cpu.specialize import specialize
from surefoot.engines.numerics import ARITHMETIC, BLOCK, encode, storage_of
from surefoot.engines.settings import Settings
from surefoot.engines.state import State

__all__ = [
    "MultiTable",
    "MultiTensor",
    "Sorted",
    "count",
    "dense",
    "distinct",
    "distinct_rows",
    "flush",
    "grouped",
    "merge",
    "read",
    "rows",
    "sort_ids",
    "sums",
]


EMPTY = np.empty(0)
"""In place of what no rows wait for."""


# Dense gradients


def dense(step: Settings, x, g, state: State, t: int, coefficients: tuple) -> int:
    """Steps all of x; returns how many coordinates were skipped."""
    kind = kind_of(step, storage_of(x))
    slots = measuring.slots_of(step, state, kind)
    measured = Measured(step, kind, t, coefficients, state.given)
    x, g = stored(x), stored(g)
    acting = measured.acting(lambda *statistic: measuring.of_dense(step, x, g, slots, *statistic))
    skipped = 0
    if x.size:
        kernel = specialize("dense", kind)

        def run(xs, gs, own, place):
            edges = parts_of(step, xs)
            work = workspaces(len(edges) - 1, BLOCK, kind.dtype)
            return threads.run(kernel, len(work), xs, gs, own, acting, work, place, edges, threads=step.threads)

        if all(array.flags.c_contiguous for array in (x, g, *measuring.arrays_in(slots))):
            skipped = run(*measuring.flat(step, x, g, slots), 0)
        else:
            skipped = sum(run(*block) for block in copied_blocks(step, x, g, slots))
    measured.step_common(state, x.shape)
    return skipped


def parts_of(step: Settings, x) -> np.ndarray:
    """Where the threads' parts of dense parameters in two dimensions begin and end."""
    if len(x) > 1:
        return threads.edges(x.size, len(x), step.threads)
    # The only row has one rate, where rows matter: it cannot be cut.
    return np.array([0, x.size]) if step.by_row else threads.edges(x.size, x.size, step.threads)


def copied_blocks(step: Settings, x, g, slots: tuple) -> Iterator[tuple[Any, Any, tuple, int]]:
    """The same for memory with gaps: groups of rows are copied together, stepped, and copied back, one by one.

    A long row is stepped where it lies, if it is evenly spaced.
    """
    width = x.size // x.shape[0]
    group = max(1, BLOCK // width)
    for b in range(0, x.shape[0], group):
        rows = slice(b, b + group)
        parts = [x[rows], g[rows], *(slot[rows] for slot in measuring.arrays_in(slots))]
        close = [together(part) for part in parts]
        own = iter(close[2:])
        copies = tuple(next(own) if isinstance(slot, np.ndarray) else slot for slot in slots)
        yield *measuring.flat(step, close[0], close[1], copies), b * width
        for part, copy in zip(parts, close, strict=True):
            if part is not parts[1] and not np.may_share_memory(part, copy):
                part[...] = copy.reshape(part.shape)


# Sparse gradients


def grouped(ids, values, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A sparse gradient as kernels take it: its values, and their order by row."""
    width = math.prod(values.shape[1:])
    return np.ascontiguousarray(stored(values)).reshape(len(ids), width), sort_ids(ids, rows)


def distinct(gradient) -> np.ndarray:
    """The rows that a sparse gradient names, in order."""
    return distinct_rows(gradient[1])[0]


def rows(step: Settings, x, gradient, state: State, t: int, coefficients: tuple) -> int:
    """Steps the rows that a gradient names; returns how many coordinates were skipped."""
    values, order = gradient
    kind = kind_of(step, storage_of(x), catches_up=state.pending is not None)
    measured, skipped = Measured(step, kind, t, coefficients, state.given), 0
    with two_dimensions(step, x, state, kind) as (table_, slots):
        acting = measured.acting(lambda *statistic: measuring.of_rows(x, table_, gradient, slots, *statistic))
        if values.size:
            kernel = specialize("rows", kind)
            edges = threads.edges(values.size, len(order), step.threads, each=threads.FEW)
            parts = len(edges) - 1
            work = Workspace(workspaces(parts, table_.shape[1], kind.dtype), workspaces(parts, BLOCK, kind.dtype))
            waits = waiting(state, t, kind, parts, table_, slots)
            arguments = table_, *gradient, slots, acting, work, waits, edges
            skipped = threads.run(kernel, parts, *arguments, threads=step.threads)
        elif state.pending is not None:
            state.pending.last[distinct(gradient)] = t
    measured.step_common(state, x.shape)
    return skipped


def merge(ids: np.ndarray, values: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ids in order, and the sum of each one's values in order of occurrence.

    >>> merge(np.array([2, 0, 2]), np.array([[1.0], [2.0], [4.0]]), 3)
    (array([0, 2]), array([[2.], [5.]]))
    """
    order = sort_ids(ids, rows)
    distinct, starts = distinct_rows(order)
    return distinct, sums(order, starts, values)


def sums(order, starts, values: np.ndarray) -> np.ndarray:
    """The sum of each distinct row's values in order of occurrence, given its ids sorted and where each row begins."""
    table_ = np.ascontiguousarray(stored(values)).reshape(len(values), math.prod(values.shape[1:]))
    kind = Kind(ARITHMETIC[storage_of(values)])
    result = hugepages.empty((len(starts) - 1, table_.shape[1]), kind.dtype)
    if result.size:
        kernel = specialize("sums", kind)
        cuts = threads.edges(len(order) * table_.shape[1], len(order), None, each=threads.FEW)
        edges = np.searchsorted(starts, cuts)
        threads.run(kernel, len(edges) - 1, table_, order, starts, result, edges)
    return encode(result, values).reshape(len(result), *values.shape[1:])


@contextlib.contextmanager
def two_dimensions(step: Settings, x, state: State, kind: Kind):
    """(x, slots) as tables of rows, where they lie; only rows with gaps inside are copied and back."""
    rows_, width = x.shape[0], math.prod(x.shape[1:])
    slots = measuring.slots_of(step, state, kind)
    shapes = {"coordinate": (rows_, width), "row": (-1,)}
    arrays = [stored(x), *slots]
    wanted = [(rows_, width), *(shapes.get(extent) for extent in step.extents)]
    tables = [array if shape is None else array.reshape(shape) for array, shape in zip(arrays, wanted, strict=True)]
    yield tables[0], tuple(tables[1:])
    for array, table_, shape in zip(arrays, tables, wanted, strict=True):
        if shape is not None and not np.may_share_memory(array, table_):
            array[...] = table_.reshape(array.shape)


def waiting(state: State, now: int, kind: Kind, parts: int, x, slots) -> Waiting | np.ndarray:
    """What kernels need for rows to catch up on steps without a gradient; EMPTY where they need not."""
    pending = state.pending
    if pending is None:
        return EMPTY
    row, memory = wide(parts, x.shape[1], x, slots)
    return Waiting(pending.last, np.array([now]), pending.starts(), pending.arrays(kind.dtype), row, memory)


def flush(step: Settings, x, state: State) -> None:
    """Lets every row catch up, as if it were touched by the next step."""
    if x.size == 0 or state.pending is None or not state.pending.entries:
        return
    kind = kind_of(step, storage_of(x), catches_up=True)
    with two_dimensions(step, x, state, kind) as (table_, slots):
        specialize("flush", kind)(table_, slots, waiting(state, state.t + 1, kind, 1, table_, slots))
