"""Features whose unit or origin changes in mid-stream are soon learned as if it had not, and no others are touched."""

import numpy as np
import pytest
from scipy import sparse

from surefoot import losses
from surefoot.data.reading import ReadOptions
from surefoot.engines.examples import Examples
from surefoot.engines.scaling import Statistics, joined
from surefoot.learn import LinearClassifier
from surefoot.learn import changes as module
from surefoot.learn.changes import Changes, Trial, since
from surefoot.learn.learner import Learner
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Settings
from surefoot.learn.training import Training

ROWS, COLUMNS = 20_000, 8
CHANGED = 8000
CHANGES = {
    "a smaller unit": lambda X: X / 30.0,
    "a much smaller unit": lambda X: X / 1e5,
    "another origin": lambda X: X + 100.0,
    "both": lambda X: X / 1000.0 - 40.0,
    "a unit for each": lambda X: X * 10.0 ** np.linspace(-4, 4, X.shape[1]),
    "three of the columns": lambda X: X / np.r_[1e3, 1e3, 1e3, np.ones(X.shape[1] - 3)],
}
TIME = np.arange(ROWS) / ROWS


def drawn(seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X, w = rng.normal(size=(rows, COLUMNS)), np.resize([1.0, -1.5, 0.7], COLUMNS)
    return X, (X @ w + rng.logistic(size=rows) > 0).astype(float)


def changed(X: np.ndarray, name: str, first: int = CHANGED) -> np.ndarray:
    return np.concatenate([X[:first], CHANGES[name](X[first:])])


def examples(X: np.ndarray, y: np.ndarray) -> Examples:
    rows = sparse.csr_matrix(X)
    return Examples(rows.indptr, rows.indices, rows.data, y, np.ones(len(y)))


def lost_in_the_last_quarter(X: np.ndarray, y: np.ndarray, **own) -> float:
    """The mean log loss of the last quarter, each of which is predicted before it is learned from."""
    scores = Learner(Settings(), X.shape[1], **own).learn(examples(X, y))[-len(y) // 4 :, 0]
    return float(np.mean(np.logaddexp(0.0, np.where(y[-len(scores) :] > 0, -scores, scores))))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("missing", [False, True], ids=["matrix", "table"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_forgotten(name, missing, seed):
    X, y = drawn(seed)
    unchanged = lost_in_the_last_quarter(X, y, missing=missing)
    assert lost_in_the_last_quarter(changed(X, name), y, missing=missing) <= 1.05 * unchanged


@pytest.mark.parametrize("name", CHANGES)
def test_it_would_not_be_if_statistics_never_began_again(name, monkeypatch):
    monkeypatch.setattr(Trial, "passed", lambda _: False)
    X, y = drawn(0)
    assert lost_in_the_last_quarter(changed(X, name), y) > 1.15 * lost_in_the_last_quarter(X, y)


def column(name: str, rng: np.random.Generator) -> np.ndarray:
    """One that varies much less for a while, in its unit as before."""
    noise = rng.normal(size=ROWS)
    return {
        "a time stamp": 1.7e9 + 1e7 * TIME,
        "rising ever slower": np.sqrt(TIME),
        "rising ever faster": np.exp(8 * TIME),
        "falling": np.exp(-8 * TIME),
        "sorted": np.sort(noise),
        "sorted, heavy tails": np.sort(rng.standard_cauchy(ROWS)),
        "steps": np.floor(TIME * 7) * 100 + noise,
        "years": np.floor(2000 + 24 * TIME),
        "a season": np.sin(40 * TIME),
        "a slow season": np.sin(7 * TIME),
        "a saw": (TIME * 9) % 1.0,
        "a random walk": np.cumsum(noise),
        "bursts": noise * np.where(np.sin(40 * TIME) > 0.8, 1.0, 1e-3),
        "outliers": noise * np.where(rng.random(ROWS) < 1e-3, 1e6, 1.0),
        "Cauchy": rng.standard_cauchy(ROWS),
        "dead after half": noise * np.where(TIME < 0.5, 1.0, 1e-3),
        "zero before half": noise * (TIME > 0.5),
        "a spread that shrinks": noise * np.exp(-6 * TIME),
        "a larger unit": noise * np.where(TIME < 0.5, 1.0, 1e6),
    }[name]


OF_TIME = {
    "none": lambda t: 0.0 * t,
    "linear": lambda t: 4.0 * t,
    "a season": lambda t: 2.0 * np.sin(20 * t),
    "a jump": lambda t: 4.0 * (t > 0.6),
    "a bend": lambda t: 8.0 * np.abs(t - 0.5),
}


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "name",
    [
        "a time stamp", "rising ever slower", "rising ever faster", "falling", "sorted", "sorted, heavy tails", "steps",
        "years", "a season", "a slow season", "a saw", "a random walk", "bursts", "outliers", "Cauchy",
        "dead after half", "zero before half", "a spread that shrinks", "a larger unit",
    ],
)  # fmt: skip
def test_columns_that_vary_less_for_a_while_keep_their_statistics(name, monkeypatch):
    """Whatever labels depend on: the predictions are those of a learner that never looks."""
    for k, of_time in enumerate(OF_TIME.values()):
        rng = np.random.default_rng(k)
        x, (X, y) = column(name, rng), drawn(k)
        score = of_time(TIME) + 0.5 * (k % 2) * np.clip(x - x.mean(), -2, 2)
        y = np.where(rng.random(ROWS) < 0.5, y, score + rng.logistic(size=ROWS) > np.median(score)).astype(float)
        data = examples(np.column_stack([x, X]), y)
        looks = Learner(Settings())
        looks.learn(data)
        assert looks.changes.begun == 0
        with monkeypatch.context() as patch:
            patch.setattr(Changes, "after", lambda self, *_: self)
            never = Learner(Settings())
            never.learn(data)
        assert looks.mixture.total == never.mixture.total


def test_a_second_pass_does_not_look():
    """It would come upon the same changes once more."""
    X, y = drawn(0)
    learner = Learner(Settings())
    learner.learn(examples(X, y))
    learner.freeze()
    learner.learn(examples(changed(X, "a smaller unit"), y))
    assert (learner.changes.begun, learner.changes.looks) == (0, ())


@pytest.fixture
def early(monkeypatch):
    """Looks from 256 rows on, after which trials, though they are short, always pass."""
    monkeypatch.setattr(Trial, "passed", lambda _: True)
    monkeypatch.setattr(module, "FIRST", 256)
    monkeypatch.setattr("surefoot.learn.learner.STEP", 64)


@pytest.mark.parametrize("sizes", [(9,), (7, 64, 3), (599,)])
def test_the_bits_do_not_depend_on_how_a_stream_is_cut(sizes, early):
    X, y = drawn(2, 1400)
    X = changed(X, "a smaller unit", 600)
    X[np.random.default_rng(3).random(X.shape) < 0.1] = 0.0
    whole = Learner(Settings(l2=1e-6), COLUMNS)
    whole.learn(examples(X, y))
    assert whole.changes.begun > 600
    parts, first, tries = Learner(Settings(l2=1e-6), COLUMNS), 0, 0
    while first < len(X):
        for size in sizes:
            rows = slice(first, first := first + size)
            parts.learn(examples(X[rows], y[rows]))
            arrays, numbers = parts.state()
            tries += "size" in numbers["changes"]
            parts = Learner.from_state(Settings(l2=1e-6), {name: a.copy() for name, a in arrays.items()}, numbers)
    assert tries > 0 or sizes != (9,)
    arrays = parts.state()[0]
    assert parts.state()[1] == whole.state()[1]
    for name, array in whole.state()[0].items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


@pytest.mark.filterwarnings("ignore::surefoot.data.stream.DataWarning")
def test_rows_one_by_one_give_the_same_bits(early):
    X, y = drawn(4, 1400)
    X = changed(X, "a much smaller unit", 600)
    whole, single = (LinearClassifier(epochs=1, shuffle=False, lr=0.1) for _ in range(2))
    whole.partial_fit(X, y, classes=[0.0, 1.0])
    single.partial_fit(X[:1], y[:1], classes=[0.0, 1.0])
    for x, label in zip(X[1:], y[1:], strict=True):
        single.learn_one(x, label)
    assert whole._learner.changes.begun > 600
    np.testing.assert_array_equal(whole.coef_, single.coef_)


@pytest.mark.parametrize("loss, y", [("squared", lambda y: 20 * y - 3), ("softmax", lambda y: y)])
def test_numbers_and_several_classes_have_it_too(loss, y, early):
    X, labels = drawn(6, 4000)
    learner = Learner(Settings(loss=losses.get(loss), outputs=2 if loss == "softmax" else 1))
    learner.learn(examples(changed(X, "both", 1300), y(labels)))
    assert 1300 < learner.changes.begun < 2100


@pytest.mark.slow
def test_the_reference_has_the_same_statistics(early):
    X, y = drawn(5, 700)
    X = changed(X, "both", 450)
    found = []
    for engine in ("cpu", "reference"):
        learner = Learner(Settings(lr=0.1, l2=1e-6, engine=engine), COLUMNS, missing=True)
        learner.learn(examples(X, y))
        assert learner.changes.begun > 450
        found.append(learner)
    for name in ("count", "mean", "deviations"):
        np.testing.assert_allclose(*(learner.bank.table.statistic(name) for learner in found), rtol=1e-12)


def test_a_training_says_so(tmp_path):
    X, y = drawn(8)
    np.savetxt(tmp_path / "rows.csv", np.column_stack([y, changed(X, "both")]), delimiter=",", fmt="%.9g",
               header=",".join(["y", *(f"x{k}" for k in range(COLUMNS))]), comments="")  # fmt: skip
    notes = []
    Training(Plan((str(tmp_path / "rows.csv"),), ReadOptions(target="y")), note=notes.append).run()
    assert [note for note in notes if note.startswith("The unit or the origin of features changed before example ")]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["totals0", "bias", "slopes", "constants", "mean", "variance", "sums"])
def test_a_state_with_what_is_no_number_is_rejected(name, wrong, early):
    X, y = drawn(2, 650)
    learner = Learner(Settings(), COLUMNS)
    learner.learn(examples(changed(X, "a smaller unit", 500), y))
    assert learner.changes.trial is not None
    arrays, numbers = learner.state()
    Learner.from_state(Settings(), arrays, numbers)
    arrays[f"changes.{name}"] = np.full_like(arrays[f"changes.{name}"], wrong)
    with pytest.raises(ValueError, match=r"^(totals|sums|variance): found "):
        Learner.from_state(Settings(), arrays, numbers)


@pytest.mark.parametrize("unit, shift", [(1.0, 0.0), (1e-3, 5.0), (1e6, -1e9)])
def test_statistics_since_are_those_of_the_values_since(unit, shift):
    rng = np.random.default_rng(8)
    x = shift + unit * rng.normal(size=(40, 3))
    first, second = (
        Statistics(np.full(3, len(v) * 1.0), v.mean(0), np.square(v - v.mean(0)).sum(0)) for v in (x[:13], x[13:])
    )
    both = joined(first, second)
    before, now = (np.stack([own.count, own.mean, own.deviations]) for own in (first, both))
    found = since(before, now)
    np.testing.assert_array_equal(found.count, second.count)
    np.testing.assert_allclose(found.mean, second.mean, rtol=1e-9)
    np.testing.assert_allclose(found.deviations, second.deviations, rtol=1e-6)
