"""Custom models, defined in this file: a factorization machine, and a field-aware one.

What a change of this kind touches: `src/surefoot/models/NAME.py` and its line in `models/__init__.py`; an estimator, if
it is to have one; and the changelog.
"""

import json

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical
from support.row_maps import ByOccurrence

from surefoot import models
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.learner import Learner
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method, Settings
from surefoot.learn.targets import Targets
from surefoot.learn.training import Interrupted, Training
from surefoot.models import Architecture, ModelError, Part

WIDTH = 4
FIELDS = 3
"""Fields that the field-aware machine tells apart; a feature has two numbers for each."""


# The models


def small(ids: np.ndarray, width: int) -> np.ndarray:
    """Numbers from −0.1 to 0.1 that follow from the id: the same wherever, and in whatever order, features occur."""
    mixed = (ids[:, None] + 1) * 2_654_435_761 + np.arange(width) * 40_503
    return (mixed % 1009 / 1008.0 - 0.5) * 0.2


def predict(values, fields, numbers, base, predicted, lanes):
    """Of each number the products of all pairs, added up in one pass: Rendle's lemma 3.1."""
    for k in range(lanes):
        predicted[k] = base + numbers.bias[k]
        for e in range(values.size):
            predicted[k] += numbers.weight[e * lanes + k] * values[e]
        for m in range(WIDTH):
            before = values.dtype.type(0)
            for e in range(values.size):
                term = numbers.factors[(e * WIDTH + m) * lanes + k] * values[e]
                predicted[k] += before * term
                before += term


def gradient(values, fields, numbers, slopes, gradients, lanes):
    for k in range(lanes):
        gradients.bias[k] = slopes[k]
        for e in range(values.size):
            gradients.weight[e * lanes + k] = slopes[k] * values[e]
        for m in range(WIDTH):
            total = values.dtype.type(0)
            for e in range(values.size):
                total += numbers.factors[(e * WIDTH + m) * lanes + k] * values[e]
            for e in range(values.size):
                at = (e * WIDTH + m) * lanes + k
                gradients.factors[at] = slopes[k] * values[e] * (total - numbers.factors[at] * values[e])


def scores(block, rows, numbers):
    example, known = np.repeat(np.arange(len(block)), np.diff(block.indptr)), rows >= 0
    example, x, rows = example[known], block.values[known], rows[known]
    found = np.tile(numbers["bias"][0, 0].astype(float), (len(block), 1))
    for o in range(found.shape[1]):
        found[:, o] += np.bincount(example, numbers["weight"][rows, 0, o] * x, len(block))
        for m in range(WIDTH):
            terms = numbers["factors"][rows, m, o] * x
            total, squares = (np.bincount(example, t, len(block)) for t in (terms, terms * terms))
            found[:, o] += 0.5 * (total * total - squares)
    return found


factorization_machine = Architecture(
    name="factorization_machine",
    parts={
        "bias": Part(of="model", penalized=False),
        "weight": Part(),
        "factors": Part(width=WIDTH, initial=lambda ids: small(ids, WIDTH)),
    },
    predict=predict,
    gradient=gradient,
    scores=scores,
    source="Rendle (2010), Factorization machines, ICDM",
)


def predict_by_field(values, fields, numbers, base, predicted, lanes):
    """In a pair each feature uses its numbers for the other's field."""
    factors, width = numbers.factors, 2 * FIELDS
    for k in range(lanes):
        predicted[k] = base + numbers.bias[k]
        for e in range(values.size):
            predicted[k] += numbers.weight[e * lanes + k] * values[e]
            for d in range(e):
                for m in range(2):
                    mine = factors[(e * width + fields[d] % FIELDS * 2 + m) * lanes + k]
                    other = factors[(d * width + fields[e] % FIELDS * 2 + m) * lanes + k]
                    predicted[k] += mine * other * (values[e] * values[d])


def gradient_by_field(values, fields, numbers, slopes, gradients, lanes):
    factors, width = numbers.factors, 2 * FIELDS
    for k in range(lanes):
        gradients.bias[k] = slopes[k]
    for i in range(values.size * width * lanes):
        gradients.factors[i] = 0
    for e in range(values.size):
        for k in range(lanes):
            gradients.weight[e * lanes + k] = slopes[k] * values[e]
            for d in range(e):
                slope = slopes[k] * (values[e] * values[d])
                for m in range(2):
                    mine = (e * width + fields[d] % FIELDS * 2 + m) * lanes + k
                    other = (d * width + fields[e] % FIELDS * 2 + m) * lanes + k
                    gradients.factors[mine] += slope * factors[other]
                    gradients.factors[other] += slope * factors[mine]


def scores_by_field(block, rows, numbers):
    found = np.tile(numbers["bias"][0, 0].astype(float), (len(block), 1))
    for i in range(len(block)):
        kept = [e for e in range(block.indptr[i], block.indptr[i + 1]) if rows[e] >= 0]
        for e in kept:
            found[i] += numbers["weight"][rows[e], 0] * block.values[e]
            for d in kept[: kept.index(e)]:
                of_e, of_d = (numbers["factors"][rows[j]].reshape(FIELDS, 2, -1) for j in (e, d))
                dot = (of_e[block.fields[d] % FIELDS] * of_d[block.fields[e] % FIELDS]).sum(axis=0)
                found[i] += dot * block.values[e] * block.values[d]
    return found


field_aware_machine = Architecture(
    name="field_aware_machine",
    parts={
        "bias": Part(of="model", penalized=False),
        "weight": Part(),
        "factors": Part(width=2 * FIELDS, initial=lambda ids: small(ids, 2 * FIELDS)),
    },
    predict=predict_by_field,
    gradient=gradient_by_field,
    scores=scores_by_field,
    merges_fields=False,
    source="Juan, Zhuang, Chin & Lin (2016), Field-aware factorization machines for CTR prediction, RecSys",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for model in (factorization_machine, field_aware_machine):
        monkeypatch.setitem(models.REGISTRY, model.name, model)


# The data


def known(found):
    """A value that is not None here."""
    assert found is not None
    return found


def block(count: int, repeats: bool = False, seed: int = 0, first: int = 1 << 40) -> Block:
    """Rows of a feature for each of three fields, of which a few are missing; what they predict are products of pairs.

    With `repeats`, a feature may occur in two fields of a row.
    """
    rng = np.random.default_rng(seed)
    hidden = np.random.default_rng(99).normal(size=(18, 2))
    indptr, indices, fields, values, labels = [0], [], [], [], []
    for _ in range(count):
        kept = np.flatnonzero(rng.random(FIELDS) < 0.9)
        ids = rng.integers(0, 6, len(kept)) + (0 if repeats else 6 * kept)
        order = np.lexsort((kept, ids))
        x = rng.uniform(0.5, 1.5, len(kept))
        total = (hidden[ids] * x[:, None]).sum(axis=0)
        labels.append((total @ total - (hidden[ids] ** 2 * x[:, None] ** 2).sum()) / 2)
        indices += (first + 7919 * ids[order]).tolist()
        fields, values = fields + kept[order].tolist(), values + x[order].tolist()
        indptr.append(len(indices))
    arrays = np.array(indptr), np.array(indices), np.array(values), np.array(labels)
    weights = rng.uniform(0.5, 2.0, count).astype(np.float32)
    return Block(*arrays, weights, fields=np.array(fields, np.int64))


def examples(of: Block) -> Examples:
    return Examples(of.indptr, of.indices, of.values, of.labels, of.weights.astype(float), fields=of.fields)


# The same in plain NumPy


class Feature:
    """The numbers of a feature: a weight under AdaGrad, factors under RMSProp."""

    def __init__(self, number: int, width: int, f):
        self.weight, self.total = f(0), f(0)
        self.factors, self.square = small(np.array([number]), width)[0].astype(f), np.zeros(width, f)
        self.count, self.mean, self.deviations, self.last = 0.0, 0.0, 0.0, 0

    def wait(self, t: int, gamma):
        """Steps with a gradient of zero up to the one before t: the average square decays, by repeated squaring."""
        k, factor = t - 1 - self.last, None
        while k > 0:
            if k % 2:
                factor = gamma if factor is None else factor * gamma
            gamma, k = gamma * gamma, k // 2
        if factor is not None:
            self.square = factor * self.square
        self.last = t

    def scaled(self, x: float, normalize: bool, f):
        self.count, way = self.count + 1.0, x - self.mean
        self.mean += way / self.count
        self.deviations += way * (x - self.mean)
        squares = self.deviations + self.count * self.mean * self.mean
        return f(x * np.sqrt(self.count / squares)) if normalize else f(x)


class Plain:
    """Both machines under the squared loss, one example after the other."""

    def __init__(self, model: Architecture, dtype: str, batch_size: int, normalize: bool, lr: float):
        f = self.f = np.dtype(dtype).type
        self.by_field, self.width = model is field_aware_machine, model.parts["factors"].width
        self.batch_size, self.normalize = batch_size, normalize
        self.lr, self.eps = f(lr), f(1e-6)
        self.gamma, self.fresh = f(0.9), f(1 - 0.9)
        self.bias, self.bias_total, self.t = f(0), f(0), 0
        self.features: dict[int, Feature] = {}

    def learn(self, rows: Block) -> np.ndarray:
        found = []
        for first in range(0, len(rows), self.batch_size):
            batch = range(first, min(first + self.batch_size, len(rows)))
            self.t += 1
            total, slopes, gradients = 0.0, self.f(0), {}
            for i in batch:
                found.append(self.example(rows, i, gradients))
                slopes += found[-1][1]
                total += float(rows.weights[i])
            share = self.f(total) if self.batch_size > 1 else self.f(1)
            self.bias, self.bias_total = self.adagrad(self.bias, self.bias_total, slopes / share)
            for number, (of_weight, of_factors) in gradients.items():
                self.step(self.features[number], of_weight / share, of_factors / share)
        return np.array([prediction for prediction, _ in found])

    def example(self, rows: Block, i: int, gradients: dict):
        """The prediction and the slope of an example, whose gradients are added."""
        entries = range(rows.indptr[i], rows.indptr[i + 1])
        ids, fields = rows.indices[entries], known(rows.fields)[entries] % FIELDS
        features = [self.features.setdefault(n, Feature(n, self.width, self.f)) for n in ids.tolist()]
        for feature in features:
            feature.wait(self.t, self.gamma)
        x = [
            feature.scaled(value, self.normalize, self.f)
            for feature, value in zip(features, rows.values[entries].tolist(), strict=True)
        ]
        pairs = self.pairs_by_field if self.by_field else self.pairs
        prediction, of_factors = pairs(features, fields, x)
        slope = self.f((float(prediction) - rows.labels[i]) * float(rows.weights[i]))
        for e, number in enumerate(ids.tolist()):
            before = gradients.get(number, (self.f(0), np.zeros(self.width, self.f)))
            gradients[number] = before[0] + slope * x[e], before[1] + of_factors(e, slope)
        return prediction, slope

    def pairs(self, features, fields, x):
        prediction = self.f(0) + self.bias
        for feature, value in zip(features, x, strict=True):
            prediction += feature.weight * value
        terms = np.array([feature.factors * value for feature, value in zip(features, x, strict=True)])
        total = np.zeros(self.width, self.f)
        for m in range(self.width):
            for e in range(len(x)):
                prediction += total[m] * terms[e, m]
                total[m] += terms[e, m]
        return prediction, lambda e, slope: slope * x[e] * (total - terms[e])

    def pairs_by_field(self, features, fields, x):
        prediction = self.f(0) + self.bias
        v = [feature.factors.reshape(FIELDS, 2) for feature in features]
        for e in range(len(x)):
            prediction += features[e].weight * x[e]
            for d in range(e):
                for m in range(2):
                    prediction += v[e][fields[d], m] * v[d][fields[e], m] * (x[e] * x[d])

        def of_factors(e, slope):
            found = np.zeros((FIELDS, 2), self.f)
            for d in range(len(x)):
                if d != e:
                    found[fields[d]] += slope * (x[e] * x[d]) * v[d][fields[e]]
            return found.ravel()

        return prediction, of_factors

    def adagrad(self, x, total, g):
        total = total + g * g
        return x - self.lr / np.sqrt(total + self.eps) * g, total

    def step(self, feature: Feature, of_weight, of_factors):
        feature.weight, feature.total = self.adagrad(feature.weight, feature.total, of_weight)
        feature.square = self.gamma * feature.square + self.fresh * (of_factors * of_factors)
        feature.factors = feature.factors - self.lr / np.sqrt(feature.square + self.eps) * of_factors


RULES = {"bias": "adagrad", "weight": "adagrad", "factors": "rmsprop"}
CASES = {
    "two rates": (factorization_machine, {"dtype": "float64", "batch_size": 1, "normalize": True}, (0.03, 0.1)),
    "mini-batches": (factorization_machine, {"dtype": "float32", "batch_size": 4, "normalize": False}, (0.03,)),
    "fields": (field_aware_machine, {"dtype": "float32", "batch_size": 1, "normalize": True}, (0.03,)),
}
COMPILED_ALONE = {("two rates", "cpu"), ("mini-batches", "cpu")}
"""Whose kernels take long to compile, for no other test."""


@pytest.mark.parametrize(
    "case, engine",
    [
        pytest.param(case, engine, marks=pytest.mark.slow if (case, engine) in COMPILED_ALONE else ())
        for case in CASES
        for engine in ("cpu", "reference")
    ],
)
def test_it_learns_with_the_bits_of_a_plain_loop(case, engine):
    model, settings, rates = CASES[case]
    rows = block(70, repeats=model is field_aware_machine)
    steps = {part: [Step(rule, lr=lr) for lr in rates] for part, rule in RULES.items()}
    bank = ModelBank(model, steps, loss="squared", engine=engine, row_map=ByOccurrence(), **settings)
    parts = [examples(rows).part(0, 28), examples(rows).part(28, 70)]
    predicted = np.concatenate([bank.learn(part) for part in parts])
    bank.settle()
    for k, lr in enumerate(rates):
        plain = Plain(model, lr=lr, **settings)
        assert_identical(predicted[:, 0, k], plain.learn(rows))
        assert_identical(bank.table.numbers("bias")[0, 0, k], plain.bias)
        for row, number in enumerate(bank.row_map.ids(0, bank.features).tolist()):
            feature = plain.features[number]
            feature.wait(plain.t + 1, plain.gamma)
            assert number >= 1 << 32
            assert_identical(bank.table.numbers("weight")[row, 0, k], feature.weight, "weight")
            assert_identical(bank.table.numbers("weight", "total")[row, 0, k], feature.total, "total")
            assert_identical(bank.table.numbers("factors")[row, :, k], feature.factors, "factors")
            assert_identical(bank.table.numbers("factors", "square")[row, :, k], feature.square, "square")


# Through the public interfaces


def settings(**changes) -> Settings:
    """Those of the case in mini-batches, by names from the registry."""
    method = {"model": "factorization_machine", "optimizer": {"weight": "adagrad", "factors": "rmsprop"}, "lr": 0.03}
    return Settings(**method | {"loss": "squared", "batch_size": 4, "normalize": False} | changes)


def trained(passes: int = 30, **changes) -> Learner:
    learner = Learner(settings(**changes), row_map=ByOccurrence())
    for _ in range(passes):
        learner.learn(examples(block(200)))
    return learner


@pytest.mark.slow
def test_a_learner_finds_the_products():
    """On rows that it has not seen; a linear model cannot."""
    unseen, learner = block(100, seed=1), trained()
    machine = Model.of(learner, Targets("squared"))
    assert np.mean((machine.predict(unseen) - unseen.labels) ** 2) < 0.2 * np.var(unseen.labels)
    assert_close(machine.scores(unseen)[:4, 0], learner.learn(examples(unseen))[:4, 0], "torch float32")


def test_learning_rates_are_found():
    """lr="auto" trains several at once, and what is predicted later is that of the best."""
    learner = trained(passes=1, lr="auto", engine="reference")
    assert len(learner.rates) > 1
    unseen = block(4, seed=1)
    best = learner.rates.index(learner.learning_rate)
    expected = Model.of(learner, Targets("squared")).scores(unseen)
    assert_close(learner.bank.learn(examples(unseen))[:, 0, best], expected[:, 0], "torch float32")


def test_a_model_file_keeps_the_ids(tmp_path):
    learner, unseen = trained(3), block(50, seed=1)
    machine = Model.of(learner, Targets("squared"), memory=True)
    machine.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.architecture is factorization_machine
    assert known(again.ids).min() >= 1 << 32
    assert (np.diff(known(again.ids)) > 0).all()
    assert_identical(again.scores(unseen), machine.scores(unseen))
    others = block(50, seed=1, first=1 << 50)  # of which none is known: the bias is left
    assert_identical(again.predict(others), np.full(50, float(machine.numbers["bias"][0, 0, 0])))
    goes_on = Learner.from_state(learner.settings, *known(again.memory), row_map=ByOccurrence())
    assert_identical(goes_on.learn(examples(unseen)), learner.learn(examples(unseen)))


@pytest.mark.parametrize(
    "model, normalize",
    [
        ({"model": "factorization_machine"}, False),
        pytest.param({"model": "linear", "optimizer": "adagrad"}, True, marks=pytest.mark.slow),
        pytest.param({"model": "linear", "optimizer": "adagrad"}, False, marks=pytest.mark.slow),
        pytest.param({"model": "factorization_machine"}, True, marks=pytest.mark.slow),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else None,
)
def test_a_feature_that_never_occurred_adds_nothing(model, normalize, tmp_path):
    """However much room there was for it: below the largest id that occurred, in reserved memory, and beyond that."""
    rows, found = block(40, repeats=True, first=0), []
    ids = np.unique(rows.indices)
    others = {"between": int(ids[0]) + 1, "in room": int(ids[-1]) + 50, "beyond": 1 << 50}
    for room in (0, int(ids[-1]) + 100):
        learner = Learner(settings(**model, normalize=normalize), features=room)
        learner.learn(examples(rows))
        machine = Model.of(learner, Targets("squared"))
        machine.save(tmp_path / "m")
        for kept in (machine, Model.load(tmp_path / "m")):
            found.append(kept.scores(of_features([*ids[:2]])))
            for where, other in others.items():
                assert_identical(kept.scores(of_features([*ids[:2], other])), found[-1], where)
    for scores in found:
        assert_identical(scores, found[0])


def of_features(ids: list[int]) -> Block:
    """One example of these features, each in a field of its own."""
    ones = np.ones(len(ids))
    fields = np.arange(len(ids)) % FIELDS
    return Block(np.array([0, len(ids)]), np.array(ids), ones, np.zeros(1), np.ones(1, np.float32), fields=fields)


def test_a_model_file_of_an_unknown_model_names_it(tmp_path, monkeypatch):
    Model.of(trained(1), Targets("squared")).save(tmp_path / "m")
    monkeypatch.delitem(models.REGISTRY, "factorization_machine")
    with pytest.raises(ValueError, match=r"there is no model 'factorization_machine'.*register it in"):
        Model.load(tmp_path / "m")


def test_a_learner_continues_from_its_state():
    """The row map's ids are part of it; the map itself is given again, empty."""
    rows = examples(block(80))
    through, first = (Learner(settings(), row_map=ByOccurrence()) for _ in range(2))
    through.learn(rows.part(0, 40))
    first.learn(rows.part(0, 40))
    arrays, numbers = first.state()
    second = Learner.from_state(settings(), arrays, json.loads(json.dumps(numbers)), row_map=ByOccurrence())
    assert_identical(second.learn(rows.part(40, 80)), through.learn(rows.part(40, 80)))
    assert_identical(second.ids(), through.ids())


def test_statistics_name_features_by_id():
    stats = FeatureStats.of(trained(1))
    assert (np.diff(stats.features) > 0).all()
    ids, counts = np.unique(block(200).indices, return_counts=True)
    assert_identical(stats.features, ids)
    assert_identical(stats.counts, counts.astype(np.int32))


def test_a_file_with_fields_is_learned(tmp_path):
    """Of libffm: a feature is one of each field it occurs in, in training and in prediction."""
    rows, path = block(200, repeats=True, first=0), tmp_path / "rows.ffm"
    fields, entries = known(rows.fields).tolist(), zip(rows.indices.tolist(), rows.values.tolist(), strict=True)
    words = [f"{field}:{number}:{value:.17g}" for field, (number, value) in zip(fields, entries, strict=True)]
    lines = [
        " ".join([f"{label:.17g}", *words[begin:end]])
        for label, begin, end in zip(rows.labels, rows.indptr[:-1], rows.indptr[1:], strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    method = Method(model="field_aware_machine", optimizer={"weight": "adagrad", "factors": "rmsprop"}, lr=0.03)
    plan = {"files": (str(path),), "test": (str(path),), "loss": "squared", "passes": 30, "method": method}
    plan |= {"reading": ReadOptions(format="libffm")}
    outcome = Training(Plan(**plan)).run()
    test_loss = known(outcome.test).loss
    assert test_loss < 0.2 * np.var(rows.labels)
    errors = outcome.model.predict(rows) - rows.labels
    assert_close(np.mean(errors**2), test_loss, "torch float32")

    def stop(progress):
        if progress.examples >= 3000:
            raise KeyboardInterrupt

    kept = {"checkpoint": str(tmp_path / "kept"), "every": 1000}
    with pytest.raises(Interrupted):
        Training(Plan(**plan, **kept), progress=stop).run()
    resumed = Training(Plan(**plan, **kept, resume=True)).run()
    assert_identical(resumed.model.numbers["factors"], outcome.model.numbers["factors"])


# What is rejected


def test_a_rule_that_starts_from_zero_would_lose_the_initial_numbers():
    steps = {part: [Step(rule)] for part, rule in (RULES | {"factors": "ftrl"}).items()}
    with pytest.raises(ValueError, match="ftrl starts from 0, but the part 'factors' has initial numbers"):
        ModelBank("factorization_machine", steps)


def test_steps_are_not_implicit():
    steps = {part: [Step(rule)] for part, rule in RULES.items()}
    with pytest.raises(ValueError, match="cannot be implicit, because its predictions are not linear"):
        ModelBank("factorization_machine", steps, damped=[True])


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"bias": Part(of="model")}, "found no part of features"),
        ({"two words": Part()}, "a part is called 'two words', expected a name"),
        ({"factors": Part(width=0)}, "part 'factors' has width 0, expected at least 1"),
    ],
)
def test_a_wrong_model_is_one_sentence(parts, message):
    with pytest.raises(ModelError, match=f"wrong: {message}"):
        Architecture(name="wrong", parts=parts, predict=predict, gradient=gradient, scores=scores)
