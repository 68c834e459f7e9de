"""Races are fair, deterministic and honest about what diverged, and their report stands on its own."""

import functools
import html
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.covering import marked
from support.numerics import assert_close, assert_identical

import surefoot
from surefoot import LinearClassifier, LinearRegressor, losses, rules
from surefoot.data import Dataset, load
from surefoot.data.reading import ReadOptions
from surefoot.data.stream.sources import limits
from surefoot.engines import order
from surefoot.lab import comparison, race, rarity, report, standings
from surefoot.lab.figures import PALETTE
from surefoot.lab.race import Race, Rates, Settings
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training
from surefoot.rules import REGISTRY, RuleError, positive, rule

QUICK = {"epochs": 3, "seeds": 2, "batch_size": 4, "engine": "reference"}


def words(examples: int = 60, features: int = 12, name: str = "words") -> Dataset:
    """Sparse examples of two classes; feature j occurs in about every (j + 1)th of them."""
    rng = np.random.default_rng(7)
    X = (rng.random((examples, features)) < 1 / np.arange(1, features + 1)).astype(np.float32)
    y = (X[:, ::2].sum(axis=1) + rng.normal(0, 0.3, examples) > X[:, 1::2].sum(axis=1) + 0.7).astype(np.float32)
    return Dataset(name, csr_array(X), y, "classification")


def numbers(scale: float = 1.0) -> Dataset:
    """Dense examples with a linear target of the given size."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    y = scale * (X @ np.array([1.0, -2.0, 0.5]) + 0.1 * rng.normal(size=50))
    return Dataset("numbers", X, y.astype(np.float32), "regression")


def timeless(result) -> dict:
    """Everything but the times."""
    document = json.loads(result.to_json())
    document.pop("created")
    for row in document["table"]:
        row.pop("seconds_per_epoch")
    for entry in document["rules"]:
        for run in entry["runs"]:
            run.pop("seconds")
    return document


# Fairness


def test_every_rule_gets_the_same_examples_order_and_start(monkeypatch):
    seen: dict[str, list] = {}
    through = race.pass_through

    def watch(learner, examples, turns):
        if len(turns) > 1:
            x = race.weights_of(learner)
            method = learner.settings
            seen.setdefault(method.rule.name, []).append((id(examples.X), turns.tolist(), x, learner.examples))
        return through(learner, examples, turns)

    monkeypatch.setattr(race, "pass_through", watch)
    surefoot.compare(words(), ["sgd", "adagrad", "adam"], lr=0.1, **QUICK)
    first = seen["sgd"]
    assert len(first) == QUICK["epochs"] * QUICK["seeds"]
    for name in ("adagrad", "adam"):
        assert [call[:2] for call in seen[name]] == [call[:2] for call in first]
    for calls in seen.values():
        starts = [x for *_, x, examples in calls if examples == 0]
        assert len(starts) == QUICK["seeds"]
        assert not np.any(starts)
    orders = [tuple(order) for _, order, _, _ in first]
    assert len(set(orders)) == len(orders), "a new order each epoch and seed"


@pytest.mark.slow
def test_equal_seeds_give_equal_results():
    assert timeless(surefoot.compare(words(), ["sgd", "adam"], **QUICK)) == timeless(
        surefoot.compare(words(), ["sgd", "adam"], **QUICK)
    )


def test_other_seeds_give_other_results():
    losses = [
        surefoot.compare(words(), "sgd", lr=1.0, **QUICK | {"seeds": [seed]}).table()[0]["train_loss"]
        for seed in (0, 1)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("rules", [["adagrad"], pytest.param(["adam", "ftrl", "momentum"], marks=pytest.mark.slow)])
def test_engines_agree_to_the_last_bit(rules):
    slow, fast = (
        timeless(surefoot.compare(words(), rules, lr=0.3, **QUICK | {"engine": engine}))
        for engine in ("reference", "cpu")
    )
    assert slow["rules"] == fast["rules"]


def test_a_rate_of_zero_freezes_every_weight_at_zero():
    (row,) = surefoot.compare(words(), "sgd", lr=0.0, **QUICK).table()
    assert (row["frozen"], row["zeros"]) == (1.0, 1.0)
    assert row["test_loss"] == pytest.approx(math.log(2))


def test_the_effective_rate_of_momentum_is_that_of_its_whole_move():
    """η/(1 − β): ten times that of plain SGD at the same η."""
    rates = {
        entry.rule.name: entry.runs[0].rates.median
        for entry in surefoot.compare(words(), ["sgd", "momentum", "adam"], lr=0.1, **QUICK).entries
    }
    assert rates["sgd"] == pytest.approx([0.1] * len(rates["sgd"]))
    assert rates["momentum"] == pytest.approx([1.0] * len(rates["sgd"]))


@pytest.mark.parametrize("name", REGISTRY)
def test_velocities_that_average_or_start_from_the_origin_leave_rates_as_they_are(name):
    expected = 10.0 if name == "momentum" else 1.0
    if name == "madgrad":  # √1 + … + √t is 2/3 t √t (1 + 3/(4t)), so that z moves by 2/3 of λ at each step, and 1/(4t)
        expected *= 10 * 2 / 3 * (1 + 1 / 4000)
    assert race.gain(Settings().method(REGISTRY[name], 0.1)) == pytest.approx(expected, rel=1e-4)


# Rare and frequent features


def test_examples_are_grouped_by_their_rarest_feature():
    X = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], float)
    for examples in (X, csr_array(X)):
        assert rarity.rarest(examples, np.array([4, 1, 2])).tolist() == [2, 4, 1, 4, 2, 0]
    assert rarity.rarest(X, np.array([4, 0, 2])).tolist() == [2, 4, 4, 4, 2, 0], "unknown features do not count"
    groups = rarity.Groups.of(X, X[:2], np.array([4, 1, 2]))
    assert (groups.limits, groups.train.tolist(), groups.test.tolist()) == ([2, 4], [0, 1, 0, 1, 0, -1], [0, 1])
    assert rarity.Groups.of(np.ones((9, 3)), np.ones((2, 3)), np.full(3, 9)) is None


def test_losses_on_rare_and_frequent_features_are_those_of_the_examples():
    data = words(400)
    (entry,) = surefoot.compare(data, "adagrad", lr=0.5, **QUICK).entries
    task = race.Task.of(data)
    for run in entry.runs:
        sizes = np.bincount(task.groups.train[task.groups.train >= 0])
        known = sum(size * loss for size, loss in zip(sizes, run.by_rarity.train, strict=True))
        empty = task.losses(np.zeros(13), np.zeros(12))[0][task.groups.train < 0]
        assert len(sizes) == len(run.by_rarity.limits)
        assert known / (len(task.y) - len(empty)) == pytest.approx(run.scores[-1].train_loss, rel=0.1)
    row = entry.row()
    first = [run.by_rarity.train[0] for run in entry.runs]
    assert (row["rare_loss"], row["rare_loss_std"]) == (np.mean(first), np.std(first, ddof=1))


def test_adagrad_gains_on_rare_features():
    """Each rule at the rate that is best for it."""
    result = surefoot.compare(words(2000, 60), ["sgd", "adagrad"], epochs=1, seeds=3)
    row = {row["rule"]: row for row in result.table()}
    assert row["adagrad"]["rare_loss"] < row["sgd"]["rare_loss"]
    (mine, other), (own, others) = (
        [f"{row[rule][f'{which}_loss']:.4f}" for rule in ("adagrad", "sgd")] for which in ("rare", "frequent")
    )
    assert standings.headline(result.table()).endswith(
        f" On examples with rare features adagrad's training loss was {mine}, sgd's {other}; on those with frequent "
        f"features only, {own} and {others}."
    )
    titles = {column.title for column in standings.columns(result.table())}
    assert {"rare", "frequent"} <= titles
    dense = surefoot.compare(numbers(), ["sgd", "adagrad"], lr=0.1, **QUICK).table()
    assert not {"rare", "frequent"} & {column.title for column in standings.columns(dense)}


def test_features_that_never_occur_do_not_count_as_frozen():
    data = words()
    X = np.hstack([data.X.toarray(), np.zeros((data.n_examples, 100), np.float32)])
    wide = Dataset("wide", csr_array(X), data.y, "classification", train=data.train, test=data.test)
    narrow, padded = (surefoot.compare(d, "adagrad", lr=0.5, **QUICK).table()[0] for d in (data, wide))
    assert (padded["frozen"], padded["zeros"]) == (narrow["frozen"], narrow["zeros"])


def test_memory_is_that_of_the_rule():
    rows = surefoot.compare(words(), ["sgd", "adagrad", "adam"], lr=0.1, **QUICK).table()
    assert {row["rule"]: row["bytes_per_coordinate"] for row in rows} == {"sgd": 0, "adagrad": 4, "adam": 8}


def test_schedules_are_accepted_and_named():
    (row,) = surefoot.compare(words(), "sgd", lr=surefoot.schedules.polynomial(0.5), **QUICK).table()
    assert row["schedule"] == "polynomial:0.5:1:0.5"
    assert row["lr"] == pytest.approx(0.5 / math.sqrt(2))


def test_custom_rules_take_part(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from surefoot.rules import positive, rule\n"
        "@rule(hyper={'lr': positive(0.1)})\n"
        "def signs(x, g, g2, lr):\n    return lr, g\n"
    )
    rows = surefoot.compare(words(), ["sgd", f"{file}:signs"], lr=0.1, **QUICK).table()
    assert rows[0]["test_loss"] == rows[1]["test_loss"]
    assert {row["rule"] for row in rows} == {"sgd", "signs"}


def test_the_effective_rates_of_adagrad_fall_with_the_count():
    entry = surefoot.compare(words(400), "adagrad", lr=0.5, **QUICK | {"engine": "cpu"}).entries[0]
    rates = entry.runs[0].rates
    assert rates.occurrences == sorted(rates.occurrences)
    assert rates.median[0] > 2 * rates.median[-1]
    assert sum(rates.features) == 12


def test_rates_are_grouped_by_count():
    rates = Rates.of(np.array([1.0, 2.0, 3.0, 9.0, np.inf]), np.array([1, 1, 1, 100, 7]))
    assert rates == Rates([1.0, pytest.approx(100)], [3, 1], [1.5, 9.0], [2.0, 9.0], [2.5, 9.0])


# Divergence


def test_a_diverging_rule_is_flagged_and_does_not_stop_the_others():
    result = surefoot.compare(numbers(), ["sgd", "adagrad"], lr={"sgd": 100.0, "adagrad": 0.3}, **QUICK)
    good, lost = result.table()
    assert (good["rule"], good["diverged"]) == ("adagrad", None)
    assert lost["diverged"] == 1
    assert lost["diverged_seeds"] == QUICK["seeds"]
    assert lost["test_loss"] is lost["train_loss"] is lost["frozen"] is None
    assert result.entries[0].runs[0].scores[1:] == []


def test_numbers_that_overflow_are_divergence_too():
    (row,) = surefoot.compare(numbers(), "sgd", lr=1e30, **QUICK).table()
    assert row["diverged"] == 1


def test_results_never_hold_nan():
    result = surefoot.compare(numbers(), ["sgd", "momentum"], lr=1e30, **QUICK)
    assert json.loads(result.to_json(), parse_constant=pytest.fail)["table"][0]["diverged"] == 1


def test_the_scale_of_features_does_not_matter():
    plain = numbers()
    enormous = Dataset("enormous", (plain.X * 2.0**50).astype(np.float32), plain.y, "regression")
    (entry,), (expected,) = (surefoot.compare(data, "sgd", **QUICK).entries for data in (enormous, plain))
    assert entry.lr == expected.lr
    assert entry.final("test_loss") == pytest.approx(expected.final("test_loss"), rel=1e-5)


def test_the_search_ends_if_all_rates_diverge(monkeypatch):
    monkeypatch.setattr(race, "pass_through", lambda *_: False)
    (entry,) = surefoot.compare(numbers(), "sgd", **QUICK).entries
    assert set(entry.search.tried.values()) == {None}
    assert len(entry.search.tried) <= race.MOST_RATES
    assert entry.diverged


def test_a_rule_ends_with_the_weights_of_the_estimator():
    """Bit for bit, on six features with scales from 1e-3 to 1e2: the learner is one."""
    rng, scales = np.random.default_rng(0), 10.0 ** np.arange(-3, 3)
    X, w = rng.normal(size=(1000, 6)) * scales, rng.normal(size=6) / scales
    y = (rng.random(1000) < 1 / (1 + np.exp(-X @ w))).astype(float)
    task = race.Task(X, y, X, y, losses.logistic)
    for name, lr, batch_size in (("adagrad", 0.1, 1), ("sgd", 0.01, 1), ("adagrad", 1.0, 7)):
        learner = task.learner(Settings(batch_size=batch_size).method(rules.get(name), lr))
        turns = order(len(y), np.random.default_rng(3))
        race.pass_through(learner, task.examples(), turns)
        model = LinearClassifier(optimizer=name, lr=lr, batch_size=batch_size, epochs=1, shuffle=False)
        model.fit(X[turns], y[turns])
        assert_identical(race.weights_of(learner), np.append(model.coef_, model.intercept_))


def written(path, X, y) -> list[str]:
    """The lines of examples, with all digits, and the table's head where the file is one."""
    if path.suffix == ".csv":
        return ["y,a,b,c,d,e,f\n", *(",".join(map(repr, [t, *row])) + "\n" for t, row in zip(y, X, strict=True))]
    return [f"{t!r} " + " ".join(f"{j}:{v!r}" for j, v in enumerate(row)) + "\n" for t, row in zip(y, X, strict=True)]


@pytest.mark.parametrize(
    "file, loss, rule, lr, batch_size",
    [
        ("two.svm", "logistic", "adagrad", 0.1, 1),
        ("two.csv", "logistic", "ftrl", 0.3, 7),
        ("many.svm", "squared", "sgd", 0.01, 1),
        ("many.csv", "squared", "adagrad", 1.0, 400),
        ("many.svm", "quantile", "adagrad", 0.1, 7),
        ("many.csv", "huber", "adam", 0.05, 7),
    ],
)
def test_compare_and_train_end_in_the_same_weights_on_a_file(file, loss, rule, lr, batch_size, tmp_path, monkeypatch):
    """Bit for bit, though neither features nor targets are exact in float32, and some are 0 or, in tables, missing."""
    rng, path, caught = np.random.default_rng(0), tmp_path / file, []
    X = rng.normal(size=(400, 6)) * (scales := 10.0 ** np.arange(-3, 3))
    y = (X / scales).sum(axis=1) + 0.1
    X[rng.random(X.shape) < 0.1] = 0
    if path.suffix == ".csv":
        X[rng.random(X.shape) < 0.1] = np.nan
    y = np.where(y > 0, 1.0, -1.0) if loss == "logistic" else y
    path.write_text("".join(written(path, X.tolist(), y.tolist())))
    monkeypatch.setattr(limits, "PIECE", 3000)  # blocks of some rows
    weights_of = race.weights_of
    monkeypatch.setattr(race, "weights_of", lambda learner: caught.append(weights_of(learner)) or caught[-1])
    how = {"lr": lr, "batch_size": batch_size, "engine": "reference"}
    surefoot.compare(path, rule, loss=loss, epochs=1, seeds=[0], **how)
    data = load(path)
    turns = data.train[order(len(data.train), np.random.default_rng(0))]
    path.write_text("".join(written(path, X[turns].tolist(), y[turns].tolist())))
    options = ReadOptions(target="y") if path.suffix == ".csv" else ReadOptions()
    training = Training(Plan((str(path),), options, loss=loss, method=Method(rules.get(rule), **how)))
    training.run()
    assert training.learner is not None
    in_order = training.learner.excerpt(np.argsort(training.learner.ids()))
    assert_identical(weights_of(in_order), caught[-1])
    assert data.X.dtype == np.float64


def test_missing_numbers_of_a_table_count_as_the_mean_where_losses_are_measured(tmp_path):
    (path := tmp_path / "t.csv").write_text("y,a,b\n" + "1,0,5\n2,,7\n3,4,0\n4,2,\n" * 5)
    data = load(path)
    a, b = (list(data.feature_names or ()).index(name) for name in "ab")
    x, centers = np.array([0.5, -2.0, 3.0, 1.0, 0.25]), np.zeros(4)
    centers[[a, b]] = 1.5, 4.0
    filled = data.X.toarray()
    filled[1::4, a], filled[3::4, b] = 1.5, 4.0
    assert data.X.nnz == 2 * 5 * 4  # the zeros, and the features that say what is missing
    np.testing.assert_allclose(race.Task.of(data).predict(data.X, x, centers), filled @ x[:-1] + x[-1])


def by_hand(data: Dataset, rule: str, lr: float, epochs: int) -> list[float]:
    """The mean squared errors of a line on both parts, from a plain loop: the feature and the targets centred and
    scaled, one example a step, the order of seed 0."""
    (X, y), rng = data.part(data.train), np.random.default_rng(0)
    center, spread = float(np.mean(y, dtype=float)), float(np.std(y, dtype=float))
    numbers, totals, seen, mean, scale = np.zeros(2), np.zeros(2), [], 0.0, 1.0
    for _ in range(epochs):
        for i in rng.permutation(len(y)):
            seen.append(float(X[i, 0]))
            mean = float(np.mean(seen)) if len(seen) > 1 else 0.0  # a single value does not differ from others
            scale = 1 / math.sqrt(np.mean(np.square(np.array(seen) - mean)))
            z = np.array([(seen[-1] - mean) * scale, 1.0])
            g = (numbers @ z - (float(y[i]) - center) / spread) * z
            totals += g * g
            numbers -= lr * g if rule == "sgd" else lr * g / np.sqrt(totals + 1e-6)
    weight = spread * numbers[0] * scale
    bias = spread * numbers[1] + center - weight * mean
    parts = (data.part(data.train), data.part(data.test))
    return [float(np.mean((weight * X[:, 0] + bias - y) ** 2)) for X, y in parts]


@pytest.mark.parametrize("rule", ["sgd", "adagrad"])
def test_the_example_of_the_docstring_is_that_of_a_plain_loop(rule):
    x = np.linspace(-1, 1, 20, dtype=np.float32)
    line = Dataset("line", x[:, None], 2 * x, "regression")
    (entry,) = surefoot.compare(line, rule, lr=0.5, epochs=2, seeds=1, engine="reference").entries
    found = [entry.final(measure)[0] for measure in ("train_loss", "test_loss")]
    assert_close(found, by_hand(line, rule, lr=0.5, epochs=2), "torch float32")


@pytest.mark.parametrize("loss, name, number", [("huber", "delta", 0.3), ("quantile", "quantile", 0.9)])
def test_losses_are_learned_and_measured_with_their_own_number(loss, name, number):
    """By default and with another one, in the unit of the targets, as the estimator does."""
    data, record, found = numbers(5.0), losses.get(loss), []
    X, y = data.part(data.train)
    turns = order(len(y), np.random.default_rng(3))
    for given in (None, number):
        how = {"lr": 0.1, "epochs": 1, "seeds": [3], "loss": loss, "loss_parameter": given}
        result = surefoot.compare(data, "adagrad", **how)
        own = {} if given is None else {name: given}
        model = LinearRegressor(loss, lr=0.1, epochs=1, shuffle=False, **own).fit(X[turns], y[turns])
        for part, measure in ((data.train, "train_loss"), (data.test, "test_loss")):
            seen, targets = data.part(part)
            lost = record.reported(model.predict(seen)[:, None], targets, record.settings(given)).mean()
            assert result.entries[0].final(measure)[0] == pytest.approx(lost, rel=1e-9)
            assert lost > 0
            found.append(lost)
        assert result.to_dict()["loss_parameter"] == result.loss_parameter == record.settings(given)
        assert f"loss_parameter={number}" in result.command or given is None
    assert len(set(found)) == 4
    with pytest.raises(ValueError, match=f"{loss}: {name} must lie in "):
        surefoot.compare(data, "adagrad", loss=loss, loss_parameter=-1)
    with pytest.raises(ValueError, match="squared: found the parameter 2, but this loss does not have one"):
        surefoot.compare(data, "adagrad", loss_parameter=2)


def test_a_search_for_rates_measures_with_the_number_of_the_loss():
    result = surefoot.compare(numbers(), "sgd", loss="quantile", loss_parameter=0.9, **QUICK)
    tried = result.entries[0].search.tried
    other = surefoot.compare(numbers(), "sgd", loss="quantile", loss_parameter=0.1, **QUICK).entries[0].search.tried
    assert min(v for v in tried.values() if v is not None) > 0
    assert tried != other


# The search for rates


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_the_search_finds_a_good_rate(name):
    how = QUICK | {"engine": "cpu", "seeds": 1}
    (entry,) = surefoot.compare(words(400), name, **how).entries
    found = entry.final("train_loss")[0]
    tried = [
        surefoot.compare(words(400), name, lr=10.0**k, **how).entries[0].final("test_loss")[0] for k in range(-4, 3)
    ]
    assert entry.final("test_loss")[0] <= 1.1 * min(tried)
    assert found < math.log(2)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_search_goes_beyond_its_edge(scale):
    (entry,) = surefoot.compare(numbers(scale), "adagrad", **QUICK | {"engine": "cpu", "epochs": 20}).entries
    tried = sorted(entry.search.tried)
    assert tried[0] < entry.search.best < tried[-1]
    assert entry.lr == entry.search.best
    loss = entry.search.tried
    assert all(loss[entry.lr] <= value for value in loss.values() if value is not None)


def test_the_search_never_sees_what_is_held_out(monkeypatch):
    data = words()
    rows = []
    for_search = race.Task.for_search

    def watch(self):
        task = for_search(self)
        rows.append((task.X.shape[0], task.X_test.shape[0]))
        return task

    monkeypatch.setattr(race.Task, "for_search", watch)
    surefoot.compare(data, "sgd", **QUICK)
    ((rest, validation),) = rows
    assert rest + validation == len(data.train)
    assert validation / len(data.train) == pytest.approx(race.VALIDATION_SHARE, abs=0.02)


def test_given_rates_are_not_searched():
    result = surefoot.compare(words(), ["sgd", "adagrad"], lr={"sgd": 0.5}, **QUICK)
    assert [entry.search is None for entry in result.entries] == [True, False]
    assert "as given for sgd" in standings.how_rates_were_found(result.entries)


# What cannot be honoured


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"seeds": []}, "seeds must name at least one"),
        ({"seeds": [-1]}, "seeds must be whole numbers of at least 0"),
        ({"engine": "gpo"}, "engine: found 'gpo', expected one of cpu, reference"),
        ({"granularity": "row"}, "coordinate or tensor"),
        ({"granularity": "tensor", "rules": ["sgd"]}, "would change nothing"),
        ({"convention": "pytroch"}, "no convention 'pytroch'"),
        ({"l1": -1.0}, "l1 must be a finite number of at least 0"),
        ({"rules": ["adagrd"]}, "did you mean 'adagrad'"),
        ({"rules": []}, "at least one rule"),
        ({"lr": -1.0}, "lr must lie in"),
        ({"lr": math.nan}, "lr must lie in"),
        ({"lr": {"adam": 1.0}, "rules": ["sgd"]}, "lr names 'adam', which does not take part"),
        ({"data": "docstring"}, "did you mean docstrings"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_training(wrong, message, monkeypatch):
    monkeypatch.setattr(Race, "enter", lambda *_: pytest.fail("began to train"))
    with pytest.raises(ValueError, match=re.escape(message)):
        surefoot.compare(**{"data": words()} | QUICK | wrong)


def test_two_rules_of_one_name_are_rejected():
    mine = rule(hyper={"lr": positive(0.1)}, name="sgd")(REGISTRY["sgd"].function)
    with pytest.raises(RuleError, match="sgd: two rules have this name"):
        surefoot.compare(words(), ["sgd", mine], **QUICK)


def test_a_selection_skips_rules_that_cannot_honour_a_setting():
    result = surefoot.compare(words(), lr=0.1, granularity="tensor", **QUICK)
    assert set(result.left_out) == {"sgd", "momentum"}
    assert "would change nothing" in result.left_out["sgd"]
    assert {row["rule"] for row in result.table()} == set(comparison.SELECTION) - {"sgd", "momentum"}


def test_an_out_folder_that_is_a_file_is_reported_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Race, "enter", lambda *_: pytest.fail("began to train"))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="is a file, expected a folder"):
        surefoot.compare(words(), "sgd", out=file, **QUICK)
    with pytest.raises(OSError, match="file"):
        surefoot.compare(words(), "sgd", out=file / "below", **QUICK)


# Interruption


def test_ctrl_c_keeps_what_is_finished(monkeypatch, tmp_path):
    enter = Race.enter

    def interrupted(self, entering, lr):
        if entering.name == "adam":
            raise KeyboardInterrupt
        return enter(self, entering, lr)

    monkeypatch.setattr(Race, "enter", interrupted)
    result = surefoot.compare(words(), ["sgd", "adam", "ftrl"], lr=0.1, out=tmp_path, **QUICK)
    assert result.unfinished == ["adam", "ftrl"]
    assert [row["rule"] for row in result.table()] == ["sgd"]
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert saved["interrupted"] is True
    assert "adam, ftrl did not finish" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_ctrl_c_before_the_first_rule_has_finished_is_raised(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Race, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        surefoot.compare(words(), ["sgd", "adam"], **QUICK)


# What comes back


def test_progress_counts_every_epoch():
    told = []
    surefoot.compare(
        numbers(), ["sgd", "adagrad"], lr={"sgd": 100.0}, **QUICK, progress=lambda *event: told.append(event)
    )
    done = [done for done, _, _ in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1], "a run that diverges counts in full"
    assert all(done <= total for done, total, _ in told)


def test_the_frame_has_a_row_for_every_rule_seed_and_epoch():
    frame = surefoot.compare(words(), ["sgd", "adagrad"], lr=0.1, **QUICK).frame()
    assert len(frame) == 2 * QUICK["seeds"] * (QUICK["epochs"] + 1)
    assert frame.columns.tolist() == ["rule", "seed", "epoch", "seconds", "train_loss", "test_loss", "accuracy"]
    assert not frame.isna().any().any()


def test_results_are_written_as_they_are(tmp_path):
    result = surefoot.compare(words(), ["sgd", "adagrad"], out=tmp_path, **QUICK)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(result.to_dict())
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "results.json"]


def test_the_call_is_recorded():
    result = surefoot.compare(words(), ["sgd", REGISTRY["adagrad"]], lr={"sgd": 0.5, "adagrad": 1.0}, **QUICK)
    assert result.command == (
        "surefoot.compare('words', rules=['sgd', 'adagrad'], lr={'sgd': 0.5, 'adagrad': 1.0}, batch_size=4, epochs=3, "
        "seeds=2, engine='reference')"
    )


# Figures and report

RACES = {
    "searched": lambda: surefoot.compare(words(), ["sgd", "adagrad", "momentum"], **QUICK),
    "all": lambda: surefoot.compare(words(), "all", lr=0.3, **QUICK),
    "dense": lambda: surefoot.compare(numbers(), ["sgd", "adagrad"], lr=0.1, **QUICK),
    "one epoch, one rule": lambda: surefoot.compare(numbers(), "sgd", lr=0.1, **QUICK | {"epochs": 1, "seeds": 1}),
    "diverged": lambda: surefoot.compare(numbers(), ["sgd", "adagrad"], lr={"sgd": 100.0, "adagrad": 0.1}, **QUICK),
    "all diverged": lambda: surefoot.compare(numbers(), ["sgd", "momentum"], lr=1e30, **QUICK),
    "all rates diverged": lambda: surefoot.compare(
        Dataset("huge", (numbers().X * 1e15).astype(np.float32), numbers().y, "regression"), "sgd", **QUICK
    ),
    "rate zero": lambda: surefoot.compare(words(), ["sgd", "adagrad"], lr=0.0, **QUICK),
}


@functools.cache
def raced(which: str) -> comparison.Comparison:
    return RACES[which]()


class Page(HTMLParser):
    """What a page refers to, and the names it defines."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
            if tag == "svg" and name == "aria-label":
                self.labels.append(value)


@pytest.mark.parametrize("which", marked(RACES, RACES.keys() - {"all"}))
def test_the_report_is_self_contained(which):
    result = raced(which)
    text = report.render(result)
    page = Page(text)
    assert "script" not in page.tags
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", text))
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    inside = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert inside | set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert page.tags.count("svg") == page.tags.count("figcaption") == len(page.labels) >= 4
    assert not re.search(r"\b(nan|inf|None|undefined)\b", re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL))
    for entry in result.entries:
        assert entry.rule.name in text
    drawn = " ".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) <= set(PALETTE), "a colour that does not follow the scheme"
    assert set(re.findall(r"var\((--[\w-]+)\)", drawn)) <= set(re.findall(r"(--[\w-]+):", text))


@pytest.mark.parametrize("low", [0.003, 0.0041, 0.00089, 1.9])
@pytest.mark.parametrize("times", [1.01, 1.3, 2, 4, 6, 9, 20, 3e3])
def test_ticks_of_a_logarithmic_axis_do_not_overlap(low, times):
    from surefoot.lab.figures import curves, flaws, plain_logarithms, style
    from surefoot.lab.race_figures import SIZE

    with style():
        figure, axes = curves("", "seconds", "loss", *SIZE)
        axes.plot([low, low * times], [low, low * times])
        axes.set(xscale="log", yscale="log")
        plain_logarithms(axes)
        assert flaws(figure) == []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        assert sum(low <= tick <= high for tick in axis.get_majorticklocs()) >= 2


@pytest.mark.parametrize("which", marked(RACES, RACES.keys() - {"all"}))
def test_nothing_in_a_figure_is_cut_off_or_overlaps(which):
    from surefoot.lab.figures import flaws

    for name, figure in raced(which).figures().items():
        assert flaws(figure) == [], name


def test_text_from_data_is_escaped():
    name = "<img src=x onerror=alert(1)>&\"'$_{"
    mine = rule(hyper={"lr": positive(0.1)}, name=name, formula=name, source=name)(REGISTRY["sgd"].function)
    text = report.render(surefoot.compare(words(name=name), [mine, "adagrad"], lr=0.1, command=name, **QUICK))
    page = Page(text)
    assert "img" not in page.tags
    assert "<img" not in text


def test_the_headline_says_what_was_measured_and_over_what():
    result = surefoot.compare(numbers(), ["sgd", "adagrad"], lr={"sgd": 0.1, "adagrad": 1e-3}, **QUICK)
    best, other = result.table()
    assert standings.headline(result.table()).startswith("sgd had the lowest held-out loss, ")
    assert f"{best['test_loss']:.4f}" in standings.headline(result.table())
    assert "over 2 seeds, at η = 0.1" in standings.headline(result.table())
    assert f"adagrad came 2nd of 2, {other['behind']:.4f} ± " in standings.headline(result.table())
    assert "Next came" not in standings.runners_up(result.table())


def test_how_far_behind_adagrad_was_is_said_once():
    rows = rows_of([1.0, 1.1], [3.0, 3.1], [4.0, 4.1], [2.0, 2.1])
    assert standings.headline(rows).endswith("adagrad came 2nd of 4, 1.0000 ± 0.0000 (standard error) behind.")
    said = standings.runners_up(rows)
    assert said.startswith("Next came momentum, 2.0000 ± 0.0000 (standard error) behind; last was visits with 4.0500.")
    said = standings.runners_up(rows_of([1.0, 1.1], [2.0, 2.1], [3.0, 3.1], [4.0, 4.1]))
    assert said.startswith("Next came momentum, 1.0000 ± 0.0000 (standard error) behind; last was adagrad with 4.0500.")


def rows_of(*ends):
    """The table of a race whose rules ended with these losses, one for each seed."""
    runs = [[race.Run(0, [race.Score(loss, loss)], [1.0]) for loss in rule] for rule in ends]
    entries = [race.Entry(REGISTRY[name], 0.1, 4, None, run) for name, run in zip(REGISTRY, runs, strict=False)]
    return comparison.Comparison(numbers(), losses.get("squared"), None, Settings(), entries).table()


def test_rules_that_the_seeds_do_not_tell_apart_are_named_together():
    rows = rows_of([1.0, 1.2, 1.4], [1.1, 1.1, 1.45], [2.0, 2.2, 2.4])
    assert standings.headline(rows) == (
        "sgd and momentum had the lowest held-out losses, 1.2000 to 1.2167; 3 seeds do not tell them apart."
    )
    alike = standings.headline(rows_of([1.0, 1.2, 1.4], [1.0, 1.2, 1.4]))
    assert alike == "sgd and momentum had the lowest held-out loss, 1.2000; 3 seeds do not tell them apart."
    assert standings.runners_up(rows).startswith("Next came visits, 1.0000 ± 0.0000 (standard error) behind.")
    apart = rows_of([1.0, 1.2, 1.4], [1.01, 1.21, 1.41])
    assert standings.headline(apart).startswith("sgd had the lowest held-out loss, 1.2000 ± 0.2000 over 3 seeds")
    alone = rows_of([1.0], [1.0001])
    assert standings.headline(alone) == "sgd had the lowest held-out loss, 1.0000 with one seed, at η = 0.1."
    assert "A single seed does not say" in standings.runners_up(alone)


def test_the_headline_names_adagrad_wherever_it_races():
    """Where no feature is rarer than another, it says how far behind adagrad was, unless it was among the first."""
    lowest, equal, near, far = [1.0, 1.2], [1.0, 1.2], [1.1, 1.31], [2.0, 2.2]
    assert list(REGISTRY)[3] == "adagrad"
    third = standings.headline(rows_of(lowest, far, far, near))
    assert third.endswith("η = 0.1. adagrad came 2nd of 4, 0.1050 ± 0.0050 (standard error) behind.")
    assert standings.headline(rows_of(lowest, near, near, far)).endswith(
        "adagrad came 4th of 4, 1.0000 ± 0.0000 (standard error) behind."
    )
    assert standings.headline(rows_of(far, far, far, lowest)).startswith("adagrad had the lowest held-out loss, ")
    assert standings.headline(rows_of(lowest, far, far, equal)).startswith("sgd and adagrad had the lowest ")
    rows = rows_of(lowest, far, far, near)
    diverged = [*(row for row in rows if row["rule"] != "adagrad"), rows[1] | {"diverged": 1}]
    assert standings.headline(diverged).endswith(" adagrad diverged.")
    assert "diverged" not in standings.runners_up(diverged)


def test_one_slow_rule_does_not_flatten_the_others():
    from surefoot.lab.race_figures import by_epoch

    ends = [[0.20 + k / 100, 0.19 + k / 100] for k in range(5)]
    runs = [
        [race.Run(0, [race.Score(9.0, 9.0), *(race.Score(v, v) for v in way)], [1.0])] for way in (*ends, [0.9, 0.8])
    ]
    entries = [race.Entry(REGISTRY[name], 0.1, 4, None, run) for name, run in zip(REGISTRY, runs, strict=False)]
    (axes,) = by_epoch(entries, "test_loss", "loss").axes
    assert axes.get_ylim()[1] < 0.3
    said = {text.get_text() for text in axes.texts}
    assert {"zoomed in: dual_averaging up to 0.9", "dual_averaging ↑"} <= said
    scale = report.scale(comparison.Comparison(numbers(), losses.get("squared"), None, Settings(), entries).table())
    assert [name for name, place in scale["places"].items() if place["beyond"]] == ["dual_averaging"]
    assert scale["places"]["momentum"]["at"] > 15


def test_the_time_of_an_epoch_is_a_median_in_the_table_and_in_the_figure():
    from surefoot.lab.race_figures import by_time

    scores = [race.Score(v, v) for v in (9.0, 3.0, 2.0, 1.0)]
    entry = race.Entry(REGISTRY["sgd"], 0.1, 0, None, [race.Run(0, scores, [1.0, 50.0, 1.0])])
    (line, *_) = by_time([entry], "loss").axes[0].lines
    assert line.get_xdata().tolist() == [1.0, 2.0, 3.0]
    assert entry.row()["seconds_per_epoch"] == 1.0


@pytest.mark.slow
def test_more_rules_than_colours_get_a_panel_each():
    result = raced("all")
    assert len(result.entries) > len(PALETTE)
    for name, figure in result.figures().items():
        if name != "search":
            drawn = [sum(str(line.get_gid()).endswith("-line") for line in axes.lines) for axes in figure.axes]
            assert max(drawn) <= 1, name


def test_notebooks_show_the_standings():
    page = raced("searched")._repr_html_()
    assert standings.headline(raced("searched").table()) in html.unescape(page)
    assert page.count("<tr>") == 1 + len(raced("searched").entries)


def test_settings_of_the_race_are_the_defaults_of_compare():
    assert Settings() == Settings(seeds=comparison.as_seeds(3))
    assert set(comparison.SELECTION) <= set(REGISTRY)
