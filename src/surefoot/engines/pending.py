"""Rows that wait: which steps without a gradient each has yet to catch up on, and what acted in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from surefoot.modifiers.record import SHRINKAGE

ROOM = 32
"""Entries before those that no row waits for are looked for."""


class Pending:
    """The rows of one array of parameters that take no part in every step.

    It has an entry for each run of steps in which the same numbers acted, from the oldest step that some row has yet to
    catch up on: none where no row waits.

    Args:
        last: per row, the last step in which it took part, int64; a tensor where a GPU writes it.
        coefficients: how many the rule has.
        table: entries as rows (first step, coefficients, shrinkage), float64; see `table`.

    Attributes:
        changes: how often entries have changed: what `arrays` gave holds until then.

    >>> pending = Pending(np.array([0, 1]), 1)
    >>> for t in (1, 2):
    ...     pending.note(t, (0.1,), (1.0, 0.0, 0.0))
    >>> pending.table(2).tolist()
    [[1.0, 0.1, 1.0, 0.0, 0.0]]
    """

    def __init__(self, last: Any, coefficients: int, table: np.ndarray | None = None):
        self.last, self.width, self.changes = last, 1 + coefficients + len(SHRINKAGE), 0
        self._set([] if table is None else list(map(tuple, table.tolist())))

    def _set(self, entries: list[tuple]) -> None:
        self.entries = entries
        self._room = max(ROOM, 2 * len(entries))
        self._arrays: dict[str, tuple[int, np.ndarray]] = {}
        self.changes += 1

    def note(self, t: int, coefficients: tuple, shrinkage: tuple) -> None:
        """Notes what acts in step t, for rows that it leaves out."""
        now = (*map(float, coefficients), *map(float, shrinkage))
        if self.entries and self.entries[-1][1:] == now:
            return
        if len(self.entries) >= self._room:
            self.compact(t - 1)
        self.entries.append((t, *now))
        self.changes += 1

    def replace(self, coefficients: tuple, shrinkage: tuple) -> None:
        """Notes what acts from now on, where parameters are a function of the memory and of the last step's numbers."""
        self._set([(1, *map(float, coefficients), *map(float, shrinkage))])

    def compact(self, t: int) -> None:
        """Drops entries of steps that no row has yet to catch up on, after step t."""
        oldest = min(int(self.last.min()), t) if len(self.last) else t
        if oldest >= t:
            self._set([])
            return
        needed = [k for k, entry in enumerate(self.entries) if entry[0] <= oldest + 1]
        self._set(self.entries[needed[-1] if needed else 0 :])

    def caught_up(self, t: int) -> None:
        """Every row has caught up with step t."""
        self.last[:] = t
        self._set([])

    def table(self, t: int) -> np.ndarray:
        """The entries after step t as rows (first step, coefficients, shrinkage), float64."""
        self.compact(t)
        return np.array(self.entries, float).reshape(-1, self.width)

    def arrays(self, dtype: str) -> np.ndarray:
        """The entries as rows (first step, coefficients, shrinkage) of numbers of this type.

        There may be one more in every step, so the array grows with them.
        """
        size = len(self.entries)
        count, array = self._arrays.get(dtype, (0, np.empty((0, self.width), dtype)))
        if size > len(array):
            larger = np.empty((2 * size, self.width), dtype)
            larger[:count] = array[:count]
            array = larger
        if count < size:
            array[count:size] = self.entries[count:]
        self._arrays[dtype] = size, array
        return array[:size]

    def starts(self) -> np.ndarray:
        """The first step of each entry, int64."""
        return self.arrays("int64")[:, 0]

    def stretches(self, last: int, until: int) -> Iterator[tuple[int, tuple, tuple]]:
        """(number of steps, coefficients, shrinkage) of each run of steps last + 1 … until in which neither changes."""
        for i, (first, *numbers) in enumerate(self.entries):
            end = self.entries[i + 1][0] - 1 if i + 1 < len(self.entries) else until
            k = int(min(end, until) - max(first - 1, last))
            if k > 0:
                yield k, tuple(numbers[: -len(SHRINKAGE)]), tuple(numbers[-len(SHRINKAGE) :])
