"""Rows without a gradient catch up: the result is that of dense steps with zero gradients."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.numerics import assert_close, assert_identical, assert_same_memory
from support.table import CONCRETE

from surefoot.engines import Step
from surefoot.schedules import chain, constant, exponential, piecewise_constant, polynomial, warmup

ROWS, WIDTH = 5, 2

rates = st.sampled_from(
    [
        0.3,
        constant(0.2),
        polynomial(0.5),
        exponential(0.5, 0.1),
        piecewise_constant([3, 7], [0.5, 0.1, 0.3]),
        warmup(polynomial(0.5), 4),
        chain((constant(0.4), 3), exponential(0.2, 0.2)),
        lambda t: 0.5 if t % 3 else 0.25,
    ]
)
penalties = st.sampled_from([0.0, 0.0, 0.01, 0.3])
# What happens in each step: which rows are touched, in which order; an empty list is a step that touches none.
touches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=4), min_size=1, max_size=14)
granularity = st.sampled_from(["coordinate", "row", "tensor"])
seeds = st.integers(0, 2**32 - 1)


def sequence(pattern, seed):
    """(ids, values, the same as a dense gradient) for each step."""
    rng = np.random.default_rng(seed)
    for ids in pattern:
        ids = np.array(ids, np.int64)
        values = rng.normal(size=(len(ids), WIDTH)) * 10.0 ** rng.uniform(-2, 1)
        dense = np.zeros((ROWS, WIDTH))
        np.add.at(dense, ids, values)
        yield ids, values, dense


def start(step, seed):
    if step.rule.follows_rate:
        return np.zeros((ROWS, WIDTH))
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH))


def compare(step, pattern, seed, settle_at=()):
    """Sparse steps with catching up, against dense steps; `settle_at` names steps after which all rows catch up."""
    x = start(step, seed)
    y = x.copy()
    state, dense_state = step.init(x), step.init(y)
    for t, (ids, values, dense) in enumerate(sequence(pattern, seed)):
        step.rows(x, ids, values, state)
        step.dense(y, dense, dense_state)
        if t in settle_at:
            step.settle(x, state)
            assert_close(x, y, "lazy", f"parameters after step {t + 1}")
    step.settle(x, state)
    assert_close(x, y, "lazy", "parameters")
    refresh(step, (x, state), (y, dense_state))
    for name, slot in dense_state.slots.items():
        assert_close(state.slots[name], slot, "lazy", name)
    assert state.t == dense_state.t
    return x, state


def refresh(step, *pairs):
    """Brings FTRL's z up to date with the rate, as the next step of a coordinate does: here, one along zero."""
    if step.rule.name == "ftrl":
        for x, state in pairs:
            step.dense(x, np.zeros_like(x), state)


def shared_or_not(c, granularity):
    return granularity if c.shares else "coordinate"


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.rule.lazy_exact and not c.rule.from_origin], ids=str)
@settings(max_examples=60)
@given(lr=rates, l1=penalties, l2=penalties, decay=penalties, granularity=granularity, pattern=touches, seed=seeds)
def test_penalties_of_lazy_exact_rules(c, lr, l1, l2, decay, granularity, pattern, seed):
    if l1 or l2 or decay:
        granularity = "row" if granularity == "tensor" else granularity
    penalties = {"l1": l1, "l2": l2, "decoupled_weight_decay": decay}
    step = c.step(engine="reference", lr=lr, granularity=shared_or_not(c, granularity), **penalties)
    compare(step, pattern, seed)


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.rule.zero_grad_steps], ids=str)
@settings(max_examples=40)
@given(lr=rates, granularity=granularity, pattern=touches, seed=seeds)
def test_rules_with_a_closed_form(c, lr, granularity, pattern, seed):
    step = c.step(engine="reference", lr=lr, granularity=shared_or_not(c, granularity))
    if step.no_closed_form is None:
        compare(step, pattern, seed)
    else:
        assert granularity == "tensor"
        assert c.rule.drifts


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.rule.from_origin], ids=str)
@settings(max_examples=40)
@given(lr=rates, l1=penalties, granularity=granularity, pattern=touches, seed=seeds)
def test_rules_that_start_from_the_origin(c, lr, l1, granularity, pattern, seed):
    step = c.step(engine="reference", lr=lr, l1=l1, granularity=granularity)
    if step.no_closed_form is None:
        compare(step, pattern, seed)
    else:
        assert granularity == "tensor"
        assert c.rule.follows_rate


@settings(max_examples=30)
@given(pattern=touches, seed=seeds, settle_at=st.sets(st.integers(0, 13), max_size=4))
def test_settling_in_between_changes_nothing(pattern, seed, settle_at):
    for rule, options in (("adagrad", {"l1": 0.05, "lr": polynomial(0.5)}), ("momentum", {"dampening": 0.2})):
        compare(Step(rule, engine="reference", **options), pattern, seed, settle_at)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@settings(max_examples=15)
@given(pattern=touches, seed=seeds)
def test_settling_twice_equals_settling_once(engine, pattern, seed):
    for rule, options in (
        ("adagrad", {"l1": 0.05, "l2": 0.1}),
        ("rmsprop", {}),
        ("ftrl", {"l1": 0.1}),
        ("sgd", {"average": True}),
    ):
        step = Step(rule, engine=engine, **options)
        x, state = compare(step, pattern, seed) if not step.average else ran(step, pattern, seed)
        again, again_state = x.copy(), copy.deepcopy(state)
        step.settle(again, again_state)
        assert_identical(again, x)
        assert_same_memory(again_state, state)


def ran(step, pattern, seed):
    x = start(step, seed)
    state = step.init(x)
    for ids, values, _ in sequence(pattern, seed):
        step.rows(x, ids, values, state)
    step.settle(x, state)
    return x, state


@pytest.mark.parametrize(
    "rule, options", [("adagrad", {"l1": 0.05}), ("momentum", {}), ("rmsprop", {}), ("ftrl", {"l1": 0.1})]
)
@settings(max_examples=30)
@given(pattern=touches, seed=seeds, dense_at=st.sets(st.integers(0, 13), min_size=1, max_size=5))
def test_dense_and_sparse_steps_in_turn(rule, options, pattern, seed, dense_at):
    """A gradient may be sparse in one step and dense in the next."""
    step = Step(rule, engine="reference", **options)
    x = start(step, seed)
    y = x.copy()
    state, dense_state = step.init(x), step.init(y)
    for t, (ids, values, dense) in enumerate(sequence(pattern, seed)):
        if t in dense_at:
            step.dense(x, dense, state)
        else:
            step.rows(x, ids, values, state)
        step.dense(y, dense, dense_state)
    step.settle(x, state)
    assert_close(x, y, "lazy", "parameters")
    refresh(step, (x, state), (y, dense_state))
    for name, slot in dense_state.slots.items():
        assert_close(state.slots[name], slot, "lazy", name)


@pytest.mark.parametrize("name", ["adagrad", "momentum"])
def test_a_history_with_an_entry_for_each_of_many_steps(name):
    """Rows that are 1 to 600 steps behind, under a rate that changes at each."""
    settings = {"decoupled_weight_decay": 0.1} if name == "adagrad" else {}
    engines = [Step(name, lr=polynomial(0.5), engine=engine, **settings) for engine in ("cpu", "reference")]
    tables = [np.random.default_rng(0).normal(size=(8, WIDTH)).astype(np.float32) for _ in engines]
    states = [step.init(x) for step, x in zip(engines, tables, strict=True)]
    rng = np.random.default_rng(1)
    for t in range(600):
        ids = np.array([rng.integers(0, 2), 2 + t // 150])  # often, and for a while
        values = rng.normal(size=(2, WIDTH)).astype(np.float32)
        for step, x, state in zip(engines, tables, states, strict=True):
            step.rows(x, ids, values, state)
    for step, x, state in zip(engines, tables, states, strict=True):
        assert len(state.pending.entries) == 600
        step.settle(x, state)
    assert_identical(*tables)
    assert_same_memory(*states)
