"""What stands between the features of a file or table and those of a model: the same for training and prediction.

There is one step, `expanded`. So far it leaves features as they are, but for values of 0 and for fields that a model
does not tell apart.
"""

from __future__ import annotations

from surefoot.data.stream import Block
from surefoot.data.stream.blocks import without_fields, without_zeros
from surefoot.models import Architecture


def expanded(architecture: Architecture, block: Block, missing: bool = False) -> Block:
    """A block with the features that the model has, each once in a row, or once in each field that it tells apart.

    Unless absent numbers are `missing`, as in tables, values of 0 are dropped, as arrays and SciPy's matrices do
    not store them: they would count as occurrences.

    >>> import numpy as np
    >>> from surefoot.models import linear
    >>> twice = Block(np.array([0, 2]), np.array([7, 7]), np.ones(2), np.ones(1), np.ones(1), fields=np.array([1, 2]))
    >>> expanded(linear, twice).values
    array([2.])
    """
    block = without_fields(block) if architecture.merges_fields else block
    return block if missing else without_zeros(block)
