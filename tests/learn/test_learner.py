"""The learner: learning rates found in one pass, on real and on generated data."""

import dataclasses
import itertools
import os
import re
from pathlib import Path

import numpy as np
import pytest

from surefoot.engines.examples import Examples
from surefoot.learn.learner import FIRST_NOTE, DivergedError, Learner
from surefoot.learn.settings import Settings

VOWPAL_WABBIT = {"a9a": 0.3322, "rcv1_small.dat": 0.3515, "SMSSpamCollection": 0.0772}
"""The best progressive log loss of Vowpal Wabbit 9.11.9 at learning rates of 2^-4 … 2^4, measured."""


def examples(rows, labels) -> Examples:
    """From dictionaries of values by feature."""
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([j for row in rows for j in sorted(row)], np.int64)
    values = np.array([row[j] for row in rows for j in sorted(row)], np.float32)
    return Examples(indptr, indices, values, np.array(labels, float), np.ones(len(labels)))


def generated(size: int = 600, seed: int = 0, noise: float = 0.5) -> Examples:
    """Twenty features, three to a row, labels of a logistic model."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=20)
    rows = [{int(j): float(rng.normal(1.0, 0.3)) for j in rng.choice(20, 3, replace=False)} for _ in range(size)]
    scores = np.array([sum(weights[j] * v for j, v in row.items()) for row in rows])
    return examples(rows, rng.random(size) < 1 / (1 + np.exp(-scores / noise)))


def real(name: str) -> Examples:
    """A set of VOWPAL_WABBIT; text messages as counts of words and marks."""
    folder = os.environ.get("SUREFOOT_DATA")
    if not folder:
        pytest.skip("needs SUREFOOT_DATA")
    lines = (Path(folder) / name).read_text(encoding="utf-8").splitlines()
    if name == "SMSSpamCollection":
        words, rows = {}, []
        for line in lines:
            found = [words.setdefault(w, len(words)) for w in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", line.lower())[1:]]
            rows.append({j: float(found.count(j)) for j in found})
        return examples(rows, [line.startswith("spam") for line in lines])
    pairs = [re.findall(r"(\d+):(\S+)", line) for line in lines]
    return examples([{int(j): float(v) for j, v in row} for row in pairs], [not line.startswith("-") for line in lines])


def learned(rows: Examples, pieces: int = 1, **settings) -> Learner:
    learner = Learner(Settings(**settings))
    edges = np.linspace(0, len(rows), pieces + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        learner.learn(rows.part(first, last))
    return learner


@pytest.mark.parametrize("name", VOWPAL_WABBIT)
def test_the_defaults_come_close_to_a_tuned_learner(name):
    assert learned(real(name)).loss <= 1.01 * VOWPAL_WABBIT[name]


@pytest.mark.parametrize("name", ["adagrad", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "ftrl"))])
def test_auto_comes_close_to_the_best_fixed_rate(name):
    rows = generated(2000)
    auto = learned(rows, optimizer=name)
    fixed = [learned(rows, optimizer=name, lr=2.0**power).loss for power in range(-8, 4)]
    assert auto.loss <= 1.01 * min(fixed)


def test_every_rate_is_trained_to_the_end_of_the_first_pass():
    rows = generated(6000, noise=0.5)
    learner = learned(rows, pieces=12)
    assert list(learner.rates) == Settings().rates()
    learner.freeze()
    assert len(learner.rates) < len(Settings().rates())
    assert all(rate.lasting for rate in learner.rates)


def test_the_scale_of_features_changes_nothing():
    rows = generated()
    units = np.float32(2.0) ** np.linspace(-20, 20, 20).round().astype(np.float32)
    other = dataclasses.replace(rows, values=rows.values * units[rows.indices])
    assert learned(other).loss == pytest.approx(learned(rows).loss, rel=1e-4)


def test_the_division_into_pieces_changes_nothing():
    rows = generated(1000)
    whole, cut = learned(rows), learned(rows, pieces=37)
    for found, expected in zip(cut.weights(), whole.weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (cut.loss, cut.rates, cut.history) == (whole.loss, whole.rates, whole.history)


def test_history_is_the_progressive_loss():
    rows = generated(200)
    learner = Learner(Settings())
    p = learner.learn(rows)[:, 0]
    loss = np.log1p(np.exp(-(2 * rows.targets - 1) * p))
    assert learner.loss == pytest.approx(loss.mean())
    edges = [0] + [examples for examples, _ in learner.history]
    assert edges == [0, FIRST_NOTE, 2 * FIRST_NOTE, 4 * FIRST_NOTE]
    for (first, last), (_, found) in zip(itertools.pairwise(edges), learner.history, strict=True):
        assert found == pytest.approx(loss[first:last].mean())


@pytest.mark.parametrize("loss, parameter", [("squared", 0.0), ("huber", 100.0), ("quantile", 0.5)])
def test_the_unit_of_the_targets_changes_nothing(loss, parameter):
    rows = generated()
    rng = np.random.default_rng(2)
    numbers = dataclasses.replace(rows, targets=rows.targets + rng.normal(size=len(rows)))
    dollars = dataclasses.replace(numbers, targets=1000.0 * numbers.targets + 5000.0)
    scaled = parameter / 1000.0 if loss == "huber" else parameter
    a = Learner(Settings(loss=loss, parameter=scaled))
    b = Learner(Settings(loss=loss, parameter=parameter))
    np.testing.assert_allclose(b.learn(dollars), 1000.0 * a.learn(numbers) + 5000.0, rtol=1e-3, atol=1.0)
    unit = 1000.0 if loss == "quantile" else 1e6
    assert b.loss == pytest.approx(unit * a.loss, rel=1e-3)
    np.testing.assert_allclose(b.weights()[0], 1000.0 * a.weights()[0], rtol=2e-2, atol=1.0)


def test_weights_fit_the_training_data():
    rows = generated(3000, noise=0.2)
    weights, bias = learned(rows).weights()
    row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    score = np.bincount(row, weights[rows.indices, 0] * rows.values) + bias[0]
    assert np.mean((score > 0) == rows.targets) > 0.85


@pytest.mark.slow
def test_l1_makes_exact_zeros():
    rows = generated()
    counts = [np.count_nonzero(learned(rows, l1=l1).weights()[0]) for l1 in (0.0, 0.1, 1.0)]
    assert counts[0] == 20
    assert 0 < counts[1] < 20
    assert counts[2] == 0


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"loss": "logistical"}, "there is no loss 'logistical'; did you mean 'logistic'"),
        ({"lr": "fast"}, "lr: the learning rate 'fast' is neither a number nor a schedule"),
        ({"lr": -1.0}, "lr must lie in"),
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"optimizer": "adagard"}, "did you mean"),
        ({"optimizer": "adam", "l1": 0.1}, "cannot catch up on penalties"),
        ({"l2": -0.1}, "l2 must be a finite number"),
        ({"hyper": {"momentum": 0.9}}, "no hyperparameter 'momentum'"),
        ({"optimizer": "ftrl", "lr": 0.1, "implicit": True}, "implicit"),
        ({"optimizer": "momentum", "average": True}, "average: momentum moves weights of features that do not occur"),
    ],
)
def test_invalid_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Settings(**settings)


def test_divergence_is_an_error_with_advice():
    rows = dataclasses.replace(generated(), targets=np.arange(600.0))
    with pytest.raises(DivergedError, match="smaller learning rate"):
        learned(rows, loss="squared", optimizer="sgd", lr=1e3, normalize=False, engine="reference")


def test_rates_that_diverge_do_not_harm_the_others():
    """A thousand dense features: explicit steps of SGD overshoot by factors, implicit ones do not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 1000)).astype(np.float32)
    indices = np.tile(np.arange(1000), 400)
    rows = Examples(np.arange(401) * 1000, indices, X.ravel(), (X @ rng.normal(size=1000)).astype(float), np.ones(400))
    assert learned(rows, loss="squared", optimizer="sgd").loss < np.var(rows.targets)
