"""What holds for every Dataset, and which data are rejected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from surefoot.data import DataError, Dataset, split
from surefoot.data.dataset import targets

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.arange(6, dtype=np.float32)
LABELS = np.array([0, 1, 0, 1, 0, 1], np.float32)
SOME = np.array([0, 1], np.int64)
NAN = X.copy()
NAN[4, 0] = np.nan


def bad_csr(**changes):
    arrays = {"data": X[0], "indices": np.array([0, 1], np.int32), "indptr": np.array([0, 2, 2, 2, 2, 2], np.int32)}
    arrays |= changes
    matrix = csr_array((5, 2), dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = (arrays[name] for name in ("data", "indices", "indptr"))
    return matrix


@pytest.mark.parametrize(
    "said, change",
    [
        ("X has dtype int64, expected float32", {"X": X.astype(int)}),
        ("X has dtype list", {"X": [[1.0, 2.0]] * 6}),
        ("X has shape \\(12,\\)", {"X": X.ravel()}),
        ("found 1 example\\(s\\), expected at least 5", {"X": X[:1]}),
        ("ever different from 0", {"X": X * 0}),
        ("ever different from 0", {"X": X[:, :0]}),
        ("not C-contiguous", {"X": np.asfortranarray(X)}),
        ("feature 0 of example 4 .* is nan", {"X": NAN}),
        ("feature 0 of example 4 .* is nan", {"X": csr_array(NAN)}),
        ("is coo_array", {"X": coo_array(X)}),
        ("not a valid CSR matrix", {"X": bad_csr(indices=np.array([0, 7], np.int32))}),
        ("not a valid CSR matrix", {"X": bad_csr(indptr=np.array([0, 2, 1, 2, 2, 2], np.int32))}),
        ("unsorted or repeated", {"X": bad_csr(indices=np.array([1, 1], np.int32))}),
        ("unsorted or repeated", {"X": bad_csr(indices=np.array([1, 0], np.int32))}),
        ("indices of dtype int16", {"X": bad_csr(indices=np.array([0, 1], np.int16))}),
        ("3 feature names for 2 features", {"feature_names": ("a", "b", "c")}),
        ("task 'ranking', expected one of classification, regression", {"task": "ranking"}),
        ("y has shape \\(5,\\), expected \\(6,\\)", {"y": Y[:5]}),
        ("y has dtype float64 but X float32", {"y": Y.astype(float)}),
        ("target of example 2 .* is inf", {"y": np.where(Y == 2, np.inf, Y).astype(np.float32)}),
        ("target is constant \\(always 3", {"y": np.full(6, 3, np.float32)}),
        ("found class 2, but only the two classes 0 and 1", {"task": "classification"}),
        ("test is int64 of shape \\(0,\\)", {"train": SOME}),
        ("train is float64", {"train": SOME / 1, "test": SOME + 2}),
        ("test names an example outside 0 to 5", {"train": SOME, "test": SOME + 5}),
        ("train names an example outside 0 to 5", {"train": SOME - 1, "test": SOME + 1}),
        ("example 1 is in both train and test", {"train": SOME, "test": SOME + 1}),
        ("target is constant", {"y": LABELS, "train": np.array([0, 2]), "test": SOME + 3}),
    ],
)
def test_data_that_do_not_fit_are_rejected(said, change):
    with pytest.raises(DataError, match=f"^toy: .*{said}"):
        Dataset(**{"name": "toy", "X": X, "y": Y, "task": "regression"} | change)


@pytest.mark.parametrize("wrap", [np.ascontiguousarray, csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_facts_of_a_data_set(wrap, dtype):
    dense = np.zeros((10, 3), dtype)
    dense[:, 0], dense[3, 2] = 1, 5
    data = Dataset("facts", wrap(dense), np.arange(10, dtype=dtype), "regression")
    assert (data.n_examples, data.n_features, data.density) == (10, 3, 11 / 30)
    assert data.counts().tolist() == [8, 0, int(3 in data.train)]
    assert data.counts().dtype == np.int64
    part, target = data.part(data.test)
    np.testing.assert_array_equal(part.toarray() if data.is_sparse else part, dense[data.test])
    np.testing.assert_array_equal(target, data.test)
    assert part.dtype == target.dtype == dtype


def test_stored_zeros_are_not_counted():
    stored = csr_array(np.ones((5, 2), np.float32))
    stored.data[::2] = 0
    data = Dataset("zeros", stored, Y[:5], "regression")
    assert data.density == 0.5
    assert data.counts().tolist() == [0, 4]


def test_a_human_readable_line():
    described = Dataset(
        "mail", csr_array(X), LABELS, "classification", classes=("ham", "spam"), noun="words"
    ).describe()
    assert described == (
        "mail: 6 examples (1 held out), 2 words, 1.83 nonzeros each; classes ham / spam (50.0% are spam)"
    )


@given(st.integers(5, 200), st.data())
def test_split_holds_out_a_fifth_of_each_class(rows, data):
    positive = data.draw(st.integers(1, rows - 1))
    y = np.zeros(rows, np.float32)
    y[data.draw(st.permutations(range(rows)))[:positive]] = 1
    train, test = split(y, "classification")
    assert sorted([*train, *test]) == list(range(rows))
    assert train.dtype == test.dtype == np.int64
    assert len(test) == rows // 5
    assert set(y[train]) == {0, 1}
    assert abs(y[test].sum() - positive / 5) <= 1


def test_split_is_fixed_and_seeded():
    first, again, other = (split(np.arange(50.0), "regression", seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 10


@pytest.mark.parametrize(
    "labels, classes",
    [
        ([-1.0, 1.0], ("-1", "1")),
        ([0, 1], ("0", "1")),
        ([2, 1], ("1", "2")),
        ([0.5, 1.25], ("0.5", "1.25")),
        (["spam", "ham"], ("ham", "spam")),
        ([True, False], ("False", "True")),
    ],
)
def test_two_distinct_labels_are_classes_in_ascending_order(labels, classes):
    y, task, found = targets(np.array(labels * 3), None, "toy")
    assert (task, found) == ("classification", classes)
    assert y.tolist() == [float(label == max(labels)) for label in labels * 3]


def test_more_labels_are_numbers_and_the_task_can_be_set():
    y, task, classes = targets(np.array([1, 2, 3]), None, "toy")
    assert (y.tolist(), task, classes) == ([1, 2, 3], "regression", None)
    y, task, classes = targets(np.array([1, 2, 1]), "regression", "toy")
    assert (y.tolist(), task, classes) == ([1, 2, 1], "regression", None)


@pytest.mark.parametrize(
    "said, labels, task",
    [
        ("found 3 classes \\(1, 2, 3\\), but only two are supported: .*'regression'", [1, 2, 3], "classification"),
        ("found 5 classes \\(a, b, c, d, …\\), but only two are supported", list("abcde"), None),
        ("'regression' needs numbers as targets, found words such as 'a'", list("ab"), "regression"),
        ("constant \\(always 7\\)", [7.0, 7.0], None),
        ("example 1 .* is nan", [7.0, np.nan, 7.0], None),
        ("dtype complex128", [1j, 2], None),
    ],
)
def test_labels_that_are_not_a_target(said, labels, task):
    with pytest.raises(DataError, match=f"^toy: .*{said}"):
        targets(np.array(labels), task, "toy")
