"""A custom loss, defined in this file: a slope and a value, and it works in every interface.

What a change of this kind touches: for a custom loss only the file that defines it; for one of the library
`src/surefoot/losses/NAME.py`, its line in `losses/__init__.py`, and the changelog.
"""

import json
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from support.numerics import assert_identical

import surefoot
from surefoot import losses
from surefoot.cli import run
from surefoot.data import DataError
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Interrupted, Training
from surefoot.losses import LossError

LOSSES = """
import numpy as np

from surefoot import ops
from surefoot.losses import Metric, Parameter, loss, positive


def value(p, y, tau):
    return tau * np.logaddexp(0.0, -2.0 * (p - y) / tau) + (p - y) - tau * np.log(2.0)

@loss(
    value=value,
    target="number",
    parameter=Parameter("tau", positive(1.0, "width of the rounded kink"), scales=True),
    center="median",
    metric=Metric("log-cosh loss"),
)
def log_cosh(prediction, y, tau):
    z = ops.exp(-2.0 * ops.abs(prediction - y) / tau)
    return ops.where(prediction >= y, 1.0, -1.0) * (1.0 - z) / (1.0 + z)


def boosting(p, y):
    return ops.exp((1.0 - 2.0 * y) * p)

@loss(value=boosting, target="class", probability=lambda p: 1.0 / (1.0 + np.exp(-2.0 * p)))
def exponential(prediction, y):
    "The loss of boosting."
    sign = 2.0 * y - 1.0
    return -sign * ops.exp(-sign * prediction)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The present folder, with the losses and a table of numbers and one of classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(LOSSES, encoding="utf-8")
    for name, y in (("numbers.svm", numbers()[1]), ("classes.svm", 2 * classes()[1] - 1)):
        rows = zip(y, numbers()[0], strict=True)
        lines = [f"{t:.6f} " + " ".join(f"{j}:{v:.6f}" for j, v in enumerate(x, 1)) for t, x in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    return X, X @ [1.0, -2.0, 0.5] + 3.0 + 0.1 * rng.standard_t(2, size=200)


def classes():
    X, y = numbers()
    return X, (y > 3.0).astype(int)


def printed(capsys, *arguments, status: int = 0) -> str:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == status
    out, err = capsys.readouterr()
    return err if status else out


def regressor(**changes):
    return surefoot.LinearRegressor("own.py:log_cosh", lr=0.5, epochs=10, random_state=0, tol=None, **changes)


# The estimators


def test_a_regression(folder):
    X, y = numbers()
    model = regressor().fit(X, y)
    np.testing.assert_allclose(model.coef_, [1.0, -2.0, 0.5], atol=0.1)
    record = surefoot.LinearRegressor(losses.resolve("own.py:log_cosh"), lr=0.5, epochs=10, random_state=0, tol=None)
    assert_identical(record.fit(X, y).coef_, model.coef_)


def test_its_parameter_has_the_unit_of_the_targets(folder):
    X, y = numbers()
    small = regressor(loss_parameter=0.2).fit(X, y)
    large = regressor(loss_parameter=200.0).fit(X, 1000.0 * y)
    np.testing.assert_allclose(large.predict(X), 1000.0 * small.predict(X), rtol=1e-4, atol=1.0)
    assert large.history_["progressive_loss"] == pytest.approx(
        [1000 * v for v in small.history_["progressive_loss"]], rel=1e-4
    )
    with pytest.raises(LossError, match=r"log_cosh: tau must lie in \(0, inf\), got -1"):
        regressor(loss_parameter=-1).fit(X, y)


@pytest.mark.slow
def test_learning_rates_are_found(folder):
    """lr="auto" mixes models by this loss too."""
    X, y = numbers()
    model = surefoot.LinearRegressor("own.py:log_cosh", shuffle=False, epochs=1).fit(X[:60], y[:60])
    assert model._learner.mixture.total <= model._learner.mixture.losses.min() + model._learner.mixture.bound() + 1e-9


def test_a_classification(folder):
    X, y = classes()
    model = surefoot.LinearClassifier("own.py:exponential", lr=0.1, epochs=10, tol=None, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    share = model.predict_proba(X)
    assert ((share >= 0) & (share <= 1)).all()
    np.testing.assert_allclose(share[:, 1], 1 / (1 + np.exp(-2 * model.decision_function(X))))
    for copy in (clone(model).fit(X, y), pickle.loads(pickle.dumps(model))):
        assert_identical(copy.predict_proba(X), share)
    with pytest.raises(LossError, match="'log_cosh', which predicts a number; expected logistic, hinge"):
        surefoot.LinearClassifier("own.py:log_cosh").fit(X, y)


def test_a_record_is_copied_and_pickled_as_itself(folder):
    loss = losses.resolve("own.py:exponential")
    model = surefoot.LinearClassifier(loss)
    assert clone(model).loss is pickle.loads(pickle.dumps(model)).loss is loss


# The command line


def test_train(folder, capsys):
    command = ["train", "numbers.svm", "--loss", "own.py:log_cosh", "--loss-parameter", 0.5, "--lr", 0.5]
    facts = json.loads(printed(capsys, *command, "--model", "m", "--test", "numbers.svm", "--json", "-q"))
    assert (facts["loss"], facts["metric"]) == ("log_cosh", "log-cosh loss")
    assert 0 < facts["test_loss"] < facts["progressive_loss"]
    assert "progressive log-cosh loss" in printed(capsys, *command, "--model", "m")
    shown = printed(capsys, "inspect", "m")
    assert "own.py:log_cosh (fingerprint " in shown
    assert "progressive log-cosh loss" in shown


def test_a_model_never_runs_the_file_and_says_what_is_missing(folder, capsys):
    printed(capsys, "train", "classes.svm", "--loss", "own.py:exponential", "--lr", 0.1, "--model", "m", "-q")
    shares = printed(capsys, "predict", "m", "classes.svm", "--probabilities", "--loss", "own.py:exponential")
    assert all(0 <= float(share) <= 1 for share in shares.split())
    (folder / "own.py").rename(folder / "elsewhere.py")
    assert set(printed(capsys, "predict", "m", "classes.svm").split()) == {"-1", "1"}
    scores = np.array(printed(capsys, "predict", "m", "classes.svm", "--scores").split(), float)
    np.testing.assert_allclose(1 / (1 + np.exp(-2 * scores)), np.array(shares.split(), float), rtol=1e-6)
    assert "own.py:exponential" in printed(capsys, "inspect", "m")
    missing = printed(capsys, "predict", "m", "classes.svm", "--probabilities", status=2)
    assert missing.startswith("error: the probability of the loss own.py:exponential (fingerprint ")
    assert missing.endswith("name the loss, as in --loss own.py:exponential\n")


def test_a_model_is_not_used_with_another_loss(folder, capsys):
    printed(capsys, "train", "classes.svm", "--loss", "own.py:exponential", "--lr", 0.1, "--model", "m", "-q")
    (folder / "own.py").write_text(LOSSES.replace("-2.0 * p)", "-3.0 * p)"), encoding="utf-8")
    command = ["predict", "m", "classes.svm", "--probabilities", "--loss", "own.py:exponential"]
    assert "but the model was trained with own.py:exponential (fingerprint" in printed(capsys, *command, status=2)


def test_a_model_from_python(folder, capsys):
    printed(capsys, "train", "classes.svm", "--loss", "own.py:exponential", "--lr", 0.1, "--model", "m", "-q")
    without, having = Model.load("m"), Model.load("m", loss="own.py:exponential")
    assert having.targets.loss is losses.resolve("own.py:exponential")
    without.save("copy")
    again = pickle.loads(pickle.dumps(Model.load("copy")))
    assert again.targets.loss.name == "exponential"
    with pytest.raises(LossError, match="never runs a file"):
        again.check_probabilities()


def test_a_training_is_resumed(folder):
    """With the same bits; not if the file has been edited."""
    kept = {"loss": "own.py:log_cosh", "method": Method(lr="polynomial:0.5:0.01"), "passes": 200}
    whole = Training(Plan(("numbers.svm",), **kept)).run().model

    def stop(progress):
        if progress.examples >= 20_000:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Training(Plan(("numbers.svm",), checkpoint="kept", every=1000, **kept), progress=stop).run()
    resume = {"checkpoint": "kept", "every": 1000, "resume": True}
    assert_identical(Training(Plan(("numbers.svm",), **kept, **resume)).run().model.weights, whole.weights)
    (folder / "own.py").write_text(LOSSES + "# more", encoding="utf-8")
    with pytest.raises(DataError, match=r"was made with loss 'own.py:log_cosh \(fingerprint"):
        Training(Plan(("numbers.svm",), **kept, **resume)).run()


@pytest.mark.parametrize("rules", ["adagrad", pytest.param("sgd", marks=pytest.mark.slow)])
def test_compare(folder, capsys, rules):
    X, y = (part.astype(np.float32) for part in classes())
    data = surefoot.data.Dataset("table", X, y, "classification")
    small = {"rules": rules, "lr": 0.1, "epochs": 2, "seeds": 1}
    ours = surefoot.compare(data, loss="own.py:exponential", **small)
    slow = surefoot.compare(data, loss=losses.resolve("own.py:exponential"), engine="reference", **small)
    assert [row["test_loss"] for row in ours.table()] == [row["test_loss"] for row in slow.table()]
    command = ["compare", "classes.svm", "--loss", "own.py:exponential", "--rules", rules, "--lr", 0.1, "--json", "-q"]
    facts = json.loads(printed(capsys, *command))
    assert (facts["loss"], facts["metric"]) == ("exponential", "exponential loss")
    wrong = printed(capsys, *(str(part).replace("exponential", "log_cosh") for part in command), status=2)
    assert "log_cosh is not for classification with one output; expected logistic, hinge" in wrong


def test_losses(folder, capsys):
    assert "width of the rounded kink" in printed(capsys, "losses", "own.py:log_cosh")


# By name, and what is rejected


def test_registered_by_name(folder, capsys, monkeypatch):
    monkeypatch.setitem(losses.REGISTRY, "exponential", losses.resolve("own.py:exponential"))
    X, y = classes()
    assert surefoot.LinearClassifier("exponential", lr=0.1, random_state=0).fit(X, y).score(X, y) > 0.9
    printed(capsys, "train", "classes.svm", "--loss", "exponential", "--lr", 0.1, "--model", "m", "-q")
    assert printed(capsys, "predict", "m", "classes.svm", "--probabilities")
    assert "exponential" in printed(capsys, "losses")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (("return -sign * ops", "return sign * ops"), "the slope is not the derivative of the value: at prediction"),
        (("return -sign * ops.exp", "return -sign * np.exp"), "uses np.exp; a loss may use arithmetic"),
        (("prediction, y):", "prediction):"), "the slope must take (prediction, y), got (prediction)"),
        (('target="class"', 'target="label"'), "target is 'label', expected one of class, number, count"),
    ],
)
def test_a_wrong_loss_is_one_sentence(folder, capsys, wrong, message):
    (folder / "own.py").write_text(LOSSES.replace(*wrong), encoding="utf-8")
    err = printed(capsys, "train", "classes.svm", "--loss", "own.py:exponential", "--model", "m", status=2)
    assert err.startswith("error: own.py: exponential: ")
    assert message in err
    assert err.count("\n") == 1
