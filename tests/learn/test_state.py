"""A learner's state: one that is restored from it, by way of JSON, continues with the same bits."""

import json

import numpy as np
import pytest

from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method, Settings

WAYS = {
    "auto": {},
    "fixed": {"lr": 0.1},
    "schedule": {"lr": lambda t: 0.1 / t},
    "squared": {"loss": "squared"},
    "lazy penalties": {"lr": 0.1, "l1": 1e-3},
    "averages": {"lr": 0.1, "average": True, "normalize": False},
    "averages of scaled features": {"lr": 0.1, "average": True},
    "batches": {"lr": 0.1, "batch_size": 4, "optimizer": "ftrl"},
    "auto, in batches": {"batch_size": 4, "optimizer": "ftrl"},
}
SLOW = {"auto, in batches", "batches", "averages of scaled features", "lazy penalties", "averages"}
"""Whose kernels no other test uses."""


def generated(rows: int) -> Examples:
    """Three of twenty features to a row, labels of a logistic model."""
    rng = np.random.default_rng(0)
    indices = np.concatenate([np.sort(rng.choice(20, 3, replace=False)) for _ in range(rows)])
    values = rng.normal(1.0, 0.3, 3 * rows).astype(np.float32)
    scores = (rng.normal(size=20)[indices] * values).reshape(rows, 3).sum(axis=1)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-2 * scores))).astype(float)
    return Examples(np.arange(0, 3 * rows + 1, 3), indices, values, labels, np.ones(rows))


@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if way in SLOW else ()) for way in WAYS])
def test_a_restored_learner_continues_with_the_same_bits(way):
    settings, rows = Settings(**WAYS[way]), generated(400)
    through, first = Learner(settings), Learner(settings)
    through.learn(rows.part(0, 240))
    first.learn(rows.part(0, 240))
    arrays, numbers = first.state()
    second = Learner.from_state(
        settings, {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(numbers))
    )
    again = through.learn(rows.part(240, 400)), second.learn(rows.part(240, 400))
    np.testing.assert_array_equal(*again)
    (arrays, numbers), (others, their_numbers) = through.state(), second.state()
    assert json.dumps(numbers) == json.dumps(their_numbers)
    assert arrays.keys() == others.keys()
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], name)
    np.testing.assert_array_equal(through.weights()[0], second.weights()[0])


def test_checkpoints_need_a_schedule_with_a_written_form():
    with pytest.raises(ValueError, match="a function without a written form, so that"):
        Plan(("rows.svm",), checkpoint="kept", method=Method(lr=lambda t: 0.1))
    plan = Plan(("rows.svm",), checkpoint="kept", method=Method(lr="polynomial:0.1"))
    assert plan.record()["lr"] == "polynomial:0.1:1:0.5"
