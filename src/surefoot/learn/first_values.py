"""Far values among the first ones of a feature, which would spoil its scale: they are found once others are known.

As values occur, one too far from those before counts as being nearer (see `engines.scaling`), but only from a feature's
17th on: until then the others may be as far. So the entries of the first rows are kept. Whenever the number of rows has
doubled, the values x of each feature that has had 16 are compared with their median m and the distance d from it within
which three quarters of them are. If one of the first 16 is further away than 150 d, the statistics become those of all
these values, where |x − m| counts as 8 d at most; weights and what rules remember go on. Features of which three
quarters of the values are the same stay as they are, and so do those of which a quarter of the values are far, and
those with fewer than 16 values in 1,024 rows.

Less than 150 d would be found more often in columns that are heavy-tailed, or numbers of something. Where a column has
two kinds of values, some of them 1,000 or 1e6 times as large, the held-out loss of a model of six such columns was up
to 0.5 % higher than with seven eighths in place of three quarters (means over four seeds; 1.2 % with one seed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.engines import restoring
from surefoot.engines.bank import ModelBank
from surefoot.engines.scaling import FAR, FEWEST
from surefoot.models import STATISTICS

KEPT = 1024
"""Rows of which entries are kept."""
WITHIN = 75.0
"""Percent of the values that are within d."""
FARTHEST = 150.0
"""How many times d a far value is away."""
NEARLY = 0.99
"""Of this distance: sums are not rounded alike wherever it is computed."""
LARGEST_VALUE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class FirstValues:
    """The entries of the first rows, of features that had fewer than 16 values when the rows last doubled.

    Attributes:
        ids, values: of the entries, in their order, an array for each part of the stream; int64 and float64.
        is_over: no more are kept, since all features had 16 values.
    """

    ids: tuple[np.ndarray, ...] = ()
    values: tuple[np.ndarray, ...] = ()
    is_over: bool = False

    def after(self, ids: np.ndarray, values: np.ndarray) -> FirstValues:
        """These and further entries, which are copied."""
        if self.is_over:
            return self
        return FirstValues((*self.ids, np.array(ids, np.int64)), (*self.values, np.array(values, np.float64)))

    def looked(self, bank: ModelBank, rows: int, latest: np.ndarray) -> FirstValues:
        """These after a look, by which statistics of features with far values change.

        Args:
            bank: that has learned from these entries.
            rows: so far.
            latest: the features of the latest row. Where features wait for penalties, which are those of the scale that
                they have, only these change.
        """
        if not (self.ids and bank.normalize):
            return FirstValues(is_over=True)
        ids, given = np.concatenate(self.ids), np.concatenate(self.values)
        order = np.argsort(ids, kind="stable")
        first = np.flatnonzero(np.diff(ids[order], prepend=-1))
        features, numbers = ids[order[first]], np.diff(first, append=len(ids))
        values, enough = given[order], numbers >= FEWEST
        # Most features of sparse rows are 1 wherever they occur.
        differ = np.minimum.reduceat(values, first) < np.maximum.reduceat(values, first)
        all_are_known = bank.table.statistic("count")[bank.row_map.known(features)] == numbers
        chosen = enough & differ & all_are_known
        if bank.waits:
            chosen &= np.isin(features, latest)
        entries = np.repeat(chosen, numbers)
        chosen[chosen] = may_be_far(values[entries], numbers[chosen])
        for number in np.unique(numbers[chosen]):
            own = chosen & (numbers == number)
            far, *statistics = corrected(values[first[own][:, None] + np.arange(number)])
            at = bank.row_map.known(features[own][far])
            for name, found in zip(STATISTICS[1:], statistics, strict=True):
                bank.table.statistic(name)[at] = found[far]
        if rows >= KEPT or (len(ids) and enough.all()):
            return FirstValues(is_over=True)
        kept = np.sort(order[~np.repeat(enough, numbers)])
        return FirstValues((ids[kept],), (given[kept],))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """All that changes: arrays, and numbers."""
        ids, values = np.concatenate([np.empty(0, np.int64), *self.ids]), np.concatenate([np.empty(0), *self.values])
        return {"ids": ids, "values": values}, {"entries": len(ids), "is_over": int(self.is_over)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any], bank: ModelBank) -> FirstValues:
        """Those that had this state.

        Raises:
            ValueError: it is not one, of a learner with this bank.
        """
        is_over, ids = restoring.whole(numbers, "is_over", 1), restoring.array(arrays, "ids", np.int64, (None,))
        if restoring.whole(numbers, "entries") != len(ids):
            raise ValueError(f"first.entries: found {numbers['entries']}, expected {len(ids)}, the number of ids")
        values = restoring.array(arrays, "values", np.float64, ids.shape)
        restoring.between("first.values", values, -LARGEST_VALUE, LARGEST_VALUE)
        known = bank.row_map.known(ids)
        if not ((known >= 0) & (known < bank.features)).all():
            raise ValueError("first.ids: found a feature that did not occur, expected others")
        return cls((ids.copy(),), (values.copy(),), bool(is_over)) if len(ids) else cls(is_over=bool(is_over))


@np.errstate(under="ignore")
def may_be_far(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Whether one of a feature's first values is far or nearly so: for most features that is all there is to know.

    Args:
        values: those of the first feature in their order, then those of the second, …, (values,).
        numbers: how many each feature has, at least 16, (features,).

    >>> may_be_far(np.array([1e12, *range(31), *range(20)]), np.array([32, 20])).tolist()
    [True, False]
    """
    first, of = np.cumsum(numbers) - numbers, np.repeat(np.arange(len(numbers)), numbers)
    in_order = values[np.lexsort((values, of))]
    middle = 0.5 * (in_order[first + (numbers - 1) // 2] + in_order[first + numbers // 2])
    away = abs(values - middle[of])
    # The entries of the first 16 values of each feature.
    farthest = away[first[:, None] + np.arange(int(FEWEST))].max(axis=1, initial=0.0)
    in_order = away[np.lexsort((away, of))]
    below, share = np.divmod(WITHIN / 100.0 * (numbers - 1), 1.0)
    nearer, further = (in_order[first + below.astype(int) + k] for k in (0, 1))
    spread = nearer + share * (further - nearer)
    return (farthest > NEARLY * FARTHEST * spread) & (spread > 0)


@np.errstate(under="ignore")
def corrected(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether one of a feature's first values is far, and the statistics if far values count as being nearer.

    Args:
        table: values of features in their order, (features, values), at least 16.

    Returns:
        whether one is far, the mean, and the sum of squared deviations, (features,) each.

    >>> far, mean, deviations = corrected(np.array([[1e12, *range(31)], [500.0, *range(31)]]))
    >>> far.tolist(), mean.tolist(), deviations.tolist()
    ([True, False], [17.953125, 17.953125], [11131.1796875, 11131.1796875])
    """
    middle = np.median(table, axis=1, keepdims=True)
    away = table - middle
    spread = np.percentile(abs(away), WITHIN, axis=1, keepdims=True)
    far = (abs(away[:, : int(FEWEST)]) > FARTHEST * spread).any(axis=1) & (spread[:, 0] > 0)
    nearer = np.clip(away, -FAR * spread, FAR * spread)
    mean = nearer.mean(axis=1, keepdims=True)
    return far, (middle + mean)[:, 0], np.square(nearer - mean).sum(axis=1)
