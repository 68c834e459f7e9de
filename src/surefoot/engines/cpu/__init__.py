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
from numpy.lib.stride_tricks import as_strided

from surefoot import hugepages, threads
from surefoot.engines.cpu.arguments import Acting, Waiting, Workspace
from surefoot.engines.cpu.kind import Kind, kind_of, numbers, workspaces
from surefoot.engines.cpu.multi_tensor import MultiTable, MultiTensor, Sorted, count, read
from surefoot.engines.cpu.sorting import distinct_rows, sort_ids
from surefoot.engines.cpu.specialize import specialize
from surefoot.engines.modifiers import Modifiers
from surefoot.engines.numerics import ARITHMETIC, BLOCK, decode, encode, rounding_key, storage_of
from surefoot.engines.settings import Settings
from surefoot.engines.state import Columns, State
from surefoot.rules import REGISTRY

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
    "norm",
    "read",
    "rows",
    "rows_norm",
    "sort_ids",
    "sums",
]


EMPTY = np.empty(0)
"""In place of what no rows wait for."""


def stored(array: np.ndarray) -> np.ndarray:
    """float16 as int16, which stands for it in the kernels."""
    return array.view(np.int16) if array.dtype == np.float16 else array


# Dense gradients


def dense(step: Settings, x, g, state: State, t: int, coefficients: tuple, modifiers: Modifiers) -> int:
    """Steps all of x; returns how many coordinates were skipped."""
    if x.size == 0:
        return 0
    kind = kind_of(step, storage_of(x))
    c, a = numbers(kind, coefficients, modifiers)
    slots = [stored(state.slots[name]) for name in step.rule.slots]
    x, g = stored(x), stored(g)
    means = np.empty(0, kind.dtype)
    if step.granularity == "tensor":
        means = np.array([squares(x, g, a, kind, step.threads) / x.size]).astype(kind.dtype)
    kernel = specialize("dense", step.rule, kind)
    key = np.uint32(rounding_key(step.stochastic_rounding, t))
    # What the tensor shares is read by every block, and so written elsewhere until all are done.
    fresh = [slot.copy() if common else slot for slot, common in zip(slots, step.in_common, strict=True)]

    def run(xs, gs, before, after, place):
        edges = parts_of(step, xs)
        work = workspaces(len(edges) - 1, BLOCK, kind.dtype)
        arguments = xs, gs, before, after, c, a, means, key, place, work, edges
        return threads.run(kernel, len(work), *arguments, threads=step.threads)

    if all(array.flags.c_contiguous for array in (x, g, *slots)):
        skipped = run(*flat(step, x, g, slots, fresh), 0)
    else:
        skipped = sum(run(*block) for block in copied_blocks(step, x, g, slots, fresh))
    for slot, after, common in zip(slots, fresh, step.in_common, strict=True):
        if common:
            slot[...] = after
    return skipped


def flat(step: Settings, x, g, slots, fresh) -> tuple[Any, Any, tuple, tuple]:
    """(x, g, slots, slots to write) in two dimensions: in rows where each has its own rate, else in one row."""
    rows = x.shape[0] if step.granularity == "row" and x.ndim else 1
    shapes = [-1 if lone else (rows, x.size // rows) for lone in step.shares]
    before, after = (
        tuple(slot.reshape(shape) for slot, shape in zip(group, shapes, strict=True)) for group in (slots, fresh)
    )
    return x.reshape(rows, -1), g.reshape(rows, -1), before, after


def parts_of(step: Settings, x) -> np.ndarray:
    """Where the threads' parts of dense parameters in two dimensions begin and end."""
    if len(x) > 1:
        return threads.edges(x.size, len(x), step.threads)
    # The only row has one rate with granularity "row": it cannot be cut.
    return np.array([0, x.size]) if step.granularity == "row" else threads.edges(x.size, x.size, step.threads)


def copied_blocks(step: Settings, x, g, slots, fresh) -> Iterator[tuple[Any, Any, tuple, tuple, int]]:
    """The same for memory with gaps: groups of rows are copied together, stepped, and copied back, one by one.

    A long row is stepped where it lies, if it is evenly spaced.
    """
    width = x.size // x.shape[0]
    group = max(1, BLOCK // width)
    for b in range(0, x.shape[0], group):
        rows = slice(b, b + group)
        parts = [x[rows], g[rows], *(s if c else s[rows] for s, c in zip(slots, step.in_common, strict=True))]
        close = [together(part) for part in parts]
        before = close[2:]
        after = [f if c else s for f, s, c in zip(fresh, before, step.in_common, strict=True)]
        yield *flat(step, close[0], close[1], before, after), b * width
        for part, copy in zip(parts, close, strict=True):
            if part is not parts[1] and not np.may_share_memory(part, copy):
                part[...] = copy.reshape(part.shape)


def together(part: np.ndarray) -> np.ndarray:
    """A long evenly spaced row as it is; anything else copied together where it has gaps."""
    if part.shape[0] == 1 and part.size > BLOCK:
        row = part.reshape(1, -1)
        if np.may_share_memory(row, part):
            return row
    return np.ascontiguousarray(part)


# Sparse gradients


def grouped(ids, values, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A sparse gradient as kernels take it: its values, and their order by row."""
    width = math.prod(values.shape[1:])
    return np.ascontiguousarray(stored(values)).reshape(len(ids), width), sort_ids(ids, rows)


def distinct(gradient) -> np.ndarray:
    """The rows that a sparse gradient names, in order."""
    return distinct_rows(gradient[1])[0]


def rows(step: Settings, x, gradient, state: State, t: int, coefficients: tuple, modifiers: Modifiers) -> int:
    """Steps the rows that a gradient names; returns how many coordinates were skipped."""
    values, order = gradient
    kind = kind_of(step, storage_of(x), catches_up=state.last is not None)
    if not values.size:
        step_common(step, x, state, coefficients)
        if state.last is not None:
            state.last[distinct(gradient)] = t
        return 0
    c, a = numbers(kind, coefficients, modifiers)
    with two_dimensions(step, x, state) as (table_, slots, after):
        means = np.empty(0, kind.dtype)
        if step.granularity == "tensor":
            means = np.array([squares_of_rows(table_, gradient, a, kind) / x.size]).astype(kind.dtype)
        kernel = specialize("rows", step.rule, kind)
        key = np.uint32(rounding_key(step.stochastic_rounding, t))
        edges = threads.edges(values.size, len(order), step.threads, each=threads.FEW)
        parts = len(edges) - 1
        work = Workspace(workspaces(parts, table_.shape[1], kind.dtype), workspaces(parts, BLOCK, kind.dtype))
        acting, waiting_ = Acting(c, a, means, key), waiting(state, t, kind, parts, table_, slots)
        arguments = table_, *gradient, slots, after, acting, work, waiting_, edges
        return threads.run(kernel, parts, *arguments, threads=step.threads)


def step_common(step: Settings, x, state: State, coefficients: tuple) -> None:
    """Steps what the tensor shares along a gradient without coordinates: by a mean square of zero."""
    if step.granularity != "tensor":
        return
    f = np.dtype(ARITHMETIC[storage_of(x)]).type
    zero = np.zeros([1] * x.ndim, f)
    slots = [state.slots[name] for name in step.rule.slots]
    memory = [decode(slot) if common else zero for slot, common in zip(slots, step.in_common, strict=True)]
    with np.errstate(all="ignore"):
        _, _, *after = step.rule.bound(dtype=f)(zero, zero, zero, *memory, *map(f, coefficients))
    for slot, new, common in zip(slots, after, step.in_common, strict=True):
        kept = encode(np.asarray(new), slot)
        if common and (step.nonfinite == "propagate" or np.isfinite(decode(kept)).all()):
            slot[...] = kept


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
        kernel = specialize("sums", REGISTRY["sgd"], kind)
        cuts = threads.edges(len(order) * table_.shape[1], len(order), None, each=threads.FEW)
        edges = np.searchsorted(starts, cuts)
        threads.run(kernel, len(edges) - 1, table_, order, starts, result, edges)
    return encode(result, values).reshape(len(result), *values.shape[1:])


@contextlib.contextmanager
def two_dimensions(step: Settings, x, state: State):
    """(x, slots, slots to write) as tables of rows, where they lie; only rows with gaps inside are copied and back."""
    rows_ = x.shape[0]
    arrays = [stored(x), *(stored(state.slots[name]) for name in step.rule.slots)]
    shapes = [(rows_, x.size // rows_), *((-1,) if lone else (rows_, x.size // rows_) for lone in step.shares)]
    tables = [array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]
    before, after = tables[1:], tables[1:]
    for k, common in enumerate(step.in_common):
        if common:
            # One number for all rows: read in place through a stride of 0, written aside until all rows are done.
            before[k] = as_strided(tables[k + 1], (rows_,), (0,))
            after[k] = as_strided(tables[k + 1].copy(), (rows_,), (0,))
    yield tables[0], tuple(before), tuple(after)
    for k, common in enumerate(step.in_common):
        if common:
            tables[k + 1][...] = after[k][0]
    for array, table_ in zip(arrays, tables, strict=True):
        if not np.may_share_memory(array, table_):
            array[...] = table_.reshape(array.shape)


def waiting(state: State, now: int, kind: Kind, parts: int, x, slots) -> Waiting | np.ndarray:
    """What kernels need for rows to catch up on steps without a gradient; EMPTY where they need not."""
    if state.last is None:
        return EMPTY
    known = state.columns
    if known is None or known.history is not state.history or known.dtype != kind.dtype:
        known = state.columns = Columns(state.history, kind.dtype)
    starts, coefficients, modifiers = known.upto_now()
    row, memory = wide(parts, x, slots)
    return Waiting(state.last, np.array([now]), starts, coefficients, modifiers, row, memory)


def wide(parts: int, x, slots) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """For each part, room for a row and its memory in the types in which they are computed."""

    def room_for(array):
        dtype = "float32" if array.itemsize == 2 else array.dtype.name
        return workspaces(parts, array.shape[-1], dtype) if array.ndim == 2 else workspaces(parts, 1, dtype)[:, 0]

    return room_for(x), tuple(map(room_for, slots))


def flush(step: Settings, x, state: State) -> None:
    """Lets every row catch up, as if it were touched by the next step."""
    if x.size == 0:
        return
    kind = kind_of(step, storage_of(x), catches_up=True)
    with two_dimensions(step, x, state) as (table_, slots, _):
        unchanged = tuple(slot.copy() if slot.ndim == 1 and step.granularity == "tensor" else slot for slot in slots)
        rest = waiting(state, state.t + 1, kind, 1, table_, slots)
        specialize("flush", step.rule, kind)(table_, slots, unchanged, rest)


# Norms and mean squares


def squares(x, g, modifiers: tuple, kind: Kind, limit: int | None) -> float:
    """The sum of the squares of a dense gradient, as the rule sees it; x tells the storage type and enters with L2."""
    count = -(-g.size // BLOCK)
    sums_ = np.zeros(count)
    kernel = specialize("dense_squares", REGISTRY["sgd"], Kind(kind.dtype, adjusts=kind.adjusts))

    def run(xs, gs, sums_, edges):
        work = workspaces(len(edges) - 1, BLOCK, kind.dtype)
        threads.run(kernel, len(work), xs, gs, modifiers, work, sums_, edges, threads=limit)

    if x.flags.c_contiguous and g.flags.c_contiguous:
        run(x.reshape(1, -1), g.reshape(1, -1), sums_, threads.edges(g.size, count, limit))
    else:
        for k in range(count):
            cut = slice(k * BLOCK, (k + 1) * BLOCK)
            run(x.flat[cut].reshape(1, -1), g.flat[cut].reshape(1, -1), sums_[k:], np.array([0, 1]))
    return sum(map(float, sums_), 0.0)


def norm(step: Settings, g) -> float:
    """The Euclidean norm of the finite part of a gradient."""
    kind = Kind(ARITHMETIC[storage_of(g)])
    return math.sqrt(squares(stored(g), stored(g), (), kind, step.threads))


def squares_of_rows(x, gradient, modifiers: tuple, kind: Kind) -> float:
    kernel = specialize("rows_squares", REGISTRY["sgd"], Kind(kind.dtype, adjusts=kind.adjusts))
    return kernel(x, *gradient, modifiers, np.empty(BLOCK, kind.dtype), np.empty(x.shape[1], kind.dtype))


def rows_norm(x, gradient) -> float:
    """The Euclidean norm of a sparse gradient."""
    values = gradient[0]
    # The rows of x are only looked at with L2, which a norm knows nothing of: any memory of that shape will do.
    placeholder = as_strided(np.zeros(1, values.dtype), (x.shape[0], values.shape[1]), (0, 0))
    return math.sqrt(squares_of_rows(placeholder, gradient, (), Kind(ARITHMETIC[storage_of(x)])))
