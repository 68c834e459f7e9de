"""Features whose unit or origin changes in mid-stream are soon learned as if it had not."""

import numpy as np
import pytest
from scipy import sparse

from surefoot.engines.examples import Examples
from surefoot.engines.scaling import Statistics, joined, since
from surefoot.learn import LinearClassifier
from surefoot.learn import recent as module
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

ROWS, COLUMNS = 8000, 8
CHANGED = 3000
CHANGES = {
    "a smaller unit": lambda X: X / 30.0,
    "a much smaller unit": lambda X: X / 2e5,
    "a larger unit": lambda X: X * 1000.0,
    "another origin": lambda X: X + 1000.0,
    "both": lambda X: X / 1000.0 - 40.0,
    "a unit for each": lambda X: X * 10.0 ** np.linspace(-4, 4, X.shape[1]),
}


def drawn(seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X, w = rng.normal(size=(rows, COLUMNS)), rng.normal(size=COLUMNS)
    return X, (X @ w + rng.logistic(size=rows) > 0).astype(float)


def changed(X: np.ndarray, name: str, first: int = CHANGED) -> np.ndarray:
    return np.concatenate([X[:first], CHANGES[name](X[first:])])


def examples(X: np.ndarray, y: np.ndarray) -> Examples:
    rows = sparse.csr_matrix(X)
    return Examples(rows.indptr, rows.indices, rows.data, y, np.ones(len(y)))


def lost_in_the_last_quarter(X: np.ndarray, y: np.ndarray, **own) -> float:
    """The mean log loss of the last quarter, each of which is predicted before it is learned from."""
    scores = Learner(Settings(), X.shape[1], **own).learn(examples(X, y))[-len(y) // 4 :, 0]
    return float(np.mean(np.logaddexp(0.0, np.where(y[-len(scores) :] > 0, -scores, scores))))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("missing", [False, True], ids=["matrix", "table"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_forgotten(name, missing, seed):
    X, y = drawn(seed)
    unchanged = lost_in_the_last_quarter(X, y, missing=missing)
    assert lost_in_the_last_quarter(changed(X, name), y, missing=missing) <= 1.07 * unchanged


@pytest.mark.parametrize("name", ["a much smaller unit", "another origin", "both"])
def test_it_would_not_be_if_statistics_never_began_again(name, monkeypatch):
    monkeypatch.setattr(module, "FALL", np.inf)
    X, y = drawn(0)
    assert lost_in_the_last_quarter(changed(X, name), y) > 1.3 * lost_in_the_last_quarter(X, y)


@pytest.mark.parametrize("sizes", [(1,), (7, 64, 3), (599,)])
def test_the_bits_do_not_depend_on_how_a_stream_is_cut(sizes):
    X, y = drawn(2, 600)
    X = changed(X, "both", 200)
    X[np.random.default_rng(3).random(X.shape) < 0.2] = 0.0
    whole = Learner(Settings(l2=1e-3), COLUMNS)
    whole.learn(examples(X, y))
    assert whole.recent.ids.size == COLUMNS
    parts, first = Learner(Settings(l2=1e-3), COLUMNS), 0
    while first < len(X):
        for size in sizes:
            rows = slice(first, first := first + size)
            parts.learn(examples(X[rows], y[rows]))
            arrays, numbers = parts.state()
            parts = Learner.from_state(Settings(l2=1e-3), {name: a.copy() for name, a in arrays.items()}, numbers)
    for name, array in whole.state()[0].items():
        np.testing.assert_array_equal(parts.state()[0][name], array, err_msg=name)


def test_rows_one_by_one_give_the_same_bits():
    X, y = drawn(4, 500)
    X = changed(X, "a much smaller unit", 150)
    whole, single = (LinearClassifier(epochs=1, shuffle=False, lr=0.1) for _ in range(2))
    whole.partial_fit(X, y, classes=[0.0, 1.0])
    single.partial_fit(X[:1], y[:1], classes=[0.0, 1.0])
    for x, label in zip(X[1:], y[1:], strict=True):
        single.learn_one(x, label)
    np.testing.assert_array_equal(whole.coef_, single.coef_)


def test_the_reference_has_the_same_statistics():
    X, y = drawn(5, 500)
    X = changed(X, "both", 150)
    X[np.random.default_rng(6).random(X.shape) < 0.3] = 0.0
    found = []
    for engine in ("cpu", "reference"):
        learner = Learner(Settings(lr=0.1, l2=1e-3, engine=engine), COLUMNS, missing=True)
        learner.learn(examples(X, y))
        found.append(learner)
    for name in ("count", "mean", "deviations"):
        np.testing.assert_allclose(*(learner.bank.table.statistic(name) for learner in found), rtol=1e-12)
    np.testing.assert_allclose(*(learner.weights()[0] for learner in found), rtol=1e-5)


def test_a_value_that_stays_for_a_while_does_not_begin_again():
    """Where the latest values are all alike they have no scale."""
    X, y = drawn(7, 2000)
    X[1000:, 0] = X[999, 0]
    learner = Learner(Settings(), COLUMNS)
    learner.learn(examples(X, y))
    deviations = learner.bank.table.statistic("deviations")[0]
    assert deviations == pytest.approx(np.sum(np.square(X[:, 0] - X[:, 0].mean())), rel=1e-9)


@pytest.mark.parametrize("unit, shift", [(1.0, 0.0), (1e-3, 5.0), (1e6, -1e9)])
def test_statistics_since_are_those_of_the_values_since(unit, shift):
    rng = np.random.default_rng(8)
    x = shift + unit * rng.normal(size=(40, 3))
    first, second = (
        Statistics(np.full(3, len(v) * 1.0), v.mean(0), np.square(v - v.mean(0)).sum(0)) for v in (x[:13], x[13:])
    )
    found = since(joined(first, second), first)
    np.testing.assert_array_equal(found.count, second.count)
    np.testing.assert_allclose(found.mean, second.mean, rtol=1e-9)
    np.testing.assert_allclose(found.deviations, second.deviations, rtol=1e-6)
