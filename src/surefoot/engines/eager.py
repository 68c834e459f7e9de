"""The eager engine: a rule's own function on the arrays of a framework, one operation after the other.

It is written once, for every library of arrays: a `Namespace` names what differs between them, and a file of
`namespaces/` fills it in. Nothing here changes an array in place, reads a number from one or branches on one: autograd
sees through a step, JAX compiles it, and no device is waited for.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from surefoot import ops
from surefoot.engines import modifiers as around
from surefoot.engines.modifiers import Modifiers
from surefoot.engines.settings import Settings


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
        merge: (ids, values): the distinct ids in order, and the sum of each one's values.
        put: (table, ids, rows): the table with these rows in place of its own.
    """

    ops: SimpleNamespace
    isfinite: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    cast: Callable[[Any, Any], Any]
    number: Callable[[Any, Any], Any]
    total: Callable[[Any, int | None], Any]
    merge: Callable[[Any, Any], tuple[Any, Any]]
    put: Callable[[Any, Any, Any], Any]


@functools.cache
def bound(xp: Namespace, function: Callable) -> Callable:
    """A function of rules or modifiers for the arrays of a library."""
    return ops.bind(function, xp.ops)


def dense(xp: Namespace, step: Settings, x, g, slots: Sequence, coefficients: tuple, numbers: Modifiers):
    """One step along a dense gradient.

    Args:
        xp: the library of the arrays.
        step: the settings.
        x, g, slots: parameters, gradient and state, as they are stored.
        coefficients, numbers: those of the rule and of what is around it, at this step.

    Returns:
        ([parameters, *slots] after the step, where coordinates were stepped)
    """
    memory = list(map(xp.decode, slots))
    new, memory, ok = advance(xp, step, xp.decode(x), xp.decode(g), memory, coefficients, numbers)
    return commit(xp, step, [x, *slots], [new, *memory], ok)


def rows(xp: Namespace, step: Settings, x, ids, values, slots: Sequence, coefficients: tuple, numbers: Modifiers):
    """The same for the rows that ids name; equal ids are summed first. Rows without a gradient are skipped."""
    named, g = xp.merge(ids, xp.decode(values))
    tables = [x, *slots]
    common = [False, *step.in_common]
    before = [table if whole else table[named] for table, whole in zip(tables, common, strict=True)]
    part, *memory = map(xp.decode, before)
    new, memory, ok = advance(xp, step, part, g, memory, coefficients, numbers, math.prod(x.shape))
    after, ok = commit(xp, step, before, [new, *memory], ok)
    stored = zip(tables, after, common, strict=True)
    return [part if whole else xp.put(table, named, part) for table, part, whole in stored], ok


def advance(
    xp: Namespace,
    step: Settings,
    x,
    raw,
    slots: Sequence,
    coefficients: tuple,
    numbers: Modifiers,
    size: int | None = None,
    change: bool = False,
):
    """One step of the values x: their new values, the new state, and where all of it is finite.

    Args:
        xp, step: the library and the settings.
        x, raw, slots: values, gradient and state, in the dtype that they are computed in.
        coefficients, numbers: those of the rule and of what is around it, at this step.
        size: how many coordinates the tensor has, where x holds some of them.
        change: return how x changes, in place of its new values; only for settings of which `adds` is true.
    """
    numbers = Modifiers(*(xp.number(number, x) for number in numbers))
    g = bound(xp, around.gradient)(raw, x, numbers.scale, numbers.clip, numbers.weight_decay) if step.adjusts else raw
    start = numbers.keep * x if step.decays else x
    square = g * g
    ok = xp.isfinite(raw) & xp.isfinite(square)
    g2 = mean_square(xp, step, xp.ops.where(ok, square, 0.0), size) if step.shared else square
    coefficients = tuple(xp.number(number, x) for number in coefficients)
    rate, direction, *memory = bound(xp, step.rule.function)(start, g, g2, *slots, *coefficients)
    new = bound(xp, around.advance)(0.0 if step.rule.from_origin or change else start, rate, direction)
    if step.shrinks:
        new = bound(xp, around.proximal)(new, rate, numbers.l1, numbers.l2)
    for slot in memory:
        ok = ok & xp.isfinite(slot)
    return new, memory, ok


def adds(step: Settings) -> bool:
    """Whether a step only adds −rate · direction to the parameters."""
    return not (step.rule.from_origin or step.regularized)


def mean_square(xp: Namespace, step: Settings, squares, size: int | None):
    """The mean of the squares over each row, or over the tensor (of `size` coordinates)."""
    if step.granularity == "row":
        count, width = math.prod(squares.shape[:1]), math.prod(squares.shape[1:])
        means = xp.total(squares.reshape(count, width), 1) / max(width, 1)
        return xp.cast(means, squares).reshape((*squares.shape[:1], *(1 for _ in squares.shape[1:])))
    size = math.prod(squares.shape) if size is None else size
    return xp.cast(xp.total(squares, None) / max(size, 1), squares).reshape([1] * squares.ndim)


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
