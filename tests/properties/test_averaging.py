"""The average of the iterates is the mean weighted by their learning rates, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.numerics import assert_close

from surefoot.engines import Step
from surefoot.schedules import constant, polynomial, warmup

rates = st.sampled_from([0.3, constant(0.1), polynomial(0.5), warmup(0.4, 3), lambda t: 0.1 * (t > 2)])
seeds = st.integers(0, 2**32 - 1)
kinds = st.lists(st.sampled_from(["dense", "rows"]), min_size=1, max_size=10)


def weighted_mean(iterates, step):
    weights = np.array([float(step.lr(t)) for t in range(1, len(iterates) + 1)])
    return np.tensordot(weights, np.array(iterates), 1) / weights.sum() if weights.sum() else None


def check(x, state, iterates, step):
    expected = weighted_mean(iterates, step)
    if expected is not None:
        assert_close(state.average, expected, "lazy")
    assert_close(state.weight, sum(float(step.lr(t)) for t in range(1, len(iterates) + 1)), "float64")


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@settings(max_examples=30)
@given(lr=rates, seed=seeds, steps=st.integers(1, 10))
def test_dense(engine, lr, seed, steps):
    rng = np.random.default_rng(seed)
    step, x = Step("adagrad", engine=engine, lr=lr, average=True), rng.normal(size=(4, 3))
    state, iterates = step.init(x), []
    for _ in range(steps):
        step.dense(x, rng.normal(size=x.shape), state)
        iterates.append(x.copy())
    check(x, state, iterates, step)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@settings(max_examples=40)
@given(lr=rates, seed=seeds, pattern=st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=10))
def test_rows(engine, lr, seed, pattern):
    """Rows that do not move enter with their values."""
    rng = np.random.default_rng(seed)
    step, x = Step("adagrad", engine=engine, lr=lr, average=True), rng.normal(size=(5, 2))
    state, iterates = step.init(x), []
    for ids in pattern:
        step.rows(x, np.array(ids, np.int64), rng.normal(size=(len(ids), 2)), state)
        iterates.append(x.copy())
    step.settle(x, state)
    check(x, state, iterates, step)


@settings(max_examples=30)
@given(lr=rates, seed=seeds, kinds=kinds)
def test_dense_and_sparse_steps_in_turn(lr, seed, kinds):
    rng = np.random.default_rng(seed)
    step, x = Step("adagrad", engine="reference", lr=lr, average=True), rng.normal(size=(5, 2))
    state, iterates = step.init(x), []
    for kind in kinds:
        if kind == "dense":
            step.dense(x, rng.normal(size=x.shape), state)
        else:
            step.rows(x, rng.integers(0, 5, 2), rng.normal(size=(2, 2)), state)
        iterates.append(x.copy())
    step.settle(x, state)
    check(x, state, iterates, step)


def test_the_average_begins_with_the_parameters():
    x = np.array([1.0, 2.0])
    step = Step("sgd", engine="reference", average=True, lr=lambda t: 0.0)
    state = step.init(x)
    step.dense(x, np.ones(2), state)
    assert state.average.tolist() == [1, 2]
    assert Step("sgd", engine="reference").init(x).average is None
