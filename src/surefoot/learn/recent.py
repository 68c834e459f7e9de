"""Features whose unit or origin changes in mid-stream: their statistics begin again with the latest values.

The statistics of all values follow at once a unit that becomes larger, since large values outweigh those before. One
that becomes smaller they would follow only as 1/√n, and after a jump of the origin their root mean square is that of
the jump. So features that occur often are looked at whenever there are a tenth more rows: if their values since then
vary much less than all so far, all count as if they had varied like these.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from itertools import takewhile
from typing import Any

import numpy as np

from surefoot.engines import restoring, scaling
from surefoot.engines.bank import ModelBank
from surefoot.engines.scaling import Statistics
from surefoot.models import STATISTICS

OFTEN = 0.5
"""Features are looked at that have values in this share of the rows so far."""
FALL = 4.0
"""How many times smaller the root mean square since the last look is where statistics begin again."""
FEWEST = 32
"""Rows between two looks, at least."""
SHARE = 11
"""Between two looks there is one row for so many before."""


def looks() -> Iterator[int]:
    """The numbers of rows after which features are looked at."""
    rows = 0
    while True:
        rows += max(FEWEST, rows // SHARE)
        yield rows


LOOKS = tuple(takewhile(lambda rows: rows < 1 << 62, looks()))


def until_look(rows: int) -> int:
    """Rows until the next look, after this many.

    >>> until_look(0), until_look(32), until_look(1030)
    (32, 32, 51)
    """
    return LOOKS[bisect.bisect_right(LOOKS, rows)] - rows


class Recent:
    """Features that occur often, and their statistics when they were looked at last.

    Attributes:
        ids: of these features, rising, int64.
        before: their statistics.
    """

    def __init__(self, ids: np.ndarray | None = None, before: Statistics | None = None):
        self.ids = np.empty(0, np.int64) if ids is None else ids
        self.before = before or Statistics(*np.zeros((len(STATISTICS), len(self.ids))))

    def after(self, bank: ModelBank, rows: int, latest: np.ndarray) -> Recent:
        """These after a look at the features of the latest row.

        Others wait until they occur: a penalty that they wait for is that of the scale that they have.

        Args:
            bank: whose statistics may begin again.
            rows: so far.
            latest: the features of the latest row, int64.
        """
        ids = np.unique(np.asarray(latest, np.int64))
        places = bank.row_map.known(ids)
        often = bank.table.statistic(STATISTICS[0])[places] >= OFTEN * rows
        if not (len(self.ids) or often.any()):
            return self
        now = Statistics(*(bank.table.statistic(name)[places] for name in STATISTICS))
        ids, places, now = ids[often], places[often], now.at(often)
        new = scaling.again(bank.table.seen[0], now, self._of(ids), FALL)
        for name, values in zip(STATISTICS, astuple(new), strict=True):
            bank.table.statistic(name)[places] = values
        kept = ~np.isin(self.ids, latest)
        ids = np.concatenate([self.ids[kept], ids])
        order = np.argsort(ids)
        both = zip(astuple(self.before.at(kept)), astuple(new), strict=True)
        return Recent(ids[order], Statistics(*(np.concatenate(pair)[order] for pair in both)))

    def _of(self, ids: np.ndarray) -> Statistics:
        """The statistics of features when they were looked at last, 0 if never."""
        found = Statistics(*np.zeros((len(STATISTICS), len(ids))))
        known, places, own = np.intersect1d(ids, self.ids, assume_unique=True, return_indices=True)
        if len(known):
            for name in STATISTICS:
                getattr(found, name)[places] = getattr(self.before, name)[own]
        return found

    def state(self) -> dict[str, np.ndarray]:
        return {"ids": self.ids} | dict(zip(STATISTICS, astuple(self.before), strict=True))

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any], count: int, features: int) -> Recent:
        """Those of `count` features that had this state.

        Raises:
            ValueError: it is not one, of a learner with this number of features.
        """
        ids = restoring.ids(arrays, "recent.ids", count, features)
        before = [restoring.array(arrays, f"recent.{name}", np.float64, (count,)) for name in STATISTICS]
        for name, values in zip(STATISTICS, before, strict=True):
            if not np.isfinite(values).all():
                raise ValueError(f"recent.{name}: found {values[~np.isfinite(values)][0]}, expected numbers")
        return cls(ids, Statistics(*before))
