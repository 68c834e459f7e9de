"""What users give estimators besides arrays of float64: the same model, or one sentence, never other numbers."""

import numpy as np
import pytest
from scipy import sparse

from surefoot.learn import LinearClassifier, LinearRegressor

RNG = np.random.default_rng(0)
X = np.where(abs(values := RNG.normal(size=(60, 4))) > 0.7, values.round(2), 0.0)
Y = (values[:, 0] + values[:, 1] > 0).astype(int)


def fitted(inputs, y=Y):
    return LinearClassifier(random_state=0).fit(inputs, y)


def rebuilt(of_row, times=1):
    """X as CSR whose rows' entries are `of_row` of the canonical ones."""
    canonical = sparse.csr_matrix(X)
    rows = [slice(*canonical.indptr[k : k + 2]) for k in range(len(X))]
    indices = np.concatenate([of_row(canonical.indices[row], False) for row in rows])
    data = np.concatenate([of_row(canonical.data[row], True) for row in rows])
    return sparse.csr_matrix((data, indices, canonical.indptr * times), shape=X.shape)


def read_only(inputs):
    for array in (inputs.data, inputs.indices, inputs.indptr) if sparse.issparse(inputs) else (inputs,):
        array.setflags(write=False)
    return inputs


SAME = {
    "Fortran order": lambda: np.asfortranarray(X),
    "big-endian": lambda: X.astype(">f8"),
    "read-only": lambda: read_only(X.copy()),
    "objects": lambda: X.astype(object),
    "digits": lambda: X.astype(str).astype(object),
    "lists": lambda: X.tolist(),
    "long doubles": lambda: X.astype(np.longdouble),
    "a mask of nothing": lambda: np.ma.masked_array(X, np.zeros(X.shape, bool)),
    "every second row of twice as many": lambda: np.repeat(X, 2, axis=0)[::2],
    "read-only CSR": lambda: read_only(sparse.csr_matrix(X)),
    "explicit zeros": lambda: sparse.csr_matrix((X.ravel(), np.tile(np.arange(4), 60), np.arange(0, 241, 4)), X.shape),
    "indices that fall": lambda: rebuilt(lambda part, is_value: part[::-1]),
    "duplicates": lambda: rebuilt(lambda part, is_value: np.tile(part / 2 if is_value else part, 2), times=2),
    "COO": lambda: sparse.coo_matrix(X),
    "64-bit indices": lambda: sparse.csr_array(
        (*(part if k == 0 else part.astype(np.int64) for k, part in enumerate(parts_of(sparse.csr_array(X)))),), X.shape
    ),
}


def parts_of(matrix):
    return matrix.data, matrix.indices, matrix.indptr


@pytest.mark.parametrize("how", SAME)
def test_the_same_numbers_are_the_same_model(how):
    found, expected = fitted(SAME[how]()), fitted(sparse.csr_matrix(X) if sparse.issparse(SAME[how]()) else X)
    assert (found.coef_ if not sparse.issparse(found.coef_) else found.coef_.toarray()).tobytes() == (
        expected.coef_ if not sparse.issparse(expected.coef_) else expected.coef_.toarray()
    ).tobytes()
    np.testing.assert_allclose(found.decision_function(SAME[how]()), expected.decision_function(X), rtol=0, atol=1e-12)


MASKED = np.ma.masked_array(X, X > 1)
WRONG = {
    "a masked X": (lambda: fitted(MASKED), r"^X: found a masked array, expected no missing values; give X\.filled"),
    "a masked y": (lambda: fitted(X, np.ma.masked_array(Y, Y > 0)), "^y: found a masked array"),
    "masked weights": (
        lambda: LinearClassifier().fit(X, Y, sample_weight=np.ma.masked_array(np.ones(60), Y > 0)),
        "^sample_weight: found a masked array",
    ),
    "a masked X to predict": (lambda: fitted(X).predict(MASKED), "^X: found a masked array"),
    "labels of two types": (
        lambda: fitted(X, np.array([1 if label else "a" for label in Y], object)),
        "^y: found labels of the types int, str, expected labels of one type, and none missing$",
    ),
    "labels that are missing": (
        lambda: fitted(X, np.where(Y, None, "a")),
        "^y: found labels of the types NoneType, str, expected labels of one type",
    ),
    "a later label that is missing": (
        lambda: LinearClassifier().partial_fit(X, Y, classes=[0, 1]).partial_fit(X, np.where(Y, None, 1)),
        "^y: found labels of the types NoneType, int|NaN",
    ),
    "words as numbers": (
        lambda: LinearRegressor().fit(X, np.where(Y, "a", "1")),
        "^y: found .*, an array of <U1; expected numbers$",
    ),
    "decimal commas as numbers": (
        lambda: LinearRegressor().fit(X, np.array(["0,5"] * 60)),
        "^y: found .*'0,5'.*, an array of <U3; expected numbers$",
    ),
    "times as numbers": (
        lambda: LinearRegressor().fit(X, Y.astype("M8[s]")),
        r"^y: found .*, an array of datetime64\[s\]; expected numbers$",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_cannot_be_used_is_named(how):
    use, words = WRONG[how]
    with pytest.raises(ValueError, match=words) as error:
        use()
    assert "\n" not in str(error.value)


def test_digits_and_truth_values_are_numbers_to_regress():
    expected = LinearRegressor(random_state=0).fit(X, Y.astype(float)).coef_
    for y in (Y, Y == 1, Y.astype(str), Y.astype(object), Y.tolist()):
        assert LinearRegressor(random_state=0).fit(X, y).coef_.tobytes() == expected.tobytes()
