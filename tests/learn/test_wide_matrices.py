"""CSR matrices with far more columns than entries: a row of the model's table for each feature that occurs."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from support.numerics import assert_identical

from surefoot.learn import LinearClassifier, LinearRegressor, arrays, estimator

FEATURES = 1 << 15
ROWS = 400


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Matrices of a test are wide, too."""
    monkeypatch.setattr(arrays, "WIDE", 1 << 14)


def matrix(seed: int, shift: float = 0.0):
    """Some columns that every row has, shifted from 0, and two of many others."""
    rng = np.random.default_rng(seed)
    often = np.array([5, 9000, FEATURES - 1])
    ids = np.concatenate([np.tile(often, (ROWS, 1)), rng.integers(10, 8000, (ROWS, 2))], axis=1)
    values = rng.normal(shift, 1.0, ids.shape)
    X = sparse.csr_matrix((values.ravel(), ids.ravel(), np.arange(ROWS + 1) * ids.shape[1]), shape=(ROWS, FEATURES))
    X.sum_duplicates()
    return X, (X[:, 5].toarray().ravel() - shift + 0.3 * rng.normal(size=ROWS) > 0).astype(int)


def by_fit(model, X, y):
    return model.fit(X, y)


def by_parts(model, X, y):
    for first in range(0, ROWS, 150):
        part = slice(first, first + 150)
        model.partial_fit(X[part], y[part], *([[0, 1]] if isinstance(model, LinearClassifier) else []))
    return model


def by_rows(model, X, y):
    for row, label in zip(X[:60], y[:60].tolist(), strict=False):
        model.learn_one(row, label)
    return model


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("way", [by_fit, by_parts, by_rows])
@pytest.mark.parametrize("model", [LinearClassifier(random_state=0), LinearRegressor(random_state=0)])
def test_the_bits_are_those_of_a_table_of_all_columns(model, way, shift, monkeypatch):
    X, y = matrix(0, shift)
    few = way(clone(model), X, y)
    assert few._learner.bank.features < 1000
    monkeypatch.setattr(arrays, "WIDE", FEATURES)
    whole = way(clone(model), X, y)
    assert whole._learner.bank.features == FEATURES
    new = sparse.vstack([matrix(1, shift)[0], sparse.csr_matrix((1, FEATURES))]).tocsr()
    scores = [
        found.decision_function(new) if hasattr(found, "decision_function") else found.predict(new)
        for found in (few, whole)
    ]
    assert_identical(*scores)
    assert_identical(*(found.predict(new[:1]) for found in (few, pickle.loads(pickle.dumps(few)))))
    assert_identical(few.coef_, whole.coef_)
    assert_identical(few.intercept_, whole.intercept_)
    assert few.learning_rate_ == whole.learning_rate_


def test_a_matrix_with_many_entries_has_a_row_for_each_column():
    X, y = matrix(0)
    dense = sparse.csr_matrix(np.ones((20, FEATURES)))
    assert estimator.ArrayDataset(X, y, np.ones(ROWS)).row_map() is not None
    assert estimator.ArrayDataset(dense, y[:20], np.ones(20)).row_map() is None


def test_later_parts_add_rows_for_what_they_have_alone():
    X, y = matrix(0)
    model = LinearClassifier().partial_fit(X[:50], y[:50], [0, 1])
    before = model._learner.bank.features
    rows = sparse.vstack([X] * 20).tocsr()
    assert rows.nnz > FEATURES
    model.partial_fit(rows, np.tile(y, 20))
    assert before < model._learner.bank.features < 1000
