"""LinearClassifier and LinearRegressor: what scikit-learn's users do with them, and the optima they come to."""

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, load_svmlight_file
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import (
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.numerics import assert_identical

from surefoot import LinearClassifier, LinearRegressor, losses, schedules
from surefoot.engines import get_threads, set_threads
from surefoot.engines.bank import ModelBank
from surefoot.learn.learner import DivergedError
from surefoot.rules import adagrad

ROWS, FEATURES = 120, 5


@pytest.fixture(scope="module")
def two():
    """(X, y): two classes that overlap."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.7)
    return X, (X @ [1.0, -2.0, 0.5, 0.0, 0.0] + rng.normal(size=ROWS) > 0.3).astype(int)


@pytest.fixture(scope="module")
def numbers():
    """(X, y): a linear function with noise, far from 0, in a large unit."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS, FEATURES))
    return X, 1e4 + 1e3 * (X @ [1.0, -2.0, 0.5, 0.0, 0.0] + 0.3 * rng.standard_t(3, size=ROWS))


SLOW = pytest.mark.slow


def quick(**parameters) -> LinearClassifier:
    return LinearClassifier(**{"epochs": 3, "tol": None, "l2": 0.0, "random_state": 0} | parameters)


# Optima


def objective(model, X, y, l1=0.0, l2=0.0, loss=None, parameter=0.0):
    """What is minimized, at the weights of any linear model."""
    predictions = X @ np.ravel(model.coef_) + np.ravel(model.intercept_)[0]
    penalty = l1 * np.abs(model.coef_).sum() + 0.5 * l2 * np.square(model.coef_).sum()
    return (losses.get(loss) if loss else model._loss_of_outputs()).values(predictions, y, parameter).mean() + penalty


def test_many_epochs_reach_the_optimum_of_logistic_regression(two):
    X, y = two
    exact = LogisticRegression(C=1 / (0.01 * ROWS), tol=1e-10).fit(X, y)
    model = LinearClassifier(l2=0.01, epochs=300, tol=None, random_state=0).fit(X, y)
    expected = objective(exact, X, y, l2=0.01, loss="logistic")
    assert expected <= objective(model, X, y, l2=0.01) <= 1.0001 * expected


@pytest.mark.parametrize("loss, exact, settings, parameter", [
    ("squared", Ridge(0.1 * ROWS), {"l2": 0.1}, 0.0),
    ("huber", HuberRegressor(epsilon=1.2, alpha=0.0, tol=1e-8, max_iter=1000), {}, None),
    ("quantile", QuantileRegressor(quantile=0.8, alpha=0.0), {"quantile": 0.8}, 0.8),
    pytest.param("quantile", QuantileRegressor(quantile=0.3, alpha=0.1), {"quantile": 0.3, "l1": 0.1}, 0.3, marks=SLOW),
])  # fmt: skip
def test_many_epochs_reach_the_optimum_of_regressions(numbers, loss, exact, settings, parameter):
    X, y = numbers
    exact.fit(X, y)
    if parameter is None:  # of this loss scikit-learn finds δ too
        parameter = exact.epsilon * exact.scale_
        settings = {"delta": parameter}
    model = LinearRegressor(loss, **settings, epochs=300, tol=None, random_state=0).fit(X, y)
    penalties = {name: settings.get(name, 0.0) for name in ("l1", "l2")}
    expected = objective(exact, X, y, **penalties, loss=loss, parameter=parameter)
    found = objective(model, X, y, **penalties, parameter=parameter)
    assert expected * (1 - 1e-6) <= found <= expected * (1.005 if loss == "quantile" else 1.0001)


def test_many_epochs_reach_the_optimum_of_poisson_regression(two):
    X = two[0]
    y = np.random.default_rng(2).poisson(np.exp(X @ [0.5, -0.5, 0.2, 0.0, 0.0] + 1.0))
    exact = PoissonRegressor(alpha=0.01, tol=1e-8).fit(X, y)
    model = LinearRegressor("poisson", l2=0.01, epochs=300, tol=None, random_state=0).fit(X, y)
    expected, found = (objective(m, X, y, l2=0.01, loss="poisson") for m in (exact, model))
    assert expected <= found <= expected + 1e-2 * abs(expected)
    np.testing.assert_allclose(model.predict(X), np.exp(X @ model.coef_ + model.intercept_))


@SLOW
def test_l1_gives_the_zeros_of_the_optimum(two):
    X, y = two
    exact = LogisticRegression(C=1 / (0.05 * ROWS), l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=10_000).fit(X, y)
    model = quick(optimizer="dual_averaging", lr=1.0, l1=0.05, epochs=200).fit(X, y)
    expected = objective(exact, X, y, l1=0.05, loss="logistic")
    assert objective(model, X, y, l1=0.05) <= 1.01 * expected
    assert 0 < np.count_nonzero(exact.coef_) < FEATURES
    assert np.all(model.coef_[exact.coef_ == 0.0] == 0.0)


def test_defaults_fit_small_data_sets_well():
    for table in (load_iris, load_breast_cancer):
        X, y = table(return_X_y=True)
        scores = cross_val_score(LinearClassifier("softmax", random_state=0), X, y, scoring="neg_log_loss")
        other = make_pipeline(StandardScaler(), LogisticRegression())
        assert scores.mean() > cross_val_score(other, X, y, scoring="neg_log_loss").mean() - 0.05
        assert cross_val_score(LinearClassifier("softmax", random_state=0), X, y).mean() > 0.95


# The same examples, given otherwise


@pytest.mark.parametrize("loss", ["logistic", "softmax", "hinge"])
def test_partial_fit_gives_the_same_bits_as_fit(two, loss):
    X = two[0]
    y = np.digitize(X @ [1.0, -2.0, 0.5, 0.0, 0.0], [-1.0, 1.0])
    whole = LinearClassifier(loss, epochs=1, shuffle=False).fit(X, y)
    parts = LinearClassifier(loss)
    for rows in np.split(np.arange(ROWS), [1, 2, 40, 65, 66]):
        parts.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert_identical(parts.coef_, whole.coef_)
    assert_identical(parts.intercept_, whole.intercept_)
    assert parts.history_["examples"] == [1, 2, 40, 65, 66, ROWS]
    counts = np.diff([0, *parts.history_["examples"]])
    mean = np.average(parts.history_["progressive_loss"], weights=counts)
    assert mean == pytest.approx(whole.history_["progressive_loss"][0])


def test_partial_fit_of_a_regression_does_too_if_the_first_part_sets_the_unit(numbers):
    X, y = (np.tile(part, (45,) + (1,) * (part.ndim - 1)) for part in numbers)
    whole = LinearRegressor(epochs=1, shuffle=False).fit(X, y)
    parts = LinearRegressor()
    for rows in np.split(np.arange(len(y)), [4096, 4100, 5000]):
        parts.partial_fit(X[rows], y[rows])
    assert_identical(parts.coef_, whole.coef_)


def test_warm_starts_continue_as_further_epochs_do(two):
    X, y = two
    whole = quick(shuffle=False, lr=0.1).fit(X, y)
    steps = quick(shuffle=False, lr=0.1, epochs=1, warm_start=True)
    for _ in range(3):
        steps.fit(X, y)
    assert_identical(steps.coef_, whole.coef_)
    assert steps.history_ == whole.history_
    steps.set_params(l2=0.1)
    with pytest.raises(ValueError, match=r"l2: found 0.1, but the model was trained with 0.0"):
        steps.fit(X, y)
    assert_identical(steps.coef_, whole.coef_)


def test_every_container_of_the_data_gives_the_same_bits(two):
    X, y = two[0].astype(np.float32).astype(np.float64), two[1]
    expected = quick().fit(X, y).coef_
    wide = sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    narrow = sparse.csr_array(X)
    indices, indptr = np.repeat(narrow.indices, 2), narrow.indptr * 2
    repeated = sparse.csr_array((np.repeat(narrow.data / 2.0, 2), indices, indptr), shape=X.shape)
    turned = sparse.csr_array((narrow.data[::-1], narrow.indices[::-1], narrow.nnz - narrow.indptr[::-1]))[::-1]
    frame = pd.DataFrame(X, columns=[*"abcde"])
    zeros = sparse.csr_matrix((X.ravel(), np.tile(np.arange(FEATURES), ROWS), np.arange(ROWS + 1) * FEATURES))
    forms = [X.astype(np.float32), np.asfortranarray(X), sparse.csr_matrix(X), wide, repeated, turned, zeros, frame]
    for form in [*forms, sparse.csc_array(X), X.tolist()]:
        assert_identical(quick().fit(form, y).coef_, expected)
    assert quick().fit(frame, y).feature_names_in_.tolist() == [*"abcde"]
    assert not repeated.has_canonical_format  # the caller's matrix is unchanged


def test_csr_in_double_precision_is_not_copied(two):
    from surefoot.learn.arrays import ArrayDataset, checked

    X = sparse.csr_array(two[0])
    [block] = ArrayDataset(checked(X), two[1].astype(float), np.ones(ROWS)).blocks()
    assert np.shares_memory(block.values, X.data)
    assert np.shares_memory(block.indices, X.indices)


def test_scales_of_features_do_not_matter(two):
    X, y = two
    scales = 2.0 ** np.array([-20, -10, 0, 10, 20])
    expected = quick().fit(X, y).decision_function(X)
    np.testing.assert_allclose(quick().fit(X * scales, y).decision_function(X * scales), expected, rtol=1e-4, atol=1e-5)


def test_units_of_targets_do_not_matter(numbers):
    X, y = numbers
    expected = LinearRegressor(random_state=0, l1=10.0).fit(X, y).predict(X)
    found = LinearRegressor(random_state=0, l1=10.0 / 2**20).fit(X, y / 2**20).predict(X) * 2**20
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_regression_can_be_fitted_row_by_row(numbers):
    X, y = numbers
    model = LinearRegressor()
    for i in range(ROWS):
        model.partial_fit(X[i : i + 1], 1e3 * y[i : i + 1])
    assert model.score(X, 1e3 * y) > 0.8


def test_mini_batches_are_whole(two, monkeypatch):
    """However often the learner looks at its rates in between."""
    steps = []

    def record(bank, examples):
        steps.append(len(examples))
        return np.zeros((len(examples), 1, bank.rates), np.float32)

    monkeypatch.setattr(ModelBank, "learn", record)
    quick(batch_size=25, epochs=2).fit(*two)
    assert sum(steps) == 2 * ROWS
    assert all(count % 25 in (0, ROWS % 25) for count in steps)


def test_threads_do_not_matter(two):
    X, y = two
    before = get_threads()
    try:
        set_threads(1)
        alone = quick(shuffle=True).fit(X, y)
        set_threads(4)
        together = quick(shuffle=True).fit(X, y)
    finally:
        set_threads(before)
    assert_identical(together.decision_function(X), alone.decision_function(X))


# Weights


def test_examples_of_weight_0_are_ignored(two):
    X, y = two
    weights = np.arange(ROWS) % 3 > 0
    found = quick().fit(X, y, sample_weight=weights.astype(float))
    assert_identical(found.coef_, quick().fit(X[weights], y[weights]).coef_)


def test_classes_are_balanced_without_examples_of_weight_0(two):
    X, y = two
    weights = np.where((y == y[0]) & (np.arange(len(y)) % 5 > 0), 0.0, 1.0)
    mine = LinearClassifier(class_weight="balanced", random_state=0).fit(X, y, weights)
    theirs = LinearClassifier(class_weight="balanced", random_state=0).fit(X[weights > 0], y[weights > 0])
    assert_identical(mine.coef_, theirs.coef_)


def test_weights_of_classes_are_numbers_of_at_least_0(two):
    with pytest.raises(ValueError, match=r"^class_weight: found .* expected numbers of at least 0"):
        LinearClassifier(class_weight=dict.fromkeys(np.unique(two[1]), -1)).fit(*two)


def test_weights_of_classes_are_weights_of_their_examples(two):
    X, y = two
    names = np.array(["no", "yes"])[y]
    expected = quick().fit(X, names, sample_weight=np.where(y == 1, 3.0, 1.0)).coef_
    assert_identical(quick(class_weight={"yes": 3.0, "no": 1.0}).fit(X, names).coef_, expected)
    balanced = quick(class_weight="balanced").fit(X, names).coef_
    count = np.bincount(y)
    assert_identical(quick().fit(X, names, sample_weight=(ROWS / 2 / count)[y]).coef_, balanced)


# Stopping


def test_the_progressive_loss_is_of_examples_before_they_are_learned_from(two):
    X, y = two  # not normalized, so that no example changes how others are scaled
    model = LinearClassifier(lr=0.2, normalize=False)
    model.partial_fit(X[:1], y[:1], classes=[0, 1])
    lost = [np.log(2.0)]
    for i in range(1, 30):
        lost.append(float(losses.logistic.values(model.decision_function(X[i : i + 1]), y[i : i + 1])[0]))
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    np.testing.assert_allclose(model.history_["progressive_loss"], lost, rtol=1e-5)
    whole = LinearClassifier(lr=0.2, epochs=1, shuffle=False, normalize=False).fit(X[:30], y[:30])
    assert whole.history_["progressive_loss"][0] == pytest.approx(np.mean(lost), rel=1e-5)


def test_epochs_end_when_the_loss_stops_falling(two):
    X, y = two
    model = LinearClassifier(epochs=200, tol=1e-2, random_state=0).fit(X, y)
    assert model.n_iter_ < 200
    assert len(model.history_["progressive_loss"]) == model.n_iter_
    with pytest.warns(ConvergenceWarning, match="still falling in epoch 2"):
        LinearClassifier(epochs=2, random_state=0).fit(X, y)


def test_early_stopping_trains_again_until_the_validation_loss_had_risen():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 60)), rng.integers(2, size=200)
    settings = {"early_stopping": True, "validation_fraction": 0.3, "epochs": 30, "l2": 0.0, "random_state": 0}
    model = LinearClassifier(**settings).fit(X, y)
    held = model.history_["validation_loss"]
    assert np.argmin(held) < model.n_iter_ < len(held) < 30
    again = clone(model).set_params(epochs=model.n_iter_, early_stopping=False, tol=None).fit(X, y)
    assert_identical(model.coef_, again.coef_)
    assert not hasattr(model, "partial_fit")


def test_early_stopping_changes_nothing_where_the_validation_loss_does_not_rise(two):
    model = LinearClassifier(random_state=0).fit(*two)
    assert_identical(clone(model).set_params(early_stopping=True).fit(*two).coef_, model.coef_)


# The penalty of "auto"


def test_the_penalty_of_auto_is_that_of_logistic_regression_behind_a_scaler(two):
    X, y = np.ones(FEATURES) * [1e3, 1.0, 1e-3, 1.0, 1.0] * two[0], two[1]
    model = LinearClassifier(epochs=100, tol=None, random_state=0).fit(X, y)
    exact = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(X), atol=2e-3)
    free = clone(model).set_params(l2=0.0).fit(X, y)
    assert np.all(np.abs(model.coef_) < np.abs(free.coef_))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("settings", [{"epochs": 1}, {"optimizer": "ftrl"}, {"optimizer": "adam"}])
def test_auto_has_no_penalty_in_one_epoch_and_with_rules_that_do_not_take_it(two, settings):
    model = quick(**settings, l2="auto").fit(*two)
    assert_identical(model.coef_, quick(**settings).fit(*two).coef_)


def test_the_penalty_of_auto_remains_when_training_continues(two):
    X, y = two
    model = quick(l2="auto", warm_start=True).fit(X, y)
    model.partial_fit(X[:10], y[:10]).fit(X[:20], y[:20])
    assert model._learner.settings.l2 == 1 / ROWS


def test_several_classes_are_learned_together():
    X, y = load_iris(return_X_y=True)
    model = LinearClassifier(random_state=0).fit(X, y)
    assert_identical(model.coef_, clone(model).set_params(loss="softmax").fit(X, y).coef_)
    assert log_loss(y, model.predict_proba(X)) < log_loss(y, LinearClassifier("logistic").fit(X, y).predict_proba(X))


# scikit-learn's tools


def test_clones_and_pickles(two):
    X, y = two
    parameters = {"optimizer": adagrad, "optimizer_params": {"eps": 1e-6}, "lr": schedules.polynomial(0.5, 0.01)}
    model = quick(**parameters).fit(X, y)
    assert not hasattr(clone(model), "coef_")
    again = clone(model).fit(X, y)
    assert_identical(again.coef_, model.coef_)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        for _ in range(2):
            twin.partial_fit(X, y)
        assert_identical(again.partial_fit(X, y).partial_fit(X, y).coef_, twin.coef_)
        again = clone(model).fit(X, y)


def test_pipelines_searches_and_calibration(two):
    X, y = two
    search = GridSearchCV(
        make_pipeline(StandardScaler(), quick()), {"linearclassifier__loss": ["logistic", "modified_huber"]}, cv=3
    ).fit(X, y)
    assert search.best_score_ > 0.7
    assert cross_val_score(quick(), X, y).mean() > 0.7
    calibrated = CalibratedClassifierCV(quick(loss="hinge")).fit(X, y)
    p = calibrated.predict_proba(X)
    assert losses.logistic.values(np.log(p[:, 1] / p[:, 0]), y).mean() < 0.6


@pytest.mark.parametrize("loss", [name for name, loss in losses.REGISTRY.items() if loss.probability is not None])
def test_probabilities(two, loss):
    X = two[0]
    y = np.digitize(X @ [1.0, -2.0, 0.5, 0.0, 0.0], [-1.0, 1.0])
    for labels in (y, np.minimum(y, 1)):
        model = quick(loss=loss).fit(X, labels)
        p = model.predict_proba(X)
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        assert np.all(p >= 0)
        assert_identical(model.classes_[p.argmax(axis=1)], model.predict(X))
        with np.errstate(divide="ignore"):
            assert_identical(model.predict_log_proba(X), np.log(p))


def test_hinge_losses_have_no_probabilities(two):
    model = quick(loss="hinge").fit(*two)
    with pytest.raises(AttributeError) as caught:
        model.predict_proba(two[0])
    assert "probability estimates are not available for loss='hinge'" in str(caught.value.__cause__)
    assert model.score(*two) > 0.8 * SGDClassifier(random_state=0).fit(*two).score(*two)


def test_sparse_weights_predict_the_same(two):
    X, y = two
    model = quick().fit(X, y)
    expected = model.decision_function(X)
    model.sparsify()
    assert sparse.issparse(model.coef_)
    for form in (X, sparse.csr_array(X)):
        np.testing.assert_allclose(model.decision_function(form), expected)
    assert isinstance(model.densify().coef_, np.ndarray)


# Errors


def wrong(parameters, message, method="fit", kind=ValueError, estimator=LinearClassifier):
    return pytest.param(estimator, parameters, method, kind, message, id=message[:30])


@pytest.mark.parametrize("estimator, parameters, method, kind, message", [
    wrong({"loss": "log"}, "there is no loss 'log'; there are squared, logistic"),
    wrong({"lr": "fast"}, "lr: the learning rate 'fast' is neither a number nor a schedule"),
    wrong({"lr": -1.0}, "lr must lie in"),
    wrong({"optimizer": "adagard"}, "did you mean 'adagrad'"),
    wrong({"optimizer_params": {"beta": 1}}, "there is no hyperparameter 'beta'; it takes lr_decay"),
    wrong({"optimizer_params": {"lr": 1}}, "adagrad: lr is a setting of its own; give it as lr"),
    wrong({"optimizer_params": 3}, "optimizer_params: found 3, expected a dict or None", kind=TypeError),
    wrong({"l1": -1}, "l1 == -1, must be >= 0"),
    wrong({"epochs": 0}, "epochs == 0, must be >= 1"),
    wrong({"epochs": "many"}, 'epochs: found \'many\', expected "auto" or a number'),
    wrong({"average": 10}, "average: found 10, expected True or False", kind=TypeError),
    wrong({"batch_size": 0}, "batch_size: found 0, expected a whole number of at least 1"),
    wrong({"validation_fraction": 1.0}, "validation_fraction == 1.0, must be < 1"),
    wrong({"class_weight": "balanced"}, "partial_fit cannot know how often", "partial_fit", AttributeError),
    wrong({"early_stopping": True}, "partial_fit does not hold out a validation set", "partial_fit", AttributeError),
    wrong({"optimizer": "adam", "l2": 0.1}, "leave out l1 and l2"),
    wrong({"loss": "quantile", "quantile": 1.5}, "quantile must lie in (0, 1), got 1.5", estimator=LinearRegressor),
    wrong({"loss": "huber", "delta": 0.0}, "delta must lie in (0, inf), got 0.0", estimator=LinearRegressor),
])  # fmt: skip
def test_invalid_parameters_are_reported_in_a_sentence(two, estimator, parameters, method, kind, message):
    with pytest.raises(kind) as caught:
        getattr(estimator(**parameters), method)(*two)
    assert message in str(caught.value) + str(caught.value.__cause__)


def test_invalid_examples_are_reported_in_a_sentence(two):
    X, y = two
    model = quick().fit(X, y)
    before = model.coef_
    outside = sparse.csr_array(X)
    outside.indices[3] = -7
    for fit, message in [
        (lambda: model.fit(X, np.zeros(ROWS)), "y: found one class"),
        (lambda: model.partial_fit(X, y + 1), "y: found class 2, expected one of 0, 1"),
        (lambda: LinearClassifier().partial_fit(X, y), "classes: found None in the first call of partial_fit"),
        (
            lambda: model.partial_fit(X, y, classes=[0, 5]),
            "classes: found [0, 5], expected those of the first call, [0, 1]",
        ),
        (lambda: model.fit(np.where(X > 1, np.nan, X), y), "Input X contains NaN"),
        (lambda: model.fit(X * 1e300, y), "too large for dtype('float32')"),
        (lambda: model.partial_fit(X[:, :3], y), "X has 3 features"),
        (lambda: model.fit(X, y, sample_weight=-np.ones(ROWS)), "Negative values in data passed to `sample_weight`"),
        (lambda: model.fit(X, y, sample_weight=np.zeros(ROWS)), "eight"),
        (lambda: model.fit(outside, y), "X: found feature -7 in a CSR matrix, expected 0 … 4"),
        (lambda: LinearRegressor("poisson").fit(X, -y), "expected at least 0: poisson loss is for counts"),
        (lambda: LinearClassifier().predict(X), "not fitted yet"),
    ]:
        with pytest.raises((ValueError, NotFittedError)) as caught:
            fit()
        assert message in str(caught.value)
    assert_identical(model.coef_, before)


def test_divergence_leaves_the_model_unchanged(numbers):
    X, y = numbers
    model = LinearRegressor(lr=1.0).partial_fit(X[:10], y[:10])
    before, history = model.coef_, copy.deepcopy(model.history_)
    with pytest.raises(DivergedError, match="no longer finite"):
        model.partial_fit(X, y, sample_weight=np.full(len(y), 1e35))
    assert_identical(model.coef_, before)
    assert model.history_ == history
    with pytest.raises(ValueError, match=r"lr: found 2.0, but the model was trained with 1.0"):
        model.set_params(lr=2.0).partial_fit(X, y)


# Real data


@pytest.fixture(scope="module")
def folder():
    found = os.environ.get("SUREFOOT_DATA")
    if not found:
        pytest.skip("SUREFOOT_DATA names no folder")
    return Path(found)


def test_census(folder):
    """One pass, nothing tuned, against scikit-learn's optimum."""
    X, y = load_svmlight_file(folder / "a9a", n_features=123)
    test, answers = load_svmlight_file(folder / "a9a.t", n_features=123)
    model = LinearClassifier(epochs=1, random_state=0).fit(X, y)
    assert log_loss(answers, model.predict_proba(test)) < 0.330  # of LogisticRegression 0.324
    assert model.history_["progressive_loss"][0] < 0.340


def test_text_messages(folder):
    lines = (folder / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    y, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    X = CountVectorizer(binary=True).fit_transform(texts).astype(np.float32)
    X, test, y, answers = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    model = LinearClassifier(random_state=0).fit(X, y)
    assert model.n_iter_ > 1  # fewer messages than words, but far more than words in a message
    assert log_loss(answers, model.predict_proba(test)) < 0.075  # of LogisticRegression 0.067
    assert model.score(test, answers) > 0.975
