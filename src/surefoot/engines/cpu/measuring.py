"""What coordinates have in common in a step: statistics, measured before it, and slots of the tensor or of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from surefoot import threads
from surefoot.engines.arrays import ROWS_AT_ONCE
from surefoot.engines.cpu.arguments import Acting
from surefoot.engines.cpu.kind import NO_RULE, Kind, in_type, measuring, workspaces
from surefoot.engines.cpu.memory import stored
from surefoot.engines.cpu.specialize import specialize
from surefoot.engines.numerics import BLOCK, decode, encode, rounding_key
from surefoot.engines.program import Program
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.records.statistic import Statistic


class Measured:
    """The statistics of one step that more than a row has in common, measured one after the other.

    Args:
        step: the settings.
        kind: what drivers are compiled for.
        t: the number of the step.
        coefficients: of the rule.
        given: statistics that are known.
    """

    def __init__(self, step: Settings, kind: Kind, t: int, coefficients: tuple, given: Mapping[str, np.ndarray]):
        self.step, self.kind, self.t, self.coefficients = step, kind, t, coefficients
        self.key = np.uint32(rounding_key(step.rounding_seed, t))
        self.known: dict[str, Any] = {name: float(value.reshape(())) for name, value in given.items()}
        self.mean = np.empty(0, kind.dtype)

    def acting(self, measure: Callable[[Statistic, Kind, Acting], Any]) -> Acting:
        """What acts in the step, once `measure` has measured every statistic."""
        for name, statistic in self.step.measured:
            if name in self.known:
                continue
            kind = measuring(self.kind, name)
            found = measure(statistic, kind, self._now(kind.program))
            if name == "g2":
                self.mean = np.array([found]).astype(self.kind.dtype)
            else:
                self.known[name] = found
        return self._now(self.kind.program)

    def _now(self, program: Program) -> Acting:
        ruled = program is self.kind.program
        numbers = self.step.numbers(self.t, self.known) if program.numbers._fields else ()
        coefficients, numbers = in_type(self.kind, self.coefficients if ruled else (), numbers)
        statistics = tuple(self._in_kernel(self.known.get(name, 0.0)) for name in program.statistics)
        return Acting(statistics, coefficients, numbers, self.mean if ruled else self.mean[:0], self.key)

    def _in_kernel(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.astype(self.kind.dtype),)
        return np.dtype(self.kind.dtype).type(value)

    def step_common(self, state: State, shape: tuple[int, ...]) -> None:
        """Steps the slots that more than a row has in common: they depend on statistics alone."""
        step, rule = self.step, self.step.rule
        if not any(step.in_common):
            return
        f = np.dtype(self.kind.dtype).type
        line, one = (*(1 for _ in shape[:1]), *shape[1:]), tuple(1 for _ in shape)

        def spread(value: Any) -> np.ndarray:
            return np.asarray(value, f).reshape(line if isinstance(value, np.ndarray) and value.ndim else one)

        commons = list(zip(rule.slots, step.in_common, strict=True))
        slots = [decode(state.slots[name]) if common else f(0) for name, common in commons]
        statistics = [spread(self.known.get(name, 0.0)) for name in rule.taken]
        mean = self.mean.reshape(one) if self.mean.size else f(0)
        with np.errstate(all="ignore"):
            numbers = map(f, self.coefficients)
            _, _, *after = rule.bound(dtype=f)(f(0), f(0), mean, *slots, *statistics, *numbers)
        for (name, common), value in zip(commons, after, strict=True):
            if common:
                new = encode(np.asarray(value, f), state.slots[name])
                fine = np.isfinite(decode(new)) | (step.nonfinite == "propagate")
                state.slots[name][...] = np.where(fine, new, state.slots[name])


def slots_of(step: Settings, state: State, kind: Kind) -> tuple:
    """The memory as kernels take it: arrays, and in the type of the arithmetic what they only read."""
    f = np.dtype(kind.dtype).type

    def taken(name: str, extent: str) -> Any:
        slot = state.slots[name]
        if extent == "column":
            return (np.ascontiguousarray(decode(slot)).reshape(-1).astype(f),)
        return stored(slot) if extent in ("coordinate", "row") else f(decode(slot).reshape(()))

    return tuple(taken(name, extent) for name, extent in zip(step.rule.slots, step.extents, strict=True))


def arrays_in(slots: tuple) -> Iterator[np.ndarray]:
    """Those of the slots that are arrays of the parameter's rows."""
    return (slot for slot in slots if isinstance(slot, np.ndarray))


def flat(step: Settings, x, g, slots: tuple) -> tuple[Any, Any, tuple]:
    """(x, g, slots) in two dimensions: in rows where they matter, else in one row."""
    rows = x.shape[0] if step.by_row and x.ndim else 1
    shapes = {"coordinate": (rows, x.size // max(rows, 1)), "row": (-1,)}
    wanted = [shapes.get(extent) for extent in step.extents] if slots else []
    own = tuple(slot if shape is None else slot.reshape(shape) for slot, shape in zip(slots, wanted, strict=True))
    return x.reshape(shapes["coordinate"]), g.reshape(shapes["coordinate"]), own


def of_dense(step: Settings, x, g, slots: tuple, statistic: Statistic, kind: Kind, acting: Acting) -> Any:
    """A statistic of all of an array: a number; or one for each column, as an array."""
    if x.size == 0:
        return empty(statistic, x.shape)
    own = () if kind.program.rule is NO_RULE.rule else slots
    found = [of_piece(step, *piece, statistic, kind, acting) for piece in pieces(step, x, g, own)]
    size = len(np.atleast_1d(x)) if statistic.over == "column" else x.size
    return joined(statistic, np.concatenate(found), size)


def pieces(step: Settings, x, g, slots: tuple) -> Iterator[tuple[Any, Any, tuple]]:
    """(x, g, slots) in two dimensions; where memory has gaps, some of it at a time, copied together."""
    arrays = [x, g, *arrays_in(slots)]
    if all(array.flags.c_contiguous for array in arrays):
        yield flat(step, x, g, slots)
        return
    for cut in cuts(step, x):
        close = [np.ascontiguousarray(array[cut] if step.by_row else array.flat[cut]) for array in arrays]
        own = iter(close[2:])
        yield flat(
            step, close[0], close[1], tuple(next(own) if isinstance(slot, np.ndarray) else slot for slot in slots)
        )


def cuts(step: Settings, x) -> Iterator[slice]:
    """Parts of an array whose statistics are added up in the same order as those of the whole."""
    size, each = (x.shape[0], ROWS_AT_ONCE) if step.by_row else (x.size, BLOCK)
    return (slice(begin, begin + each) for begin in range(0, size, each))


def of_piece(step: Settings, x, g, slots: tuple, statistic: Statistic, kind: Kind, acting: Acting) -> np.ndarray:
    """The statistic's parts: of each row or block, or of every column for some rows each."""
    if statistic.over == "column":
        found = start(statistic, (-(-len(x) // ROWS_AT_ONCE), x.shape[1]))
        edges = threads.edges(x.size, len(found), step.threads)
        work = workspaces(len(edges) - 1, BLOCK, kind.dtype)
        arguments = x, g, slots, acting, work, found, ROWS_AT_ONCE, edges
        threads.run(specialize("dense_columns", kind), len(work), *arguments, threads=step.threads)
        return found
    # A row whose own statistics the expression may take is not cut into blocks.
    found = np.empty(len(x) if step.by_row else -(-x.shape[1] // BLOCK))
    edges = threads.edges(x.size, len(found), step.threads)
    work = workspaces(len(edges) - 1, BLOCK, kind.dtype)
    kernel = specialize("dense_statistic", kind)
    threads.run(kernel, len(work), x, g, slots, acting, work, found, edges, threads=step.threads)
    return found


def of_rows(x, table, gradient, slots: tuple, statistic: Statistic, kind: Kind, acting: Acting) -> Any:
    """A statistic of the rows that a sparse gradient names; all others count as 0."""
    values, order = gradient
    if not values.size:
        return empty(statistic, x.shape)
    scratch, total = np.empty(BLOCK, kind.dtype), np.empty(table.shape[1], kind.dtype)
    own = () if kind.program.rule is NO_RULE.rule else slots
    if statistic.over == "column":
        found = start(statistic, (-(-len(order) // ROWS_AT_ONCE), table.shape[1]))
        arguments = table, values, order, own, acting, scratch, total, found, ROWS_AT_ONCE
        specialize("rows_columns", kind)(*arguments)
        return joined(statistic, found, len(table))
    found = np.empty(len(order))
    count = specialize("rows_statistic", kind)(table, values, order, own, acting, scratch, total, found)
    return joined(statistic, found[:count], table.size)


def start(statistic: Statistic, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, -np.inf if statistic.reduction == "maximum" else 0.0)


def empty(statistic: Statistic, shape: tuple[int, ...]) -> Any:
    """A statistic of nothing."""
    return np.zeros(int(np.prod(shape[1:]))) if statistic.over == "column" else 0.0


def joined(statistic: Statistic, parts: np.ndarray, size: int) -> Any:
    """A statistic from those of parts, which are added up in their order."""
    if statistic.reduction == "maximum":
        most = parts.max(axis=0)
        return np.where(most > -np.inf, most, 0.0) if most.ndim else float(most) if most > -np.inf else 0.0
    summed = added(parts)[0]
    found = summed / max(size, 1) if statistic.reduction == "mean" else summed
    return found if found.ndim else float(found)


def added(parts: np.ndarray) -> np.ndarray:
    """The sum of all parts, one after the other."""
    return np.cumsum(parts, axis=0)[-1:] + 0.0
