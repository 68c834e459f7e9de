"""Data sets in memory, as blocks of examples."""

import numpy as np
from scipy.sparse import csr_array

from surefoot.learn.arrays import ArrayDataset


def test_an_order_may_name_rows_more_than_once():
    """All of an order is taken, also where it is longer than the data set, in whole mini-batches."""
    X = np.array([[1.0, 2.0], [3.0, 0.0]])
    data = ArrayDataset(X, np.array([0.0, 1.0]), np.ones(2))
    order = np.array([1, 0, 1, 1, 0])
    for form in (data, ArrayDataset(csr_array(X), data.targets, data.weights)):
        blocks = list(form.blocks(order, 2))
        assert np.concatenate([block.targets for block in blocks]).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
        assert np.concatenate([block.values for block in blocks]).tolist() == [3, 1, 2, 3, 3, 1, 2]
