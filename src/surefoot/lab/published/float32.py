"""Rules in float32 along given gradients, dense and in rows, against their formulas in float64, on both engines.

The gradients are given, so that a rounding cannot change those that follow, and sums of them are exact. Then a result
that is rounded moves a later step by no more than that step's length times its relative error: rules multiply, divide,
take roots and add up squares, and where they add up gradients of both signs, the length is that of a step along their
absolute values. Of n roundings with independent errors of mean 0 the sum exceeds λ√n u with a probability of less than
2 exp(−λ²/2) (N. J. Higham & T. Mary 2019, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput.
41). Coefficients are rounded once for all steps: those errors add up to n u.

A step in rows skips those without a gradient, with `lazy="touched"`: no rule needs a closed form for that. Rules with
numbers of whole rows or arrays are traced on a vector, which has none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from surefoot.engines import ORACLE, Step
from surefoot.engines.registry import DEFAULT
from surefoot.lab.published.formulas import FORMULAS, states_of
from surefoot.lab.published.rows import Finding
from surefoot.rules import Rule

UNIT = 2.0**-24
"""The unit roundoff u of float32."""

SURE = 6.0
"""λ: one bound in thirty million would fail."""

ROUNDINGS = 32
"""More than a step of any rule has."""

SIZES = np.array([1.0, 2.0**-6, 2.0**-20, 2.0**10])
"""Of the gradients of each row: small ones show where ε is, large ones whether anything is bounded."""

Sparse = tuple[np.ndarray, np.ndarray]


@functools.cache
def gradients(steps: int) -> tuple[Sparse, ...]:
    """For each step rows, some of them twice, and their values, multiples of a power of two.

    In the first step every row has a gradient, −½ in x₃.
    """
    rng, found = np.random.default_rng(0), []
    for t in range(steps):
        ids = rng.integers(0, len(SIZES), 5) if t else np.arange(len(SIZES))
        values = rng.integers(-64, 65, (len(ids), 3)) / 64 * SIZES[ids, None]
        if t == 0:
            values[0, 2] = -0.5
        found.append((ids, values))
    return tuple(found)


def whole(gradient: Sparse) -> np.ndarray:
    """The gradient of all rows."""
    ids, values = gradient
    g = np.zeros((len(SIZES), 3))
    np.add.at(g, ids, values)
    return g


def expected(
    name: str, start: np.ndarray, setting: Mapping[str, Any], numbers: Sequence[int], rows: bool, size: bool = False
) -> np.ndarray:
    """Where the formula is after each step, in float64; `size`: along the absolute values of the gradients."""
    given = dict(setting)
    x, states = start, states_of(FORMULAS[name], given.pop("initial_accumulator_value", 0.0))
    seen = []
    for t, (ids, values) in zip(numbers, gradients(len(numbers)), strict=True):
        g = whole((ids, abs(values) if size else values)).reshape(start.shape)
        new = FORMULAS[name](t, x, g, *states, **given)
        if rows:
            touched = np.isin(np.arange(len(x)), ids)
            new = [np.where(touched[:, None], a, b) for a, b in zip(new, (x, *states), strict=True)]
        x, *states = new
        seen.append(x)
    return np.array(seen)


def walk(
    rule: Rule, engine: str, start: np.ndarray, setting: Mapping[str, Any], numbers: Sequence[int], rows: bool
) -> Iterator[np.ndarray]:
    """Where the rule is after each step, in float32."""
    step = Step(rule, engine=engine, lazy="touched" if rows else "exact", **setting)
    x = start.astype(np.float32)
    state = step.init(x)
    for t, (ids, values) in zip(numbers, gradients(len(numbers)), strict=True):
        state.t = t - 1
        if rows:
            step.rows(x, ids, values.astype(np.float32), state)
        else:
            step.dense(x, whole((ids, values)).astype(np.float32).reshape(x.shape), state)
        yield x.copy()


def bound(path: np.ndarray, size: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How far float32 may be from a path after each step, given where absolute gradients lead."""
    n = np.arange(1, len(path) + 1).reshape(-1, *[1] * start.ndim)
    far = [np.cumsum(np.abs(np.diff(np.concatenate([start[None], one]), axis=0)), axis=0) for one in (path, size)]
    largest = np.maximum.accumulate(np.abs(np.concatenate([start[None], path])), axis=0)[1:]
    return UNIT * (SURE * np.sqrt(ROUNDINGS * n) + n) * (np.maximum(*far) + largest)


def share(ours: np.ndarray, path: np.ndarray, size: np.ndarray, start: np.ndarray) -> float:
    """The largest distance from a path, in shares of the bound; NaN counts as infinite."""
    limit = np.maximum(bound(path, size, start), np.finfo(np.float32).tiny)
    return float(np.nan_to_num(np.abs(ours - path) / limit, nan=np.inf).max())


def measure(
    rule: Rule,
    start: np.ndarray,
    settings: Sequence[Mapping[str, Any]],
    compiled: Mapping[str, Any],
    numbers: Sequence[int],
) -> Finding:
    """The rule with each of the settings on the reference engine, and with one of them on the one that compiles."""
    # Where a rule decomposes matrices, errors are those of the largest eigenvalue: they hide an ε as small
    # as the default, and any other where gradients are large.
    tried, compared = ([compiled], 3) if rule.whole else (settings, start.size)
    ways = (False, True) if start.ndim > 1 and not rule.whole else (False,)
    rounded = 0.0
    for rows in ways:
        for setting in tried:
            path, size = (expected(rule.name, start, setting, numbers, rows, of) for of in (False, True))
            ours = np.array(list(walk(rule, ORACLE, start, setting, numbers, rows)))
            ours, path, size = (one[:, :compared] for one in (ours, path, size))
            rounded = max(rounded, share(ours, path, size, start[:compared]))
    text, found = f"float32 within {rounded:.2f} of the bound of its rounding", {"float32": rounded}
    if rule.whole or rounded > 1:
        return Finding(text, rounded <= 1, found)
    different = sum(
        int(np.count_nonzero(one.view(np.uint32) != other.view(np.uint32)))
        for rows in ways
        for one, other in zip(
            *(walk(rule, engine, start, compiled, numbers, rows) for engine in (ORACLE, DEFAULT)), strict=True
        )
    )
    found["different"] = different
    return Finding(f"{text}, {different} of its numbers other bits on engine {DEFAULT}", different == 0, found)
