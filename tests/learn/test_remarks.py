"""Notes on the order of examples: where it spoils the model, and on no data set in random order."""

import re
import warnings

import numpy as np
import pytest

from surefoot.data.stream import DataWarning
from surefoot.learn import LinearClassifier, LinearRegressor
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training

WORSE, RUNS = "the data change from first to last", "Labels come in runs"


def labels_of(scores, rng, classes=2):
    noisy = scores + rng.logistic(size=len(scores))
    return np.searchsorted(np.quantile(noisy, np.arange(1, classes) / classes), noisy).astype(float)


def shuffled_sets():
    """Twenty data sets in random order: (X, y, loss)."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows, columns = [(150, 4), (600, 12), (2500, 5), (400, 60)][seed % 4]
        X = rng.normal(size=(rows, columns))
        X = {0: X, 1: rng.standard_cauchy(X.shape), 2: np.where(rng.random(X.shape) < 0.1, X, 0.0), 3: 5 + X}[
            seed % 5 % 4
        ]
        scores = np.tanh(X) @ rng.normal(size=columns) * (seed % 6 > 0)  # of each sixth nothing can be learned
        if seed % 3 == 0:
            yield X, scores + rng.standard_t(3, rows), "squared"
        elif seed % 3 == 1:
            yield X, labels_of(scores, rng), "logistic"
        else:
            yield X, (labels_of(scores - 3, rng, 30) > 27).astype(float), "logistic"  # few of the second class


def notes_of(X, y, loss, folder, **method):
    lines = [
        f"{label} " + " ".join(f"{j + 1}:{x:.6g}" for j, x in enumerate(row) if x) + "\n"
        for label, row in zip(y, X, strict=True)
    ]
    (folder / "rows.svm").write_text("".join(lines))
    notes = []
    method = {"lr": "auto", **method}
    Training(Plan((str(folder / "rows.svm"),), loss=loss, method=Method(**method)), note=notes.append).run()
    return notes


def test_data_in_random_order_give_no_note(tmp_path):
    for number, (X, y, loss) in enumerate(shuffled_sets()):
        assert notes_of(X, y, loss, tmp_path) == [], number


OUTLIERS = {
    "squared": (
        lambda z, rng: np.where(rng.random(len(z)) < 2e-3, 1e6, z),
        r"such as 1e\+06.*use the huber or the quantile loss",
    ),
    "poisson": (lambda z, rng: np.append(rng.poisson(np.exp(z / 4))[:-1], 1e25), r"such as 1e\+25.*Check them\.$"),
    "huber": (lambda z, rng: np.where(rng.random(len(z)) < 2e-3, 1e6, z), None),
    "squared, heavy tails": (lambda z, rng: z + rng.standard_t(3, len(z)), None),
    "poisson, mostly 0": (lambda z, rng: rng.poisson(np.exp(2 + z / 4)) * (rng.random(len(z)) < 0.05), None),
    "squared, another unit": (lambda z, rng: np.where(rng.random(len(z)) < 0.5, 1e6 * z, z), None),
}


@pytest.mark.parametrize("name", OUTLIERS)
def test_targets_by_which_most_is_lost_are_named(name, tmp_path):
    draw, expected = OUTLIERS[name]
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2000, 3))
    notes = notes_of(X, draw(X @ [1.0, -1.0, 0.5] + rng.normal(size=2000), rng), name.partition(",")[0], tmp_path)
    assert len(notes) == (expected is not None)
    assert expected is None or re.search(expected, notes[0])


def drifting(seed):
    """Data whose coefficients turn from first to last."""
    rng = np.random.default_rng(seed)
    X, angle = rng.normal(size=(4000, 2)), np.linspace(0, np.pi, 4000)
    return X, 3 * (X * np.c_[np.cos(angle), np.sin(angle)]).sum(axis=1), rng


@pytest.mark.parametrize("seed", range(3))
def test_data_that_change_give_one_note(tmp_path, seed):
    """The model is for the latest examples, and the loss as they came does not tell."""
    X, scores, rng = drifting(seed)
    for y, loss in ((labels_of(scores, rng), "logistic"), (scores + rng.normal(size=len(scores)), "squared")):
        (note,) = notes_of(X, y, loss, tmp_path)
        assert WORSE in note
        order = rng.permutation(len(y))
        assert notes_of(X[order], y[order], loss, tmp_path) == []


def sorted_set(classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    y = labels_of(X.sum(axis=1), rng, classes)
    order = np.argsort(y, kind="stable")
    return X[order], y[order], rng.permutation(600)


def warned(function):
    """What a call warns of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function()
    return [str(warning.message) for warning in found if issubclass(warning.category, DataWarning)]


@pytest.mark.parametrize("classes", [2, 3])
def test_estimators_warn_of_labels_in_runs(classes):
    X, y, order = sorted_set(classes)
    (said,) = warned(lambda: LinearClassifier(shuffle=False).fit(X, y))
    assert said.startswith(RUNS)
    assert "that of the model on the first 200 examples is " in said
    assert said.endswith("Shuffle the rows, unless their order is that of time.")
    assert warned(lambda: LinearClassifier(random_state=0).fit(X, y)) == []
    assert warned(lambda: LinearClassifier(shuffle=False).fit(X[order], y[order])) == []


@pytest.mark.parametrize("size", [1, 50, 600])
def test_partial_fit_warns_of_labels_in_runs_once(size):
    def parts(X, y):
        model = LinearClassifier()
        for first in range(0, 600, size):
            model.partial_fit(X[first : first + size], y[first : first + size], classes=[0.0, 1.0])

    X, y, order = sorted_set(2)
    (said,) = warned(lambda: parts(X, y))
    assert said.startswith(RUNS)
    assert warned(lambda: parts(X[order], y[order])) == []


def test_labels_that_change_once_are_noticed_between_doublings():
    y, model = np.append(np.arange(500) % 2, np.repeat([0, 1], [200, 300])), LinearClassifier()
    X = np.where(np.arange(1000) < 500, 10.0 * y, 0.0)[:, None]  # says the first labels, and no others
    (said,) = warned(lambda: [model.learn_one(row, label, classes=[0, 1]) for row, label in zip(X, y, strict=True)])
    assert said.startswith(RUNS)


@pytest.mark.parametrize("size", [1, 50, 600])
def test_regressors_warn_of_targets_in_runs(size):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 5))
    y = X @ [1.0, -1.0, 0.5, 0.0, 0.0] + rng.normal(size=600)
    order = np.argsort(y)
    (said,) = warned(lambda: LinearRegressor(shuffle=False, epochs=1).fit(X[order], y[order]))
    assert re.match(r"Targets come in runs: .*that of the model on the first 200.* Shuffle the rows", said)

    def parts(X, y):
        model = LinearRegressor()
        for first in range(0, 600, size):
            model.partial_fit(X[first : first + size], y[first : first + size])

    (said,) = warned(lambda: parts(X[order], y[order]))
    assert said.startswith("Targets come in runs: ")
    assert warned(lambda: parts(X, y)) == warned(lambda: LinearRegressor(shuffle=False).fit(X, y)) == []
    assert warned(lambda: LinearRegressor(random_state=0).fit(X[order], y[order])) == []


@pytest.mark.parametrize("name", OUTLIERS)
def test_regressors_warn_of_targets_by_which_most_is_lost(name):
    draw, expected = OUTLIERS[name]
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2000, 3))
    y, loss = draw(X @ [1.0, -1.0, 0.5] + rng.normal(size=2000), rng), name.partition(",")[0]

    def one_by_one(model):
        for row, target in zip(X, y, strict=True):
            model.learn_one(row, target)
        model.partial_fit(X[:200], y[:200])  # the last look was after 1,792

    for learn in (lambda model: model.fit(X, y), lambda model: model.partial_fit(X, y), one_by_one):
        said = warned(lambda learn=learn: learn(LinearRegressor(loss=loss, random_state=0)))
        assert bool(said) == (expected is not None)
        assert expected is None or re.search(expected, said[0])


def test_estimators_warn_of_features_that_changed_units():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3))
    y = labels_of(3 * X[:, 0], rng)
    X[10_000:] /= 1000
    (said,) = warned(lambda: LinearClassifier(shuffle=False, epochs=1).fit(X, y))
    assert said.startswith("The unit or the origin of features changed before example 1")

    def parts(X):
        model = LinearClassifier()
        for first in range(0, 20_000, 1000):
            model.partial_fit(X[first : first + 1000], y[first : first + 1000], classes=[0.0, 1.0])

    assert warned(lambda: parts(X)) == [said]
    X[10_000:] *= 1000
    assert warned(lambda: parts(X)) == []


def test_estimators_warn_of_data_that_change():
    X, scores, rng = drifting(0)
    y = labels_of(scores, rng)
    (said,) = warned(lambda: LinearClassifier(shuffle=False, epochs=1).fit(X, y))
    assert WORSE in said
    assert said.endswith("Shuffle the rows, unless their order is that of time.")


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_a_training_on_sorted_targets_says_so(noise, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 5))
    y = X @ [1.0, -1.0, 0.5, 0.0, 0.0] + noise * rng.normal(size=3000)
    order = np.argsort(y)
    (note,) = notes_of(X[order], y[order], "squared", tmp_path)
    assert note.startswith("Targets come in runs: ")
    assert notes_of(X, y, "squared", tmp_path) == []


FAR, BEGAN_AGAIN = "times the spread of the targets", "The targets changed in scale or origin: learning began again"


@pytest.mark.parametrize("beginning", [0.0, 1e-3])
@pytest.mark.parametrize("loss", ["squared", "quantile", "huber"])
def test_targets_that_are_not_like_the_first_ones_give_a_note(tmp_path, loss, beginning):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 3))
    y = 3e5 + 1e5 * X @ [0.5, 0.5, 0.2]
    y[:4096] *= beginning
    (note,) = notes_of(X, y, loss, tmp_path)
    assert note.startswith(BEGAN_AGAIN)
    notes = notes_of(X[:5000], y[:5000], loss, tmp_path)  # which end before that
    assert any(FAR in note or WORSE in note for note in notes)
    regressor = LinearRegressor(loss=loss)
    parts = np.array_split(np.arange(len(y)), 9)
    (note,) = warned(lambda: [regressor.partial_fit(X[rows], y[rows]) for rows in parts])
    assert note.startswith(BEGAN_AGAIN)


def test_targets_with_heavy_tails_or_a_trend_give_none(tmp_path):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(9000, 3))
    for noise in (rng.standard_t(2, 9000), np.linspace(0, 30, 9000), np.exp(rng.normal(size=9000))):
        notes = notes_of(X, X @ [1.0, -1.0, 2.0] + noise, "squared", tmp_path)
        assert not any(FAR in note or BEGAN_AGAIN in note for note in notes)


def test_a_single_label_gives_no_note_on_runs(tmp_path):
    rng = np.random.default_rng(0)
    notes = notes_of(rng.normal(size=(3000, 3)), np.ones(3000), "logistic", tmp_path)
    assert not any(RUNS in note for note in notes)


@pytest.mark.parametrize("pair", [(0, 1), (-1, 1), (1, 2)])
def test_a_few_labels_that_make_classes_numbers_give_a_note(pair, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.where(X.sum(axis=1) + rng.normal(size=300) > 0, *pair).astype(float)
    said = "predicted as numbers because of 0.5"
    for odd, notes in (([], False), ([7], True), ([7, 30], True), (range(0, 300, 3), False)):
        labels = y.copy()
        labels[[*odd]] = 0.5
        assert any(said in note for note in notes_of(X, labels, "auto", tmp_path)) == notes
    assert not any("predicted as numbers" in note for note in notes_of(X, X[:, 0], "auto", tmp_path))
    labels[:] = y
    labels[7] = 0.5
    assert notes_of(X, labels, "squared", tmp_path) == []  # which is what was asked for
