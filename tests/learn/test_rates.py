"""Which learning rates are trained: when they are reviewed, which are dropped, which are tried."""

import itertools
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.learn.rates import (
    FIRST_REVIEW,
    GAIN,
    MOST,
    REVIEWS,
    TRIAL,
    TRIALS,
    VANISHED,
    WIDTHS,
    Choice,
    Rate,
    RateGrid,
    due,
    first_rates,
    until_review,
    winner,
)


def grid(count: int = MOST) -> RateGrid:
    return RateGrid.begin(first_rates(implicit=True)[:count])


def scores(*behind: float) -> np.ndarray:
    """Of one mixture: how far each rate is behind the best."""
    return np.array([behind])


def reviews(upto: int) -> list[int]:
    """The numbers of examples at which rates are reviewed."""
    found, examples = [], 0
    while examples < upto:
        examples += until_review(examples)
        found.append(examples)
    return found


# When


def test_rates_are_reviewed_at_every_doubling_and_when_trials_end():
    assert reviews(4 * FIRST_REVIEW) == [32, 40, 64, 80, 128]
    assert FIRST_REVIEW == 32


def test_long_streams_are_reviewed_between_doublings():
    """A rate that has lost does not cost its time until there are twice as many examples."""
    last, found = REVIEWS * TRIAL, reviews(4 * REVIEWS * TRIAL)
    assert [n for n in found if last <= n < 2 * last] == [last + k * TRIAL for k in range(REVIEWS)]
    later = [2 * last * (REVIEWS + k) // REVIEWS for k in range(REVIEWS)]
    assert [n for n in found if 2 * last <= n < 4 * last] == sorted({*later, 2 * last + TRIAL})


def test_due_reviews_agree_with_their_examples():
    """Whatever the parts, every review falls due once, at its number of examples or at the end of the part."""
    expected = reviews(1000)
    for part in (1, 7, 20):
        edges = sorted({*range(0, 1000, part), *expected})
        found = [last for first, last in itertools.pairwise(edges) if due(first, last).review]
        assert found == [n for n in expected if n <= edges[-1]]
    doubled = [n for n in expected if due(n - 1, n).doubled]
    assert doubled == [32, 64, 128, 256, 512, 1024]


# Which


def test_a_rate_that_has_vanished_is_dropped_and_one_that_has_not_stays():
    choice = grid(2).review(scores(0.0, VANISHED + 1), 64, explore=False)
    assert (choice.keep, choice.best, choice.added) == ((0,), 0, ())
    choice = grid(2).review(scores(0.0, VANISHED - 1), 64, explore=False)
    assert choice.keep == (0, 1)
    assert not grid(2).is_changed_by(choice)


def test_a_rate_that_catches_up_stays():
    """It lost less for each example than up to the last review, however far behind it is."""
    before = grid(2).after(Choice((0, 1), 0), scores(0.0, 40.0), 64)
    assert before.review(scores(0.0, 41.0), 128, explore=False).keep == (0, 1)
    assert before.review(scores(0.0, 80.0), 128, explore=False).keep == (0,)


def test_neighbours_of_the_best_rate_start_from_its_weights():
    begun = grid(1)
    choice = begun.review(scores(0.0), 32, explore=True)
    best = begun.rates[0]
    assert choice.added == (Rate(best.lr * 2), Rate(best.lr / 2), Rate(best.lr * 4))
    assert choice.parents == [0] * (1 + TRIALS)
    both = grid(3).review(scores(0.0, 99.0, 99.0), 32, explore=True)
    assert both.added[:2] == (Rate(best.lr * 2), Rate(best.lr / 2))
    assert any(rate.implicit for rate in both.added)


def test_a_rate_on_trial_has_to_improve_the_loss():
    begun = grid(1)
    choice = begun.review(scores(0.0), 32, explore=True)
    tried = begun.after(choice, scores(0.0, 5.0, 5.0, 5.0), 32)
    later = tried.review(scores(0.0, 5.0 - 2 * GAIN, 5.0, 5.0), 40, explore=False)
    assert later.keep == (0, 1)


def test_a_rate_may_be_best_in_one_of_several_mixtures():
    """One against the rest: a rate is dropped where it has vanished for every class."""
    two = np.array([[0.0, 50.0], [50.0, 0.0]])
    assert grid(2).review(two, 64, explore=False).keep == (0, 1)


def test_rates_with_negligible_weights_end_with_the_first_pass():
    choice = grid(4).without_negligible(scores(9.0, 0.0, 1.0, 20.0))
    assert choice.keep == (1, 2)
    assert choice.best == winner(scores(9.0, 0.0, 1.0, 20.0)) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_number_of_rates_is_one_that_kernels_are_compiled_for(seed):
    """And the best of them stays, none is there twice, and the order of those that stay is theirs."""
    rng = np.random.default_rng(seed)
    now, examples = grid(), 0
    for _ in range(12):
        examples += until_review(examples)
        behind = rng.exponential(8.0, (int(rng.integers(1, 4)), len(now.rates)))
        choice = now.review(behind, examples, explore=bool(rng.integers(2)))
        then = now.after(choice, behind[:, choice.parents], examples)
        assert len(then.rates) in WIDTHS
        assert len(set(then.rates)) == len(then.rates)
        assert now.rates[winner(behind)] in then.rates
        assert list(choice.keep) == sorted(set(choice.keep))
        now = then


def test_a_review_changes_nothing_by_itself():
    begun = grid(4)
    before = json.dumps([begun.behind.tolist(), begun.rates, begun.reviewed], default=vars)
    begun.review(scores(0.0, 30.0, 2.0, 9.0), 64, explore=True)
    assert json.dumps([begun.behind.tolist(), begun.rates, begun.reviewed], default=vars) == before


def test_a_grid_comes_back_from_json():
    begun = grid()
    choice = begun.review(np.arange(8.0)[None] * 4, 64, explore=True)
    now = begun.after(choice, np.arange(float(len(choice.parents)))[None], 64)
    arrays, numbers = now.state()
    again = grid().restored(arrays, json.loads(json.dumps(numbers)))
    assert (again.rates, again.reviewed, again.both) == (now.rates, now.reviewed, now.both)
    np.testing.assert_array_equal(again.behind, now.behind)
    np.testing.assert_array_equal(again.on_trial, now.on_trial)


def test_a_schedule_stays_that_of_the_settings():
    """It is not part of the state, which JSON holds."""
    begun = RateGrid.begin([Rate(lambda t: 0.1)])
    arrays, numbers = begun.state()
    again = begun.restored(arrays, json.loads(json.dumps(numbers)))
    assert again.rates == begun.rates
