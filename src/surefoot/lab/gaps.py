"""Where a parameter has no gradients: units of a layer, its inputs, or rows of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from surefoot.lab.findings import TABLES, Case

UNVISITED = ((0.8, 2), (0.5, 5))
"""Shares of coordinates never visited, and after how many passes of steps that visit as many as all they count."""

BEGAN = 0.5
"""The share of a parameter above which its next step shows that it began at zero a step ago."""

SILENT = 0.8
"""The share of a layer's units above which it counts that they no longer have a gradient."""


def share_of(marks: np.ndarray) -> float:
    """How many of all are marked; of none, none."""
    return float(marks.mean()) if marks.size else 0.0


def is_missed(case: Case, share: float | None = None) -> bool:
    """Whether many were never visited, in steps that could have visited all of them.

    Args:
        case: the parameter.
        share: how many; by default, of its coordinates.
    """
    share, steps = case.finding.never_visited if share is None else share, case.finding.steps
    if not share or not case.is_warm:
        return False
    having = case.motion.having if case.motion else 0
    # A layer sees all that it ever will in any step; rows of a table and one-hot inputs occur now and then.
    passes = (steps or 0) * having / max(case.view.size, 1) if having else math.inf
    if steps is None and share_of(case.marks.rows) > share_of(case.marks.columns):
        passes = math.inf
    return any(share > bound and passes >= least for bound, least in UNVISITED)


def is_table(case: Case) -> bool:
    """Whether rows are looked up: those of an embedding, or of what has sparse gradients."""
    if isinstance(case.module, TABLES):
        return True
    return case.motion is not None and case.view.gradient[0] is not None


def alike(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether the same ones are marked, and some are.

    >>> alike(np.array([True, False]), np.array([True, False])), alike(np.array([False]), np.array([False]))
    (True, False)
    """
    return bool(some.any()) and np.array_equal(some, others)


def biases(layer: Case, cases: Sequence[Case]) -> list[Case]:
    """The vectors that have no gradients where the rows of a matrix have none."""
    return [case for case in cases if len(case.finding.shape) == 1 and alike(case.marks.rows, layer.marks.rows)]


def is_layer(case: Case, cases: Sequence[Case]) -> bool:
    """Whether the rows of a matrix are units: its module is known, or its bias, or the next layer, shows the same."""
    if len(case.finding.shape) < 2 or is_table(case):
        return False
    return case.module is not None or bool(biases(case, cases) or feeds(case, cases))


def is_output(case: Case, cases: Sequence[Case], model: torch.nn.Module | None) -> bool:
    """Whether a layer is the last part of the model, and no other misses the inputs that its dead units would be."""
    *_, last = model.modules() if model is not None else (None,)
    return last is not None and case.module is last and not feeds(case, cases)


def feeds(case: Case, cases: Sequence[Case]) -> list[Case]:
    """The matrices whose inputs have no gradients where the rows of this one have none."""
    return [other for other in cases if other is not case and alike(other.marks.columns, case.marks.rows)]


def sees_nothing(case: Case, cases: Sequence[Case]) -> bool:
    """Whether all inputs of a matrix were 0, as an RNN's state before it has seen anything: its bias has gradients."""
    siblings = [other for other in cases if case.module is not None and other.module is case.module]
    units = len(case.marks.rows)
    alive = any(len(other.marks.rows) == units and not other.marks.rows.all() for other in siblings)
    return bool(case.marks.rows.all()) and alive


def dead_layers(cases: Sequence[Case]) -> list[Case]:
    """The layers of which most units never had a gradient; those of which none had, if there are such."""
    dead = [case for case in cases if is_missed(case, share_of(case.marks.rows)) and is_layer(case, cases)]
    dead = [case for case in dead if not sees_nothing(case, cases)]
    whole = [case for case in dead if case.marks.rows.all()]
    # What follows a dead layer sees nothing; where all see something, the layer is not used.
    blind = [case for case in cases if case.marks.columns.size and case.marks.columns.all()]
    used = any(other is not case for case in whole for other in blind)
    return whole if used else [case for case in dead if not case.marks.rows.all()]


def dead_now(cases: Sequence[Case]) -> list[Case]:
    """The layers without a gradient, where others have one: what there is to see if no state tells of units."""
    having = [case for case in cases if case.motion is not None and case.motion.having]
    if any(len(case.finding.shape) > 1 and began(case) for case in having):
        return []
    none = [case for case in cases if case.motion is not None and not case.motion.having and case.is_warm]
    matrices = [case for case in none if len(case.finding.shape) > 1 and not (case.view.remembers or is_table(case))]
    if not having or all(len(case.finding.shape) < 2 for case in having):
        return matrices if having else []
    modules = [case.module for case in having]
    return [case for case in matrices if has_bias(case, none) and all(case.module is not module for module in modules)]


def began(case: Case) -> bool:
    """Whether a parameter is hardly longer than its next step: it began at zero, and holds back gradients of others."""
    return case.motion is not None and case.motion.update > BEGAN * case.motion.parameter


def has_bias(case: Case, cases: Sequence[Case]) -> bool:
    """Whether a vector of the same module is among these."""
    return case.module is not None and any(
        other.module is case.module and len(other.finding.shape) == 1 for other in cases
    )


def silent_layers(cases: Sequence[Case]) -> list[Case]:
    """The layers of which most units had gradients, and no longer have them."""

    def is_layer_of_these(case: Case) -> bool:
        vectors = (other.marks.silent for other in cases if len(other.finding.shape) == 1)
        known = case.module is not None or any(alike(silent, case.marks.silent) for silent in vectors)
        return known and len(case.finding.shape) > 1 and not is_table(case)

    silent = [case for case in cases if case.marks.silent.any() and is_layer_of_these(case)]
    return [case for case in silent if share_of(case.marks.silent | case.marks.rows) > SILENT]


def without_inputs(cases: Sequence[Case]) -> list[Case]:
    """The layers of which most inputs never occurred."""
    matrices = [case for case in cases if is_missed(case, share_of(case.marks.columns)) and not is_table(case)]
    return [case for case in matrices if not case.marks.rows.all()]


def without_rows(cases: Sequence[Case]) -> list[Case]:
    """The tables of which most rows never occurred, and other parameters of which most never had a gradient."""
    missed = [case for case in cases if is_missed(case) and not case.marks.rows.all()]
    return [case for case in missed if is_table(case) or case.module is None or len(case.finding.shape) < 2]


def unused(cases: Sequence[Case]) -> list[Case]:
    """The parameters that are to be trained and never had a gradient at all, though others had."""
    whole = [case for case in cases if case.marks.rows.all() and is_missed(case) and case.view.parameter.requires_grad]
    return whole if len(whole) < len(cases) else []


def counted(marks: np.ndarray, whole: int) -> int:
    """How many of all are marked, where some were looked at.

    >>> counted(np.array([True, False]), 100)
    50
    """
    return round(share_of(marks) * whole)
