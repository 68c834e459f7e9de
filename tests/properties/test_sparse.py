"""Sparse gradients: how equal ids are sorted and summed."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.numerics import assert_identical
from support.sampling import up_to

from surefoot import threads
from surefoot.engines import Step
from surefoot.engines.cpu.drivers.sort import sort
from surefoot.engines.cpu.layout import COUNTS
from surefoot.engines.cpu.sorting import distinct_rows, sort_ids
from surefoot.engines.reference import merge

engines = pytest.mark.parametrize("engine", ["reference", "cpu"])


@settings(max_examples=up_to(200))
@given(
    rows=st.one_of(st.integers(1, 50), st.sampled_from([2047, 2048, 2049, 2**22, 2**22 + 1, 2**31, 2**32 - 1])),
    size=st.integers(0, 60),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.int32, np.int64]),
)
@example(rows=1, size=5, seed=0, dtype=np.int64)
@example(rows=2**32 - 1, size=60, seed=1, dtype=np.int64)
def test_sorting_is_a_stable_argsort(rows, size, seed, dtype):
    if dtype == np.int32:
        rows = min(rows, 2**31 - 1)
    rng = np.random.default_rng(seed)
    # Few distinct ones, and the largest and smallest possible.
    ids = rng.choice(np.r_[0, rows - 1, rng.integers(0, rows, 8)], size).astype(dtype)
    packed = sort_ids(ids, rows)
    place = (packed & np.uint64(2**32 - 1)).astype(np.int64)
    assert_identical(place, np.argsort(ids, kind="stable"))
    assert_identical((packed >> np.uint64(32)).astype(np.int64), ids[place].astype(np.int64))
    distinct, starts = distinct_rows(packed)
    expected, first = np.unique(ids[place], return_index=True)
    assert_identical(distinct, expected.astype(np.int64))
    assert_identical(starts, np.r_[first, size].astype(np.int64))


@settings(max_examples=50)
@given(
    rows=st.sampled_from([1, 2, 50, 2047, 2**11, 2**20, 2**22 + 1, 2**32 - 1]),
    ids=st.lists(st.floats(0, 1, exclude_max=True), max_size=20),
    ascending=st.booleans(),
)
def test_sorting_stays_within_its_memory(rows, ids, ascending):
    """The kernel in plain Python, where NumPy looks."""
    named = np.array([int(rows * share) for share in ids], np.int64)
    named = np.unique(named) if ascending else named
    order = np.empty((2, len(named)), np.uint64)
    assert sort(named, named[:0], rows, np.empty(COUNTS, np.uint64), *order) == 0
    assert_identical(order[0], sort_ids(named, rows))


def test_more_rows_than_a_sort_key_can_hold():
    with pytest.raises(IndexError, match=r"^1 ids of 4,294,967,297 rows; .* at most 4,294,967,296"):
        sort_ids(np.zeros(1, np.int64), 2**32 + 1)


duplicates = st.lists(st.integers(0, 6), max_size=40)


@engines
@settings(max_examples=up_to(60))
@given(ids=duplicates, width=st.integers(1, 4), seed=st.integers(0, 2**32 - 1), float32=st.booleans())
def test_duplicate_ids_are_summed_in_order_of_occurrence(engine, ids, width, seed, float32):
    """The bits of np.add.at, in which the order shows: the values differ by many orders of magnitude."""
    dtype, ids = np.float32 if float32 else np.float64, np.array(ids, np.int64)
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(len(ids), width)) * 10.0 ** rng.uniform(-6, 6, (len(ids), width))).astype(dtype)
    expected = np.zeros((7, width), dtype)
    np.add.at(expected, ids, values)
    x = np.zeros((7, width), dtype)
    step = Step("sgd", engine=engine, lr=1.0)
    step.rows(x, ids, values, step.init(x))
    assert_identical(x, 0 - expected)


def test_the_order_shows_in_the_bits():
    """Else the test above could not fail."""
    values = np.array([[1e8], [1.0], [-1e8]], np.float32)
    for order, total in (([0, 1, 2], 0), ([0, 2, 1], 1)):
        ids, totals = merge(np.zeros(3, np.int64), values[order])
        assert ids.tolist() == [0]
        assert totals.tolist() == [[total]]


@engines
@settings(max_examples=30)
@given(ids=duplicates.filter(bool), seed=st.integers(0, 2**32 - 1))
def test_interleaving_rows_makes_no_difference(engine, ids, seed):
    """Only the order among equal ids counts: sorting by id, which keeps that order, gives the same bits."""
    ids = np.array(ids, np.int64)
    values = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    order = np.argsort(ids, kind="stable")
    results = []
    for rows, gradient in ((ids, values), (ids[order], values[order]), (ids.astype(np.int32), values)):
        step, x = Step("adagrad", engine=engine), np.ones((7, 3), np.float32)
        state = step.init(x)
        step.rows(x, rows, gradient, state)
        results.append((x, state.slots["total"]))
    for x, total in results[1:]:
        assert_identical(x, results[0][0])
        assert_identical(total, results[0][1])


@settings(max_examples=up_to(60))
@given(
    ids=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    granularity=st.sampled_from(["coordinate", "row", "tensor"]),
    around=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_threads_make_no_difference_to_rows(ids, granularity, around, seed):
    ids = np.array(ids, np.int64)
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(ids), 3)).astype(np.float32)
    options = {"weight_decay": 0.1, "l1": 0.01, "clip_norm": 2.0} if around else {}
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "SMALLEST", 1)
        for count in (1, 2, 3, 5):
            step = Step("adagrad", granularity=granularity, threads=count, lazy="touched", **options)
            x = np.ones((10, 3), np.float32)
            state = step.init(x)
            step.rows(x, ids, values, state)
            results.append((x, state.slots["total"]))
    for x, total in results[1:]:
        assert_identical(x, results[0][0])
        assert_identical(total, results[0][1])


@settings(max_examples=up_to(60))
@given(
    shape=st.sampled_from([(1,), (7,), (40,), (1, 9), (9, 1), (6, 7), (3, 4, 5), ()]),
    granularity=st.sampled_from(["coordinate", "row", "tensor"]),
    around=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_threads_make_no_difference_to_dense_steps(shape, granularity, around, seed):
    g = np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)
    options = {"weight_decay": 0.1, "l1": 0.01, "clip_norm": 2.0} if around else {}
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "SMALLEST", 1)
        for count in (1, 2, 3, 5):
            step = Step("adagrad", granularity=granularity, threads=count, **options)
            x = np.ones(shape, np.float32)
            state = step.init(x)
            step.dense(x, g, state)
            results.append((x, state.slots["total"]))
    for x, total in results[1:]:
        assert_identical(x, results[0][0])
        assert_identical(total, results[0][1])
