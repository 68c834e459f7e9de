"""The eager engine: a rule's own function on the arrays of a framework, one operation after the other.

It is written once, for every library of arrays: a `Namespace` names what differs between them, and a file of
`namespaces/` fills it in. Nothing here changes an array in place, reads a number from one or branches on one: autograd
sees through a step, JAX compiles it, and no device is waited for.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from surefoot import ops
from surefoot.engines.program import advance_from_origin, evaluate
from surefoot.engines.settings import Settings
from surefoot.modifiers import Modifier
from surefoot.records.statistic import Statistic, mean


@dataclass(frozen=True, eq=False)
class Namespace:
    """A library of arrays.

    Attributes:
        ops: what `ops` means in rules and modifiers.
        isfinite: (values): where they are finite.
        decode: (stored): the values in the dtype that they are computed in, `numerics.ARITHMETIC`.
        cast: (values, like): the values in the dtype of an array.
        number: (number, like): a number of the step, as it enters operations with an array.
        total: (values, axis): their sum in float64, or in the widest dtype of the device; over all axes if it is None.
        largest: (values, axis): their maximum, in the same way.
        merge: (ids, values): the distinct ids in order, and the sum of each one's values.
        put: (table, ids, rows): the table with these rows in place of its own.
    """

    ops: SimpleNamespace
    isfinite: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    cast: Callable[[Any, Any], Any]
    number: Callable[[Any, Any], Any]
    total: Callable[[Any, int | None], Any]
    largest: Callable[[Any, int | None], Any]
    merge: Callable[[Any, Any], tuple[Any, Any]]
    put: Callable[[Any, Any, Any], Any]


@functools.cache
def bound(xp: Namespace, function: Callable) -> Callable:
    """A function of rules or modifiers for the arrays of a library."""
    return ops.bind(function, xp.ops)


def dense(xp: Namespace, step: Settings, x, g, slots: Sequence, t):
    """One step along a dense gradient.

    Args:
        xp: the library of the arrays.
        step: the settings.
        x, g, slots: parameters, gradient and state, as they are stored.
        t: the number of the step.

    Returns:
        ([parameters, *slots] after the step, where coordinates were stepped)
    """
    new, memory, ok = advance(xp, step, xp.decode(x), xp.decode(g), list(map(xp.decode, slots)), t)
    return commit(xp, step, [x, *slots], [new, *memory], ok)


def rows(xp: Namespace, step: Settings, x, ids, values, slots: Sequence, t):
    """The same for the rows that ids name; equal ids are summed first. Rows without a gradient are skipped."""
    named, g = xp.merge(ids, xp.decode(values))
    tables = [x, *slots]
    common = [False, *step.in_common]
    before = [table if whole else table[named] for table, whole in zip(tables, common, strict=True)]
    part, *memory = map(xp.decode, before)
    new, memory, ok = advance(xp, step, part, g, memory, t, math.prod(x.shape))
    after, ok = commit(xp, step, before, [new, *memory], ok)
    stored = zip(tables, after, common, strict=True)
    return [part if whole else xp.put(table, named, part) for table, part, whole in stored], ok


def advance(xp: Namespace, step: Settings, x, raw, slots: Sequence, t, size: int | None = None, change: bool = False):
    """One step of the values x: their new values, the new state, and where all of it is finite.

    Args:
        xp, step: the library and the settings.
        x, raw, slots: values, gradient and state, in the dtype that they are computed in.
        t: the number of the step.
        size: how many coordinates the tensor has, where x holds some of them.
        change: return how x changes, in place of its new values; only for settings of which `adds` is true.
    """
    memory = dict(zip(step.rule.slots, slots, strict=True))
    coefficients = step.coefficients(t, {name: memory[name].reshape(()) for name in step.rule.scalars})
    found = evaluate(step.program, Arrays(xp, step, t, raw, size), x, raw, memory, coefficients)
    new = found.values["x"]
    if change:
        new = bound(xp, advance_from_origin)(found.values["rate"], found.values["direction"])
    ok = xp.isfinite(raw) & xp.isfinite(found.values["square"])
    # Without coordinates there is no gradient, which is not the same as one of 0.
    after = list(slots) if size is None and 0 in raw.shape else list(found.slots.values())
    for slot in after:
        ok = ok & xp.isfinite(slot)
    return new, after, ok


class Arrays:
    """What `program.evaluate` needs of a library.

    Args:
        xp, step, t: the library, the settings and the number of the step.
        raw: the gradient, in the dtype that it is computed in.
        size: how many coordinates the tensor has, where the gradient holds some of them.
    """

    def __init__(self, xp: Namespace, step: Settings, t: Any, raw: Any, size: int | None):
        self.xp, self.step, self.t, self.raw = xp, step, t, raw
        self.fine, self.size = xp.isfinite(raw), math.prod(raw.shape) if size is None else size

    def bind(self, function: Callable) -> Callable:
        return bound(self.xp, function)

    def cast(self, value: Any) -> Any:
        return self.xp.cast(value, self.raw) if hasattr(value, "dtype") else self.xp.number(value, self.raw)

    def numbers(self, modifier: Modifier, statistics: Mapping[str, Any]) -> tuple:
        known = {name: statistics[name].reshape(()) for name in modifier.on_host}
        numbers = modifier.numbers and self.bind(modifier.numbers)
        return modifier.at(self.t, self.step.lr(self.t), self.step.options, known, numbers)

    def mean_square(self, squares: Any) -> Any:
        return self.cast(self.reduce(mean(lambda g2: g2, self.step.granularity), squares))  # pyright: ignore

    def reduce(self, statistic: Statistic, values: Any) -> Any:
        values, shape = values + 0.0 * self.raw, self.raw.shape
        fine, (over, kept, count) = self.fine & self.xp.isfinite(values), self._extent(statistic.over)
        if statistic.reduction == "maximum":
            most = self.xp.largest(self.xp.ops.where(fine, values, -math.inf).reshape(over), kept)
            found = self.xp.ops.where(self.xp.isfinite(most), most, 0.0)
        else:
            sums = self.xp.total(self.xp.ops.where(fine, values, 0.0).reshape(over), kept)
            found = sums / max(count, 1) if statistic.reduction == "mean" else sums
        ones = [1] * len(shape)
        return found.reshape(
            {"row": [*shape[:1], *ones[1:]], "column": [*ones[:1], *shape[1:]]}.get(statistic.over, ones)
        )

    def _extent(self, over: str) -> tuple[tuple[int, ...], int | None, int]:
        """(the shape in which, the axis over which, how many coordinates of) the gradient is reduced."""
        rows, width = math.prod(self.raw.shape[:1]), math.prod(self.raw.shape[1:])
        if over == "row":
            return (rows, width), 1, width
        return ((rows, width), 0, self.size // max(width, 1)) if over == "column" else ((rows, width), None, self.size)


def adds(step: Settings) -> bool:
    """Whether a step only adds −rate · direction to the parameters."""
    return not (step.rule.from_origin or any(modifier.stage in ("before", "after") for modifier in step.modifiers))


def commit(xp: Namespace, step: Settings, before: Sequence, after: Sequence, ok):
    """What is stored in the end: parameters and state where they are finite.

    Args:
        xp, step: the library and the settings.
        before: [parameters, *slots] as they are stored.
        after: the same after the step, as they were computed.
        ok: where all that was computed is finite.

    Returns:
        (what is stored after the step, where coordinates were stepped)
    """
    stored = [xp.cast(new, old) for new, old in zip(after, before, strict=True)]
    if step.nonfinite == "propagate":
        return stored, ok | True
    finite, shares = list(map(xp.isfinite, stored)), (False, *step.shares)
    for alone, fine in zip(shares, finite, strict=True):
        ok = ok if alone else ok & fine
    places = [fine if alone else ok for alone, fine in zip(shares, finite, strict=True)]
    return [xp.ops.where(*three) for three in zip(places, stored, before, strict=True)], ok
