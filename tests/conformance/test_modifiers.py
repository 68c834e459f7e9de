"""What is common to all rules (penalties, decay, clipping, averages): the same bits in both engines."""

import numpy as np
import pytest
from support.covering import marked
from support.table import (
    CONCRETE,
    FAST,
    LENGTHS,
    TABLE,
    both,
    dense_run,
    gradients,
    laziness,
    parameters,
    rows_run,
    stored,
    touches,
)

from surefoot.schedules import chain, constant, exponential, piecewise_constant, polynomial, warmup

ADAGRAD = CONCRETE["adagrad"]
SHAPE = (9, 5)
OPTIONS = {
    "weight_decay": {"weight_decay": 0.1},
    "decoupled_weight_decay": {"decoupled_weight_decay": 0.1},
    "l1": {"l1": 0.02},
    "l2": {"l2": 0.3},
    "l1, l2 and decay": {"l1": 0.01, "l2": 0.1, "decoupled_weight_decay": 0.2},
    "clip_value": {"clip_value": 0.3},
    "clip_norm": {"clip_norm": 0.7},
    "maximize": {"maximize": True},
    "everything": {
        "weight_decay": 0.05,
        "decoupled_weight_decay": 0.1,
        "l1": 0.01,
        "l2": 0.1,
        "clip_value": 2.0,
        "clip_norm": 3.0,
        "maximize": True,
    },
    "no ε": {"eps_root": 0.0, "l1": 0.01},
    "average": {"average": True},
    "average and penalties": {"average": True, "l1": 0.01, "weight_decay": 0.1},
    "schedule": {"lr": warmup(polynomial(0.5), 3)},
    "schedule and penalties": {"lr": chain((constant(0.3), 3), exponential(0.3, 0.2)), "l1": 0.01, "l2": 0.1},
    "steps of a schedule, and decay": {
        "lr": piecewise_constant([3, 6], [0.5, 0.2, 0.1]),
        "decoupled_weight_decay": 0.5,
    },
    "schedule of plain Python": {"lr": lambda t: 0.5 if t < 4 else 0.1, "l1": 0.01},
}
# Those for which other kernels are compiled where rows are left out: the others only differ in numbers.
CATCHING_UP = ("l1", "l2", "l1, l2 and decay", "clip_norm", "everything", "no ε", "average", "schedule and penalties")


def run_of(layout: str, dtype: str, steps: int = 8):
    """(shape, run) of a layout."""
    if layout == "dense":
        return SHAPE, dense_run(gradients(SHAPE, dtype, steps))
    return SHAPE, rows_run(touches(SHAPE, dtype, steps))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_dense_gradients(options):
    shape, run = run_of("dense", "float32")
    both(ADAGRAD, parameters(shape, "float32"), run, options, **options)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", [OPTIONS[name] for name in CATCHING_UP], ids=CATCHING_UP)
def test_sparse_gradients(options):
    shape, run = run_of("rows", "float32")
    both(ADAGRAD, parameters(shape, "float32"), run, options, lazy=laziness(ADAGRAD, **options), **options)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "layout, granularity",
    [("dense", "row"), ("dense", "tensor"), ("rows", "row"), ("rows", "tensor"), ("dense", "coordinate")],
)
def test_all_modifiers_in_every_layout(layout, granularity):
    shape, run = run_of(layout, "float32")
    options = {"granularity": granularity, "lazy": "touched", **OPTIONS["everything"]}
    both(ADAGRAD, parameters(shape, "float32"), run, **options)


def test_untouched_rows():
    shape, run = run_of("rows", "float32")
    both(ADAGRAD, parameters(shape, "float32"), run, lazy="touched", **OPTIONS["everything"])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("c", marked(CONCRETE.values(), [c for c in CONCRETE.values() if not c.options]))
def test_all_modifiers_around_every_rule(c):
    options = OPTIONS["everything"]
    if c.rule.from_origin:
        options = {k: v for k, v in options.items() if k not in ("l1", "l2", "decoupled_weight_decay")}
        options |= {k: 0.01 for k in ("l1", "l2") if k in c.rule.hyper}
    for shape in (SHAPE, *((n,) for n in LENGTHS)):
        run = dense_run(gradients(shape, "float32", 8))
        both(c, parameters(shape, "float32"), run, (shape, options), **options)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["sgd", "momentum", pytest.param("ftrl", marks=pytest.mark.slow)])
def test_rows_that_catch_up_with_modifiers(name):
    options = {"clip_value": 0.3} if name != "sgd" else {"l1": 0.01, "decoupled_weight_decay": 0.1}
    shape, run = run_of("rows", "float64", steps=20)
    both(CONCRETE[name], parameters(shape, "float64"), run, options, **options)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("state_dtype", ["float64", "float32", "float16", "bfloat16"])
def test_memory_of_another_type(state_dtype):
    shape, run = run_of("dense", "float32")
    x = parameters(shape, "float32")
    _, state = both(CONCRETE["adagrad"], x, run, state_dtype, state_dtype=state_dtype, nonfinite="skip")
    stored_as = "uint16" if state_dtype == "bfloat16" else state_dtype
    assert state.slots["total"].dtype == stored_as


@pytest.mark.sampled(6)
@pytest.mark.parametrize("policy", ["skip", "propagate"])
@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("layout", ["dense", "rows"])
def test_nonfinite_values(layout, granularity, policy):
    shape, rng = (6, 7), np.random.default_rng(3)
    bad = np.array([np.nan, np.inf, -np.inf, 1e30, -3e38], np.float32)

    def spoil(values):
        return np.where(rng.random(values.shape) < 0.15, rng.choice(bad, values.shape), values)

    if layout == "dense":
        inner = dense_run([spoil(g) for g in gradients(shape, "float32", 4)])
    else:
        inner = rows_run([(ids, spoil(values)) for ids, values in touches(shape, "float32", 4)])

    def run(step, x, state):
        inner(step, x, state)
        if policy == "propagate":
            # NaN equals nothing: where both engines have one, a number takes its place.
            for array in (x, *state.slots.values()):
                state.skipped += np.count_nonzero(np.isnan(array)) << 8
                array[np.isnan(array)] = 0

    lazy = "touched"
    x, state = both(ADAGRAD, parameters(shape, "float32"), run, nonfinite=policy, granularity=granularity, lazy=lazy)
    assert state.skipped > 0
    if policy == "skip":
        assert np.isfinite(x).all()
        assert all(np.isfinite(slot).all() for slot in state.slots.values())


@pytest.mark.parametrize(
    "case", marked([case for case in TABLE if case.layout == "dense" and case.granularity == "row"], FAST)
)
def test_rows_of_one_coordinate_with_a_nonfinite_gradient(case):
    grads = [np.array([[1, g]], case.dtype).T for g in (2, np.nan, 1)]
    both(case.concrete, np.ones((2, 1), case.dtype), dense_run(grads), granularity="row", nonfinite="skip")


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=["plain", "clip_norm"])
def test_no_coordinates(shape, granularity, options):
    empty = stored(np.zeros(shape), "float64")

    def run(step, x, state):
        step.dense(x, empty, state)
        step.rows(x, np.arange(shape[0]), empty, state)
        step.settle(x, state)

    _, state = both(ADAGRAD, empty, run, granularity=granularity, **options)
    assert (state.t, state.skipped) == (2, 0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name, granularity, options",
    [
        ("adagrad", "coordinate", {}),
        ("adagrad", "coordinate", {"clip_norm": 1.0}),
        ("adagrad", "coordinate", {"l1": 0.1}),
        ("adagrad", "row", {}),
        ("adagrad", "tensor", {}),
        ("rmsprop", "row", {}),
        ("rmsprop", "tensor", {}),
    ],
)
def test_no_rows(name, granularity, options):
    """A sparse gradient without rows is a zero gradient: it counts as a step, and leaky averages decay."""
    nothing = np.arange(0), np.zeros((0, 3), np.float32)
    parts = [*touches((4, 3), "float32", 2), nothing, *touches((4, 3), "float32", 1, seed=1), nothing]
    x = parameters((4, 3), "float32")
    _, state = both(CONCRETE[name], x, rows_run(parts), granularity=granularity, **options)
    assert state.t == len(parts)
