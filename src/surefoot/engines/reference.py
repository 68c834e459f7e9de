"""The reference engine, in NumPy: slow and obvious. The other engines are held to its bits."""

import math

import numpy as np

from surefoot import ops
from surefoot.engines import modifiers as surroundings
from surefoot.engines.modifiers import Modifiers
from surefoot.engines.numerics import BLOCK, RUNNING_SUMS, decode, encode, rounding_key
from surefoot.engines.settings import Settings
from surefoot.engines.state import State


def dense(step: Settings, x, g, state: State, t: int, coefficients: tuple, modifiers: Modifiers) -> int:
    """Steps all of x; returns how many coordinates were skipped."""
    slots = [state.slots[name] for name in step.rule.slots]
    new, memory, ok = advance(step, decode(x), decode(g), [decode(s) for s in slots], coefficients, modifiers)
    places = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    return commit(step, x, new, slots, memory, ok, places, t)


def grouped(ids, values, rows: int):
    """A sparse gradient as the functions below take it: its distinct rows, and the sum of each one's values."""
    for row in ids[(ids < 0) | (ids >= rows)][:1]:
        raise IndexError(f"the gradient names row {row}; expected 0 … {rows - 1}")
    return merge(ids, decode(values))


def distinct(gradient):
    return gradient[0]


def rows(step: Settings, x, gradient, state: State, t: int, coefficients: tuple, modifiers: Modifiers) -> int:
    """Steps the rows that a gradient names; returns how many coordinates were skipped."""
    unique, totals = gradient
    if state.last is not None:
        for row in unique:
            catch_up(step, x, state, row, int(state.last[row]), t - 1, state.history, step.in_common)
            state.last[row] = t
    whole = [state.slots[name] for name in step.rule.slots]
    slots = [slot if common else slot[unique] for slot, common in zip(whole, step.in_common, strict=True)]
    part = x[unique]
    new, memory, ok = advance(step, decode(part), totals, [decode(s) for s in slots], coefficients, modifiers, x.size)
    width = x.size // max(x.shape[0], 1)
    places = unique.astype(np.uint64)[:, None] * np.uint64(width) + np.arange(width, dtype=np.uint64)
    skipped = commit(step, part, new, slots, memory, ok, places.reshape(part.shape), t)
    x[unique] = part
    for slot, after, common in zip(whole, slots, step.in_common, strict=True):
        if not common:
            slot[unique] = after
    return skipped


def merge(ids, values):
    """The sorted distinct ids, and the sum of each one's values in order of occurrence."""
    unique = np.unique(ids)
    totals = np.empty((len(unique), *values.shape[1:]), values.dtype)
    place = {row: u for u, row in enumerate(unique.tolist())}
    seen = set()
    for row, value in zip(ids.tolist(), values, strict=True):
        if row in seen:
            with np.errstate(all="ignore"):
                totals[place[row]] += value
        else:
            totals[place[row]] = value
            seen.add(row)
    return unique, totals


def advance(step: Settings, x, raw, slots, coefficients, modifiers: Modifiers, size: int | None = None, g2=None):
    """One step of the values x: their new values, the new memory, and where all of it is finite."""
    f = x.dtype.type
    numbers = Modifiers(*map(f, modifiers))
    with np.errstate(all="ignore"):
        g, start = raw, x
        if step.adjusts:
            g = bound("gradient", f)(raw, x, numbers.scale, numbers.clip, numbers.weight_decay)
        if step.decays:
            start = numbers.keep * x
        ok = np.isfinite(raw) & np.isfinite(g * g)
        if g2 is None:
            g2 = mean_square(step, np.where(ok, g * g, f(0)), size) if step.shared else g * g
        rate, direction, *memory = step.rule.bound(dtype=f)(start, g, g2, *slots, *map(f, coefficients))
        new = bound("advance", f)(np.zeros_like(start) if step.rule.from_origin else start, rate, direction)
        if step.shrinks:
            new = bound("proximal", f)(new, rate, numbers.l1, numbers.l2)
        for slot in memory:
            ok = ok & np.isfinite(slot)
        return np.broadcast_to(new, x.shape).astype(f, copy=False), memory, ok


def bound(name: str, f):
    """A function of `modifiers.py` for NumPy arrays of type f."""
    return ops.bind(getattr(surroundings, name), ops.ARRAY_OPS, f)


def commit(step: Settings, x, new, slots, memory, ok, places, t: int) -> int:
    """Writes what is finite back into x and its memory; returns how many coordinates were skipped."""
    stored = store(new, x, places, rounding_key(step.stochastic_rounding, t))
    kept = [encode(np.asarray(after), slot) for slot, after in zip(slots, memory, strict=True)]
    finite = [np.isfinite(decode(after)) for after in kept]
    ok = ok & np.isfinite(decode(stored))
    for shares, fine in zip(step.shares, finite, strict=True):
        ok = ok if shares else ok & fine
    always = step.nonfinite == "propagate"
    fit = [ok, *(fine if shares else ok for shares, fine in zip(step.shares, finite, strict=True))]
    # All are chosen before the first is overwritten: a rule may hand a slot on to the next one.
    triples = zip(fit, [stored, *kept], [x, *slots], strict=True)
    chosen = [np.where(good | always, new, old) for good, new, old in triples]
    for old, new in zip([x, *slots], chosen, strict=True):
        old[...] = new
    ok = ok | always
    return int(x.size - np.count_nonzero(ok))


def store(new, like, places, key: int):
    """Values in the storage type of `like`; bfloat16 with a key is rounded up with the probability of its remainder."""
    if like.dtype != np.uint16 or key == 0:
        return encode(new, like)
    bits = np.ascontiguousarray(new, np.float32).view(np.uint32)
    up = (bits + (noise(places, key) & np.uint32(0xFFFF))) >> np.uint32(16)
    return np.where(np.isfinite(new), up, encode(new, like)).astype(np.uint16)


def noise(places, key: int):
    """32 random bits for every place: an integer hash with good avalanche (the constants are Wellons's, 2018)."""
    h = (places & np.uint64(0xFFFFFFFF)).astype(np.uint32) ^ np.uint32(key)
    # `*` would warn where a single number wraps around, as it should here.
    h = np.multiply(h ^ (h >> np.uint32(16)), np.uint32(0x7FEB352D))
    h = np.multiply(h ^ (h >> np.uint32(15)), np.uint32(0x846CA68B))
    return h ^ (h >> np.uint32(16))


def mean_square(step: Settings, squares, size: int | None):
    """The mean of the squares over each row, or over the tensor (of `size` coordinates where only some are at hand)."""
    f = squares.dtype.type
    if step.granularity == "row":
        shape = (*squares.shape[:1], *(1 for _ in squares.shape[1:]))
        return np.array([f(total(row) / max(len(row), 1)) for row in by_row(squares)], f).reshape(shape)
    count = squares.size if size is None else size
    # Rows of a sparse gradient are summed one by one, then together.
    parts = [squares.reshape(-1)] if size is None else by_row(squares)
    return np.full([1] * squares.ndim, f(sum((total(part) for part in parts), 0.0) / max(count, 1)), f)


def total(values) -> float:
    """The sum in float64, in an order that is the same for every engine and number of threads.

    Blocks of 4,096 values; in a block 32 running sums, each of every 32nd value, are added up pairwise.
    """
    result = 0.0
    for begin in range(0, len(values), BLOCK):
        block = values[begin : begin + BLOCK].astype(np.float64)
        block = np.concatenate([block, np.zeros(-len(block) % RUNNING_SUMS)]).reshape(-1, RUNNING_SUMS)
        sums = np.zeros(RUNNING_SUMS)
        for line in block:
            sums = sums + line
        while len(sums) > 1:
            sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
        result += float(sums[0])
    return result


def norm(step: Settings, g) -> float:
    """The Euclidean norm of a gradient, without coordinates whose square is not finite."""
    return math.sqrt(total(finite_squares(decode(g)).reshape(-1)))


def rows_norm(x, gradient) -> float:
    """The Euclidean norm of a sparse gradient."""
    return math.sqrt(sum((total(row) for row in by_row(finite_squares(gradient[1]))), 0.0))


def by_row(values):
    """Values of any shape as rows; a single number is one row."""
    rows = values.shape[0] if values.ndim else 1
    return values.reshape(rows, values.size // max(rows, 1))


def finite_squares(g):
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(g * g), g * g, g.dtype.type(0))


def catch_up(step: Settings, x, state: State, row: int, last: int, until: int, history, in_common) -> None:
    """Makes a row, or a weight, what zero-gradient steps last + 1 … until would have made it."""
    values = decode(x[row : row + 1])
    whole = [state.slots[name] for name in step.rule.slots]
    slots = [slot if common else slot[row : row + 1] for slot, common in zip(whole, in_common, strict=True)]
    values, memory = zero_grad_steps(step, values, [decode(s) for s in slots], last, until, history, values.dtype.type)
    x[row : row + 1] = encode(values, x)
    for slot, after, common in zip(slots, memory, in_common, strict=True):
        if not common:
            slot[...] = encode(np.asarray(after), slot)


def zero_grad_steps(step: Settings, values, memory, last: int, until: int, history, f):
    """Zero-gradient steps last + 1 … until, in closed form for each stretch of constant coefficients."""
    rule, zero = step.rule.bound(dtype=f), np.zeros_like(values)
    with np.errstate(all="ignore"):
        for k, coefficients, modifiers in stretches(last, until, history):
            c = tuple(map(f, coefficients))
            if step.rule.from_origin:
                rate, direction, *_ = rule(values, zero, np.zeros_like(zero), *memory, *c)
                values = np.asarray(bound("advance", f)(zero, rate, direction), f)
            elif step.rule.lazy_exact:
                rate = np.asarray(rule(values, zero, zero, *memory, *c)[0]).astype(np.float64)
                numbers = [float(f(n)) for n in (modifiers.keep, modifiers.l1, modifiers.l2)]
                shrunk = bound("zero_grad_steps", np.float64)(values.astype(np.float64), k, rate, *numbers)
                values = np.asarray(shrunk).astype(f)
            else:
                after = ops.bind(step.rule.zero_grad_steps, ops.ARRAY_OPS, f)(values, k, *memory, *c)
                values, *memory = (np.asarray(a, b.dtype) for a, b in zip(after, (values, *memory), strict=True))
    return values, memory


def stretches(last: int, until: int, history):
    """(number of steps, coefficients, modifiers) of each stretch of steps last + 1 … until in which neither changes."""
    for i, (first, coefficients, modifiers) in enumerate(history):
        end = history[i + 1][0] - 1 if i + 1 < len(history) else until
        k = min(end, until) - max(first - 1, last)
        if k > 0:
            yield k, coefficients, modifiers


def flush(step: Settings, x, state: State) -> None:
    for row, last in enumerate([] if state.last is None else state.last.tolist()):
        catch_up(step, x, state, row, last, state.t, state.history, step.in_common)


def preview(step: Settings, x, g, slots: list, t: int, g2=None):
    """What step t would make of x and its memory, and where it would take place; nothing is written.

    Args:
        x, g: parameters and gradient, stored.
        slots: the memory, stored.
        t: the number of the step.
        g2: the mean square of the gradient, where coordinates share a rate.

    Returns:
        (x after the step, stored; x before rounding; the memory after it, stored; where all of it is finite)
    """
    coefficients, modifiers = step.coefficients(t), step.modifiers(t)
    new, memory, ok = advance(step, decode(x), decode(g), [decode(s) for s in slots], coefficients, modifiers, g2=g2)
    kept = [encode(np.asarray(after), slot) for slot, after in zip(slots, memory, strict=True)]
    stored = encode(np.asarray(new), x)
    return stored, new, kept, ok & np.isfinite(decode(stored))
