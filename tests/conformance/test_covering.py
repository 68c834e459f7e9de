"""The fast part of a table has every pair of values, and not every case."""

import itertools

from support.covering import covering, pairs
from support.table import FAST, TABLE


def test_every_pair_of_the_table_occurs_in_its_fast_part():
    whole = TABLE
    assert set().union(*map(pairs, FAST)) >= set().union(*map(pairs, whole))
    assert len(FAST) < len(whole) / 2


def test_three_switches_need_four_cases():
    cases = list(itertools.product((0, 1), repeat=3))
    chosen = covering(cases)
    assert len(chosen) == 4
    assert {(a, b) for a, b, _ in chosen} == {(b, c) for _, b, c in chosen} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_values_that_never_meet_need_no_case():
    assert covering([(0, 0), (1, 1)]) == [(0, 0), (1, 1)]
