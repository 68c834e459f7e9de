"""Linear models against loops written out, and against the same model with the zeros of its examples written down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.numerics import assert_close, assert_identical
from support.table import CONCRETE

from surefoot.engines import Step, order
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.schedules import polynomial, warmup

engines = pytest.mark.parametrize("engine", ["reference", "cpu"])

USUAL = {"normalize": True, "dtype": "float32"}
"""Other tests compile these kernels too."""


def examples(X, y, zeros: bool = False) -> Examples:
    """The rows of a matrix; with the zeros written down, or without."""
    present = np.ones(X.shape, bool) if zeros else X != 0
    indptr = np.append(0, np.cumsum(present.sum(axis=1)))
    return Examples(indptr, np.nonzero(present)[1], X[present], np.asarray(y, float), np.ones(len(X)))


def bank(rule: str, features: int, settings: dict, **of_bank) -> ModelBank:
    """A linear model in float64; penalties spare its bias."""
    plain = {k: v for k, v in settings.items() if k not in ("l1", "l2", "weight_decay", "decoupled_weight_decay")}
    steps = {"bias": [Step(rule, **plain)], "weight": [Step(rule, **settings)]}
    defaults = {"features": features, "normalize": False, "dtype": "float64", "engine": "reference"}
    return ModelBank("linear", steps, **defaults | of_bank)


def numbers(found: ModelBank) -> np.ndarray:
    """The weights, and then the bias."""
    return np.append(found.numbers("weight"), found.numbers("bias"))


def written_out(X, y, batches, loss, settings):
    """AdaGrad on a linear model, as a loop over mini-batches."""
    lr, eps_root = settings["lr"], 1e-6
    l1, l2, decoupled = (settings.get(name, 0.0) for name in ("l1", "l2", "decoupled_weight_decay"))
    w, s = np.zeros(X.shape[1] + 1), np.zeros(X.shape[1] + 1)
    is_weight = np.arange(len(w)) < X.shape[1]
    for t, batch in enumerate(batches, 1):
        eta = lr(t) if callable(lr) else lr
        prediction = X[batch] @ w[:-1] + w[-1]
        slope = prediction - y[batch] if loss == "squared" else 1 / (1 + np.exp(-prediction)) - y[batch]
        g = np.append(X[batch].T @ slope, slope.sum()) / len(batch)
        s += g**2
        rate = eta / np.sqrt(s + eps_root)
        w = w * (1 - eta * decoupled * is_weight) - rate * g
        shrunk = np.sign(w) * np.maximum(np.abs(w) - rate * l1, 0) / (1 + rate * l2)
        w = np.where(is_weight, shrunk, w)
    return w


SETTINGS = [
    {"lr": 0.3},
    {"lr": 0.3, "l1": 0.05, "l2": 0.1, "decoupled_weight_decay": 0.1},
    {"lr": polynomial(0.5), "l1": 0.02},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "penalties", "schedule"])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("zeros", [False, True], ids=["sparse", "dense"])
def test_it_equals_the_loop_written_out(zeros, loss, batch_size, settings):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(21, 6)) * (rng.random((21, 6)) < 0.5)
    y = (rng.random(21) < 0.5).astype(float)
    epochs = [order(21, rng), order(21, rng, replacement=True)]
    found = bank("adagrad", 6, settings, loss=loss, batch_size=batch_size)
    for epoch in epochs:
        found.learn(examples(X[epoch], y[epoch], zeros))
    batches = [epoch[k : k + batch_size] for epoch in epochs for k in range(0, 21, batch_size)]
    assert found.t == len(batches)
    assert_close(numbers(found), written_out(X, y, batches, loss, settings), "lazy")


penalties = st.sampled_from([0.0, 0.02, 0.3])


@settings(max_examples=60)
@given(
    rule=st.sampled_from(
        ["sgd", "adagrad", "visits", "momentum", "rmsprop", "adadelta", "mean_adagrad", "ftrl", "dual_averaging"]
    ),
    lr=st.sampled_from([0.1, 0.7, polynomial(0.5)]),
    l1=penalties,
    l2=penalties,
    decay=penalties,
    loss=st.sampled_from(["squared", "logistic"]),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_features_that_do_not_occur_catch_up(rule, lr, l1, l2, decay, loss, batch_size, seed):
    """A feature that is left out is stepped as if its value were written down as zero."""
    record = CONCRETE[rule].rule
    if record.from_origin:
        options = {"l1": l1}
    elif record.lazy_exact:
        options = {"l1": l1, "l2": l2, "decoupled_weight_decay": decay}
    else:
        options = {}
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(9, 6)) * (rng.random((9, 6)) < 0.3), (rng.random(9) < 0.5).astype(float)
    made = [bank(rule, 6, {"lr": lr} | options, loss=loss, batch_size=batch_size) for _ in range(2)]
    for _ in range(2):
        turns = rng.permutation(9)
        for found, zeros in zip(made, (False, True), strict=True):
            found.learn(examples(X[turns], y[turns], zeros))
    assert_close(numbers(made[0]), numbers(made[1]), "lazy", "weights")
    for slot in record.slots:
        assert_close(*(found.table.numbers("weight", slot) for found in made), "lazy", slot)


@pytest.mark.parametrize("engine", ["reference", pytest.param("cpu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", ["ftrl", "dual_averaging"])
def test_a_rules_own_penalty_spares_the_bias(engine, rule):
    """λ₁ so large that every weight stays at zero; the bias does what it does without a penalty."""
    X, y = np.array([[1.0, 0.0], [0.5, 2.0], [0.0, 1.0]]), np.array([1.0, 2.0, 0.5])
    biases = []
    for matrix, l1 in ((X, 100.0), (X * 0, 0.0)):
        found = bank(rule, 2, {"l1": l1}, loss="squared", engine=engine)
        found.learn(examples(matrix, y))
        assert (found.numbers("weight") == 0).all()
        biases.append(found.numbers("bias"))
    assert_identical(*biases)
    assert (biases[0] != 0).all()


@engines
def test_logistic_slopes_do_not_overflow(engine):
    found = bank("sgd", 1, {"lr": 1.0}, loss="logistic", engine=engine)
    found.learn(examples(np.array([[1e5], [-1e5]]), [1.0, 1.0]))
    assert np.isfinite(numbers(found)).all()
    assert found.skipped == 0


@engines
def test_the_last_mini_batch_is_averaged_over_its_own_size(engine):
    # Targets of 1, 1, 3 in batches of 2: the bias goes 0 → 1 → 3.
    found = bank("sgd", 0, {"lr": 1.0}, loss="squared", batch_size=2, engine=engine, dtype="float32")
    found.learn(examples(np.zeros((3, 0)), [1.0, 1.0, 3.0]))
    assert_close(numbers(found), [3.0], "float64")


@engines
def test_steps_use_the_rate_of_their_step_number(engine):
    """Along slopes of −1, gradient descent moves by the sum of the rates."""
    schedule = warmup(polynomial(0.5, decay=0.3), 4)
    found = bank("sgd", 0, {"lr": schedule}, loss="epsilon_insensitive", engine=engine)
    found.learn(examples(np.zeros((10, 0)), np.full(10, 1e6)))
    assert_close(numbers(found), [sum(schedule(t) for t in range(1, 11))], "float64")


@engines
def test_no_examples_are_no_step(engine):
    found = bank("adagrad", 3, {}, engine=engine, **USUAL)
    found.learn(examples(np.eye(3), np.ones(3)))
    before = numbers(found)
    predictions = found.learn(examples(np.empty((0, 3)), []))
    assert predictions.shape == (0, 1, 1)
    assert found.t == 3
    assert_identical(numbers(found), before)


def test_arrays_with_gaps_are_learned_from_as_others():
    rng = np.random.default_rng(0)
    close = examples(rng.normal(size=(7, 10)), rng.normal(size=7))
    apart = Examples(
        *(np.repeat(array, 2)[::2] for array in (close.indptr, close.indices)),
        *(np.repeat(array, 2)[::2] for array in (close.values, close.targets, close.weights)),
    )
    found = [bank("adagrad", 10, {}, loss="squared", engine="cpu", **USUAL) for _ in range(2)]
    for each, rows in zip(found, (close, apart), strict=True):
        each.learn(rows)
    assert_identical(*map(numbers, found))


@pytest.mark.slow
@pytest.mark.parametrize("c", CONCRETE.values(), ids=CONCRETE)
def test_every_rule_has_the_bits_of_the_reference(c):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(23, 13)) * (rng.random((23, 13)) < 0.4), (rng.random(23) < 0.5).astype(float)
    for options in ({}, c.other_settings()):
        found = [
            bank(c.base, 13, c.options | options, dtype="float32", engine=engine) for engine in ("cpu", "reference")
        ]
        assert_identical(*(each.learn(examples(X, y)) for each in found))
        assert_identical(*map(numbers, found))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("rule", ["adagrad", "sgd"])
def test_penalties_make_weights_exactly_zero(rule):
    """Of features that say nothing; not of the one that does, and not the bias, which is spared."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    rows = examples(X, 3.0 * X[:, 0] + 1.0)
    steps = {"weight": [Step(rule, lr=0.3, l1=0.5)], "bias": [Step(rule, lr=0.3)]}
    bank = ModelBank("linear", steps, loss="squared", engine="reference", batch_size=300)
    for _ in range(20):
        bank.learn(rows)
    weights = bank.numbers("weight")[:, 0, 0, 0]
    assert weights[0] > 1.0
    assert bank.numbers("bias")[0, 0, 0, 0] > 0.5
    assert_identical(np.abs(weights[1:]), np.zeros(5, weights.dtype))
