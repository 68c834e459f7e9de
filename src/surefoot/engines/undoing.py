"""Learning is all or nothing: what a few examples change is noted before, and put back after an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from surefoot.engines.bank import ModelBank


class Noted:
    """What learning from examples with these features changes in a bank, as it is now.

    It costs as much as the examples have entries, whatever the size of the table. Rows that are added later stay: a
    feature that was never learned from is as good as absent.

    Args:
        bank: that is about to learn.
        rows: of the examples' features, `bank.rows_of` them, in any order, some perhaps twice; all where the bank
            `settles_at_once`.
    """

    def __init__(self, bank: ModelBank, rows: np.ndarray):
        self._bank, self._rows = bank, rows
        self._numbers = bank.t, bank.skipped, bank.total, bank.settled, bank.sharing
        self._arrays_of_rows, self._arrays_of_all = arrays_of(bank)
        self._of_rows = [array.take(rows, axis=0) for array in self._arrays_of_rows]
        self._of_all = [array.copy() for array in self._arrays_of_all]

    def put_back(self) -> None:
        """Makes the bank what it was."""
        bank = self._bank
        bank.t, bank.skipped, bank.total, bank.settled, bank.sharing = self._numbers
        for array, before in zip(self._arrays_of_rows, self._of_rows, strict=True):
            array[self._rows] = before
        for array, before in zip(self._arrays_of_all, self._of_all, strict=True):
            array[...] = before
        bank.workspace = None  # which counts steps of its own


def arrays_of(bank: ModelBank) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The arrays that learning changes in the rows of features that occur, and those that it changes in any case."""
    of_rows, of_all = [bank.table.cells], [bank.table.shared, bank.table.seen, *bank.common.values()]
    if bank.waits:
        of_rows.append(bank.last)
    if bank.averages:
        of_rows.append(bank.upto)
        of_all.append(bank.upto_shared)
        for name, mean in bank.means.items():
            (of_rows if bank.table.parts[name].of == "feature" else of_all).append(mean)
    return of_rows, of_all
