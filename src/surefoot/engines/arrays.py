"""A program evaluated on NumPy's arrays: how statistics are added up, in an order that every engine keeps to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surefoot import ops
from surefoot.engines.numerics import BLOCK, RUNNING_SUMS
from surefoot.engines.settings import Settings
from surefoot.modifiers import Modifier
from surefoot.records.statistic import Statistic

ROWS_AT_ONCE = 1024
"""Rows of a column that are added up before the sum is taken to the total."""


class Arrays:
    """What `program.evaluate` needs of NumPy.

    Args:
        step: the settings.
        t: the number of the step.
        raw: the gradient, in the type of the arithmetic, (n, …).
        size: coordinates of the whole array, where only some of its rows are at hand.
        g2: the mean square of the gradient, where it is known.
    """

    def __init__(self, step: Settings, t: int, raw: np.ndarray, size: int | None = None, g2: Any = None):
        self.step, self.t, self.f, self.size, self.g2 = step, t, raw.dtype.type, size, g2
        self.fine, self.shape = np.isfinite(raw), raw.shape
        self.by_row = size is not None or step.by_row

    def bind(self, function: Callable) -> Callable:
        return ops.bind(function, ops.ARRAY_OPS, self.f)

    def cast(self, value: Any) -> Any:
        return value.astype(self.f) if isinstance(value, np.ndarray) else self.f(value)

    def numbers(self, modifier: Modifier, statistics: Mapping[str, Any]) -> tuple:
        known = {name: float(np.reshape(statistics[name], ())) for name in modifier.on_host}
        return self.step.numbers_of(modifier, self.t, known)

    def mean_square(self, squares: np.ndarray) -> Any:
        if self.g2 is not None:
            return self.g2
        return self.cast(self.reduce(Statistic(lambda g: g, self.step.granularity, "mean"), squares))  # type: ignore

    def reduce(self, statistic: Statistic, values: Any) -> np.ndarray:
        values = np.broadcast_to(values, self.shape)
        fine = self.fine & np.isfinite(values)
        if statistic.reduction == "maximum":
            return np.where((most := maximum(np.where(fine, values, -np.inf), statistic.over)) > -np.inf, most, 0.0)
        sums = self._sums(np.where(fine, values, self.f(0)), statistic.over)
        return sums / max(self._count(statistic.over), 1) if statistic.reduction == "mean" else sums

    def _sums(self, values: np.ndarray, over: str) -> np.ndarray:
        if over == "row":
            shape = (*values.shape[:1], *(1 for _ in values.shape[1:]))
            return np.array([total(row) for row in by_row(values)]).reshape(shape)
        if over == "column" and values.ndim:
            return column_sums(values)
        parts = by_row(values) if self.by_row else [values.reshape(-1)]
        return np.full([1] * values.ndim, functools.reduce(float.__add__, map(total, parts), 0.0))

    def _count(self, over: str) -> int:
        """How many coordinates have the number in common."""
        size = int(np.prod(self.shape)) if self.size is None else self.size
        width = int(np.prod(self.shape[1:]))
        return {"row": width, "column": size // max(width, 1)}.get(over, size)


def maximum(values: np.ndarray, over: str) -> np.ndarray:
    """The maximum of each row or column, or of the tensor."""
    axes = {"row": tuple(range(1, values.ndim)), "column": tuple(range(min(values.ndim, 1)))}
    axes = axes.get(over, tuple(range(values.ndim)))
    return np.max(values, axis=axes, keepdims=True, initial=-np.inf).astype(np.float64)


def column_sums(values: np.ndarray) -> np.ndarray:
    """The sum of each column, in float64: of some rows at a time, in their order."""
    parts = []
    for begin in range(0, len(values), ROWS_AT_ONCE):
        part = np.zeros(values.shape[1:])
        for row in values[begin : begin + ROWS_AT_ONCE]:
            part = part + row
        parts.append(part)
    return functools.reduce(np.add, parts, np.zeros(values.shape[1:]))[None]


def total(values: np.ndarray) -> float:
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


def by_row(values: np.ndarray) -> np.ndarray:
    """Values of any shape as rows; a single number is one row."""
    rows = values.shape[0] if values.ndim else 1
    return values.reshape(rows, values.size // max(rows, 1))
