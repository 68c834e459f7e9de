"""What drivers are compiled for, and what they take besides parameters and memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.engines.cpu.arguments import Numbers
from surefoot.engines.numerics import ARITHMETIC, rounding_key
from surefoot.engines.program import Program, program_of
from surefoot.engines.settings import Settings
from surefoot.rules import REGISTRY

APART = 32
"""Numbers between what two threads write, so that they do not share a cache line."""

NO_RULE = program_of(REGISTRY["sgd"])
"""For drivers that call no rule."""


@dataclass(frozen=True)
class Kind:
    """What a driver is compiled for.

    Attributes:
        dtype: the type of the arithmetic, "float32" or "float64".
        program: the rule, and what is done around it.
        catches_up: rows without a gradient catch up later.
        propagate: values that are not finite go through.
        statistic: the one that the driver computes, "g2" for the mean square of the gradient.
    """

    dtype: str
    program: Program = NO_RULE
    catches_up: bool = False
    propagate: bool = False
    statistic: str | None = None

    def __str__(self) -> str:
        flags = [name for name in ("catches_up", "propagate") if getattr(self, name)]
        around = [modifier.name for modifier in self.program.modifiers]
        shared = ["shared"] if self.shared else []
        return "_".join((self.dtype, *shared, *around, *flags, *filter(None, [self.statistic])))

    @property
    def shared(self) -> bool:
        """Whether coordinates share the mean square of the gradient."""
        return self.program.granularity != "coordinate"


def kind_of(step: Settings, storage: str, catches_up: bool = False) -> Kind:
    """What drivers are compiled for that step parameters of a storage type."""
    return _kind_of(step.program, storage, catches_up, step.nonfinite == "propagate")


@functools.lru_cache(maxsize=1024)
def _kind_of(program: Program, storage: str, catches_up: bool, propagate: bool) -> Kind:
    if program.granularity == "tensor":  # drivers are handed its mean square; to them it is that of a row
        program = program_of(program.rule, program.modifiers, "row")
    return Kind(ARITHMETIC[storage], program, catches_up, propagate)


@functools.lru_cache(maxsize=1024)
def measuring(kind: Kind, statistic: str) -> Kind:
    """What a driver is compiled for that measures a statistic for such steps."""
    program = kind.program
    if statistic == "g2" or statistic in program.statistics_of_gradient:
        program = program_of(NO_RULE.rule, program.modifiers)  # one kernel serves all rules, which have no part in it
    return Kind(kind.dtype, program, statistic=statistic)


def in_type(kind: Kind, coefficients: tuple, numbers: Any) -> tuple[tuple, Any]:
    """The coefficients and the modifiers' numbers in the type of the arithmetic."""
    f = np.dtype(kind.dtype).type
    return tuple(map(f, coefficients)), type(numbers)(*map(f, numbers)) if numbers else ()


def numbers_of_steps(
    kind: Kind, settings: Sequence[Settings], of: np.ndarray, steps: np.ndarray
) -> tuple[Numbers, np.ndarray]:
    """Tables of the coefficients, of the modifiers' numbers and of the keys of rounding, with a row for each different
    pair of settings and step; and which row acts on each parameter, (k,); any where it takes no step.

    Args:
        kind: what the driver is compiled for, the same for all settings.
        settings: what parameters are stepped by.
        of: (k,), int64: which of the settings each parameter has.
        steps: (k,), int64: the number of its step; 0 where it takes none, but not everywhere.
    """
    if (steps == steps[0]).all():
        acting, which = [(step, int(steps[0])) for step in settings], of
    else:
        # A schedule is not asked for the rate of a step that is not taken.
        stride, taken = int(steps.max()) + 1, steps > 0
        pairs = of * stride + steps
        different, which = np.unique(np.where(taken, pairs, pairs[taken][0]), return_inverse=True)
        acting = [(settings[pair // stride], pair % stride) for pair in different.tolist()]
    coefficients = np.array([tuple(map(float, step.coefficients(t))) for step, t in acting], kind.dtype)
    modifiers = np.array([tuple(map(float, step.numbers(t))) for step, t in acting], kind.dtype)
    keys = np.array([rounding_key(step.rounding_seed, t) for step, t in acting], np.uint32)
    return Numbers(coefficients, modifiers, keys), which


def wide(parts: int, width: int, x, slots: tuple) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """For each part, room for a row of this width and its memory in the types in which they are computed."""

    def room_for(array):
        if not isinstance(array, np.ndarray):
            return array
        dtype = "float32" if array.itemsize == 2 else array.dtype.name
        return workspaces(parts, width, dtype) if array.ndim == 2 else workspaces(parts, 1, dtype)[:, 0]

    return room_for(x), tuple(map(room_for, slots))


def workspaces(count: int, width: int, dtype: str) -> np.ndarray:
    """A row for each part."""
    return np.empty((count, width + APART), dtype)
