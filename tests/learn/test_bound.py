"""The bound of lr="auto", on streams and in orders that are hard, and on real sets."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks import corpora, streams
from surefoot.learn.learner import Learner
from surefoot.learn.mixture import SWITCHING
from surefoot.learn.settings import Settings

REAL = list(corpora.NAMED | corpora.OTHERS)


def arranged(data, order):
    return streams.ORDERS[order](data)


def assert_within_bound(learner: Learner) -> None:
    """The regret against the best of the rates, each of which is trained from the first example to the last."""
    mixture = learner.mixture
    assert np.isfinite(mixture.losses).all()
    assert mixture.total <= mixture.losses.min() + mixture.bound() + 1e-9 * mixture.total
    assert mixture.bound() <= mixture.largest * (math.log(8) + SWITCHING * math.log(learner.examples + 1))


@pytest.mark.parametrize("order", streams.ORDERS)
@pytest.mark.parametrize("name", streams.STREAMS)
def test_streams(name, order):
    learner = Learner(Settings())
    learner.learn(arranged(streams.STREAMS[name](1500), order))
    assert learner.mixture.largest == 1.0
    assert_within_bound(learner)


def heavy(data, weights, flips=True):
    """Examples with these weights; heavy ones have the other label."""
    targets = np.where(flips & (weights > 3.0), 1.0 - data.targets, data.targets)
    return dataclasses.replace(data, weights=weights, targets=targets)


WEIGHTED = {
    "2 % of 50": lambda data, rng: heavy(data, np.where(rng.random(len(data)) < 0.02, 50.0, 1.0), flips=False),
    "2 % of 50, of the other label": lambda data, rng: heavy(data, np.where(rng.random(len(data)) < 0.02, 50.0, 1.0)),
    "growing": lambda data, rng: heavy(data, np.cumprod(np.full(len(data), 1.01)), flips=False),
    "an enormous one": lambda data, rng: heavy(data, np.where(np.arange(len(data)) == 1000, 1e5, 1.0)),
    "balanced": lambda data, rng: heavy(data, np.where(data.targets > 0, 1.0 / data.targets.mean(), 1.0), flips=False),
    "heavy tails, some 0": lambda data, rng: heavy(
        data, np.exp(2 * rng.normal(size=len(data))) * rng.integers(2, size=len(data))
    ),
}


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("name", streams.STREAMS)
def test_weighted_streams(name, weighting):
    data = WEIGHTED[weighting](streams.STREAMS[name](1500), np.random.default_rng(5))
    learner = Learner(Settings())
    learner.learn(data)
    assert learner.mixture.largest == pytest.approx(data.weights.max() / learner.heaviness)
    assert_within_bound(learner)


@pytest.mark.slow
@pytest.mark.parametrize("order", streams.ORDERS)
@pytest.mark.parametrize("name", REAL)
def test_real_sets(name, order):
    try:
        data = (corpora.NAMED | corpora.OTHERS)[name]()
    except FileNotFoundError:
        pytest.skip("SUREFOOT_DATA does not name a folder with this set")
    learner = Learner(Settings())
    learner.learn(arranged(data, order))
    assert_within_bound(learner)


@pytest.mark.parametrize("k", range(len(Settings().rates())))
def test_every_rate_loses_what_it_loses_alone(k):
    """So that the bound is one against the rates, trained alone."""
    data = streams.offset(600)
    together, alone = Learner(Settings()), Learner(Settings())
    alone.rates = (together.rates[k],)
    alone.bank, alone.mixture = alone.new_bank(0), alone.new_mixture()
    for learner in (together, alone):
        learner.learn(data)
    assert alone.mixture.losses[0, 0] == pytest.approx(together.mixture.losses[0, k], rel=1e-4)


def test_weights_that_stay_as_they_are_break_the_bound():
    """The check notices: where separable columns follow correlated ones, other rates are the best."""
    correlated, separable = streams.correlated(3000), streams.separable(3000)
    every, some = Learner(Settings()), Learner(Settings())
    for data in (correlated, separable):
        every.learn(data)
    some.learn(correlated)
    some.freeze()
    some.learn(separable)
    assert_within_bound(every)
    assert some.mixture.total > every.mixture.losses.min() + every.mixture.bound()
