"""What acts in each of many steps, as arrays."""

import numpy as np


def stack(columns: tuple, steps: int) -> np.ndarray:
    """Numbers and arrays of numbers as the columns of one array, of a single row where all are numbers."""
    stacked = np.empty((steps if any(np.ndim(column) for column in columns) else 1, len(columns)))
    for k, column in enumerate(columns):
        stacked[:, k] = column
    return stacked
