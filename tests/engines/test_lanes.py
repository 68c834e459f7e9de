"""Linear models in lanes: each lane is the linear model that the reference engine steps, bit for bit."""

import copy
import dataclasses

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.sparse import csr_array
from support.numerics import assert_close, assert_identical

from surefoot import losses
from surefoot.engines import Step
from surefoot.engines.lanes import Examples, Lanes

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
    values = (rng.normal(size=len(indices)) * 10.0 ** rng.integers(-2, 3, features)[indices]).astype(F)
    return Examples(indptr, indices, values, rng.integers(classes, size=size).astype(float), np.ones(size))


def scaled(rows: Examples) -> Examples:
    """The values divided by their features' root mean squares so far, in NumPy."""
    root, count, values = np.zeros(WIDE, F), np.zeros(WIDE, F), rows.values.copy()
    for e, (j, x) in enumerate(zip(rows.indices, rows.values.astype(float), strict=True)):
        count[j] += F(1)
        square = float(root[j]) * float(root[j])
        exact = np.sqrt(square + (x * x - square) / float(count[j]))
        root[j] = F(exact)
        values[e] = F(x / exact) if exact > 0 else F(0)
    return dataclasses.replace(rows, values=values)


def reference(rows: Examples, step: Step, loss: str, batch_size: int, features: int = FEATURES):
    """The weights and biases, and the memory, that the reference engine comes to."""
    x = np.zeros(features + 1, F)
    state = step.init(x)
    matrix = csr_array((rows.values, rows.indices, rows.indptr), shape=(len(rows), features))
    order = np.arange(len(rows))
    step.linear(matrix, rows.targets.astype(F), order, x, state, loss=loss, batch_size=batch_size)
    return x, state


# Each compiles a kernel of its own, which takes seconds: so loss and size of mini-batches alternate.
CASES = {
    "adagrad": ({"rule": "adagrad"}, "logistic", 1),
    "adagrad in batches": ({"rule": "adagrad"}, "squared", 7),
    "adagrad with penalties": (
        {"rule": "adagrad", "l1": 0.01, "l2": 0.1, "decoupled_weight_decay": 0.2},
        "squared",
        1,
    ),
    "sgd with a schedule and penalties": (
        {"rule": "sgd", "lr": lambda t: 1e-4 / (9.0 + t), "l1": 0.01, "decoupled_weight_decay": 1e3},
        "logistic",
        1,
    ),
    "ftrl": ({"rule": "ftrl", "l1": 0.05}, "logistic", 7),
    "momentum": ({"rule": "momentum"}, "squared", 1),
    "dual averaging": ({"rule": "dual_averaging", "l1": 0.001}, "logistic", 7),
}


@pytest.mark.parametrize("settings, loss, batch_size", CASES.values(), ids=CASES)
def test_a_lane_is_the_linear_model_of_the_reference(settings, loss, batch_size):
    rates = [1e-5, 3e-6, 1e-6] if settings["rule"] == "momentum" else [0.1, 0.03, 0.5]
    if callable(settings.get("lr")):
        rates = [settings["lr"]] * 3
    rows = examples()
    lanes = Lanes([Step(**settings | {"lr": lr}) for lr in rates], loss=loss, normalize=False, batch_size=batch_size)
    lanes.grow(FEATURES)
    for first, last in ((0, 21), (21, 28), (28, SIZE)):
        lanes.learn(rows.part(first, last))
    weights, biases = lanes.weights()
    for k, lr in enumerate(rates):
        x, _ = reference(rows, Step(**settings | {"lr": lr}, engine="reference"), loss, batch_size)
        assert_identical(np.append(weights[:, 0, k], biases[0, k]), x, f"lr = {lr}")


def test_features_are_divided_by_their_root_mean_square_so_far():
    rows = examples()
    lanes = Lanes([Step("adagrad", lr=lr) for lr in (0.1, 0.3)], features=FEATURES)
    lanes.learn(rows)
    for k, lr in enumerate((0.1, 0.3)):
        x, state = reference(scaled(rows), Step("adagrad", lr=lr, engine="reference"), "logistic", 1)
        assert_identical(lanes.memory[1:, k], x[:-1], "weights of scaled features")
        assert_identical(lanes.memory[1:, 2 + k], state.slots["total"][:-1], "memory")


@pytest.mark.parametrize(
    "rule, lr, loss", [("sgd", 1e-6, "squared"), ("adagrad", 0.5, "logistic"), ("ftrl", 0.1, "logistic")]
)
def test_rows_of_many_features(rule, lr, loss):
    """A single lane moves them as vectors: rows of the table are 3, 4 and 5 numbers wide."""
    rows, normalize = examples(features=WIDE, most=WIDE), rule == "adagrad"
    lanes = Lanes([Step(rule, lr=lr)], loss=loss, features=WIDE, normalize=normalize)
    lanes.learn(rows)
    step = Step(rule, lr=lr, engine="reference")
    x, state = reference(scaled(rows) if normalize else rows, step, loss, 1, WIDE)
    assert_identical(np.append(lanes.memory[1:, 0], lanes.memory[0, 0]), x)
    for place, slot in enumerate(state.slots.values(), start=1):
        assert_identical(lanes.memory[1:, place], slot[:-1])


@pytest.mark.parametrize("scale", [1e-18, 1e-3, 1e6, 1e18])
def test_the_scale_of_features_changes_nothing(scale):
    rows = examples()
    other = dataclasses.replace(rows, values=rows.values * F(2.0 ** round(np.log2(scale))))
    found, expected = (Lanes([Step("adagrad", lr=0.1)], features=FEATURES) for _ in range(2))
    assert_close(found.learn(other), expected.learn(rows), "torch float32")


def test_penalties_are_those_of_the_weights_as_they_are():
    """Steps along the whole gradient of a ridge regression come to its solution, whatever the features' scales."""
    rows = examples()
    lanes = Lanes([Step("adagrad", lr=0.3, l2=0.01)], loss="squared", features=FEATURES, batch_size=SIZE)
    for _ in range(4000):
        lanes.learn(rows)
    X = csr_array((rows.values, rows.indices, rows.indptr), shape=(SIZE, FEATURES)).toarray().astype(float)
    X = np.column_stack([np.ones(SIZE), X])
    penalty = 0.01 * np.diag([0.0] + [1.0] * FEATURES)
    expected = np.linalg.solve(X.T @ X / SIZE + penalty, X.T @ rows.targets / SIZE)
    weights, biases = lanes.weights()
    predictions = X @ np.append(biases, weights[:, 0, 0])
    assert_close(predictions, X @ expected, "trained")


@pytest.mark.parametrize("loss", ["logistic", "squared", "hinge"])
def test_an_implicit_step_uses_the_slope_at_its_end(loss):
    """One example with one feature: the step along the slope s at its end, found by another root finder."""
    x, lr, y = 3.0, 0.5, 1.0
    rows = Examples(np.array([0, 1]), np.array([0]), np.array([x], F), np.array([y]), np.ones(1))
    lanes = Lanes([Step("sgd", lr=lr)], loss=loss, damped=[True], features=1, normalize=False)
    lanes.learn(rows)
    slope = losses.get(loss).slope
    move = lr * (x * x + 1.0) * slope(0.0, y)
    share = brentq(lambda t: slope(-t * move, y) - t * slope(0.0, y), 0.0, 1.0)
    assert_close(lanes.memory[:, 0], [-share * lr * slope(0.0, y), -share * lr * slope(0.0, y) * x], "torch float32")


def test_implicit_steps_do_not_overshoot():
    rows = examples(seed=3)
    lanes = Lanes([Step("sgd", lr=1e4)], loss="squared", damped=[True], normalize=False, features=FEATURES)
    for k in range(SIZE):
        part = rows.part(k, k + 1)
        before = lanes.learn(part)[0, 0, 0]
        after = copy.deepcopy(lanes).learn(part)[0, 0, 0]
        assert abs(after - rows.targets[k]) <= abs(before - rows.targets[k]) + 1e-3


def test_softmax_is_the_gradient_of_its_loss():
    """A step of stochastic gradient descent moves the weights against a numerical derivative."""
    rows = examples(classes=3).part(0, 40)
    lanes = Lanes([Step("sgd", lr=0.05)], loss="softmax", outputs=3, normalize=False, features=FEATURES)
    lanes.learn(rows)
    before = lanes.memory[:, :3].astype(float)
    example = examples(seed=1, classes=3).part(0, 8)
    for i in range(8):
        row = example.part(i, i + 1)
        x = np.zeros(FEATURES + 1)
        x[0] = 1.0
        x[1 + row.indices[row.indptr[0] : row.indptr[1]]] = row.values[row.indptr[0] : row.indptr[1]]
        p = np.exp(x @ before - (x @ before).max())
        p /= p.sum()
        lanes.learn(row)
        expected = before - 0.05 * np.outer(x, p - (np.arange(3) == row.targets[0]))
        assert_close(lanes.memory[:, :3], expected, "torch float32")
        before = lanes.memory[:, :3].astype(float)


def test_one_versus_rest_is_a_binary_model_for_each_class():
    rows = examples(classes=3)
    together = Lanes([Step("adagrad", lr=lr) for lr in (0.1, 0.3)], outputs=3, features=FEATURES)
    together.learn(rows)
    for c in range(3):
        alone = Lanes([Step("adagrad", lr=lr) for lr in (0.1, 0.3)], features=FEATURES)
        alone.learn(dataclasses.replace(rows, targets=(rows.targets == c).astype(float)))
        for found, expected in zip(together.weights(), alone.weights(), strict=True):
            assert_identical(found[..., c : c + 1, :], expected, f"class {c}")


def test_averages_are_those_of_all_iterates():
    rows = examples()
    lanes = Lanes([Step("adagrad", lr=0.2, average=True)], features=FEATURES, normalize=False)
    iterates = []
    for k in range(SIZE):
        lanes.learn(rows.part(k, k + 1))
        iterates.append(lanes.memory[:, 0].astype(float))
    weights, biases = lanes.weights(averaged=True)
    assert_close(np.append(biases[0], weights[:, 0, 0]), np.mean(iterates, axis=0), "torch float32")


def test_weights_of_examples_multiply_their_slopes():
    rows = examples()
    rng = np.random.default_rng(5)
    heavy = dataclasses.replace(rows, weights=rng.uniform(0.0, 3.0, SIZE))
    lanes = Lanes([Step("sgd", lr=1e-5)], loss="squared", features=FEATURES, normalize=False)
    x = np.zeros(FEATURES + 1)
    for i in range(SIZE):
        lanes.learn(heavy.part(i, i + 1))
        a = np.zeros(FEATURES + 1)
        a[0] = 1.0
        a[1 + rows.indices[rows.indptr[i] : rows.indptr[i + 1]]] = rows.values[rows.indptr[i] : rows.indptr[i + 1]]
        x -= 1e-5 * heavy.weights[i] * (a @ x - rows.targets[i]) * a
        assert_close(lanes.memory[:, 0], x, "torch float32")
        x = lanes.memory[:, 0].astype(float)


def test_a_rate_continues_alone_as_it_would_have():
    rows = examples()
    rates = (0.1, 0.3, 0.5)
    several = Lanes([Step("adagrad", lr=lr, l1=0.01) for lr in rates], features=FEATURES)
    alone = Lanes([Step("adagrad", lr=0.3, l1=0.01)], features=FEATURES)
    several.learn(rows.part(0, 30))
    alone.learn(rows.part(0, 30))
    several.choose([1], [Step("adagrad", lr=0.3, l1=0.01)], [False])
    alone.settle()
    several.learn(rows.part(30, SIZE))
    alone.learn(rows.part(30, SIZE))
    assert_identical(several.weights()[0], alone.weights()[0])


def test_nonfinite_values_leave_the_model_unchanged():
    rows = examples()
    lanes = Lanes([Step("adagrad", lr=0.1)], features=FEATURES)
    lanes.learn(rows)
    before = lanes.memory.copy()
    bad = dataclasses.replace(rows.part(0, 10), targets=np.full(10, np.nan))
    lanes.learn(bad)
    assert lanes.skipped > 0
    assert_identical(lanes.memory[:, :2], before[:, :2])
