"""One example after the other: a call whose arguments are laid out once, for they are most of what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from surefoot.engines.examples import Examples

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank
    from surefoot.engines.cpu.bank.arguments import Cells, Rows

FEWEST = 64
"""Entries that there is room for, at least."""


class Single:
    """The call of a driver for a bank, with room for an example.

    It holds until the bank learns in another way, or its memory moves: rows are added without, as a rule.

    Args:
        bank: whose steps are the same each time.
        entries: that an example may have.
        totals: as the engine's `learn` takes them.
        call: gives the driver and its arguments, see `bank.call`.

    Attributes:
        given: the room, to be filled before `run`.
        predictions: what each lane predicted before, (1, lanes), until the next call.
    """

    def __init__(self, bank: ModelBank, entries: int, totals: np.ndarray, call: Callable):
        self.entries, self.totals = max(entries, FEWEST), totals.copy()
        self.predictions = np.empty((1, bank.lanes), bank.dtype)
        given = Examples.one(np.zeros(self.entries, np.int64), np.zeros(self.entries), 0.0, 1.0)
        kernel, arguments = call(bank, given, given.indices, np.array([0, 1]), self.totals, self.predictions)
        self.given: Rows = arguments[0]
        self._block, self._features = bank.table.block, bank.features
        self._grows = not (bank.waits or bank.averages)
        room = bank.table.room
        table: Cells = arguments[3]
        table = table._replace(cells=room, sums=room.view(np.float64))
        self._call = kernel.bound(*arguments[:3], table, *arguments[4:])
        self._expects = bank.t, bank.settled

    def fits(self, bank: ModelBank, entries: int) -> bool:
        has_rows = bank.table.block is self._block and (self._grows or bank.features == self._features)
        return has_rows and entries <= self.entries and self._expects == (bank.t, bank.settled)

    def learn(self, rows: np.ndarray, values: np.ndarray, target: float, weight: float, totals: np.ndarray) -> int:
        """Learns; returns how many numbers were skipped."""
        given, size = self.given, len(rows)
        given.indptr[1] = size
        given.rows[:size], given.values[:size] = rows, values
        given.targets[0], given.weights[0] = target, weight
        if len(totals) > 1:
            self.totals[:] = totals
        return self.run()

    def run(self) -> int:
        """The same for what `given` has."""
        t, settled = self._expects
        self._expects = t + 1, settled
        return self._call()
