"""Blocks and tables of names as the arrays of a block cache, and back: as small as they can be, and checked.

Kernels do not check bounds, and a cache is a file that people copy between machines. So what comes back from a file is
either a block that could have been read from text, or a `ValueError` that says what contradicts itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surefoot.data.stream.blocks import Block
from surefoot.data.stream.hashing import Names
from surefoot.data.stream.kernels.layout import FIELD_BITS, LARGEST_FLOAT32, LARGEST_INDEX

PER_ROW = ("lengths", "labels", "weights", "bases", "groups")
PER_ENTRY = ("indices", "values", "fields")
REQUIRED = ("lengths", "indices", "labels")
OPTIONAL = ("bases", "groups", "fields")
SMALL = {"lengths": np.uint16, "indices": np.uint32, "fields": np.uint32}
"""What whole numbers are stored in where they fit."""
DTYPES: Mapping[str, tuple[type[np.generic], ...]] = {
    "lengths": (np.uint16, np.int64),
    "indices": (np.uint32, np.int64),
    "values": (np.float32, np.float64),
    "labels": (np.float32, np.float64),
    "weights": (np.float32,),
    "bases": (np.float32,),
    "groups": (np.int64,),
    "fields": (np.uint32, np.int64),
}
"""The types that each array may have in a file."""


def packed(block: Block) -> dict[str, np.ndarray]:
    """The arrays of a block, whose numbers are narrowed where that does not change them; 1 throughout is not stored."""
    arrays = {"lengths": np.diff(block.indptr), "indices": block.indices, "labels": block.labels}
    arrays |= {name: array for name in OPTIONAL if (array := getattr(block, name)) is not None}
    for name, small in SMALL.items():
        if name in arrays and len(arrays[name]) and int(arrays[name].max()) <= np.iinfo(small).max:
            arrays[name] = arrays[name].astype(small)
    if (block.values != 1).any():
        single = block.values.astype(np.float32)
        arrays["values"] = single if (single == block.values).all() else block.values
    if (block.weights != 1).any():
        arrays["weights"] = block.weights
    return arrays


def unpacked(arrays: dict[str, np.ndarray], features: int | None = None) -> Block:
    """The block that `packed` was given, with values in float64.

    Args:
        arrays: of a file that anybody may have written.
        features: more than the largest index there may be; 2^63 unless given.

    Raises:
        ValueError: an array is missing, has another type or shape, or holds what no reader gives.
    """
    _check_arrays(arrays)
    rows, entries = len(arrays["labels"]), len(arrays["indices"])
    lengths = arrays["lengths"].astype(np.int64)
    # Each length is at most the number of entries, so that their sum cannot overflow where it is checked.
    if rows and not 0 <= lengths.min() <= lengths.max() <= entries:
        raise ValueError("a row whose length is negative or larger than the block")
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    if indptr[-1] != entries:
        raise ValueError("rows whose lengths do not add up to the number of entries")
    # Kernels are compiled for arrays that may be written to and lie where their type wants it: these are copies.
    indices = arrays["indices"].astype(np.int64)
    fields = arrays["fields"].astype(np.int64) if "fields" in arrays else None
    _check_places(indptr, indices, fields, LARGEST_INDEX if features is None else features - 1)
    values = arrays["values"].astype(np.float64) if "values" in arrays else np.ones(entries)
    weights = arrays["weights"].copy() if "weights" in arrays else np.ones(rows, np.float32)
    block = Block(
        indptr,
        indices,
        values,
        arrays["labels"].copy(),
        weights,
        arrays["bases"].copy() if "bases" in arrays else None,
        arrays["groups"].copy() if "groups" in arrays else None,
        fields,
    )
    _check_numbers(block)
    return block


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Whether these are the arrays of a block, of the types and sizes that fit."""
    if missing := [name for name in REQUIRED if name not in arrays]:
        raise ValueError(f"no array {missing[0]!r}")
    for name, array in arrays.items():
        if name not in DTYPES:
            raise ValueError(f"an array {name!r}, which no block has")
        if array.dtype not in DTYPES[name] or array.ndim != 1:
            raise ValueError(f"{name} of type {array.dtype} with {array.ndim} dimensions")
        size = len(arrays["labels"] if name in PER_ROW else arrays["indices"])
        if len(array) != size:
            raise ValueError(f"{len(array)} {name} where there are {size}")


def _check_places(indptr: np.ndarray, indices: np.ndarray, fields: np.ndarray | None, largest: int) -> None:
    """Whether indices are in range and rise within each row; with fields, pairs of both."""
    if len(indices) and not 0 <= indices.min() <= indices.max() <= largest:
        raise ValueError("an index out of range")
    rises = np.diff(indices) > 0
    if fields is not None:
        if len(fields) and not 0 <= fields.min() <= fields.max() < 1 << FIELD_BITS:
            raise ValueError("a field out of range")
        rises |= (np.diff(indices) == 0) & (np.diff(fields) > 0)
    begins = indptr[1:-1]
    rises[begins[(begins > 0) & (begins < len(indices))] - 1] = True
    if not rises.all():
        raise ValueError("a row whose indices do not rise")


def _check_numbers(block: Block) -> None:
    """Whether all numbers are such as readers give: finite, but for labels that are missing."""
    if not (np.abs(block.values) <= LARGEST_FLOAT32).all():
        raise ValueError("values that are not finite")
    if not (block.weights >= 0).all() or np.isinf(block.weights).any():
        raise ValueError("weights that are negative or not finite")
    if (np.abs(block.labels) > LARGEST_FLOAT32).any():
        raise ValueError("labels that are not finite")
    if block.bases is not None and not np.isfinite(block.bases).all():
        raise ValueError("initial predictions that are not finite")
    if block.groups is not None and len(block.groups) and block.groups.min() < -1:
        raise ValueError("a group that is negative")


def packed_names(names: Names) -> dict[str, np.ndarray]:
    """A table of names, without the cells that are empty, which are nearly all of it."""
    arrays = {name: np.ascontiguousarray(array) for name, array in names.arrays().items()}
    known = arrays.pop("known")
    places = np.flatnonzero(known)
    return arrays | {"places": places.astype(np.uint32), "known": known[places]}


def unpacked_names(arrays: Mapping[str, np.ndarray], bits: int) -> Names:
    """The table that `packed_names` was given, of indices of this number of bits.

    Raises:
        ValueError: the arrays do not fit together, or the cell of a name is out of range.
    """
    places, known = arrays["places"], arrays["known"]
    if places.dtype != np.uint32 or known.dtype != np.uint64 or places.ndim != 1 or known.shape != places.shape:
        raise ValueError("cells of names that are not numbers of 32 bits, or names in them not of 64")
    table = Names(bits).known
    if len(places) and int(places.max()) >= len(table):
        raise ValueError("the cell of a name is out of range")
    table[places] = known
    names = Names.of_arrays({**arrays, "known": table})
    if names.bits != bits:
        raise ValueError(f"a table of names of {names.bits} bits, where indices have {bits}")
    return names
