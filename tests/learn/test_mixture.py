"""Mixtures: the guarantee against the best single model, for any predictions and targets."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from surefoot import losses
from surefoot.learn.mixture import SWITCHING, Mixture

ROWS = st.integers(1, 60)
SEEDS = st.integers(0, 2**32 - 1)
CONVEX = [name for name, loss in losses.REGISTRY.items() if not loss.logarithmic and loss.target != "count"]


def taken(mixture: Mixture, predictions, targets, pieces: int):
    """What the mixture predicted, given the examples in several pieces."""
    parts = np.array_split(np.arange(len(targets)), pieces)
    ones = np.ones(len(targets))
    return np.concatenate([mixture.take(predictions[part], targets[part], ones[part])[0] for part in parts])


@given(ROWS, SEEDS, st.integers(1, 8), st.floats(0.01, 100.0), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_log_loss_exceeds_the_best_models_by_the_bound_at_most(rows, seed, rates, size, pieces):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=(rows, 1, rates)) * size
    targets = rng.integers(2, size=rows).astype(float)
    mixture = Mixture("logistic", rates)
    mixed = taken(mixture, predictions, targets, pieces)
    best = losses.logistic.values(predictions[:, 0], targets[:, None]).sum(axis=0).min()
    total = losses.logistic.values(mixed[:, 0], targets).sum()
    assert total <= best + mixture.bound() + 1e-9 * (1 + best)
    assert mixture.total == pytest.approx(total)
    assert mixture.bound() <= math.log(rates) + SWITCHING * math.log(rows + 1)


def followed_at_rate_1(p: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """What a mixture loses whose rate does not fall with the largest weight."""
    each, rates = losses.logistic.values(p[:, 0], targets[:, None]), p.shape[2]
    scores, lost = np.zeros(rates), 0.0
    for t, (loss, weight) in enumerate(zip(each, weights, strict=True)):
        share = np.exp(scores - logsumexp(scores))
        lost += weight * (loss.min() - np.log(share @ np.exp(loss.min() - loss)))
        scores = scores - weight * loss
        given = SWITCHING / (t + 2)
        scores = np.logaddexp(scores - logsumexp(scores) + np.log1p(-given), np.log(given / rates))
    return lost


WEIGHTS = {
    "equal": lambda rng, rows: np.ones(rows),
    "equal in another unit": lambda rng, rows: np.full(rows, 1e-12),
    "2 % of 50": lambda rng, rows: np.where(rng.random(rows) < 0.02, 50.0, 1.0),
    "growing": lambda rng, rows: np.cumprod(np.full(rows, 1.05)),
    "falling": lambda rng, rows: np.cumprod(np.full(rows, 0.95)),
    "an enormous one in the end": lambda rng, rows: np.where(np.arange(rows) == rows - 1, 1e9, 1.0),
    "an enormous one in the beginning": lambda rng, rows: np.where(np.arange(rows) == 0, 1e9, 1.0),
    "an enormous one after half": lambda rng, rows: np.where(np.arange(rows) == rows // 2, 1e9, 1.0),
    "zeros": lambda rng, rows: np.where(rng.random(rows) < 0.5, 0.0, rng.exponential(size=rows)),
    "zeros alone": lambda rng, rows: np.zeros(rows),
    "zeros first": lambda rng, rows: np.where(np.arange(rows) < rows // 2, 0.0, 7.0),
    "heavy tails": lambda rng, rows: np.exp(3.0 * rng.normal(size=rows)),
}
EXCEEDED_AT_RATE_1 = ("2 % of 50", "growing", "an enormous one in the end", "an enormous one after half", "heavy tails")
"""Where a rate that does not fall exceeds the bound."""


def deceived(rng: np.random.Generator, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of four models, and targets: light examples are as the first model says, heavy ones the contrary."""
    rows = len(weights)
    predictions = rng.normal(size=(rows, 1, 4)) + np.array([3.0, -3.0, 0.0, 0.0])
    return predictions, (weights <= 3.0 * np.median(weights)).astype(float)


def drawn(rng: np.random.Generator, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(len(weights), 1, 4)) * 5.0, rng.integers(2, size=len(weights)).astype(float)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_bound_is_in_units_of_the_largest_weight(name):
    shares = []
    for kind, seed in itertools.product((drawn, deceived), range(10)):
        rng = np.random.default_rng(seed)
        weights = WEIGHTS[name](rng, 200)
        predictions, targets = kind(rng, weights)
        each = losses.logistic.values(predictions[:, 0], targets[:, None]) * weights[:, None]
        mixture, best = Mixture("logistic", 4), each.sum(axis=0).min()
        _, lost = mixture.take(predictions, targets, weights)
        assert mixture.total == pytest.approx(lost.sum())
        assert mixture.largest == weights.max()
        assert mixture.bound() <= weights.max() * (math.log(4) + SWITCHING * math.log(201))
        assert mixture.total <= best + mixture.bound() + 1e-9 * best
        shares.append((followed_at_rate_1(predictions, targets, weights) - best) / (mixture.bound() or 1.0))
    assert name not in EXCEEDED_AT_RATE_1 or max(shares) > 2.0  # the check would notice


def test_equal_weights_in_any_unit_give_the_same_shares():
    rng = np.random.default_rng(4)
    predictions, targets = drawn(rng, np.ones(100))
    found = []
    for unit in (1.0, 1e-12, 3.7e5):
        mixture = Mixture("logistic", 4)
        mixture.take(predictions, targets, np.full(100, unit))
        found.append(mixture)
        assert mixture.total == pytest.approx(unit * found[0].total)
    for mixture in found[1:]:
        np.testing.assert_array_equal(mixture.shares, found[0].shares)
    assert found[0].total == pytest.approx(followed_at_rate_1(predictions, targets, np.ones(100)), rel=1e-9)


@given(ROWS, SEEDS, st.sampled_from(CONVEX), st.sampled_from(list(WEIGHTS)))
@settings(max_examples=60, deadline=None)
def test_the_bound_of_other_losses_holds_for_any_weights(rows, seed, loss, name):
    rng = np.random.default_rng(seed)
    weights = WEIGHTS[name](rng, rows)
    predictions, targets = (drawn if seed % 2 else deceived)(rng, weights)
    mixture = Mixture(loss, 4, parameter=0.3)
    mixture.take(predictions, targets, weights)
    each = losses.get(loss).values(predictions[:, 0], targets[:, None], 0.3) * weights[:, None]
    best = each.sum(axis=0).min()
    assert mixture.total <= best + mixture.bound() + 1e-9 * (each.max() + best)


@given(ROWS, SEEDS, st.integers(2, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_softmax_has_the_same_guarantee(rows, seed, classes, pieces):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=(rows, classes, 4)) * 5
    targets = rng.integers(classes, size=rows).astype(float)
    mixture = Mixture("softmax", 4, classes)
    taken(mixture, predictions, targets, pieces)
    each = [losses.softmax.values(predictions[:, :, r], targets).sum() for r in range(4)]
    assert mixture.total <= min(each) + mixture.bound() + 1e-9 * (1 + min(each))


@given(ROWS, SEEDS, st.sampled_from(CONVEX), st.floats(0.1, 10.0), st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_other_losses_exceed_it_by_the_stated_bound_at_most(rows, seed, loss, size, pieces):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=(rows, 1, 5)) * size
    targets = rng.integers(2, size=rows).astype(float)
    mixture = Mixture(loss, 5, parameter=0.3)
    taken(mixture, predictions, targets, pieces)
    best = losses.get(loss).values(predictions[:, 0], targets[:, None], 0.3).sum(axis=0).min()
    assert mixture.total <= best + mixture.bound() + 1e-9 * (1 + best)


def test_the_best_is_followed_where_models_agree_at_first():
    """η is then so large that one model soon has all the weight; what it loses next must still count."""
    predictions = np.array([[[0.0, 0.0]]] * 4 + [[[0.0, 0.1]]] + [[[0.0, 3.0]]] * 3)
    targets = np.array([0.0] * 4 + [1.0] + [0.0] * 3)
    mixture = Mixture("squared", 2)
    taken(mixture, predictions, targets, 8)
    best = losses.squared.values(predictions[:, 0], targets[:, None]).sum(axis=0).min()
    assert best + 1.0 < mixture.total <= best + mixture.bound() + 1e-9


def test_the_bound_of_other_losses_is_not_vacuous():
    """A good and a bad model over many examples: the bound grows much slower than the losses."""
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(20_000, 1, 2)) * [0.1, 1.0]
    mixture = Mixture("squared", 2)
    taken(mixture, predictions, np.zeros(20_000), 100)
    assert mixture.bound() < 0.05 * mixture.losses.min()
    assert mixture.weights()[0, 0] > 0.999


@pytest.mark.parametrize("loss", ["logistic", "squared", "hinge"])
def test_the_division_into_pieces_changes_nothing(loss):
    rng = np.random.default_rng(1)
    predictions, targets = rng.normal(size=(50, 1, 3)), rng.integers(2, size=50).astype(float)
    whole, cut = Mixture(loss, 3), Mixture(loss, 3)
    np.testing.assert_array_equal(taken(whole, predictions, targets, 1), taken(cut, predictions, targets, 17))
    np.testing.assert_array_equal(whole.weights(), cut.weights())
    assert whole.total == cut.total


def test_mixed_probabilities_are_the_weighted_mean():
    mixture = Mixture("logistic", 2)
    predictions = np.array([[[0.0, 2.0]], [[1.0, -1.0]]])
    mixed, lost = mixture.take(predictions, np.array([1.0, 0.0]), np.ones(2))
    probability = 1 / (1 + np.exp(-predictions[:, 0]))
    first = probability[0].mean()
    share = probability[0] / probability[0].sum()  # weights after the first example, whose target was 1
    share += SWITCHING / 2 * (0.5 - share)
    second = share @ probability[1]
    np.testing.assert_allclose(1 / (1 + np.exp(-mixed[:, 0])), [first, second])
    np.testing.assert_allclose(lost, [-math.log(first), -math.log(1 - second)])


def test_frozen_weights_stay():
    mixture = Mixture("logistic", 2)
    examples = np.array([[[3.0, -3.0]]] * 5), np.ones(5), np.ones(5)
    mixture.take(*examples)
    weights = mixture.kept([True, True])
    mixture.freeze([0, 1], weights)
    mixture.take(*examples)
    np.testing.assert_allclose(mixture.weights(), weights, rtol=1e-15)
    np.testing.assert_allclose(mixture.kept([True, True]), weights, rtol=1e-15)


@given(SEEDS, st.integers(1, 3), st.integers(2, 6), st.sampled_from(list(WEIGHTS)))
@settings(max_examples=100, deadline=None)
def test_log_loss_exceeds_that_of_models_that_take_turns_by_the_tracking_bound_at_most(seed, changes, rates, name):
    """m changes cost m ln(R n/c) more, in units of the largest weight."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(changes + 1, 300))
    weights = WEIGHTS[name](rng, rows)
    predictions, targets = rng.normal(size=(rows, 1, rates)) * 5, rng.integers(2, size=rows).astype(float)
    mixture = Mixture("logistic", rates)
    mixture.take(predictions, targets, weights)
    each = losses.logistic.values(predictions[:, 0], targets[:, None]) * weights[:, None]
    edges = [0, *sorted(rng.choice(np.arange(1, rows), changes, replace=False)), rows]
    best = sum(each[first:last].sum(axis=0).min() for first, last in itertools.pairwise(edges))
    more = changes * weights.max() * math.log(rates * rows / SWITCHING)
    assert mixture.total <= best + mixture.bound() + more + 1e-9 * (1 + best)


def test_another_model_takes_over_within_the_tracking_bound():
    """One is right for 5,000 examples and then the other. Without switching it would take as long to take over."""
    right, wrong = np.full(5000, 4.0), np.full(5000, -4.0)
    predictions = np.stack([np.r_[right, wrong], np.r_[wrong, right]], axis=1)[:, None]
    mixture = Mixture("logistic", 2)
    taken(mixture, predictions, np.ones(10_000), 7)
    best = losses.logistic.values(right, 1.0).sum() * 2
    assert 5.0 < mixture.total - best < mixture.bound() + math.log(2 * 10_000 / SWITCHING)
    assert mixture.weights()[0, 1] > 0.99


@pytest.mark.parametrize("rates, rows", [(1, 10), (2, 1), (8, 500), (8, 20_000)])
def test_the_bound_is_what_a_model_gives_up(rates, rows):
    """That of the formula with gamma functions, counted one example after the other."""
    mixture = Mixture("logistic", rates)
    mixture.take(np.zeros((rows, 1, rates)), np.ones(rows), np.ones(rows))
    given_up = SWITCHING / np.arange(2, rows + 1) * (1 - 1 / rates)
    assert mixture.bound() == pytest.approx(math.log(rates) - np.log1p(-given_up).sum(), abs=1e-9)


def test_a_model_that_is_kept_is_one_of_those_that_may_be():
    mixture = Mixture("logistic", 3)
    mixture.take(np.array([[[1.0, 4.0, -4.0]]] * 20), np.ones(20), np.ones(20))
    assert mixture.weights().argmax() == 1
    kept = mixture.kept([True, False, True])[0]
    assert kept[1] == 0
    assert kept.argmax() == 0
    assert kept.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("behind", [50.0, 720.0, 1e4, 1e300])
def test_a_model_that_rounding_would_hide_has_no_weight(behind):
    mixture = Mixture("logistic", 2)
    mixture.losses[:] = [[behind, 0.0]]
    with np.errstate(all="raise"):
        assert mixture.kept([True, True]).tolist() == [[0.0, 1.0]]


def test_heavy_examples_count_as_often_as_they_weigh():
    predictions = np.array([[[2.0, -1.0]]])
    heavy, thrice = Mixture("logistic", 2), Mixture("logistic", 2)
    heavy.take(predictions, np.ones(1), np.full(1, 3.0))
    np.testing.assert_allclose(heavy.losses, 3 * losses.logistic.values(predictions[0], 1.0))
    thrice.losses = heavy.losses
    np.testing.assert_allclose(heavy.kept([True, True]), thrice.kept([True, True]))


@pytest.mark.parametrize("rates", [1, 5])
@pytest.mark.parametrize("name", [name for name, loss in losses.REGISTRY.items() if not loss.joint])
def test_kernels_compute_what_a_loss_of_the_users_own_gives(name, rates):
    """The same loss under another name has no kernel: NumPy follows it, in other roundings."""
    rng, loss = np.random.default_rng(3), losses.get(name)
    outputs = 3 if loss.target == "class" else 1
    predictions, weights = rng.normal(size=(50, outputs, rates)), rng.choice([1.0, 0.5, 3.0], 50)
    targets = rng.choice((0.0, 1.0, 2.0) if outputs > 1 else losses.record.TARGETS[loss.target], 50)
    own = Mixture(dataclasses.replace(loss, name="own"), rates, outputs, loss.settings())
    built_in, alone = (Mixture(loss, rates, outputs, loss.settings()) for _ in range(2))
    for found, expected in zip(*(m.take(predictions, targets, weights) for m in (built_in, own)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    for part in np.arange(50).reshape(10, 5):
        for p, target, weight in zip(predictions[part], targets[part], weights[part], strict=True):
            alone.take_one(p, target, weight)
        alone = copy.deepcopy(alone)  # which continues with a memory of its own
    assert alone.memory.tobytes() == built_in.memory.tobytes()
    np.testing.assert_allclose(built_in.losses, own.losses, rtol=1e-9)
    np.testing.assert_allclose(built_in.shares, own.shares, rtol=1e-6)
    assert built_in.seen == own.seen == 50


def test_a_state_whose_largest_weight_is_negative_is_rejected():
    arrays, numbers = Mixture("logistic", 3).state()
    with pytest.raises(ValueError, match=r"^largest: found -1\.0, expected at least 0$"):
        Mixture("logistic", 3).restore(arrays, numbers | {"largest": -1.0}, rates=3)


@pytest.mark.parametrize("wrong", [math.nan, -1.0])
@pytest.mark.parametrize("name", ["shares", "losses", "gaps", "eta"])
def test_a_state_with_what_is_no_number_of_its_kind_is_rejected(name, wrong):
    """Only a loss may be negative."""
    mixture = Mixture("logistic", 3)
    arrays, numbers = copy.deepcopy(mixture.state())
    arrays[name].flat[0] = wrong
    if name == "losses" and wrong < 0:
        Mixture("logistic", 3).restore(arrays, numbers, rates=3)
        return
    with pytest.raises(ValueError, match=f"^{name}: found {wrong}, expected (numbers|at least)"):
        Mixture("logistic", 3).restore(arrays, numbers, rates=3)
