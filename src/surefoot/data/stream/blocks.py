"""A block: some consecutive examples of a stream, as CSR arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive examples in CSR form; every row's indices rise and are unique (with fields: pairs of both).

    Attributes:
        indptr: int64, where each row begins in `indices`, and where the last one ends.
        indices: int64, the ids of features.
        values: float64, or float32 on request: of the features; at most the largest float32 in size.
        labels: of each row; NaN where the file gives none (Vowpal Wabbit text admits that).
        weights: float32, the weight of each row, 1 where the file gives none.
        bases: float32, the initial prediction of each row and 0 where it has none; None where no row has one.
        groups: int64, the query id of each row and -1 where it has none; None where no row has one.
        fields: int64, the field of each entry, of libffm, and of tables on request (`Table.fields`); None otherwise.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    bases: np.ndarray | None = None
    groups: np.ndarray | None = None
    fields: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def matrix(self, features: int | None = None) -> csr_array:
        """The examples as a SciPy matrix with `features` columns; by default as many as the largest index needs."""
        from scipy.sparse import csr_array

        if features is None:
            features = int(self.indices.max(initial=-1)) + 1
        return csr_array((self.values, self.indices, self.indptr), shape=(len(self), features))


def joined(blocks: list[Block]) -> Block:
    """The examples of all blocks, one after the other, in one.

    >>> row = Block(np.array([0, 1]), np.array([7]), np.ones(1), np.ones(1), np.ones(1))
    >>> joined([row, row]).indptr
    array([0, 1, 2])
    """
    starts = np.cumsum([0, *(len(block.indices) for block in blocks)])
    indptr = [block.indptr[1:] + start for block, start in zip(blocks, starts[:-1], strict=True)]
    names = ("indices", "values", "labels", "weights")
    arrays = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
    for name, missing in (("bases", np.float32(0)), ("groups", -1)):
        given = [getattr(block, name) for block in blocks]
        if any(array is not None for array in given):
            filled = [np.full(len(b), missing) if a is None else a for a, b in zip(given, blocks, strict=True)]
            arrays[name] = np.concatenate(filled)
    fields = [block.fields for block in blocks if block.fields is not None]
    if len(fields) == len(blocks):
        arrays["fields"] = np.concatenate(fields)
    return Block(np.concatenate([np.zeros(1, np.int64), *indptr]), **arrays)


def part_of(block: Block, first: int, last: int) -> Block:
    """The rows first … last − 1, without copies."""
    if (first, last) == (0, len(block)):
        return block
    begin, end = block.indptr[first], block.indptr[last]
    return _taken(block, block.indptr[first : last + 1] - begin, slice(first, last), slice(begin, end))


def rows_of(block: Block, chosen: np.ndarray) -> Block:
    """The rows for which `chosen` is true."""
    lengths = np.diff(block.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths[chosen])])
    return _taken(block, indptr, chosen, np.repeat(chosen, lengths))


def _taken(block: Block, indptr: np.ndarray, rows: slice | np.ndarray, entries: slice | np.ndarray) -> Block:
    optional = {name: array[rows] for name in ("bases", "groups") if (array := getattr(block, name)) is not None}
    if block.fields is not None:
        optional["fields"] = block.fields[entries]
    arrays = block.indices[entries], block.values[entries], block.labels[rows], block.weights[rows]
    return Block(indptr, *arrays, **optional)


def without_zeros(block: Block) -> Block:
    """The block without entries of value 0: a feature that has it is as good as absent.

    >>> row = Block(np.array([0, 2]), np.array([3, 7]), np.array([0.0, 2.0]), np.ones(1), np.ones(1))
    >>> without_zeros(row).indices
    array([7])
    """
    kept = block.values != 0
    if kept.all():
        return block
    indptr = np.append(0, np.cumsum(kept))[block.indptr]
    fields = None if block.fields is None else block.fields[kept]
    return replace(block, indptr=indptr, indices=block.indices[kept], values=block.values[kept], fields=fields)


def without_fields(block: Block) -> Block:
    """Entries of the same feature summed, whatever their field: for models to which they are one."""
    if block.fields is None:
        return block
    new = np.ones(len(block.indices), bool)
    new[1:] = block.indices[1:] != block.indices[:-1]
    begins = block.indptr[:-1]
    new[begins[begins < len(new)]] = True
    if new.all():
        return replace(block, fields=None)
    starts = np.flatnonzero(new)
    values = np.add.reduceat(block.values.astype(np.float64), starts).astype(block.values.dtype)
    indptr = np.concatenate([[0], np.cumsum(new)])[block.indptr]
    return replace(block, indptr=indptr, indices=block.indices[starts], values=values, fields=None)
