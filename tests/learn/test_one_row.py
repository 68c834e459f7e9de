"""Estimators that learn from, and predict, one example at a time."""

import itertools
import pickle
import re
import threading

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from surefoot import LinearClassifier, LinearRegressor, losses
from surefoot.engines.examples import Examples
from surefoot.learn import online
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.mixture import Mixture
from surefoot.learn.one_row import ENTERED, SORTED_BY_KERNEL, RowBuffer, entries_of, named, worded
from surefoot.learn.settings import Settings
from surefoot.learn.zeros import Zeros
from tests.support.numerics import assert_identical

ROWS, FEATURES = 40, 30
RNG = np.random.default_rng(5)
X = np.where(RNG.random((ROWS, FEATURES)) < 0.4, RNG.normal(size=(ROWS, FEATURES)), 0.0).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > X[:, 2]).astype(int)
ESTIMATORS = {"class": LinearClassifier, "number": LinearRegressor, "count": LinearRegressor}
CASES = [(name, lr) for name in losses.REGISTRY for lr in ("auto", 0.1)]


def estimator(loss: str, **settings):
    return ESTIMATORS[losses.get(loss).target](loss, **settings)


def classes_of(model) -> dict:
    return {"classes": [0, 1]} if isinstance(model, LinearClassifier) else {}


def state_of(model) -> list:
    arrays, numbers = model._learner.state()
    return [{name: array.tobytes() for name, array in arrays.items()}, repr(numbers), model.n_features_in_]


def by_rows(model, rows, labels):
    for x, y in zip(rows, labels, strict=True):
        model.partial_fit(x, [y], **classes_of(model))
    return model


def one_by_one(model, rows, labels):
    for x, y in zip(rows, labels, strict=True):
        model.learn_one(x, y, **classes_of(model))
    return model


@pytest.mark.parametrize("loss, lr", CASES)
def test_the_bits_are_those_of_partial_fit(loss, lr):
    rows = sparse.csr_matrix(X)
    expected = by_rows(estimator(loss, lr=lr), rows, Y)
    for given in (rows, X, [row.tolist() for row in X]):
        found = one_by_one(estimator(loss, lr=lr), given, Y)
        assert state_of(found) == state_of(expected)
        assert_identical(found.coef_, expected.coef_)
        assert found.learning_rate_ == expected.learning_rate_


@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 1e-3},
        {"average": True},
        {"batch_size": 2},
        {"lr": "polynomial:0.1:1"},
        {"lr": "polynomial:0.1:1", "l2": 0.1},
    ],
    ids=str,
)
@pytest.mark.slow
def test_so_they_are_whatever_acts_around_the_rule(settings):
    rows = sparse.csr_matrix(X)
    expected, found = (f(LinearClassifier(**settings), rows, Y) for f in (by_rows, one_by_one))
    assert state_of(found) == state_of(expected)
    assert_predicts_alike(found)


@pytest.mark.parametrize("loss, lr", CASES)
def test_predictions_are_those_of_many_rows(loss, lr):
    assert_predicts_alike(one_by_one(estimator(loss, lr=lr), X, Y))


def assert_predicts_alike(model):
    """Whether weights were computed before or not."""
    rows = [*X[:5], *sparse.csr_matrix(X[:5]), *X[:5].astype(np.float64)]
    found = [model.predict_one(x) for x in rows]
    few = model.predict(sparse.csr_matrix(X[:1]))
    many = model.predict(np.concatenate([X[:5]] * 3))
    np.testing.assert_allclose(found, many, rtol=1e-12)
    np.testing.assert_allclose(few, many[:1], rtol=1e-12)
    if hasattr(model, "predict_proba"):
        probabilities = [list(model.predict_proba_one(x).values()) for x in rows]
        np.testing.assert_allclose(probabilities, model.predict_proba(np.concatenate([X[:5]] * 3)), rtol=1e-12)
        assert list(model.predict_proba_one(X[0])) == model.classes_.tolist()


def test_several_classes():
    labels = [("a", "b", "c")[k % 3] for k in range(ROWS)]
    for loss in ("logistic", "softmax"):
        model = LinearClassifier(loss, lr=0.1)
        for x, y in zip(X, labels, strict=True):
            model.learn_one(x, y, classes=["a", "b", "c"])
        assert [model.predict_one(x) for x in X] == model.predict(X).tolist()
        np.testing.assert_allclose(
            [list(model.predict_proba_one(x).values()) for x in X], model.predict_proba(X), rtol=1e-12
        )


# Dicts and text


def test_a_dict_is_a_row_of_a_data_frame():
    names = [f"x{k}" for k in range(FEATURES)]
    frame = pd.DataFrame(X, columns=names)
    expected, found = (LinearClassifier(lr=0.1).partial_fit(frame[:1], Y[:1], classes=[0, 1]) for _ in range(2))
    for k in range(1, ROWS):
        expected.partial_fit(frame[k : k + 1], Y[k : k + 1])
        found.learn_one(dict(frame.iloc[k]) if k % 2 else frame.iloc[k][::-1], Y[k])
    assert state_of(found) == state_of(expected)
    with pytest.raises(ValueError, match="x: found the feature 'other', expected those that the model began with"):
        found.predict_one({"other": 1.0})


def test_numbers_name_the_features_of_an_array():
    found, expected = (LinearClassifier(lr=0.1).partial_fit(X[:9], Y[:9], classes=[0, 1]) for _ in range(2))
    found.learn_one({3: 0.5, 1: -1.0, 7: 0.0}, 1)
    expected.partial_fit(sparse.csr_matrix(([-1.0, 0.5], [1, 3], [0, 2]), shape=(1, FEATURES)), [1])
    assert state_of(found) == state_of(expected)


def test_features_are_named_as_in_csv():
    assert named({"wind": 3, "sky": "clear", "rain": None, "calm": True, "gust": float("nan"), "fog": "NA"}) == (
        ["wind", "sky=clear", "rain=missing", "calm=True", "gust=missing", "fog=missing"],
        [3, 1.0, 1.0, 1.0, 1.0, 1.0],
    )
    assert named({"a": np.float32(0.5), "b": np.int64(3), "c": np.str_("x")}) == (["a", "b", "c=x"], [0.5, 3.0, 1.0])


def test_text_is_words_or_lines_of_vowpal_wabbit():
    model = LinearClassifier(lr=0.1)
    model.learn_one("free prize free", True).learn_one("|a rain wind:3 |b:2 rain | prize", False)
    assert model.vocabulary_ == {"free": 0, "prize": 1, "a^rain": 2, "a^wind": 3, "b^rain": 4}
    same = LinearClassifier(lr=0.1).learn_one({"free": 2, "prize": 1}, True)
    same.learn_one({"a^rain": 1, "a^wind": 3, "b^rain": 2, "prize": 1}, False)
    assert state_of(model) == state_of(same)
    for text in ("1 |a rain", "|a rain:", "|a :3", "|a rain:x"):
        with pytest.raises(ValueError, match="x: found"):
            worded(text)


def test_features_that_are_new_add_nothing_to_a_prediction():
    model = LinearClassifier(lr=0.1).learn_one({"a": 1.0}, True)
    known = model.predict_proba_one({"a": 1.0})
    assert model.predict_proba_one({"a": 1.0, "b": 7.0}) == known == model.predict_proba_one("a b b")
    assert model.vocabulary_ == {"a": 0}
    assert model.n_features_in_ == 1
    assert_identical(model.learn_one({"b": 1}, False).coef_.shape, (1, 2))


@pytest.mark.parametrize("size", [20, SORTED_BY_KERNEL + 1])
def test_entries_are_sorted_and_summed(size):
    ids = np.random.default_rng(0).integers(0, size, size)
    values = np.random.default_rng(1).integers(-1, 2, size).astype(float)
    found, own = entries_of(ids, values, size)
    expected = sparse.csr_matrix((values, ids, [0, size]), shape=(1, size))
    expected.sum_duplicates()
    expected.eliminate_zeros()
    assert_identical(found, expected.indices.astype(np.int64))
    assert_identical(own, expected.data)


@pytest.mark.parametrize("as_arrays", [True, False], ids=["arrays", "lists"])
def test_a_buffer_has_the_same_entries(as_arrays):
    """And zeros of what is always written out; what it has no place for is left to entries_of."""
    rng, room = np.random.default_rng(0), 2 * SORTED_BY_KERNEL
    indptr, ids, values = np.zeros(2, np.int64), np.empty(room, np.int64), np.empty(room)
    buffer = RowBuffer(SORTED_BY_KERNEL)
    enter = ENTERED.bound(*buffer.arguments, ALWAYS, indptr, ids, values)
    for size, zeros in itertools.product([0, 1, 2, 7, 20, SORTED_BY_KERNEL], [False, True]):
        given = rng.integers(0, 30, size), rng.integers(-1, 2, size).astype(float)
        expected = Zeros(ALWAYS).row(*entries_of(*given, 30, zeros))
        assert buffer.write(*(given if as_arrays else (a.tolist() for a in given)), 30, zeros)
        assert enter() == indptr[1] == len(expected[0])
        assert_identical(ids[: indptr[1]], expected[0])
        assert_identical(values[: indptr[1]], expected[1])
    assert not buffer.write([0] * (SORTED_BY_KERNEL + 1), [1.0] * (SORTED_BY_KERNEL + 1), 30, False)
    assert not buffer.write([1 << 63], [1.0], 30, False)
    for wrong in (([30], [1.0]), ([-1], [1.0]), ([1], [np.nan]), ([1, 1], [2e38, 2e38])):
        assert buffer.write(*wrong, 30, False)
        assert enter() < 0


ALWAYS = np.array([3, 7, 29])


# Labels


@pytest.mark.parametrize(
    "classes, strange",
    [(["ham", "spam"], "eggs"), ([False, True], "True"), ([0, 1], 2), ([1.5, 2.5], 2), (["a", "b", "c"], None)],
    ids=str,
)
def test_messages_name_labels_as_users_gave_them(classes, strange):
    model = LinearClassifier(lr=0.1).learn_one(X[0], classes[1], classes=classes)
    assert model.predict_one(X[0]) in classes
    assert type(model.predict_one(X[0])) is type(classes[0])
    expected = f"y: found class {strange!r}, expected one of {', '.join(map(repr, classes))}"
    for learn in (
        lambda: model.learn_one(X[0], strange),
        lambda: LinearClassifier().learn_one(X[0], strange, classes=classes),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            learn()


def test_classes_of_a_first_label():
    assert LinearClassifier(lr=0.1).learn_one(X[0], True).classes_.tolist() == [False, True]
    assert LinearClassifier(lr=0.1).learn_one(X[0], 1).classes_.tolist() == [0, 1]
    for label in ("ham", -1, 2.0):
        with pytest.raises(ValueError, match="classes: found None in the first call of learn_one"):
            LinearClassifier().learn_one(X[0], label)
    with pytest.raises(ValueError, match="expected those of the first call"):
        LinearClassifier(lr=0.1).learn_one(X[0], 1).learn_one(X[0], 1, classes=[1, 2])


def test_before_the_first_example():
    assert LinearClassifier().predict_one({"a": 1}) is None
    assert LinearClassifier().predict_proba_one({"a": 1}) == {}
    assert LinearRegressor().predict_one({"a": 1}) == 0.0
    assert not hasattr(LinearClassifier("hinge"), "predict_proba_one")
    assert not hasattr(LinearClassifier(early_stopping=True), "learn_one")


def test_weights_of_examples_and_classes():
    weighted = LinearClassifier(lr=0.1, class_weight={0: 3.0, 1: 1.0})
    expected = LinearClassifier(lr=0.1)
    for x, y in zip(X, Y, strict=True):
        weighted.learn_one(x, y, sample_weight=2.0)
        expected.learn_one(x, y, sample_weight=2.0 if y else 6.0)
    assert state_of(weighted) == state_of(expected)
    before = state_of(weighted)
    weighted.learn_one(X[0], 0, sample_weight=0.0)
    assert state_of(weighted) == before


# All or nothing


@pytest.mark.parametrize("lr", ["auto", 0.1])
@pytest.mark.parametrize("failure", [DivergedError("x"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_an_error_leaves_the_bits_unchanged(monkeypatch, lr, failure):
    """Wherever it is raised: here after the table has changed, and after the mixture has."""
    model, twin = (one_by_one(LinearClassifier(lr=lr), X, Y) for _ in range(2))
    for place in ("take_one", "take"):
        before, original = state_of(model), getattr(Mixture, place)

        def fails(self, *given, original=original):
            original(self, *given)
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(Mixture, place, fails)
            with pytest.raises(type(failure)):
                model.learn_one(X[0], 1) if place == "take_one" else model.partial_fit(X[:3], Y[:3])
        assert state_of(model) == before
    assert state_of(one_by_one(model, X[:3], Y[:3])) == state_of(one_by_one(twin, X[:3], Y[:3]))


@pytest.mark.parametrize(
    "x, y, message",
    [
        ({"a": float("inf")}, 1, "expected finite numbers"),
        ({"new": 1e39, "a": 1}, 1, "expected finite numbers"),
        ({"new": 1.0}, "no", "y: found class 'no'"),
        ("|new :3", 1, "expected NAME:VALUE"),
        (np.zeros(3), 1, "found a row of 3 features, expected 2"),
        (np.zeros((2, 2)), 1, "expected one row"),
        (np.array([np.nan, 1.0]), 1, "found nan for 'a'"),
        (sparse.csr_matrix(([1.0], [5], [0, 1]), shape=(1, 9)), 1, "found a row of 9 features"),
        ({"new": 1.0}, [1], "y: found class"),
    ],
)
def test_what_cannot_be_used_changes_nothing(x, y, message):
    model = LinearClassifier(lr=0.1).learn_one({"a": 1.0, "b": 2.0}, 1)
    before, names = state_of(model), dict(model.vocabulary_)
    with pytest.raises(ValueError, match=message):
        model.learn_one(x, y)
    assert state_of(model) == before
    assert model.vocabulary_ == names


def test_new_names_are_forgotten_after_an_error(monkeypatch):
    model = LinearClassifier(lr=0.1).learn_one({"a": 1.0}, 1)
    twin = pickle.loads(pickle.dumps(model))
    with monkeypatch.context() as patch:
        patch.setattr(Mixture, "take_one", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.learn_one({"b": 1.0}, 0)
    assert model.vocabulary_ == {"a": 0}
    assert model.n_features_in_ == 1
    for each in (model, twin):
        each.learn_one({"c": 1.0, "b": 2.0}, 0)
    assert_identical(model.coef_, twin.coef_)


def test_parameters_are_those_it_began_with():
    model = LinearClassifier(lr=0.1).learn_one(X[0], 1)
    with pytest.raises(ValueError, match="but the model was trained with"):
        model.set_params(lr=0.2).learn_one(X[0], 1)
    model.set_params(lr=0.1).learn_one(X[0], 1)
    with pytest.raises(ValueError, match="loss: found 'squared'"):
        LinearClassifier("squared").learn_one(X[0], 1)


# Threads


@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_predictions_are_those_between_two_examples(lr):
    """Each of those that other threads get meanwhile."""
    x, twin = X[0], one_by_one(LinearClassifier(lr=lr), X[:1], Y[:1])
    model = pickle.loads(pickle.dumps(twin))
    valid = {twin.predict_proba_one(x)[1]} | {
        twin.learn_one(row, y).predict_proba_one(x)[1] for row, y in zip(X, Y, strict=True)
    }
    begin, found = threading.Barrier(4), []

    def predict():
        begin.wait()
        found.extend(model.predict_proba_one(x)[1] for _ in range(2 * ROWS))

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    begin.wait()
    one_by_one(model, X, Y)
    for thread in threads:
        thread.join()
    assert len(found) == 6 * ROWS
    assert valid.issuperset(found)


def test_a_prediction_waits_for_an_example(monkeypatch):
    """The table has changed, but the weights of the rates have not: no model is in between."""
    model = one_by_one(LinearClassifier(), X, Y)
    after = pickle.loads(pickle.dumps(model)).learn_one(X[1], 0).predict_proba_one(X[1])
    original, begun, found = Mixture.take_one, threading.Event(), []

    def predict():
        begun.set()
        found.append(model.predict_proba_one(X[1]))

    thread = threading.Thread(target=predict)

    def in_between(self, *given):
        thread.start()
        begun.wait()
        assert model._learner.guard.lock.locked()
        original(self, *given)

    monkeypatch.setattr(Mixture, "take_one", in_between)
    model.learn_one(X[1], 0)
    thread.join()
    assert found == [after]


def test_engines_agree():
    """The reference learns one example as the compiled one does."""
    learners = [Learner(Settings(lr=0.1, engine=engine), FEATURES) for engine in ("cpu", "reference")]
    for x, y in itertools.islice(zip(X, Y, strict=True), 10):
        ids = np.flatnonzero(x)
        for learner in learners:
            online.learn_one(learner, ids, x[ids].astype(np.float64), float(y), 1.0, FEATURES)
    whole = Learner(Settings(lr=0.1), FEATURES)
    indptr = np.append(0, np.cumsum(np.count_nonzero(X[:10], axis=1)))
    ids = np.nonzero(X[:10])[1]
    whole.learn(Examples(indptr, ids, X[:10][X[:10] != 0].astype(np.float64), Y[:10].astype(float), np.ones(10)))
    for learner in learners:
        for name, array in whole.state()[0].items():
            assert_identical(learner.state()[0][name], array, name)


@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_names_that_come_one_by_one(lr):
    """The table grows under calls that are laid out, sometimes to other memory: the bits are those of all at once."""
    rng = np.random.default_rng(0)
    rows = [{f"w{j}": float(rng.normal()) for j in rng.integers(0, 3 + k, 4)} for k in range(120)]
    found = LinearClassifier(lr=lr)
    for k, row in enumerate(rows):
        found.learn_one(row, k % 2 == 0)
    whole = Learner(found._learner.settings, missing=True)
    whole.learn(examples_of(rows, found.vocabulary_))
    assert found._learner.features == whole.features
    arrays = found._learner.state()[0] | {"bank.last": whole.bank.last}  # where rows began to wait, which none do
    assert [name for name, array in whole.state()[0].items() if arrays[name].tobytes() != array.tobytes()] == []


def examples_of(rows: list[dict], columns: dict) -> Examples:
    entries = [sorted((columns[name], value) for name, value in row.items()) for row in rows]
    ids, values = (np.array([entry[k] for own in entries for entry in own]) for k in (0, 1))
    targets = np.array([float(k % 2 == 0) for k in range(len(rows))])
    return Examples(np.append(0, np.cumsum([*map(len, entries)])), ids, values, targets, np.ones(len(rows)))
