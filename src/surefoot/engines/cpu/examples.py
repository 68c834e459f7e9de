"""Examples of a linear model: a dense array, or the (indptr, indices, data) of a CSR matrix."""

import numpy as np
from numba import types
from numba.extending import overload

from surefoot.engines.cpu.unrolling import INLINE


def entries(examples, i):
    """The columns and values of example i, of a dense array or of the (indptr, indices, data) of a CSR matrix."""


@overload(entries, jit_options=INLINE)
def _entries(examples, i):
    if isinstance(examples, types.Array):
        return lambda examples, i: (None, examples[i])

    def impl(examples, i):
        indptr, indices, data = examples
        return indices[indptr[i] : indptr[i + 1]], data[indptr[i] : indptr[i + 1]]

    return impl


def column(columns, e):
    """The column of entry e of an example."""


@overload(column, inline="always")
def _column(columns, e):
    if isinstance(columns, types.NoneType):
        return lambda columns, e: e
    return lambda columns, e: np.int64(columns[e])
