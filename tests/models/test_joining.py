"""Models that learned apart are joined: statistics as if one had seen all, numbers by how much each has learned."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical
from support.row_maps import ByOccurrence

from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.joining import Learned, joined
from surefoot.models import Architecture, Part, linear

FEATURES = 8


def examples(seed: int, count: int = 40, features: range = range(FEATURES)) -> Examples:
    """Rows of three features whose values are eighths, so that their sums are exact."""
    rng = np.random.default_rng(seed)
    indices = np.concatenate([np.sort(rng.choice(features, 3, replace=False)) for _ in range(count)])
    values = rng.integers(1, 33, 3 * count) / 8.0
    targets = rng.normal(size=count)
    return Examples(np.arange(0, 3 * count + 1, 3), indices, values, targets, np.ones(count))


def learned(*parts: Examples, rule: str = "adagrad", model=linear, **settings: Any) -> ModelBank:
    steps = [Step(rule, lr=lr) for lr in (0.02, 0.05)]
    bank = ModelBank(model, steps, loss="squared", engine="reference", dtype="float64", **settings)
    for part in parts:
        bank.learn(part)
    return bank


def assert_same(found: Learned, expected: Learned) -> None:
    assert_identical(found.ids, expected.ids)
    for kind in ("statistics", "numbers", "weights"):
        for name, array in getattr(expected, kind).items():
            assert_identical(getattr(found, kind)[name], array, f"{kind} {name}")


@pytest.mark.parametrize("normalize", [True, False])
def test_statistics_of_two_halves_are_those_of_the_whole(normalize):
    halves = examples(0), examples(1)
    found = joined(*(Learned.of(learned(half, normalize=normalize)) for half in halves))
    whole = Learned.of(learned(*halves, normalize=normalize))
    assert_identical(found.ids, whole.ids)
    for name, statistic in whole.statistics.items():
        assert_close(found.statistics[name], statistic, "float64", name)


@pytest.mark.parametrize("rule", ["adagrad", "sgd", "ftrl"])
@pytest.mark.parametrize("features", [0, FEATURES])
def test_an_empty_model_changes_nothing(rule, features):
    model, empty = Learned.of(learned(examples(0), rule=rule)), Learned.of(learned(rule=rule, features=features))
    assert_same(joined(model, empty), model)
    assert_same(joined(empty, model), model)


def test_features_that_only_one_has_seen_are_as_they_are_there():
    first, second = (Learned.of(learned(examples(0, features=f))) for f in (range(4), range(4, 8)))
    found = joined(second, first)
    assert_identical(found.ids, np.arange(8))
    for source in (first, second):
        assert_identical(found.numbers["weight"][source.ids], source.numbers["weight"])


@pytest.mark.parametrize("normalize", [True, False])
def test_numbers_are_weighted_by_their_squared_gradients(normalize):
    banks = [learned(examples(seed, count), normalize=normalize) for seed, count in ((0, 40), (1, 10))]
    found = joined(*map(Learned.of, banks))
    weights = [bank.numbers("weight")[:, 0, 0] for bank in banks]
    squares = [bank.table.numbers("weight", "total")[:, 0] for bank in banks]
    if normalize:  # the squares of gradients by the weights of features as they are in the data
        squares = [s * (1 / bank.table.scales()[:, None]) ** 2 for s, bank in zip(squares, banks, strict=True)]
    expected = (weights[0] * squares[0] + weights[1] * squares[1]) / (squares[0] + squares[1])
    assert_close(found.numbers["weight"][:, 0, 0], expected, "float64")
    assert_close(found.weights["weight"][:, 0, 0], squares[0] + squares[1], "float64")


def test_numbers_of_a_rule_without_memory_are_weighted_by_examples():
    banks = [learned(examples(seed, count), rule="sgd") for seed, count in ((0, 40), (1, 10))]
    found = joined(*map(Learned.of, banks))
    counts = [bank.table.statistic("count")[:, None] for bank in banks]
    weights = [bank.numbers("weight")[:, 0, 0] for bank in banks]
    assert_close(
        found.numbers["weight"][:, 0, 0],
        np.average(weights, axis=0, weights=np.broadcast_to(counts, (2, 8, 2))),
        "float64",
    )
    assert_close(found.numbers["bias"], (40 * banks[0].numbers("bias") + 10 * banks[1].numbers("bias")) / 50, "float64")


def test_several_are_joined_in_any_order():
    a, b, c = (Learned.of(learned(examples(seed))) for seed in range(3))
    one, other = joined(joined(a, b), c), joined(a, joined(c, b))
    for kind in ("statistics", "numbers", "weights"):
        for name, array in getattr(one, kind).items():
            assert_close(getattr(other, kind)[name], array, "float64", name)


@pytest.mark.parametrize("join, expected", [("sum", np.add), ("maximum", np.maximum)])
def test_a_part_says_how_it_is_joined(join, expected):
    parts = {"bias": linear.parts["bias"], "weight": Part(join=join)}
    model = Architecture("other", parts, linear.predict, linear.gradient, linear.scores, linear=True)
    banks = [learned(examples(seed), model=model) for seed in range(2)]
    found = joined(*map(Learned.of, banks))
    assert_identical(found.numbers["weight"], expected(*(bank.numbers("weight") for bank in banks)))


def test_features_are_the_same_by_id_and_not_by_row():
    far = [dataclasses.replace(examples(seed), indices=examples(seed).indices + (1 << 40)) for seed in range(2)]
    found = joined(*(Learned.of(learned(part, row_map=ByOccurrence())) for part in far))
    expected = joined(*(Learned.of(learned(examples(seed))) for seed in range(2)))
    assert_same(dataclasses.replace(found, ids=found.ids - (1 << 40)), expected)


def test_models_that_differ_are_not_joined():
    other = Architecture("other", linear.parts, linear.predict, linear.gradient, linear.scores, linear=True)
    with pytest.raises(ValueError, match="found the models linear and other, expected the same"):
        joined(Learned.of(learned()), Learned.of(learned(model=other)))
    with pytest.raises(ValueError, match="bias: found numbers of shapes"):
        joined(Learned.of(learned()), Learned.of(learned(outputs=3)))
