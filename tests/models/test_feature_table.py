"""The table of features: rows that move as lanes are dropped and added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.numerics import assert_identical

from surefoot import hugepages
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.feature_table import PAGE, FeatureTable, Identity
from surefoot.models import STATISTICS, Architecture, Part, linear

ROWS = 9


def two_parts(initial: float) -> Architecture:
    """A model with a wide part of features beside the weights; nothing predicts with it."""
    parts = {"bias": Part(of="model"), "weight": Part(), "factors": Part(width=3, initial=initial)}
    return Architecture("two parts", parts, linear.predict, linear.gradient, linear.scores)


def slots_for(lanes: int, initial: float) -> dict[str, dict[str, np.ndarray]]:
    return {
        "bias": {"sum": np.zeros(lanes)},
        "weight": {"sum": np.full(lanes, initial)},
        "factors": {"sum": np.zeros(lanes), "momentum": np.zeros(lanes)},
    }


def every_number(table: FeatureTable) -> dict[tuple, np.ndarray]:
    return {
        (part, slot): table.numbers(part, slot).copy()
        for part, layout in table.parts.items()
        for slot in (None, *layout.slots)
    }


@given(
    lanes=st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=8), min_size=1, max_size=4),
    first=st.integers(1, 8),
    dtype=st.sampled_from(["float32", "float64"]),
    initial=st.sampled_from([0.0, 0.25]),
    seed=st.integers(0, 9),
)
def test_rows_keep_the_lanes_that_are_chosen(lanes, first, dtype, initial, seed):
    rng, width = np.random.default_rng(seed), first
    table = FeatureTable(two_parts(initial), slots_for(width, initial), width, np.dtype(dtype), Identity())
    table.grow(ROWS)
    occurred = np.flatnonzero(rng.random(ROWS) < 0.5)
    for chosen in lanes:
        for part, slot in every_number(table):
            view = table.numbers(part, slot)
            rows = occurred if table.parts[part].of == "feature" else [0]
            view[rows] = rng.normal(size=view[rows].shape)
        for name in STATISTICS:
            table.statistic(name)[occurred] = rng.integers(1, 5, len(occurred))
        numbers, statistics = every_number(table), {name: table.statistic(name).copy() for name in STATISTICS}
        chosen = np.array(chosen) % width
        width = len(chosen)
        table.choose(chosen, slots_for(width, initial))
        for key, before in numbers.items():
            assert_identical(table.numbers(*key), before[..., chosen], key)
        for name, before in statistics.items():
            assert_identical(table.statistic(name), before, name)
    table.grow(2 * ROWS)
    fresh = FeatureTable(two_parts(initial), slots_for(width, initial), width, np.dtype(dtype), Identity())
    fresh.grow(ROWS)
    assert_identical(table.cells[ROWS:], fresh.cells)


def test_steps_that_begin_elsewhere_are_rejected():
    bank = ModelBank("linear", [Step("adagrad", lr=0.1)], features=2)
    with pytest.raises(
        ValueError, match=r"total of the part 'bias' begins at \[1\.0\].*at \[0\.0\].*expected the same"
    ):
        bank.choose([0], [Step("adagrad", lr=0.1, initial_accumulator_value=1.0)], [False])


def test_pages_are_small_until_there_is_an_entry_for_each(monkeypatch):
    """So that the system clears no megabytes for each entry of a few examples."""
    calls, names = [], ("decline_huge_pages", "advise_huge_pages", "move_to_huge_pages")
    for name in names:
        monkeypatch.setattr(hugepages, name, lambda address, size, name=name: calls.append((name, size)))
    for parts, expected in (([1.0], ["advise"]), ([0.5, 0.4], []), ([0.5, 0.5], ["move"]), ([1.0, 5.0], ["advise"])):
        calls.clear()
        table = ModelBank("linear", [Step("adagrad")], features=1 << 16).table
        size = table.cells.nbytes
        for part in parts:
            table.expect(int(part * size / PAGE))
        found = [name.split("_")[0] for name, of in calls if of == size]
        assert found == ["decline", *expected], parts
