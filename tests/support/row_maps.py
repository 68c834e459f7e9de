"""Maps from ids of features to rows of a table, besides the identity."""

import numpy as np


class ByOccurrence:
    """A row map: ids get rows as they occur."""

    def __init__(self):
        self._rows: dict[int, int] = {}

    def rows(self, ids):
        return np.array([self._rows.setdefault(int(i), len(self._rows)) for i in ids], np.int64)

    def known(self, ids):
        return np.array([self._rows.get(int(i), -1) for i in ids], np.int64)

    def ids(self, first, last):
        return np.array([*self._rows][first:last], np.int64)

    def __len__(self):
        return len(self._rows)
