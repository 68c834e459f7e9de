"""The bound of lr="auto", on streams and in orders that are hard, and on real sets."""

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
    assert mixture.bound() <= math.log(8) + SWITCHING * math.log(learner.examples + 1)


@pytest.mark.parametrize("order", streams.ORDERS)
@pytest.mark.parametrize("name", streams.STREAMS)
def test_streams(name, order):
    learner = Learner(Settings())
    learner.learn(arranged(streams.STREAMS[name](1500), order))
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
    alone.bank, alone.mixture = alone._bank(0), alone._mixture()
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
