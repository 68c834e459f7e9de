"""The CPU engine against the reference, bit for bit: every rule, layout, type and granularity of the table."""

import pytest
from support.covering import marked
from support.table import (
    FAST,
    LENGTHS,
    TABLE,
    both,
    dense_run,
    gradients,
    laziness,
    parameters,
    rows_run,
    touches,
)

STEPS = 4
SHAPES = (*((n,) for n in LENGTHS), (), (5, 7), (2, 3, 4))
# The first is left out where a rate is shared by the tensor: memory of a single row is of another type to Numba.
TABLES = ((1, 1), (9,), (7, 1), *((6, width) for width in LENGTHS), (5, 2, 3), (48, 2))


def cases(*layouts):
    return pytest.mark.parametrize("case", marked([case for case in TABLE if case.layout in layouts], FAST))


@pytest.mark.sampled(24)
@cases("dense")
def test_dense_gradients(case):
    for settings in ({}, case.concrete.other_settings()):
        for shape in SHAPES:
            run = dense_run(gradients(shape, case.dtype, STEPS))
            x = parameters(shape, case.dtype)
            both(case.concrete, x, run, (shape, settings), granularity=case.granularity, **settings)


@pytest.mark.sampled(14)
@cases("rows")
def test_sparse_gradients(case):
    for settings in ({}, case.concrete.other_settings()):
        lazy = laziness(case.concrete, granularity=case.granularity, **settings)
        for shape in TABLES[case.granularity == "tensor" :]:
            # To settle all rows is one more kernel, for the same catching up.
            run = rows_run(touches(shape, case.dtype, STEPS), settle=case.dtype == "float64")
            x = parameters(shape, case.dtype)
            both(case.concrete, x, run, (shape, settings), granularity=case.granularity, lazy=lazy, **settings)
