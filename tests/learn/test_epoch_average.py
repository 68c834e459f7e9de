"""What several epochs end with is an average, which misses the best model by less than the last steps do."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from surefoot.learn import LinearClassifier, LinearRegressor
from surefoot.learn.epoch_average import EpochAverage
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings
from tests.learn.test_first_values import drawn, examples


def excesses(noise: float, monkeypatch, averages: bool) -> np.ndarray:
    """The held-out loss divided by that of least squares, of a few sets."""
    if not averages:
        monkeypatch.setattr(EpochAverage, "put", lambda *_: None)
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, w = rng.normal(size=(1200, 8)), rng.normal(size=8)
        y = X @ w + noise * rng.normal(size=1200)
        exact = np.linalg.lstsq(np.c_[X[:600], np.ones(600)], y[:600])[0]
        model = LinearRegressor(random_state=0).fit(X[:600], y[:600])
        losses = [np.mean((p - y[600:]) ** 2) for p in (model.predict(X[600:]), X[600:] @ exact[:-1] + exact[-1])]
        found.append(losses[0] / losses[1])
    return np.array(found)


@pytest.mark.parametrize("noise, most", [(0.01, 1.2), (0.1, 1.08), (1.0, 1.02)])
def test_the_held_out_loss_is_close_to_that_of_least_squares(noise, most, monkeypatch):
    assert excesses(noise, monkeypatch, averages=True).max() <= most


def test_it_would_not_be_without(monkeypatch):
    assert excesses(0.01, monkeypatch, averages=False).max() > 1.5


def test_later_models_count_more():
    """As the formula has it, by hand for three models."""
    learner, average, seen = Learner(Settings(), 8), EpochAverage(), []
    data = examples(*(array[:300] for array in drawn(0)))
    for _ in range(4):
        learner.freeze()
        learner.learn(data)
        average.add(learner)
        seen.append(learner.bank.table.numbers("weight").copy())
    assert average.count == 3
    expected, before = np.tensordot([0.2 * 2 / 6, 0.8 * 2 / 6, 4 / 6], seen[1:], 1), learner.weights()[0]
    with average.of(learner):
        np.testing.assert_allclose(learner.bank.table.numbers("weight"), expected, rtol=1e-5)
        assert not np.array_equal(learner.weights()[0], before)
    assert_array_equal(learner.weights()[0], before)


@pytest.mark.slow
def test_exact_zeros_stay(monkeypatch):
    X, y = (array[:300] for array in drawn(1))
    X = np.c_[X, np.random.default_rng(0).normal(size=(300, 20))]
    found = [LinearClassifier(l1=0.03, random_state=0).fit(X, y)]
    monkeypatch.setattr(EpochAverage, "put", lambda *_: None)
    found.append(LinearClassifier(l1=0.03, random_state=0).fit(X, y))
    averages, last = (model._learner.bank.table.numbers("weight") for model in found)
    assert not np.array_equal(averages, last)
    assert_array_equal(averages == 0, last == 0)
    assert (last == 0).any()


@pytest.mark.parametrize(
    "changed", [{"lr": 0.1}, {"epochs": 1}, pytest.param({"average": True}, marks=pytest.mark.slow)]
)
def test_other_models_are_the_last_ones(changed, monkeypatch):
    X, y = (array[:300] for array in drawn(1))
    settings = {"epochs": 3, "tol": None, "random_state": 0} | changed
    found = LinearClassifier(**settings).fit(X, y)
    monkeypatch.setattr(EpochAverage, "put", lambda *_: None)
    assert_array_equal(LinearClassifier(**settings).fit(X, y).coef_, found.coef_)
    assert math.isfinite(found.score(X, y))


@pytest.mark.parametrize("rule", ["dual_averaging", "adagrad"])
def test_a_row_after_a_fit_moves_the_average_a_little(rule):
    """Dual averaging makes weights of its sums in each step, which would undo the average: it has none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    y = (X @ rng.normal(size=8) + 0.5 * rng.normal(size=600) > 0).astype(int)
    model = LinearClassifier(optimizer=rule).fit(X, y)
    before = model.coef_.copy()
    model.partial_fit(X[:1], y[:1])
    assert np.abs(model.coef_ - before).max() < 1e-3 * np.abs(before).max()
