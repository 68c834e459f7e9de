"""The reference engine, in NumPy: slow and obvious. The other engines are held to its bits."""

import numpy as np

from surefoot import ops
from surefoot.engines.arrays import Arrays
from surefoot.engines.numerics import decode, encode, rounding_key
from surefoot.engines.program import advance_from_origin, evaluate
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.modifiers import closed_form


def dense(step: Settings, x, g, state: State, t: int, coefficients: tuple) -> int:
    """Steps all of x; returns how many coordinates were skipped."""
    slots = [state.slots[name] for name in step.rule.slots]
    raw = decode(g)
    new, memory, ok = advance(
        step, Arrays(step, t, raw), decode(x), raw, [decode(s) for s in slots], coefficients, state.given
    )
    places = np.arange(x.size, dtype=np.uint64).reshape(x.shape)
    return commit(step, x, new, slots, memory, ok, places, t)


def grouped(ids, values, rows: int):
    """A sparse gradient as the functions below take it: its distinct rows, and the sum of each one's values."""
    for row in ids[(ids < 0) | (ids >= rows)][:1]:
        raise IndexError(f"the gradient names row {row}; expected 0 … {rows - 1}")
    return merge(ids, decode(values))


def distinct(gradient):
    return gradient[0]


def rows(step: Settings, x, gradient, state: State, t: int, coefficients: tuple) -> int:
    """Steps the rows that a gradient names; returns how many coordinates were skipped."""
    unique, totals = gradient
    if state.pending is not None:
        for row in unique:
            catch_up(step, x, state, row, t - 1)
            state.pending.last[row] = t
    whole = [state.slots[name] for name in step.rule.slots]
    slots = [slot if common else slot[unique] for slot, common in zip(whole, step.in_common, strict=True)]
    part = x[unique]
    arrays = Arrays(step, t, totals, x.size)
    new, memory, ok = advance(step, arrays, decode(part), totals, [decode(s) for s in slots], coefficients, state.given)
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


def advance(step: Settings, arrays: Arrays, x, raw, slots, coefficients, given=None):
    """One step of the values x: their new values, the new memory, and where all of it is finite."""
    f = x.dtype.type
    with np.errstate(all="ignore"):
        memory = dict(zip(step.rule.slots, slots, strict=True))
        found = evaluate(step.program, arrays, x, raw, memory, coefficients, given)
        ok = np.isfinite(raw) & np.isfinite(found.values["square"])
        after = list(found.slots.values())
        for slot in after:
            ok = ok & np.isfinite(slot)
        return np.broadcast_to(found.values["x"], x.shape).astype(f, copy=False), after, ok


def commit(step: Settings, x, new, slots, memory, ok, places, t: int) -> int:
    """Writes what is finite back into x and its memory; returns how many coordinates were skipped."""
    stored = store(new, x, places, rounding_key(step.rounding_seed, t))
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


def catch_up(step: Settings, x, state: State, row: int, until: int) -> None:
    """Makes a row, or a weight, what zero-gradient steps up to `until` would have made it."""
    pending, values = state.pending, decode(x[row : row + 1])
    assert pending is not None
    whole = [state.slots[name] for name in step.rule.slots]
    slots = [slot if common else slot[row : row + 1] for slot, common in zip(whole, step.in_common, strict=True)]
    stretches = pending.stretches(int(pending.last[row]), until)
    values, memory = zero_grad_steps(step, values, [decode(s) for s in slots], stretches, values.dtype.type)
    x[row : row + 1] = encode(values, x)
    for slot, after, common in zip(slots, memory, step.in_common, strict=True):
        if not common:
            slot[...] = encode(np.asarray(after), slot)


def zero_grad_steps(step: Settings, values, memory, stretches, f):
    """Steps with zero gradient, in closed form for each stretch (k, coefficients, shrinkage) of equal ones."""
    rule, zero = step.rule.bound(dtype=f), np.zeros_like(values)
    with np.errstate(all="ignore"):
        for k, coefficients, shrinkage in stretches:
            c = tuple(map(f, coefficients))
            if step.rule.from_origin:
                rate, direction, *_ = rule(values, zero, np.zeros_like(zero), *memory, *c)
                values = np.asarray(ops.bind(advance_from_origin, ops.ARRAY_OPS, f)(rate, direction), f)
            elif step.rule.lazy_exact:
                rate = np.asarray(rule(values, zero, zero, *memory, *c)[0]).astype(np.float64)
                shrunk = ops.bind(closed_form.zero_grad_steps, ops.ARRAY_OPS, np.float64)(
                    values.astype(np.float64), k, rate, *(float(f(number)) for number in shrinkage)
                )
                values = np.asarray(shrunk).astype(f)
            else:
                after = ops.bind(step.rule.zero_grad_steps, ops.ARRAY_OPS, f)(values, k, *memory, *c)
                values, *memory = (np.asarray(a, b.dtype) for a, b in zip(after, (values, *memory), strict=True))
    return values, memory


def flush(step: Settings, x, state: State) -> None:
    for row in range(0 if state.pending is None else len(state.pending.last)):
        catch_up(step, x, state, row, state.t)


def preview(step: Settings, x, g, slots: list, t: int, coefficients: tuple, *, size=None, g2=None, given=None):
    """What step t would make of x and its memory, and where it would take place; nothing is written.

    Args:
        x, g: parameters and gradient, stored.
        slots: the memory, stored.
        t: the number of the step.
        coefficients: of the rule at that step.
        size: coordinates of the whole array, where x has only some of its rows.
        g2: the mean square of the gradient, where coordinates share a rate.
        given: statistics that are known, such as those of a group.

    Returns:
        (x after the step, stored; x before rounding; the memory after it, stored; where all of it is finite)
    """
    raw = decode(g)
    arrays = Arrays(step, t, raw, size, g2)
    new, memory, ok = advance(step, arrays, decode(x), raw, [decode(s) for s in slots], coefficients, given)
    kept = [encode(np.asarray(after), slot) for slot, after in zip(slots, memory, strict=True)]
    stored = encode(np.asarray(new), x)
    return stored, new, kept, ok & np.isfinite(decode(stored))
