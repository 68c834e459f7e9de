"""A far value among the first ones of a feature does not spoil its scale, and features without one are not touched."""

import numpy as np
import pytest
from scipy import sparse

from surefoot.data.reading import ReadOptions
from surefoot.engines.examples import Examples
from surefoot.learn import LinearClassifier
from surefoot.learn import first_values as module
from surefoot.learn.learner import Learner
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Settings
from surefoot.learn.training import Training

ROWS, TRAINED, COLUMNS = 6000, 4000, 8
SHARES = {"dense": 1.0, "sparse": 0.3}


def drawn(seed: int, share: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Columns with values in this share of the rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, COLUMNS))
    score = X @ np.resize([1.0, -1.5, 0.7], COLUMNS)
    X = np.where(rng.random(X.shape) < share, X + shift, 0.0)
    return X, (score + rng.logistic(size=ROWS) > 0).astype(float)


def spoiled(X: np.ndarray, rows: int | slice, far: float = 1e12) -> np.ndarray:
    """Two columns with a far value in this row, counted from 1, or in these."""
    X = X.copy()
    X[rows - 1 if isinstance(rows, int) else rows, [2, 5]] = far, -far
    return X


def examples(X: np.ndarray, y: np.ndarray) -> Examples:
    rows = sparse.csr_matrix(X)
    return Examples(rows.indptr, rows.indices, rows.data, y, np.ones(len(y)))


def losses_of(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, np.where(y > 0, -scores, scores))


def lost(X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The progressive loss, and that of the model on later rows."""
    learner = Learner(Settings(), COLUMNS)
    progressive = losses_of(learner.learn(examples(X[:TRAINED], y[:TRAINED]))[:, 0], y[:TRAINED])
    weights, biases = learner.weights()
    return progressive.mean(), losses_of(X[TRAINED:] @ weights[:, 0] + biases[0], y[TRAINED:]).mean()


@pytest.mark.parametrize("row", [1, 5, 15, 40])
@pytest.mark.parametrize("form", SHARES)
def test_a_far_value_costs_next_to_nothing(form, row):
    X, y = drawn(0, SHARES[form])
    unspoiled = lost(X, y)
    for far in (1e3, 1e12, 1e30):
        progressive, later = lost(spoiled(X, row, far), y)
        assert progressive <= 1.004 * unspoiled[0]
        assert later <= 1.001 * unspoiled[1]


@pytest.mark.parametrize("form, rows", [("dense", 5), ("sparse", 3)])
def test_nor_do_several_as_of_a_sensor_that_starts(form, rows):
    """Fewer than a quarter of the values when these are looked at."""
    X, y = drawn(0, SHARES[form])
    unspoiled, found = lost(X, y), lost(spoiled(X, slice(rows)), y)
    assert max(np.divide(found, unspoiled)) <= 1.002


@pytest.mark.parametrize("form", SHARES)
def test_it_would_cost_if_nobody_looked(form, monkeypatch):
    monkeypatch.setattr(module, "FARTHEST", np.inf)
    X, y = drawn(0, SHARES[form])
    assert lost(spoiled(X, 5), y)[1] > 1.01 * lost(X, y)[1]


def written(path, X: np.ndarray, y: np.ndarray, kind: str) -> str:
    if kind == "csv":
        names = ",".join(["y", *(f"x{k}" for k in range(COLUMNS))])
        np.savetxt(path, np.column_stack([y, X]), delimiter=",", fmt="%.9g", header=names, comments="")
    else:
        lines = (" ".join(f"{k + 1}:{x:.9g}" for k, x in enumerate(row)) for row in X)
        path.write_text("".join(f"{int(label)} {line}\n" for label, line in zip(y, lines, strict=True)))
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "svmlight"])
def test_nor_does_it_in_a_file(kind, tmp_path):
    X, y = drawn(1, shift=295.0)
    found = []
    for name, own in (("as it is", X), ("spoiled", spoiled(X, 3))):
        own = written(tmp_path / f"{name}.{kind}", own[:TRAINED], y[:TRAINED], kind)
        reading = ReadOptions(target="y") if kind == "csv" else ReadOptions()
        model: Model = Training(Plan((own,), reading)).run().model
        later = written(tmp_path / f"later.{kind}", X[TRAINED:], y[TRAINED:], kind)
        assert model.reading is not None
        scores = np.concatenate([model.scores(block)[:, 0] for block in model.reading.open((later,))])
        found.append(losses_of(scores, y[TRAINED:]).mean())
    assert found[1] <= 1.001 * found[0]


@pytest.mark.parametrize("far", [1.0, 20.0])
@pytest.mark.parametrize("tail", ["normal", "exponential", "laplace", "uniform", "lognormal"])
def test_no_other_feature_is_touched(tail, far, monkeypatch):
    """Nor are those with a value as far as the 17th might be."""
    rng = np.random.default_rng(4)
    X, (_, y) = getattr(rng, tail)(size=(200, COLUMNS)), drawn(4)
    X[7] = X.mean(axis=0) + (far * X.std(axis=0) if far > 1 and tail in ("normal", "uniform") else 0.0)
    looks, never = Learner(Settings()), Learner(Settings())
    looks.learn(examples(X, y[:200]))
    monkeypatch.setattr(module, "FARTHEST", np.inf)
    never.learn(examples(X, y[:200]))
    for name in ("count", "mean", "deviations"):
        np.testing.assert_array_equal(looks.bank.table.statistic(name), never.bank.table.statistic(name))


def test_later_values_are_not_touched(monkeypatch):
    """They are limited as they come, and their features were looked at before."""
    X, y = (array[:128] for array in drawn(7))
    found = []
    for farthest in (module.FARTHEST, np.inf):
        monkeypatch.setattr(module, "FARTHEST", farthest)
        learner = Learner(Settings())
        learner.learn(examples(spoiled(X, 40), y))
        assert learner.first_values.is_over
        found.append(learner.bank.table.statistic("deviations").copy())
    np.testing.assert_array_equal(*found)


def test_columns_that_hardly_vary_are_not_touched():
    table = np.zeros((2, 32))
    table[0, 3], table[1, ::5] = 1e12, 7.0
    assert not module.corrected(table)[0].any()


def test_features_with_a_far_value_are_all_found_at_once():
    rng, found = np.random.default_rng(0), []
    for number in rng.integers(16, 100, 300):
        values = rng.normal(size=number) if rng.random() < 0.7 else rng.poisson(1.0, number) * 1.0
        values[rng.integers(number)] = rng.choice([100.0, 151.0, 1e3, 1e30]) * np.percentile(abs(values), 75)
        found.append(values)
    far = np.array([module.corrected(values[None])[0][0] for values in found])
    perhaps = module.may_be_far(np.concatenate(found), np.array(list(map(len, found))))
    assert 30 < far.sum() <= perhaps.sum() < 120
    assert not (far & ~perhaps).any()


@pytest.mark.parametrize("sizes", [(9,), (7, 64, 3), (599,)])
@pytest.mark.parametrize("form", SHARES)
def test_the_bits_do_not_depend_on_how_a_stream_is_cut(form, sizes):
    X, y = (array[:700] for array in drawn(2, SHARES[form]))
    X = spoiled(X, 4)
    whole = Learner(Settings(l2=1e-6), COLUMNS)
    whole.learn(examples(X, y))
    parts, first = Learner(Settings(l2=1e-6), COLUMNS), 0
    while first < len(X):
        for size in sizes:
            rows = slice(first, first := first + size)
            parts.learn(examples(X[rows], y[rows]))
            arrays, numbers = parts.state()
            parts = Learner.from_state(Settings(l2=1e-6), {name: a.copy() for name, a in arrays.items()}, numbers)
    arrays = parts.state()[0]
    assert parts.state()[1] == whole.state()[1]
    for name, array in whole.state()[0].items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_rows_one_by_one_give_the_same_bits():
    X, y = (array[:100] for array in drawn(3))
    X = spoiled(X, 4)
    whole, single = (LinearClassifier(epochs=1, shuffle=False, lr=0.1) for _ in range(2))
    whole.partial_fit(X, y, classes=[0.0, 1.0])
    single.partial_fit(X[:1], y[:1], classes=[0.0, 1.0])
    for x, label in zip(X[1:], y[1:], strict=True):
        single.learn_one(x, label)
    np.testing.assert_array_equal(whole.coef_, single.coef_)
    assert abs(whole.coef_).min() > 1e-3


@pytest.mark.slow
def test_the_reference_has_the_same_statistics():
    X, y = (array[:100] for array in drawn(5))
    found = []
    for engine in ("cpu", "reference"):
        found.append(Learner(Settings(lr=0.1, l2=1e-6, engine=engine), COLUMNS, missing=True))
        found[-1].learn(examples(spoiled(X, 4), y))
        assert found[-1].bank.table.scales().min() > 0.1
    for name in ("count", "mean", "deviations"):
        np.testing.assert_allclose(*(own.bank.table.statistic(name) for own in found), rtol=1e-12)


@pytest.mark.parametrize(
    "name, change",
    [("ids", lambda ids: ids + 99), ("ids", lambda ids: ids - 1), ("values", lambda values: values * np.nan)],
)
def test_a_state_that_does_not_fit_is_rejected(name, change):
    X, y = drawn(6, 0.3)
    learner = Learner(Settings(), COLUMNS)
    learner.learn(examples(X[:20], y[:20]))
    arrays, numbers = learner.state()
    assert numbers["first"]["entries"] > 20
    arrays[f"first.{name}"] = change(arrays[f"first.{name}"])
    with pytest.raises(ValueError, match=rf"^first\.{name}: found "):
        Learner.from_state(Settings(), arrays, numbers)
