"""The learning rates of "auto": how they differ, and what of them a checkpoint holds."""

import json

import pytest

from surefoot.learn.learner import Learner, until_doubled
from surefoot.learn.rates import EXPLICIT_GRID, GRID, WIDTHS, Rate
from surefoot.learn.settings import Settings

GRIDS = {"implicit": GRID, "explicit": EXPLICIT_GRID}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grid_has_as_many_rates_as_kernels_are_compiled_for(grid):
    assert len(grid) == WIDTHS[-1]
    assert len(set(grid)) == len(grid)


def test_rates_are_implicit_only_where_steps_can_be():
    assert Settings().rates() == list(GRID)
    for settings in (Settings(batch_size=2), Settings(optimizer="ftrl")):
        assert settings.rates() == list(EXPLICIT_GRID)
        assert not any(rate.implicit for rate in settings.rates())


def test_only_the_bias_learns_faster():
    rate = Rate(0.5, bias=16.0)
    steps = Settings().steps([rate])
    assert (steps["weight"][0].lr(1), steps["bias"][0].lr(1)) == (0.5, 8.0)
    assert not rate.lasting


def test_a_schedule_is_one_rate_of_the_settings():
    """It is not part of the state, which JSON holds."""
    learner = Learner(Settings(lr=lambda t: 0.1))
    arrays, numbers = learner.state()
    again = Learner.from_state(learner.settings, arrays, json.loads(json.dumps(numbers)))
    assert again.rates == learner.rates


@pytest.mark.parametrize("positions", [[], [1, 0], [0, 0], [0, 8], [0, 1, 2], [-1], [0.5], "01", None])
def test_a_state_with_other_rates_is_rejected(positions):
    arrays, numbers = Learner(Settings()).state()
    with pytest.raises(ValueError, match="rates"):
        Learner.from_state(Settings(), arrays, numbers | {"rates": positions})


def test_the_history_has_an_entry_at_every_doubling():
    examples, found = 0, []
    while examples < 1000:
        examples += until_doubled(examples)
        found.append(examples)
    assert found == [32, 64, 128, 256, 512, 1024]
    assert [until_doubled(n) for n in range(33, 64)] == list(range(31, 0, -1))
