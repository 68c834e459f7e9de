"""Values of any type for one example: right, or one sentence that names what was given; then nothing has changed."""

import copy
from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from surefoot.data.reading import ReadOptions
from surefoot.learn import LinearClassifier, LinearRegressor, online
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.target_scale import LEAST_SPREAD
from surefoot.learn.training import Training

torch = pytest.importorskip("torch")

ROWS = [({"a": k % 7, "b": "uvw"[k % 3]}, k % 2) for k in range(40)]
LINES = {
    "csv": lambda x, y: f"{y},{x['a']},{x['b']}\n",
    "vw": lambda x, y: f"{2 * y - 1} | a:{x['a']} b={x['b']}\n",
    "svm": lambda x, y: f"{2 * y - 1} 1:{x['a']} 2:{len(x['b'])}\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Model files with the state of their training, by format."""
    folder = tmp_path_factory.mktemp("models")
    for ending, line in LINES.items():
        text = ("y,a,b\n" if ending == "csv" else "") + "".join(line(x, y) for x, y in ROWS)
        (folder / f"rows.{ending}").write_text(text)
        reading = ReadOptions(target="y") if ending == "csv" else ReadOptions()
        method = Method(lr=0.1, engine="reference")
        plan = Plan((str(folder / f"rows.{ending}"),), reading, method=method, save_resume=True)
        Training(plan).run().model.save(folder / ending)
    return folder


def estimator(kind):
    found = kind(lr=0.1)
    for x, y in ROWS:
        found.learn_one(x, y)
    return found


MODELS = {
    "classifier": lambda files: estimator(LinearClassifier),
    "regressor": lambda files: estimator(LinearRegressor),
    **{ending: lambda files, ending=ending: Model.load(files / ending) for ending in LINES},
}
NAMES = {"svm": 1}
"""What the feature `a` is called, where it has another name."""

NUMBERS = {
    "decimal": Decimal("2.5"),
    "fraction": Fraction(5, 2),
    "float32": np.float32(2.5),
    "float16": np.float16(2.5),
    "longdouble": np.longdouble(2.5),
    "array": np.array(2.5),
    "tensor": torch.tensor(2.5),
    "tensor with gradient": torch.tensor(2.5, requires_grad=True),
}
"""All of them 2.5."""
REJECTED = {
    "list": [1, 2],
    "tuple": (1,),
    "dict": {},
    "set": {1},
    "complex": 1 + 2j,
    "real complex": 1 + 0j,
    "array": np.array([2.5]),
    "tensor": torch.tensor([[2.5, 1.0]]),
    "complex tensor": torch.tensor(1j),
    "bytes that are not text": b"\xff",
    "bytearray": bytearray(b"x"),
    "object": object(),
    "function": len,
    "10**400": 10**400,
    "-10**400": -(10**400),
    "10**5000": 10**5000,
    "huge fraction": Fraction(10**400),
    "huge decimal": Decimal("1e400"),
    "infinity": float("inf"),
    "decimal infinity": Decimal("-Infinity"),
    "1e39": 1e39,
    "1e308": np.float64(1e308),
}


def predicted(model, x):
    return model.predict_one(x) if isinstance(model, LinearRegressor) else model.predict_proba_one(x)


def state(model):
    """All that a model predicts from, and learns on from."""
    learner = model._learner if hasattr(model, "_learner") else model._one_by_one.learner
    own = [] if learner is None else [online.scores(learner, np.array([0, 1]), np.array([1]), np.ones(1)).tolist()]
    arrays, numbers = ({}, {}) if learner is None else copy.deepcopy(learner.state())
    return own, {name: array.tobytes() for name, array in arrays.items()}, numbers, getattr(model, "vocabulary_", None)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_any_type_are_numbers(name, files):
    model, key = MODELS[name](files), NAMES.get(name, "a")
    for kind, value in NUMBERS.items():
        assert predicted(model, {key: value}) == predicted(model, {key: 2.5}), kind
        one, other = copy.deepcopy(model), copy.deepcopy(model)
        one.learn_one({key: value}, 1)
        other.learn_one({key: 2.5}, 1)
        assert state(one) == state(other), kind


@pytest.mark.parametrize("name", MODELS)
def test_values_that_cannot_be_used_are_named_and_change_nothing(name, files):
    model, key = MODELS[name](files), NAMES.get(name, "a")
    before = state(model)
    called = "feature 1|for 1," if name == "svm" else "'a'"
    for value in REJECTED.values():
        for call in (lambda x: predicted(model, x), lambda x: model.learn_one(x, 1)):
            with pytest.raises(ValueError, match=rf"^[^\n]*found [^\n]*({called})[^\n]*expected [^\n]*$"):
                call({key: value})
    assert state(model) == before


@pytest.mark.parametrize("name", [name for name in MODELS if name != "svm"])
@pytest.mark.parametrize(
    "value, text", [(b"u", "u"), (np.str_("u"), "u"), (date(2020, 1, 2), "2020-01-02"), (None, ""), (np.nan, "")]
)
def test_text_of_any_type_is_text(name, value, text, files):
    model = MODELS[name](files)
    assert predicted(model, {"a": 1, "b": value}) == predicted(model, {"a": 1, "b": text})


@pytest.mark.parametrize("value", ["text", None, True, float("nan")])
def test_features_with_numbers_alone_have_numbers_alone(value, files):
    model = Model.load(files / "svm")
    for call in (model.predict_one, lambda x: model.learn_one(x, 1)):
        with pytest.raises(ValueError, match=rf"^x: found {value!r} for feature 1, expected a number$"):
            call({1: value})


@pytest.mark.parametrize("name", ["csv", "vw"])
def test_features_with_names_are_not_a_row_of_numbers(name, files):
    with pytest.raises(ValueError, match=r"^x: found \[1.0, 2.0\], expected a dict"):
        Model.load(files / name).predict_one([1.0, 2.0])


@pytest.mark.parametrize("x", [["a"], [10**400], [1j], [None, "a"], [[1], [1, 2]], object(), {1, 2}, b"ab"])
def test_rows_of_something_else_are_rejected(x):
    model = LinearClassifier(lr=0.1).partial_fit(np.eye(2), [0, 1], classes=[0, 1])
    for call in (model.predict_one, lambda x: model.learn_one(x, 1)):
        with pytest.raises(ValueError, match=r"^x: found [^\n]*, expected numbers, or a dict \{column: value\}$"):
            call(x)


WRONG = [
    None,
    "a",
    [1],
    1j,
    float("nan"),
    float("inf"),
    10**400,
    -1,
    Decimal("NaN"),
    object(),
    {},
    np.array([1.0, 2.0]),
]


@pytest.mark.parametrize("name", MODELS)
def test_wrong_weights_and_labels_are_named(name, files):
    model, x = MODELS[name](files), {NAMES.get(name, "a"): 1.0}
    before, weight = state(model), "weight" if isinstance(model, Model) else "sample_weight"
    for wrong in WRONG:
        with pytest.raises(ValueError, match=rf"^{weight}: found [^\n]*, expected a finite number of at least 0$"):
            model.learn_one(x, 1, **{weight: wrong})
        if isinstance(wrong, int) and wrong == -1 and name in ("regressor", "vw", "svm"):
            continue
        with pytest.raises(ValueError, match=r"^y: found [^\n]*, expected [^\n]*$"):
            model.learn_one(x, wrong)
    assert state(model) == before


def test_a_model_predicts_as_before_when_learning_failed(files):
    """The same bits: not those of the learner, whose numbers are mixed in another order."""
    for ending in LINES:
        model, x = Model.load(files / ending), {NAMES.get(ending, "a"): 1.5}
        before = model.predict_proba_one(x)
        with pytest.raises(ValueError, match="found inf for "):
            model.learn_one(x | {NAMES.get(ending, "a"): np.inf}, 1)
        assert model.predict_proba_one(x) == before
        model.learn_one(x, 1)
        assert model.predict_proba_one(x) != before


@pytest.mark.parametrize("loss", ["squared", "huber", "quantile", "epsilon_insensitive", "poisson"])
@pytest.mark.parametrize("huge", [1e300, 1e39, 1e154])
def test_targets_that_are_too_large_are_named(loss, huge):
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20.0)
    y[7] = huge
    for l1 in (0.0, 0.1):
        model = LinearRegressor(loss=loss, lr=0.1, l1=l1)
        for learn in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match=r"^y: found .*, expected a finite number of at most 3\.403e\+38$"):
                learn(X, y)
        with pytest.raises(ValueError, match=r"^y: found "):
            model.learn_one(X[0], huge)


@pytest.mark.parametrize("loss", ["squared", "huber", "quantile"])
@pytest.mark.parametrize("tiny", [1e-100, 1e-140, 1e-160, 1e-300, 5e-324])
def test_targets_may_be_as_small_as_numbers_are(loss, tiny):
    """Penalties, which are those of weights as they are in the data, may then be all that counts."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = tiny * np.arange(20.0)
    for l1, l2 in ((0.0, 0.0), (0.1, 0.1)):
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            found = LinearRegressor(loss=loss, l1=l1, l2=l2, lr=0.1, epochs=1).fit(X, y).predict(X)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= max(100 * tiny, LEAST_SPREAD)
