"""A bank of models: the reference engine's bits, and what the steps of linear models have to be."""

import copy
import dataclasses
import itertools
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.sparse import csr_array
from support.covering import covering, marked, unpacked
from support.numerics import assert_close, assert_identical

from surefoot import losses
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.models import STATISTICS

F = np.float32
SIZE = 60
FEATURES = 12
WIDE = 50


def examples(seed: int = 0, classes: int = 2, features: int = FEATURES, most: int = 5) -> Examples:
    """Rows of a few features each, some empty, with scales from 0.01 to 100."""
    rng, size = np.random.default_rng(seed), SIZE
    rows = [np.sort(rng.choice(features, rng.integers(0, most + 1), replace=False)) for _ in range(size)]
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.concatenate(rows)
    values = rng.normal(size=len(indices)) * 10.0 ** rng.integers(-2, 3, features)[indices]
    return Examples(indptr, indices, values, rng.integers(classes, size=size).astype(float), np.ones(size))


def bank(*steps: Step, **settings) -> ModelBank:
    """Linear models whose bias is spared from penalties, as the learner makes them."""
    spared = {"l1": 0.0, "l2": 0.0, "decoupled_weight_decay": 0.0}
    biases = [Step(s.rule, average=s.average, **s.hyper | spared) for s in steps]
    return ModelBank("linear", {"bias": biases, "weight": steps}, **{"features": FEATURES} | settings)


def weights_of(found: ModelBank, averaged: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The weights, (features, outputs, rates), and the biases, (outputs, rates)."""
    return found.numbers("weight", averaged)[:, 0], found.numbers("bias", averaged)[0, 0]


def whole(found: ModelBank) -> np.ndarray:
    """The biases and then the weights of scaled features, of every lane."""
    return np.concatenate([found.table.numbers("bias")[:, 0], found.table.numbers("weight")[:, 0]])


def assert_same(found: ModelBank, expected: ModelBank) -> None:
    """All there is to two banks, bit for bit."""
    (arrays, numbers), (others, their_numbers) = found.state(), expected.state()
    assert numbers == their_numbers
    for name, array in arrays.items():
        if name != "cells":  # which has float64 between its float32
            assert_identical(array, others[name], name)
    for part, layout in found.table.parts.items():
        for slot in (None, *layout.slots):
            assert_identical(found.table.numbers(part, slot), expected.table.numbers(part, slot), f"{part} {slot}")
    for name in STATISTICS:
        assert_identical(found.table.statistic(name), expected.table.statistic(name), name)


PENALTIES = {"l1": 0.01, "l2": 0.1, "decoupled_weight_decay": 0.2}

# Each compiles kernels of its own, which takes seconds: so loss and size of mini-batches alternate.
CASES = {
    "adagrad": ({"rule": "adagrad"}, "logistic", 1),
    "adagrad in batches": ({"rule": "adagrad"}, "squared", 7),
    "adagrad with penalties": ({"rule": "adagrad"} | PENALTIES, "squared", 1),
    "sgd with a schedule and penalties": (
        {"rule": "sgd", "lr": lambda t: 1e-4 / (9.0 + t), "l1": 0.01, "decoupled_weight_decay": 1e3},
        "logistic",
        1,
    ),
    "ftrl": ({"rule": "ftrl", "l1": 0.05}, "logistic", 7),
    "momentum": ({"rule": "momentum"}, "squared", 1),
    "dual averaging": ({"rule": "dual_averaging", "l1": 0.001}, "logistic", 7),
}


NORMALIZED = list(itertools.product(CASES, (True, False)))
WITH_VALUES = [(name, "l1" in CASES[name][0], *CASES[name][1:], normalize) for name, normalize in NORMALIZED]
# Not every rule has to meet scaled features and features as they are: it only sees gradients.
FAST = [(name, normalize) for name, *_, normalize in covering(WITH_VALUES, apart=[(0, 4)])]
# Kernels of a rule take 7 to 10 seconds to compile: other fast tests have the accumulators of these two.
FAST = [case for case in FAST if case[0] not in ("dual averaging", "momentum")]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name, normalize", unpacked(NORMALIZED, FAST))
def test_the_compiled_engine_has_the_bits_of_the_reference(name, normalize):
    settings, loss, batch_size = CASES[name]
    rates = [1e-5, 3e-6, 1e-6] if settings["rule"] == "momentum" else [0.1, 0.03, 0.5]
    if callable(settings.get("lr")):
        rates = [settings["lr"]] * 3
    rows, predicted, banks = examples(), [], []
    for engine in ("cpu", "reference"):
        steps = [Step(**settings | {"lr": lr}) for lr in rates]
        banks.append(bank(*steps, loss=loss, normalize=normalize, batch_size=batch_size, engine=engine))
        parts = ((0, 21), (21, 28), (28, SIZE))
        predicted.append(np.concatenate([banks[-1].learn(rows.part(*part)) for part in parts]))
        banks[-1].settle()
    assert_identical(*predicted)
    assert_same(*banks)


@given(
    data=st.data(),
    case=st.sampled_from(["adagrad", "adagrad in batches", "sgd with a schedule and penalties", "ftrl"]),
    features=st.sampled_from([0, WIDE]),
)
def test_the_bits_do_not_depend_on_how_many_examples_a_call_has(data, case, features):
    # Calls keep their room for examples: that has to fit longer ones, other steps, and features that are new.
    (settings, loss, batch_size), normalize = CASES[case], dict(FAST)[case]
    rates = [settings["lr"]] * 3 if callable(settings.get("lr")) else [0.1, 0.03, 0.5]
    rows = examples(data.draw(st.integers(0, 9)), features=WIDE)
    steps = [Step(**settings | {"lr": lr}) for lr in rates]
    at_once, in_parts = (
        bank(*steps, loss=loss, normalize=normalize, batch_size=batch_size, features=features) for _ in range(2)
    )
    cuts = data.draw(st.sets(st.integers(1, (SIZE - 1) // batch_size), max_size=4))
    edges = [0, *(batch_size * cut for cut in sorted(cuts)), SIZE]
    expected = at_once.learn(rows)
    found = []
    for first, last in pairwise(edges):
        if data.draw(st.booleans()):
            copied = copy.deepcopy(in_parts)
            in_parts.learn(rows.part(first, last))
            in_parts = copied
        found.append(in_parts.learn(rows.part(first, last)))
        if batch_size > 1:  # kernels check no bounds
            assert len(in_parts.workspace.batch.places) == in_parts.features
    assert_identical(np.concatenate(found), expected)
    assert_identical(whole(in_parts), whole(at_once))


AROUND = {
    "weight_decay": 0.1,
    "clip_value": 1.0,
    "clip_norm": 1.0,
    "maximize": True,
    "stochastic_rounding": 0,
    "state_dtype": "float64",
    "nonfinite": "propagate",
}


@pytest.mark.parametrize("name, value", AROUND.items(), ids=AROUND)
def test_what_is_not_done_around_its_rules_is_rejected(name, value):
    with pytest.raises(ValueError, match=rf"linear: found {name}.* for the part 'bias'.*leave it out"):
        ModelBank("linear", [Step("adagrad", lr=0.1, **{name: value})])


MORE = {
    "one lane of many features": ({"rates": [0.1]}, {}),
    "eight lanes, some implicit": ({"rates": [0.1] * 8}, {"damped": [True, False] * 4}),
    "softmax": ({"rates": [0.1, 0.3]}, {"loss": "softmax", "outputs": 3}),
    "float64": ({"rates": [0.1, 0.3, 1.0]}, {"dtype": "float64", "loss": "huber"}),
    "averages": ({"rates": [0.1], "average": True}, {"normalize": False}),
    "averages of scaled features": ({"rates": [0.1], "average": True}, {}),
    "adam": ({"rates": [0.1], "rule": "adam"}, {}),
    "ftrl, one lane": ({"rates": [0.1], "rule": "ftrl"}, {}),
    "bases": ({"rates": [0.1, 0.3]}, {"loss": "squared"}),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", marked(MORE, MORE.keys() - {"averages of scaled features", "ftrl, one lane"}))
def test_the_bits_of_the_reference_in_other_settings(name):
    step, settings = MORE[name]
    rule, average = step.get("rule", "adagrad"), step.get("average", False)
    rows = examples(classes=3 if name == "softmax" else 2, features=WIDE, most=WIDE if "lane of" in name else 5)
    if name == "bases":
        rows = dataclasses.replace(rows, bases=np.linspace(-1.0, 1.0, SIZE))
    steps = [Step(rule, lr=lr, average=average) for lr in step["rates"]]
    banks = [bank(*steps, engine=engine, **{"features": WIDE} | settings) for engine in ("cpu", "reference")]
    assert_identical(*(b.learn(rows) for b in banks))
    for each in banks:
        each.settle()
    assert_same(*banks)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_exp_in_float64_is_that_of_the_reference_up_to_the_last_digit(loss):
    """NumPy's and LLVM's may round otherwise, so these are not the same bits."""
    steps = [Step("adagrad", lr=lr) for lr in (0.1, 0.3, 1.0)]
    settings = {"features": WIDE, "dtype": "float64", "loss": loss}
    rows = examples(features=WIDE)
    assert_close(*(bank(*steps, engine=engine, **settings).learn(rows) for engine in ("cpu", "reference")), "float64")


def test_a_base_is_added_to_the_prediction():
    rows = dataclasses.replace(examples(), bases=np.linspace(-3.0, 3.0, SIZE))
    found = bank(*2 * [Step("adagrad", lr=0.0)], loss="squared")
    for rate in range(2):
        assert_identical(found.learn(rows)[:, 0, rate], rows.bases.astype(F))


def test_statistics_are_those_of_the_values():
    rows = examples()
    found = bank(Step("adagrad", lr=0.1), normalize=False)
    found.learn(rows)
    for j in range(FEATURES):
        x = rows.values[rows.indices == j].astype(float)
        statistics = [found.table.statistic(name)[j] for name in ("count", "mean", "deviations")]
        np.testing.assert_allclose(statistics, [len(x), x.mean(), x.var() * len(x)], rtol=1e-12)


def seen_by_the_model(x: np.ndarray, absent: np.ndarray, **settings: Any) -> np.ndarray:
    """A single feature: what the model sees of its values, from its predictions with a weight that stays 1."""
    count = np.append(0, np.cumsum(~absent))
    rows = Examples(count, np.zeros(count[-1], int), x[~absent], np.zeros(len(x)), np.zeros(len(x)))
    found = bank(Step("adagrad", lr=0.0), loss="squared", features=1, dtype="float64", **settings)
    found.start("weight", 1.0)
    return found.learn(rows)[:, 0, 0]


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("shift, unit", [(0.0, 7.0), (2005.0, 5.0), (1.7e9, 1.0), (-273.15, 1e-3), (1.6e18, 1e12)])
def test_values_are_standardized_as_they_come(shift, unit, engine):
    x = shift + unit * np.random.default_rng(0).normal(size=50)
    found = seen_by_the_model(x, np.zeros(50, bool), engine=engine)
    deviations = [np.std(x[: k + 1]) or 1.0 for k in range(50)]
    expected = [(x[k] - np.mean(x[: k + 1])) / deviations[k] for k in range(50)]
    rounding = 1e-13 * (1.0 + abs(shift) / unit) ** 2
    np.testing.assert_allclose(found[1:], expected[1:], atol=rounding, rtol=rounding)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_number_counts_as_the_mean_and_elsewhere_an_absent_one_is_0(missing, engine):
    rng = np.random.default_rng(0)
    x, absent = 5.0 + rng.normal(size=50), rng.random(50) < 0.3
    absent[0] = False
    found = seen_by_the_model(x, absent, engine=engine, missing=missing)
    assert (found[absent] == 0).all()
    values = x[~absent]
    of_rest = [np.mean(values[: k + 1]) if missing else 0.0 for k in range(len(values))]
    spread = [np.sqrt(np.mean(np.square(values[: k + 1] - of_rest[k]))) or 1.0 for k in range(len(values))]
    expected = (values - of_rest) / spread
    after = slice(np.argmax(absent), None)  # before the first absent one it is centred, since no row was without it
    np.testing.assert_allclose(found[~absent][after], expected[after], rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_the_scale_outlives_an_outlier(shift):
    x = shift + np.random.default_rng(0).normal(size=2000)
    x[1000] = 1e12
    found = seen_by_the_model(x, np.zeros(2000, bool))
    assert 0.8 < np.std(found[100:1000]) < 1.2
    assert abs(found[1000]) <= np.sqrt(1000)
    assert 0.8 < np.std(found[1001:]) < 1.2


def test_the_scale_follows_a_change_of_units():
    x = np.random.default_rng(0).normal(size=3000)
    x[1000:] *= 1e6
    found = seen_by_the_model(x, np.zeros(3000, bool))
    assert 0.5 < np.std(found[2000:]) < 2.0


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_values_as_small_and_as_large_as_there_are_stay_finite(engine):
    x = np.array([5e-324, 1e-310, 3e38, -3e38, 1e-45, 0.0] * 8)
    with np.errstate(all="raise"):
        found = seen_by_the_model(x, np.zeros(48, bool), engine=engine)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("scale", [1e-18, 1e-3, 1e6, 1e18])
def test_the_scale_of_features_changes_nothing(scale):
    rows = examples()
    other = dataclasses.replace(rows, values=rows.values * 2.0 ** round(np.log2(scale)))
    found, expected = bank(Step("adagrad", lr=0.1)), bank(Step("adagrad", lr=0.1))
    assert_close(found.learn(other), expected.learn(rows), "torch float32")


@pytest.mark.slow
def test_penalties_are_those_of_the_weights_as_they_are():
    """Steps along the whole gradient of a ridge regression come to its solution, whatever the features' scales."""
    rows = examples()
    found = bank(Step("adagrad", lr=0.3, l2=0.01), loss="squared", batch_size=SIZE)
    for _ in range(4000):
        found.learn(rows)
    X = csr_array((rows.values, rows.indices, rows.indptr), shape=(SIZE, FEATURES)).toarray().astype(float)
    X = np.column_stack([np.ones(SIZE), X])
    penalty = 0.01 * np.diag([0.0] + [1.0] * FEATURES)
    expected = np.linalg.solve(X.T @ X / SIZE + penalty, X.T @ rows.targets / SIZE)
    weights, biases = weights_of(found)
    predictions = X @ np.append(biases, weights[:, 0, 0])
    assert_close(predictions, X @ expected, "trained")


@pytest.mark.slow
def test_penalties_of_parts_of_the_model_are_of_their_numbers_as_they_are():
    # Here the bias is penalized too; the first feature's scale is far from 1.
    rows, settings = examples(), {"rule": "adagrad", "l1": 0.01, "l2": 0.1, "decoupled_weight_decay": 0.2}
    found, expected = (
        ModelBank(
            "linear", [Step(**settings, lr=lr) for lr in (0.1, 0.03, 0.5)], loss="squared", features=FEATURES, engine=e
        )
        for e in ("cpu", "reference")
    )
    assert_identical(found.learn(rows), expected.learn(rows))
    assert_same(found, expected)


def test_numbers_that_were_given_stay_as_rates_change():
    given = np.arange(1.0, FEATURES + 1)[:, None, None]
    steps = [Step("sgd", lr=lr) for lr in (0.1, 0.2, 0.4)]
    found = bank(*steps, normalize=False)
    found.start("weight", given)
    found.learn(examples().part(0, 1))
    copied = bank(*steps, normalize=False, features=0)
    arrays, numbers = found.state()
    copied.restore({name: array.copy() for name, array in arrays.items()}, numbers)
    unseen = found.table.statistic("count") == 0
    for each in (found, copied):
        each.choose([1], [steps[1]], [False])
        assert_identical(each.numbers("weight")[unseen, 0, 0, 0], given[unseen, 0, 0])


@pytest.mark.parametrize("loss", ["logistic", "squared", "hinge"])
def test_an_implicit_step_uses_the_slope_at_its_end(loss):
    """One example with one feature: the step along the slope s at its end, found by another root finder."""
    x, rates, y = 3.0, (0.5, 0.05, 5.0), 1.0
    rows = Examples(np.array([0, 1]), np.array([0]), np.array([x]), np.array([y]), np.ones(1))
    found = bank(*(Step("sgd", lr=lr) for lr in rates), loss=loss, damped=3 * [True], features=1, normalize=False)
    found.learn(rows)
    slope = losses.get(loss).slope
    for k, lr in enumerate(rates):
        move = lr * (x * x + 1.0) * slope(0.0, y)
        share = brentq(lambda t, m=move: slope(-t * m, y) - t * slope(0.0, y), 0.0, 1.0)
        step = share * lr * slope(0.0, y)
        assert_close(whole(found)[:, k], [-step, -step * x], "torch float32")


def test_implicit_steps_do_not_overshoot():
    rows = examples(seed=3)
    steps = [Step("sgd", lr=lr) for lr in (1e4, 1.0, 1e-4)]
    found = bank(*steps, loss="squared", damped=3 * [True], normalize=False)
    for k in range(SIZE):
        part = rows.part(k, k + 1)
        before = found.learn(part)[0, 0]
        after = copy.deepcopy(found).learn(part)[0, 0]
        assert (np.abs(after - rows.targets[k]) <= np.abs(before - rows.targets[k]) + 1e-3).all()


def test_softmax_is_the_gradient_of_its_loss():
    """A step of stochastic gradient descent moves the weights against a numerical derivative."""
    rows = examples(classes=3).part(0, 40)
    found = bank(Step("sgd", lr=0.05), loss="softmax", outputs=3, normalize=False)
    found.learn(rows)
    before = whole(found).astype(float)
    example = examples(seed=1, classes=3).part(0, 8)
    for i in range(8):
        row = example.part(i, i + 1)
        x = np.zeros(FEATURES + 1)
        x[0] = 1.0
        x[1 + row.indices[row.indptr[0] : row.indptr[1]]] = row.values[row.indptr[0] : row.indptr[1]]
        p = np.exp(x @ before - (x @ before).max())
        p /= p.sum()
        found.learn(row)
        expected = before - 0.05 * np.outer(x, p - (np.arange(3) == row.targets[0]))
        assert_close(whole(found), expected, "torch float32")
        before = whole(found).astype(float)


def test_one_versus_rest_is_a_binary_model_for_each_class():
    rows = examples(classes=3)
    steps = [Step("adagrad", lr=lr) for lr in (0.1, 0.3, 0.5)]
    together = bank(*steps, outputs=3)
    together.learn(rows)
    for c in range(3):
        alone = bank(*steps)
        alone.learn(dataclasses.replace(rows, targets=(rows.targets == c).astype(float)))
        for found, expected in zip(weights_of(together), weights_of(alone), strict=True):
            assert_identical(found[..., c : c + 1, :], expected, f"class {c}")


def test_averages_are_those_of_all_iterates():
    rows = examples()
    found = bank(Step("adagrad", lr=0.2, average=True), normalize=False)
    iterates = []
    for k in range(SIZE):
        found.learn(rows.part(k, k + 1))
        iterates.append(whole(found)[:, 0].astype(float))
    weights, biases = weights_of(found, averaged=True)
    assert_close(np.append(biases[0], weights[:, 0, 0]), np.mean(iterates, axis=0), "torch float32")


def test_weights_of_examples_multiply_their_slopes():
    rows = examples()
    rng = np.random.default_rng(5)
    heavy = dataclasses.replace(rows, weights=rng.uniform(0.0, 3.0, SIZE))
    rates = np.array([1e-5, 1e-6, 1e-7])
    found = bank(*(Step("sgd", lr=lr) for lr in rates), loss="squared", normalize=False)
    x = np.zeros((FEATURES + 1, 3))
    for i in range(SIZE):
        found.learn(heavy.part(i, i + 1))
        a = np.zeros(FEATURES + 1)
        a[0] = 1.0
        a[1 + rows.indices[rows.indptr[i] : rows.indptr[i + 1]]] = rows.values[rows.indptr[i] : rows.indptr[i + 1]]
        x -= np.outer(a, rates * heavy.weights[i] * (a @ x - rows.targets[i]))
        assert_close(whole(found), x, "torch float32")
        x = whole(found).astype(float)


@pytest.mark.parametrize("kept", [[1, 3, 4], pytest.param([1], marks=pytest.mark.slow)], ids=str)
def test_rates_continue_as_they_would_have_without_the_others(kept):
    rows = examples()
    steps = [Step("adagrad", lr=lr, **PENALTIES) for lr in (0.1, 0.3, 0.5, 0.7, 0.9)]
    several, alone = bank(*steps), bank(*(steps[k] for k in kept))
    several.learn(rows.part(0, 30))
    alone.learn(rows.part(0, 30))
    several.choose(kept, alone.steps, len(kept) * [False])
    alone.settle()
    several.learn(rows.part(30, SIZE))
    alone.learn(rows.part(30, SIZE))
    assert_same(several, alone)


def test_nonfinite_values_leave_the_model_unchanged():
    rows = examples()
    found = bank(Step("adagrad", lr=0.1))
    found.learn(rows)
    before = whole(found).copy(), found.table.numbers("weight", "total").copy()
    bad = dataclasses.replace(rows.part(0, 10), targets=np.full(10, np.nan))
    found.learn(bad)
    assert found.skipped > 0
    assert_identical(whole(found), before[0])
    assert_identical(found.table.numbers("weight", "total"), before[1])
