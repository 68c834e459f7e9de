"""Features with an origin, a unit or weights of any size learn as their standardized copies do."""

import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from surefoot.data.reading import ReadOptions
from surefoot.data.stream import DataWarning
from surefoot.engines.examples import Examples
from surefoot.learn import LinearClassifier, LinearRegressor
from surefoot.learn.learner import Learner
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Settings
from surefoot.learn.training import Training

SIZE, TRAINED = 6000, 4000
COLUMNS = {
    "a year": lambda rng: rng.integers(1950, 2020, SIZE) * 1.0,
    "a time stamp in seconds": lambda rng: 1.7e9 + rng.uniform(0, 30 * 86400, SIZE),
    "one in nanoseconds": lambda rng: 1.7e18 + rng.uniform(0, 30 * 86400e9, SIZE),
    "kelvin": lambda rng: rng.normal(295.0, 6.0, SIZE),
    "a price": lambda rng: rng.normal(1000.0, 20.0, SIZE),
    "a count": lambda rng: rng.poisson(2.0, SIZE) * 1.0,
    "often 0": lambda rng: np.where(rng.random(SIZE) < 0.4, 0.0, rng.normal(5.0, 1.0, SIZE)),
}
"""Numbers far from 0 compared with their spread, and some with zeros."""


def drawn(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A column of that kind and two others, and what is to be predicted from them."""
    rng = np.random.default_rng(seed)
    column, others = COLUMNS[name](rng), rng.normal(size=(SIZE, 2))
    return np.c_[column, others], 2 * (column - column.mean()) / column.std() + others[:, 0]


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_classes_are_learned_as_from_the_standardized_copy(name, form):
    X, score = drawn(name, seed=0)
    y = score + np.random.default_rng(1).logistic(size=SIZE) > 0
    lost = []
    for given in (form(X), StandardScaler().fit(X[:TRAINED]).transform(X)):
        model = LinearClassifier(random_state=0).fit(given[:TRAINED], y[:TRAINED])
        lost.append(log_loss(y[TRAINED:], model.predict_proba(given[TRAINED:])[:, 1]))
    assert lost[0] <= 1.01 * lost[1]


@pytest.mark.parametrize("name", COLUMNS)
def test_numbers_are_learned_as_from_the_standardized_copy(name):
    X, score = drawn(name, seed=2)
    y = 1e4 + 30.0 * (score + np.random.default_rng(3).normal(size=SIZE))
    lost = []
    for given in (X, StandardScaler().fit(X[:TRAINED]).transform(X)):
        model = LinearRegressor(random_state=0).fit(given[:TRAINED], y[:TRAINED])
        lost.append(np.mean(np.square(y[TRAINED:] - model.predict(given[TRAINED:]))))
    assert lost[0] <= 1.01 * lost[1]


def test_zeros_count_as_values_where_half_of_the_rows_have_others():
    """A column with zeros is centred at the mean of all its values, a rare one is not, and a year is from the start."""
    rng = np.random.default_rng(10)
    often, rare = (np.where(rng.random(SIZE) < share, 0.0, rng.normal(5.0, 1.0, SIZE)) for share in (0.4, 0.9))
    X = np.c_[often, rare, rng.integers(1950, 2020, SIZE)]
    learner = Learner(Settings(), 3)
    for k in range(0, SIZE, 500):
        block = sparse.csr_matrix(X[k : k + 500])
        learner.learn(Examples(block.indptr, block.indices, block.data, np.arange(500) % 2.0, np.ones(500)))
    np.testing.assert_allclose(learner.centers(), [often.mean(), 0.0, X[:, 2].mean()], rtol=1e-2)
    np.testing.assert_allclose(learner.centers()[2], X[:, 2].mean(), rtol=1e-9)


def test_dense_and_sparse_rows_give_the_same_model():
    X, score = drawn("often 0", seed=4)
    coefs = [
        LinearClassifier(shuffle=False, epochs=1).fit(given, score > 0).coef_ for given in (X, sparse.csr_matrix(X))
    ]
    np.testing.assert_array_equal(*coefs)


def test_rows_one_by_one_give_the_model_of_all_at_once():
    X, score = drawn("a count", seed=5)
    X, y = X[:300], (score > 0)[:300]
    whole, parts = LinearClassifier(epochs=1, shuffle=False), LinearClassifier()
    whole.partial_fit(X, y, classes=[False, True])
    for k in range(len(X)):
        parts.partial_fit(X[k : k + 1], y[k : k + 1], classes=[False, True])
    np.testing.assert_array_equal(whole.coef_, parts.coef_)
    np.testing.assert_array_equal(whole.intercept_, parts.intercept_)


@pytest.mark.parametrize("factor", [1e-12, 1e12])
@pytest.mark.parametrize("estimator", [LinearClassifier, LinearRegressor])
def test_the_unit_of_weights_changes_nothing(estimator, factor):
    X, score = drawn("a price", seed=6)
    y, weights = (score > 0) * 1.0, np.random.default_rng(7).uniform(0.1, 3.0, SIZE)
    models = [estimator(random_state=0, epochs=2, tol=None).fit(X, y, weights * by) for by in (1.0, factor)]
    np.testing.assert_allclose(models[1].coef_, models[0].coef_, rtol=1e-3)


def test_extreme_values_give_finite_weights_without_a_warning():
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(300, 4)), rng.random(300) < 0.5
    X *= [1e-300, 1e-30, 1e30, 1.0]
    X[::7, 3] = 5e-324
    X[50, 3] = 3e38
    model = LinearClassifier(random_state=0)
    with np.errstate(all="raise"):
        with pytest.warns(DataWarning, match="^1 feature has no values but 0 and such as are "):
            model.fit(X, y)
        assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.coef_).all()


@pytest.mark.filterwarnings("ignore::surefoot.data.stream.DataWarning")
@pytest.mark.parametrize("x, y", [(1e-160, 1.0), (1.0, 5e-324), (1.0, 1e-310)])
def test_no_statistic_underflows(x, y):
    X = np.random.default_rng(8).normal(size=(300, 3))
    X, targets = X * x, (X[:, 0] > 0) * y
    model = LinearRegressor(random_state=0)
    with np.errstate(all="raise"):
        model.fit(X, targets)
        model.partial_fit(X[:2], targets[:2])
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("tiny", [1e-33, 1e-38, 1e-170])
def test_features_that_are_too_small_to_be_learned_are_named(tiny, tmp_path):
    X = np.random.default_rng(8).normal(size=(300, 3))
    y = (X[:, 0] > 0) * 1.0
    X[:, :2] *= tiny, 1e-29  # which is learned from
    said = "^1 feature has no values but 0 and such as are below 1e-30, from which next to nothing is learned"
    with pytest.warns(DataWarning, match=said):
        LinearClassifier(random_state=0).fit(X, y)
    model = LinearClassifier()
    with pytest.warns(DataWarning, match=said):
        [model.learn_one(row, label, classes=[0.0, 1.0]) for row, label in zip(X, y, strict=True)]
    rows = "".join(f"{label:g} 1:{row[0]!r} 2:{row[1]!r}\n" for label, row in zip(y, X.tolist(), strict=True))
    (tmp_path / "rows.svm").write_text(rows)
    notes = []
    Training(Plan((str(tmp_path / "rows.svm"),)), note=notes.append).run()
    assert re.match(said, notes[0])


def test_nothing_is_centred_or_scaled_without_normalize():
    X, y = np.array([[1000.0], [1002.0]] * 50), np.array([0, 1] * 50)
    settings = Settings(normalize=False, lr=0.1)
    learner = Learner(settings)
    rows = Examples(np.arange(101), np.zeros(100, int), X[:, 0], y * 1.0, np.ones(100))
    learner.learn(rows)
    assert not learner.centers().any()
    assert learner.heaviness == 1.0


def trained(tmp_path, text: str, **options) -> Model:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return Training(Plan((str(path),), ReadOptions(target="y", **options))).run().model


def test_a_missing_number_of_a_table_counts_as_the_mean(tmp_path):
    rng = np.random.default_rng(9)
    years, other = rng.integers(1950, 2020, 2000), rng.normal(size=2000)
    y = (years - 1985) / 10 + other + rng.logistic(size=2000) > 0
    lines = [
        f"{int(label)},{'' if k % 3 == 0 else year},{x:.6f}"
        for k, (label, year, x) in enumerate(zip(y, years, other, strict=True))
    ]
    model = trained(tmp_path, "y,year,x\n" + "\n".join(lines) + "\n")
    assert model.centers is not None
    path = tmp_path / "model.safetensors"
    model.save(path)
    for each in (model, Model.load(path)):
        rows = each.reading.examples(
            [
                {"y": 0, "x": 0.0},
                {"y": 0, "year": years[np.arange(2000) % 3 > 0].mean(), "x": 0.0},
                {"y": 0, "year": 1995, "x": 0.0},
            ]
        )
        absent, mean, later = each.scores(rows)[:, 0]
        assert abs(absent - mean) < 0.1  # the weight of what says that a number is missing; a year has 0.1
        assert later > mean + 0.5
