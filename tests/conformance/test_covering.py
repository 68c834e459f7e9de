"""The fast part of a table has every pair of values, and not every case; a sample is as much of it as has room."""

import itertools
from types import SimpleNamespace

import pytest
from support.covering import covering, pairs
from support.sampling import mark_the_rest, sample
from support.table import FAST, TABLE


def test_every_pair_of_the_table_occurs_in_its_fast_part():
    """Of a rule that shares, a row's rate or the tensor's: their kernel is the same."""

    def found(cases):
        alike = [(*case, case.granularity == "coordinate") for case in cases]
        return set().union(*(pairs(case, apart=[(0, 3)]) for case in alike))

    assert found(FAST) == found(TABLE)
    assert len(FAST) < len(TABLE) / 2


def test_three_switches_need_four_cases():
    cases = list(itertools.product((0, 1), repeat=3))
    chosen = covering(cases)
    assert len(chosen) == 4
    assert {(a, b) for a, b, _ in chosen} == {(b, c) for _, b, c in chosen} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_values_that_never_meet_need_no_case():
    assert covering([(0, 0), (1, 1)]) == [(0, 0), (1, 1)]


def test_at_most_so_many_cases_have_as_many_pairs_as_they_can():
    cases = list(itertools.product((0, 1), repeat=3))
    assert len(set().union(*map(pairs, covering(cases, most=2)))) == 6
    assert covering(cases, most=9) == covering(cases)


def test_a_sample_has_every_pair_of_values_if_there_is_room():
    cases = list(itertools.product("abcd", "ef"))
    assert sample("one", cases, 8) == set(range(8))
    for name in ("one", "other"):
        kept = [cases[k] for k in sample(name, cases, 4)]
        assert {first for first, _ in kept} == {*"abcd"}
    assert sample("one", cases, 4) != sample("other", cases, 4)


def test_a_sample_of_one_parameter_has_some_of_its_values():
    assert len(sample("one", [(k,) for k in range(20)], 5)) == 5


class Collected:
    """What `mark_the_rest` needs of a collected case."""

    def __init__(self, test: str, value: object, *markers: pytest.Mark):
        self.nodeid, self.markers = f"{test}[{value}]", {marker.name: marker for marker in markers}
        self.callspec = SimpleNamespace(params={"value": value})

    def get_closest_marker(self, name):
        return self.markers.get(name)

    def add_marker(self, marker):
        self.markers[marker.name] = marker


def test_what_is_not_in_a_sample_is_slow():
    """With values that cannot be hashed among them, and a case that is slow anyway."""
    two, slow = pytest.mark.sampled(2).mark, pytest.mark.slow.mark
    items = [Collected("some", value, two) for value in ({"a": 1}, {"a": 2}, [3])] + [Collected("some", 4, two, slow)]
    items += [Collected("all", value) for value in range(3)]
    mark_the_rest(items)
    assert sum("slow" in item.markers for item in items[:3]) == 1
    assert "slow" in items[3].markers
    assert not any("slow" in item.markers for item in items[4:])
