"""Averages of the iterates where penalties move the weights of features that do not occur."""

import numpy as np
import pytest
from support.numerics import assert_identical

from surefoot import schedules
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.step import Step

ROWS, FEATURES = 60, 6
PENALTIES = {"l2": {"l2": 0.05}, "l1": {"l1": 0.02}, "both": {"l1": 0.02, "l2": 0.05}}
DECAYING = schedules.resolve("polynomial:0.3:0.5")
RULES = {
    "sgd": ("sgd", {"lr": 0.3}),
    "adagrad": ("adagrad", {"lr": 0.3}),
    "sgd, schedule": ("sgd", {"lr": DECAYING}),
    "ftrl, schedule": ("ftrl", {"lr": DECAYING}),
}
SLOW = {"adagrad", "sgd, schedule", "ftrl, schedule"}
"""Whose kernels no other test uses; averages under AdaGrad, test_bank.py has too."""


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Two features in each, some of which are rare."""
    rng = np.random.default_rng(0)
    shares = [0.5, 0.25, 0.15, 0.05, 0.03, 0.02]
    rows = [np.sort(rng.choice(FEATURES, size=2, replace=False, p=shares)) for _ in range(ROWS)]
    values = rng.normal(size=2 * ROWS).astype(np.float32)
    return Examples(np.arange(ROWS + 1) * 2, np.concatenate(rows), values, rng.normal(size=ROWS), np.ones(ROWS))


def bank(rule: str, settings: dict, average: bool, engine: str = "cpu", **of_bank) -> ModelBank:
    steps = [Step(rule, **settings, average=average), Step(rule, **settings | {"lr": 0.1}, average=average)]
    settings = {"loss": "squared", "features": FEATURES, "dtype": "float64", "normalize": False, "engine": engine}
    return ModelBank("linear", steps[: 1 if callable(steps[0].hyper["lr"]) else 2], **settings | of_bank)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in RULES])
def test_averages_are_those_of_all_iterates(examples, name, penalties):
    rule, settings = RULES[name]
    settings = settings | PENALTIES[penalties]
    found, each = bank(rule, settings, average=True), bank(rule, settings, average=False)
    for first in range(0, ROWS, 20):
        found.learn(examples.part(first, first + 20))
    iterates = []
    for i in range(ROWS):
        each.learn(examples.part(i, i + 1))
        iterates.append([each.numbers(part).copy() for part in ("weight", "bias")])
    rates = found.averaging_rates(np.arange(1, ROWS + 1))
    for k, part in enumerate(("weight", "bias")):
        expected = np.average([numbers[k] for numbers in iterates], axis=0, weights=rates)
        np.testing.assert_allclose(found.numbers(part, averaged=True), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in RULES])
def test_averages_have_the_same_bits_in_both_engines(examples, name, penalties):
    rule, settings = RULES[name]
    settings = settings | PENALTIES[penalties]
    found = [bank(rule, settings, True, engine, dtype="float32") for engine in ("cpu", "reference")]
    for each in found:
        for first in range(0, ROWS, 20):
            each.learn(examples.part(first, first + 20))
    for part in ("weight", "bias"):
        assert_identical(*(each.numbers(part, averaged=True) for each in found))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"batch_size": 4}, {"normalize": True}, {"outputs": 3, "loss": "softmax"}])
def test_averages_of_batches_scaled_features_and_several_outputs_have_the_same_bits(examples, settings):
    classes = examples if "outputs" not in settings else examples_of_classes(examples)
    found = [
        bank("sgd", {"lr": 0.3, **PENALTIES["both"]}, True, engine, **settings | {"dtype": "float32"})
        for engine in ("cpu", "reference")
    ]
    for each in found:
        each.learn(classes)
    assert_identical(*(each.numbers("weight", averaged=True) for each in found))


def examples_of_classes(examples: Examples) -> Examples:
    targets = np.floor(np.abs(examples.targets) * 2.0).clip(0, 2)
    return Examples(examples.indptr, examples.indices, examples.values, targets, examples.weights)


def test_averages_of_examples_that_come_one_by_one_are_the_same(examples):
    found, whole = (bank("sgd", {"lr": 0.3, **PENALTIES["both"]}, True) for _ in range(2))
    for i in range(ROWS):
        entries = slice(2 * i, 2 * i + 2)
        found.learn_one(found.rows_of(examples.indices[entries]), examples.values[entries], examples.targets[i], 1.0)
    whole.learn(examples)
    assert_identical(*(each.numbers("weight", averaged=True) for each in (found, whole)))
