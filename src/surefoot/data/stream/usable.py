"""Rows whose labels can be learned from; others are handled as lines that cannot be parsed are."""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.blocks import Block, rows_of
from surefoot.data.stream.faults import DataWarning, Policy

WARNED = 5
"""Rows of a block without a usable label that are named in warnings."""


class Source(Protocol):
    """What blocks come from."""

    policy: Policy

    def where(self, row: int) -> str:
        """File, line and column of a row of the latest block."""
        ...


class Targets(Protocol):
    """What labels mean to a model."""

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Their targets, NaN for labels that have none."""
        ...

    def fault(self, label: float) -> tuple[str, str]:
        """Why a label has no target: what such faults are called, and what was found and expected."""
        ...


def usable(source: Source, targets: Targets, block: Block) -> Block:
    """The rows of the latest block that have a target; others are counted, and named as the source's policy says.

    Raises:
        DataError: a row has none, and the policy does not allow that, or not as often.
    """
    fits = np.isfinite(targets.of(block.labels))
    if fits.all():
        return block
    _skip(source, targets, block, np.flatnonzero(~fits))
    return rows_of(block, fits)


def _skip(source: Source, targets: Targets, block: Block, rows: np.ndarray) -> None:
    """Counts rows without a target, and stops or warns as the policy says."""
    policy = source.policy
    for position, row in enumerate(rows.tolist()):
        reason, found = targets.fault(float(block.labels[row]))
        policy.counts[reason] += 1
        over = policy.max_errors is not None and policy.counts.total() > policy.max_errors
        warned = policy.on_error == "warn" and position < WARNED
        if not (policy.on_error == "stop" or over or warned):
            continue
        message = f"{source.where(row)}: {found}"
        if policy.on_error == "stop":
            raise DataError(message)
        if over:
            raise DataError(
                f"{message}; with that, {policy.counts.total():,} lines could not be used ({policy.summary()}), "
                f"more than the {policy.max_errors:,} allowed"
            )
        warnings.warn(message, DataWarning, stacklevel=2)
