"""Values of losses in every form that slopes are written in, and in NumPy: of arrays, in every interface.

Each is the hinge loss, the logistic loss or another one of the library, so that its numbers are known.
"""

import dataclasses
import math

import numpy as np
import pytest
from support.numerics import assert_close

import surefoot
from surefoot import losses, ops
from surefoot.data import Dataset
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training
from surefoot.losses import Loss, LossError
from surefoot.ops import where

PREDICTIONS = np.array([[-2.5, -1.0, 0.0], [0.3, 1.0, 40.0]])
TWO = 2.0
"""A value, though not a slope, may use names of its module."""


def margin(p, y):
    """As may a function of its module."""
    return ops.where(y > 0.0, p, -p)


def by_where(p, y):
    z = 2.0 * y - 1.0
    return ops.where(z * p < 1.0, 1.0 - z * p, 0.0)


def by_comparison(p, y):
    return (margin(p, y) < 1.0) * (1.0 - margin(p, y))


def by_name(p, y):
    return where(margin(p, y) < 1.0, 1.0 - margin(p, y), 0.0)


def by_maximum(p, y):
    z = TWO * y - 1.0
    loss = ops.maximum(1.0 - z * p, 0.0)
    return loss


def by_both(p, y):
    return np.maximum(1.0 - ops.where(y > 0.0, p, -p), 0.0)


def by_size(p, y):
    z = 2.0 * y - 1.0
    return 0.5 * (ops.abs(1.0 - z * p) + (1.0 - z * p))


def by_root(p, y):
    z = 2.0 * y - 1.0
    return 0.5 * (ops.sqrt((1.0 - z * p) ** 2) + 1.0 - z * p)


def by_logarithm(p, y):
    z = ops.exp(-ops.abs(p))
    return ops.log(1.0 + z) + ops.maximum(p, 0.0) - y * p


def by_operator(p, y):
    return 0.5 * (p - y) ** 2


def by_power(p, y):
    return ops.power(p - y, 2) / 2


def by_parts(p, y, delta):
    size = ops.abs(p - y)
    inside = (size <= delta) & (size > -1.0)
    return ops.where(inside, 0.5 * size**2, delta * (size - 0.5 * delta))


def by_parameter(p, y, delta):
    """A branch on the loss's own number, which is one number, is possible."""
    size = ops.minimum(ops.abs(p - y), delta if delta > 0.0 else 0.0)
    return size * (ops.abs(p - y) - 0.5 * size)


FORMS = {
    "hinge": (by_where, by_comparison, by_name, by_maximum, by_both, by_size, by_root, lambda p, y: by_where(p, y)),
    "logistic": (by_logarithm,),
    "squared": (by_operator, by_power),
    "huber": (by_parts, by_parameter),
}
EACH = pytest.mark.parametrize(
    "base, value", [pytest.param(base, v, id=v.__name__) for base, values in FORMS.items() for v in values]
)


SHOWN = pytest.mark.parametrize(
    "base, value",
    [
        pytest.param("hinge", by_comparison, id="class"),
        pytest.param("huber", by_parts, id="number", marks=pytest.mark.slow),
    ],
)
"""Interfaces call the values of all forms in the same way, and kernels are compiled for each custom loss."""


def made(base: str, value) -> Loss:
    """The library's loss with this value, whose derivative its slope is checked to be."""
    return dataclasses.replace(losses.get(base), value=value)


def table(base: str):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=60)
    return X, (y > 0).astype(int) if losses.get(base).target == "class" else y


@EACH
def test_values(base, value):
    """Of numbers, and of arrays with any number of dimensions."""
    loss, known = made(base, value), losses.get(base)
    own = known.settings()
    for y in (0.0, 1.0):
        for p in (PREDICTIONS, PREDICTIONS[0], PREDICTIONS[:, :, None], 0.3):
            found = loss.values(p, np.full(np.shape(p), y), own)
            assert found.shape == np.shape(p)
            assert found.dtype == np.float64
            assert_close(found, known.values(p, np.full(np.shape(p), y), own), "float64")


@SHOWN
def test_estimators(base, value):
    X, y = table(base)
    kind = surefoot.LinearClassifier if losses.get(base).target == "class" else surefoot.LinearRegressor
    settings = {"lr": 0.1, "epochs": 2, "tol": None, "random_state": 0}
    ours, theirs = (kind(loss, **settings).fit(X, y) for loss in (made(base, value), base))
    assert_close(ours.history_["progressive_loss"], theirs.history_["progressive_loss"], "float64")
    assert_close(ours.coef_, theirs.coef_, "float64")


@SHOWN
def test_train(base, value, tmp_path):
    X, y = table(base)
    lines = [f"{t} " + " ".join(f"{j}:{v}" for j, v in enumerate(x, 1)) for x, t in zip(X, y, strict=True)]
    (tmp_path / "rows.svm").write_text("\n".join(lines), encoding="utf-8")
    files = (str(tmp_path / "rows.svm"),)
    ours, theirs = (
        Training(Plan(files, loss=loss, test=files, method=Method(lr=0.1))).run() for loss in (made(base, value), base)
    )
    assert_close(ours.model.weights, theirs.model.weights, "float64")
    assert_close(ours.test.loss, theirs.test.loss, "float64")


@SHOWN
def test_compare(base, value):
    X, y = (part.astype(np.float32) for part in table(base))
    data = Dataset("table", X, y, "classification" if losses.get(base).target == "class" else "regression")
    ours, theirs = (
        surefoot.compare(data, loss=loss, rules="adagrad", lr=0.1, epochs=2, seeds=1).table()
        for loss in (made(base, value), base)
    )
    assert_close(ours[0]["test_loss"], theirs[0]["test_loss"], "float64")


@pytest.mark.slow  # a kernel for this loss alone
def test_a_slope_with_a_whole_power():
    """ops.power with a literal: accepted, and with the same bits in both engines."""
    fourth = Loss(cube, lambda p, y: 0.25 * (p - y) ** 4, target="number", name="fourth")
    X, y = table("squared")
    data = Dataset("table", X.astype(np.float32), y.astype(np.float32), "regression")
    how = {"loss": fourth, "rules": "sgd", "lr": 0.01, "epochs": 1, "seeds": 1}
    found = [surefoot.compare(data, engine=engine, **how).table()[0]["test_loss"] for engine in ("cpu", "reference")]
    assert found[0] == found[1]


def cube(prediction, y):
    return ops.power(prediction - y, 3)


# What is rejected, when the loss is defined and in one sentence


@pytest.mark.parametrize(
    "value, message",
    [
        (lambda p, y: p - y if p > y else y - p, "branches on a value; use ops.where"),
        (lambda p, y: (p > y and p - y) or y - p, "branches on a value; use ops.where"),
        (lambda p, y: max(p - y, y - p), "branches on a value; use ops.where"),
        (lambda p, y: math.fabs(p - y), "uses a function of single numbers, such as those of math; use ops or NumPy"),
        (lambda p, y: ops.tanh(p - y), "module 'surefoot.ops' has no attribute 'tanh'"),
        (lambda p, y: np.sum(p - y), "it has the shape () for 57 predictions; expected one number each"),
    ],
)
def test_a_value_that_arrays_cannot_take_is_rejected(value, message):
    with pytest.raises(LossError) as caught:
        Loss(losses.get("squared").slope, value, target="number", name="mine")
    assert str(caught.value) == f"mine: a trial of the value failed: {message}"
