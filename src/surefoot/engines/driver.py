"""One step of parameters, whatever the engine: checks, and the bookkeeping around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from surefoot import hugepages
from surefoot.engines import averaging, matrices
from surefoot.engines.arrays import Arrays
from surefoot.engines.numerics import ARITHMETIC, decode, encode, storage_of, to_bfloat16
from surefoot.engines.pending import Pending
from surefoot.engines.program import evaluate
from surefoot.engines.settings import Settings
from surefoot.engines.state import NonFiniteError, State
from surefoot.records.statistic import Statistic


class Engine(Protocol):
    """What an engine does with arrays; see `registry`. `dense` and `rows` return how many coordinates were skipped."""

    def dense(self, step: Settings, x: np.ndarray, g: np.ndarray, state: State, t: int, coefficients: tuple) -> int:
        """Steps all of x."""
        ...

    def grouped(self, ids: np.ndarray, values: np.ndarray, rows: int) -> tuple:
        """A sparse gradient as the functions below take it; IndexError for an id outside 0 … rows − 1."""
        ...

    def distinct(self, gradient: tuple) -> np.ndarray:
        """The rows that a sparse gradient names, in order."""
        ...

    def rows(self, step: Settings, x: np.ndarray, gradient: tuple, state: State, t: int, coefficients: tuple) -> int:
        """Steps the rows that a gradient names; those that waited catch up first."""
        ...

    def flush(self, step: Settings, x: np.ndarray, state: State) -> None:
        """Lets every row catch up."""
        ...


# Memory


def init(step: Settings, x: np.ndarray) -> State:
    """The state before the first step of the parameters x."""
    x = np.asarray(x)
    storage = storage_of(x, step.name)
    check_dimensions(step, x)
    if step.rounding_seed is not None and storage != "bfloat16":
        raise ValueError(f"{step.name}: stochastic_rounding is for bfloat16 parameters; these are {storage}")
    slot_type = step.state_dtype or ARITHMETIC[storage]
    numpy_type = np.uint16 if slot_type == "bfloat16" else np.dtype(slot_type)
    slots = {}
    for key, slot in step.rule.slots.items():
        slots[key] = hugepages.empty(step.slot_shape(x.shape, slot), numpy_type)
        if slot.initial == "x":
            slots[key][...] = encode(decode(x), slots[key])
        else:
            value = step.initial(slot)
            slots[key][...] = to_bfloat16(np.float32(value)) if slot_type == "bfloat16" else value
    state = State(slots)
    if step.average:
        state.average = decode(x).astype(np.float64)
    return state


def rates(step: Settings, x: np.ndarray, state: State) -> np.ndarray:
    """The rate of each coordinate at the next step, if its gradient were zero."""
    values, t = decode(x), state.t + 1
    slots = {name: decode(state.slots[name]) for name in step.rule.slots}
    if step.rule.whole:
        found = matrices.rates(step, values, slots, coefficients(step, state, t))
        return np.broadcast_to(np.asarray(found, np.float64), x.shape).copy()
    arrays = Arrays(step, t, np.zeros_like(values))
    with np.errstate(all="ignore"):
        evaluated = evaluate(step.program, arrays, values, np.zeros_like(values), slots, coefficients(step, state, t))
    return np.broadcast_to(np.asarray(evaluated.values["rate"], np.float64), x.shape).copy()


def coefficients(step: Settings, state: State, t: int) -> tuple:
    """The rule's coefficients at step t, in float64."""
    scalars = {name: float(decode(state.slots[name]).reshape(())) for name in step.rule.scalars}
    return step.coefficients(t, scalars)


# Steps


def dense(step: Settings, engine: Engine, x: np.ndarray, g: np.ndarray, state: State) -> None:
    """Steps x in place along a dense gradient of the same shape and type."""
    check_parameters(step, x, state)
    check_arrays(step, gradient=g)
    if g.shape != x.shape or g.dtype != x.dtype:
        raise ValueError(
            f"{step.name}: the gradient has shape {g.shape} and type {g.dtype}; expected {x.shape} and {x.dtype}"
        )
    t = state.t + 1
    flush(step, engine, x, state)
    # Without coordinates there is no gradient, which is not the same as one of 0.
    skipped = engine.dense(step, x, g, state, t, coefficients(step, state, t)) if x.size else 0
    weigh(step, state, t)
    if state.average is not None and state.weight > 0:
        averaging.blend(state.average, x, float(step.lr(t)) / state.weight)
    all_took_part(state, t)
    report(step, x, state, t, skipped)


def rows(step: Settings, engine: Engine, x: np.ndarray, ids: np.ndarray, values: np.ndarray, state: State) -> None:
    """Steps the rows of x that a sparse gradient names; equal ids are summed first, in order of occurrence."""
    check_parameters(step, x, state)
    gradient = group(step, engine, x, ids, values)
    if state.t == 0 and x.flags.c_contiguous:
        hugepages.move_to_huge_pages(x.ctypes.data, x.nbytes)
    grouped_rows(step, engine, x, gradient, state)


def group(step: Settings, engine: Engine, x: np.ndarray, ids: np.ndarray, values: np.ndarray) -> tuple:
    """A sparse gradient as the engine takes it, equal ids side by side."""
    ids = np.asarray(ids)
    check_arrays(step, values=values)
    if x.ndim == 0:
        raise ValueError(f"{step.name}: a sparse gradient needs parameters with rows, got a single number")
    if ids.ndim != 1 or ids.dtype not in (np.int32, np.int64):
        raise ValueError(f"{step.name}: ids must be 1-D int32 or int64, got {ids.ndim}-D {ids.dtype}")
    if values.shape != (len(ids), *x.shape[1:]) or values.dtype != x.dtype:
        raise ValueError(
            f"{step.name}: values have shape {values.shape} and type {values.dtype}; "
            f"expected {(len(ids), *x.shape[1:])} and {x.dtype}"
        )
    step.check_left_out()
    try:
        return engine.grouped(ids, values, x.shape[0])
    except IndexError as wrong:
        raise ValueError(f"{step.name}: {wrong}") from None


def grouped_rows(step: Settings, engine: Engine, x: np.ndarray, gradient: tuple, state: State) -> None:
    """The same as rows, along what group made of a gradient; the memory must fit."""
    t = state.t + 1
    acting = coefficients(step, state, t)
    remember(step, engine, x, state, t, acting)
    touched = engine.distinct(gradient) if step.average else None
    if touched is not None:
        averaging.blend_rows(x, state, touched)
    skipped = engine.rows(step, x, gradient, state, t, acting)
    if touched is not None:
        averaging.blend_touched(float(step.lr(t)), x, state, touched)
    note_taken(step, state, acting, step.shrinkage(t))
    weigh(step, state, t)
    report(step, x, state, t, skipped)


def flush(step: Settings, engine: Engine, x: np.ndarray, state: State) -> None:
    """Lets every row catch up on steps without a gradient."""
    if state.pending is not None:
        engine.flush(step, x, state)
        state.pending.caught_up(state.t)
    if state.average_seen is not None:
        averaging.flush(x, state)


# Statistics of a group


def measure_group(step: Settings, parts: Sequence[tuple[np.ndarray, Any, State]]) -> None:
    """Gives the states of arrays that are stepped together the statistics that are theirs in common.

    Args:
        step: the settings of all.
        parts: (parameters, gradient, state) of each array; a sparse gradient is (ids, values).
    """
    for _, _, state in parts:
        state.given = {}
    for name, statistic in step.program.statistics.items():
        if statistic.over == "group":
            found = np.array([partial(step, *part, name, statistic) for part in parts])
            size = sum(x.size for x, _, _ in parts)
            value = found.max() if statistic.reduction == "maximum" else np.cumsum(found)[-1]
            value = value / max(size, 1) if statistic.reduction == "mean" else value
            for _, _, state in parts:
                state.given[name] = np.asarray(value)


def partial(step: Settings, x: np.ndarray, gradient: Any, state: State, name: str, statistic: Statistic) -> float:
    """The sum, or the maximum, of a statistic's expression over one array of a group."""
    rows, raw, size = np.s_[...], gradient, None
    if isinstance(gradient, tuple):
        rows, places = np.unique(gradient[0], return_inverse=True)
        values, size = decode(gradient[1]), x.size
        raw = np.zeros((len(rows), *values.shape[1:]), values.dtype)
        np.add.at(raw, places, values)
    raw, t = decode(raw), state.t + 1
    slots = zip(step.rule.slots, step.in_common, strict=True)
    memory = {key: decode(state.slots[key] if common else state.slots[key][rows]) for key, common in slots}
    arrays = Arrays(step, t, raw, size)
    with np.errstate(all="ignore"):
        acting = coefficients(step, state, t)
        found = evaluate(step.program, arrays, decode(x[rows]), raw, memory, acting, state.given, name)
        whole = replace(
            statistic, over="tensor", reduction="sum" if statistic.reduction == "mean" else statistic.reduction
        )
        return float(arrays.reduce(whole, found.statistics[name]).reshape(()))


# Bookkeeping


def remember(step: Settings, engine: Engine, x: np.ndarray, state: State, t: int, acting: tuple) -> None:
    """Prepares the state for rows without a gradient from now on."""
    if step.average and state.average_seen is None:
        state.average_seen = np.full(x.shape[0], state.weight)
    if not step.catches_up:
        if state.pending is not None:  # of steps with other settings
            flush(step, engine, x, state)
            state.pending = None
        return
    note(step, state, len(x), t, acting, step.shrinkage(t))


def note(step: Settings, state: State, rows: int, t: int, acting: tuple, shrinkage: tuple) -> Pending:
    """Notes before step t what acts in it, for those rows of an array that it leaves out."""
    if state.pending is None:
        state.pending = Pending(np.full(rows, state.t, np.int64), len(step.rule.coefficient_names))
    if not (state.pending.entries and step.rule.from_origin):
        state.pending.note(t, acting, shrinkage)
    return state.pending


def note_taken(step: Settings, state: State, acting: tuple, shrinkage: tuple) -> None:
    """The same after the step, where rows only follow what acted in the last one."""
    if state.pending is not None and step.rule.from_origin:
        state.pending.replace(acting, shrinkage)


def weigh(step: Settings, state: State, t: int) -> None:
    """Counts step t, and its learning rate among the weights of the average."""
    state.t = t
    state.weight += float(step.lr(t))


def all_took_part(state: State, t: int) -> None:
    if state.pending is not None:
        state.pending.caught_up(t)
    if state.average_seen is not None:
        state.average_seen[:] = state.weight


def report(step: Settings, x: np.ndarray, state: State, t: int, skipped: int) -> None:
    """Counts coordinates that were skipped.

    Raises:
        NonFiniteError: if there are any and nonfinite="raise".
    """
    if not skipped:
        return
    state.skipped += skipped
    if step.nonfinite == "raise":
        raise NonFiniteError(
            f"{step.name}: {skipped:,} of {x.size:,} coordinates had a gradient, square or step that is not "
            f"finite at step {t}; these coordinates were skipped; the rest were updated "
            "(nonfinite='skip' only counts them)"
        )


# Checks


def check_arrays(step: Settings, **arrays: object) -> None:
    for what, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{step.name}: {what} must be a NumPy array, got a {type(array).__name__}")


def check_dimensions(step: Settings, x: np.ndarray) -> None:
    if x.ndim < step.rule.dimensions:
        raise ValueError(
            f"{step.name}: {step.rule.name} is for parameters of {step.rule.dimensions} or more dimensions, got shape "
            f"{x.shape}"
        )


def check_parameters(step: Settings, x: np.ndarray, state: State) -> None:
    check_arrays(step, parameters=x)
    storage_of(x, step.name)
    check_dimensions(step, x)
    if not x.flags.writeable:
        raise ValueError(f"{step.name}: the parameters are read-only; expected an array that can be written")
    for key, slot in step.rule.slots.items():
        if key not in state.slots:
            raise ValueError(
                f"{step.name}: the memory has no slot {key!r}, it has {', '.join(state.slots) or 'none'}; "
                "expected the state that init(x) made"
            )
        shape = step.slot_shape(x.shape, slot)
        if state.slots[key].shape != shape:
            raise ValueError(f"{step.name}: slot {key!r} has shape {state.slots[key].shape}; expected {shape}")
        storage_of(state.slots[key], f"{step.name}: slot {key!r}")
        if not state.slots[key].flags.writeable:
            raise ValueError(f"{step.name}: slot {key!r} is read-only; expected an array that can be written")


def order(examples: int, rng: np.random.Generator, replacement: bool = False) -> np.ndarray:
    """The order of one epoch: every example once, or as many draws with replacement.

    >>> sorted(order(3, np.random.default_rng(0)).tolist())
    [0, 1, 2]
    """
    return rng.integers(examples, size=examples) if replacement else rng.permutation(examples)
