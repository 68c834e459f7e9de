"""Parts of blocks."""

from dataclasses import replace

import numpy as np
import pytest

from surefoot.data.stream import Block, joined
from surefoot.data.stream.blocks import part_of, rows_of, without_fields

LENGTHS = (2, 0, 3, 1, 0, 2)


def block(optional: bool) -> Block:
    """Distinct rows."""
    rows, entries = len(LENGTHS), sum(LENGTHS)
    more = {"bases": np.arange(rows, dtype=np.float32), "groups": np.arange(rows), "fields": np.arange(entries) % 2}
    numbers = np.arange(1, entries + 1, dtype=np.float32)
    indptr = np.concatenate([[0], np.cumsum(LENGTHS)])
    labels = np.arange(rows, dtype=np.float64)
    return Block(indptr, np.arange(entries), numbers, labels, labels.astype(np.float32), **(more if optional else {}))


def assert_same(one: Block, other: Block) -> None:
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), name)


@pytest.mark.parametrize("optional", [False, True])
def test_parts_joined_are_the_whole(optional):
    whole = block(optional)
    for middle in range(1, len(whole)):
        assert_same(joined([part_of(whole, 0, middle), part_of(whole, middle, len(whole))]), whole)


@pytest.mark.parametrize("optional", [False, True])
def test_selected_rows_equal_those_of_parts(optional):
    whole, chosen = block(optional), [0, 2, 4, 5]
    expected = joined([part_of(whole, row, row + 1) for row in chosen])
    assert_same(rows_of(whole, np.isin(np.arange(len(whole)), chosen)), expected)
    assert len(rows_of(whole, np.zeros(len(whole), bool))) == 0


def test_without_fields_entries_of_a_feature_are_summed():
    indices, values = np.array([1, 3, 3, 3, 7, 7]), np.array([1.0, 2, 3, 4, 5, 6])
    fields, ones = np.array([1, 0, 1, 0, 0, 2]), np.ones(4)
    found = without_fields(Block(np.array([0, 3, 3, 6, 6]), indices, values, ones, ones, fields=fields))
    expected = Block(np.array([0, 2, 2, 4, 4]), np.array([1, 3, 3, 7]), np.array([1.0, 5, 4, 11]), ones, ones)
    assert_same(found, expected)


@pytest.mark.parametrize("optional", [False, True])
def test_without_fields_nothing_else_changes(optional):
    """A feature in two rows that follow one another is not summed."""
    whole = block(optional)
    whole = replace(whole, indices=whole.indices[np.array([0, 1, 1, 2, 3, 3, 5, 6])])
    found = without_fields(whole)
    assert found.fields is None
    assert_same(found, replace(whole, fields=None))
