"""Data sets from files: text and tables, as streams read them, and NumPy's `.npz`."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.data.dataset import Dataset, Task, targets
from surefoot.data.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from surefoot.data.stream import Block

# A file is what its first bytes say, whatever its name.
_ZIP = b"PK\x03\x04"

TARGETS = ("label", "target", "y")
"""What a table's column of targets is called."""

_FORMAT = "svmlight lines LABEL INDEX:VALUE … (plain or compressed) or an npz file"
_LARGEST_INDEX = 2**31 - 1
_CSR_KEYS = ("data", "indices", "indptr", "shape")


def load(path: str | os.PathLike[str], task: Task | None = None) -> Dataset:
    """Read a data set from a file; only that file is read, so a test part next to it is not used.

    Which format it has is guessed, by its ending and its first lines (see `stream.read`).

    svmlight: a line per example, `LABEL INDEX:VALUE INDEX:VALUE … # comment`, indices rising from left to right; plain,
    gzip, bzip2 or zstd. If no line has the index 0, indices count from 1. Query ids (`qid:7`) are ignored.

    libffm, Vowpal Wabbit's text, CSV, TSV, Parquet: as `stream.read` has them. Of a table, the column called label,
    target or y is the target, zeros are stored, and missing numbers are not. Only features that occur become columns.

    npz: `y`, and either `X` (dense) or the four arrays of a CSR matrix, `data`, `indices`, `indptr`, `shape`, as
    `scipy.sparse.save_npz` names them; optionally `feature_names`. Arrays of Python objects are rejected, never
    unpickled.

    Args:
        path: the file.
        task: "classification" or "regression"; without it, two distinct labels are classes (in ascending order 0 and
            1) and more are numbers to predict.

    Returns:
        A data set with a fifth of its examples held out, named after the file. Its numbers are those that training
        reads, in float64; where all of them fit float32 exactly, they are kept in float32, in half of the memory.

    Raises:
        DataError: the file cannot be read, holds something else, or cannot be learned from.
    """
    path = Path(os.path.expanduser(path))
    is_npz = first_bytes(path).startswith(_ZIP) or path.suffix == ".npz"
    X, labels, feature_names, missing = (*_read_npz(path), False) if is_npz else _read_text(path)
    y, task, classes = targets(labels, task, path.name)
    return Dataset(path.name, *_narrowed(X, y), task, feature_names, classes, missing=missing)


def _narrowed(X: Any, y: np.ndarray) -> tuple[np.ndarray | csr_array, np.ndarray]:
    """Both in float32 where that changes no number; also where one is too large for a model, which is then infinite."""
    values = X if isinstance(X, np.ndarray) else X.data
    with np.errstate(over="ignore"):
        single, target = values.astype(np.float32), y.astype(np.float32)
    is_exact = np.array_equal(single, values) and np.array_equal(target, y)
    if not is_exact and np.isfinite(single).all() and np.isfinite(target).all():
        return X, y
    if isinstance(X, np.ndarray):
        return single, target
    from scipy.sparse import csr_array

    return csr_array((single, X.indices, X.indptr), shape=X.shape), target


def first_bytes(path: Path) -> bytes:
    """The first bytes of a regular file that is there, may be read and is not empty.

    Raises:
        DataError: any of this is not so.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file; name a file in it")
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is a pipe or device, expected a file; save the data to a file first")
        with path.open("rb") as stream:
            start = stream.read(len(_ZIP))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the name and the folder") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it; change its permissions or copy it") from None
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror or error})") from None
    if not start:
        raise DataError(f"{path}: is empty, expected at least one line of data")
    return start


def _read_text(path: Path) -> tuple[csr_array, np.ndarray, tuple[str, ...] | None, bool]:
    """The examples of a file of any format that streams read, and whether it is a table."""
    from surefoot.data.stream import Libffm, Stream, Svmlight, formats, joined
    from surefoot.data.stream.opening import open_files, schema_of

    files = [os.fspath(path)]
    try:
        name = formats.guessed(files)[0].name
    except DataError:
        name = formats.NUMBERED
    opened = open_files(files, name)
    if (schema := schema_of(opened.reader)) is not None:
        opened = open_files(files, replace(schema.table, target=_target(path, schema.names)))
    elif isinstance(opened.reader, Libffm):
        opened = opened._replace(reader=replace(opened.reader, keep_fields=False))
    elif isinstance(opened.reader, Svmlight):
        strict = replace(opened.reader, rising=True, largest=_LARGEST_INDEX, described=_FORMAT)
        opened = opened._replace(reader=strict)
    stream = Stream(opened, dtype=np.dtype(np.float64))
    block = joined(list(stream))
    _check_unweighted(path, block)
    if name == formats.NUMBERED:
        return _numbered(block), block.labels, None, False
    X, features = _occurring(block, zeros=schema is not None)
    if stream.names is None:
        return X, block.labels, None, schema is not None
    names = tuple(stream.names.get(index) or f"feature {index}" for index in features.tolist())
    return X, block.labels, names or None, schema is not None


def _target(path: Path, columns: tuple[str, ...]) -> str:
    """The column of a table that is its target.

    Raises:
        DataError: none is called so.
    """
    target = next((column for column in columns if column.lower() in TARGETS), None)
    if target is None:
        some = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")
        raise DataError(f"{path}: found the columns {some}; call the target's label, target or y")
    return target


def _numbered(block: Block) -> csr_array:
    """Examples whose features are columns by their index; indices count from 1 where no row has the index 0."""
    from scipy.sparse import csr_array

    features = int(block.indices.max(initial=0)) + 1
    base = int(features > 1 and not (block.indices == 0).any())
    return _canonical(
        csr_array((block.values, block.indices - base, block.indptr), shape=(len(block), features - base))
    )


def _occurring(block: Block, zeros: bool) -> tuple[csr_array, np.ndarray]:
    """Examples in as many columns as features occur, and these features; with stored `zeros` or without."""
    from scipy.sparse import csr_array

    features, places = np.unique(block.indices, return_inverse=True)
    shape = (len(block), max(len(features), 1))
    return _canonical(csr_array((block.values, places, block.indptr), shape=shape), zeros), features


def _check_unweighted(path: Path, block: Block) -> None:
    if (block.weights != 1).any():
        row = int(np.argmax(block.weights != 1))
        found = f"example {row} (counted from 0) has the weight {block.weights[row]:g}"
    elif block.bases is not None:
        found = "some examples have an initial prediction"
    else:
        return
    raise DataError(f"{path}: {found}, which data sets do not support; remove it")


def _read_npz(path: Path) -> tuple[np.ndarray | csr_array, np.ndarray, tuple[str, ...] | None]:
    arrays = _arrays(path)
    found = ", ".join(sorted(arrays)) or "nothing"
    if "y" not in arrays:
        raise DataError(f"{path}: found {found}, but no y; save it with np.savez(path, X=X, y=y)")
    if "X" in arrays:
        X = _floats(path, "X", arrays["X"])
    elif all(key in arrays for key in _CSR_KEYS):
        X = _csr(path, arrays)
    else:
        raise DataError(f"{path}: found {found}; expected X, or {', '.join(_CSR_KEYS)} of a CSR matrix, besides y")
    names = arrays.get("feature_names")
    return X, arrays["y"], None if names is None else tuple(map(str, names.ravel()))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: np.asarray(archive[key]) for key in archive.files}
    except (ValueError, OSError, EOFError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: holds an array of Python objects, which could run code and is never loaded; "
                f"convert it with astype(float) and save it again"
            ) from None
        raise DataError(f"{path}: is not a complete npz file; save it again with np.savez") from None


def _csr(path: Path, arrays: dict[str, np.ndarray]) -> csr_array:
    from scipy.sparse import csr_array

    if "csr" not in str(arrays.get("format", "csr")):
        raise DataError(f"{path}: holds a sparse matrix of format {arrays['format']}, expected csr; use X.tocsr()")
    data, indices, indptr, shape = (arrays[key] for key in _CSR_KEYS)
    if any(array.dtype.kind not in "iu" for array in (indices, indptr, shape)):
        raise DataError(f"{path}: indices, indptr and shape must hold whole numbers")
    try:
        X = csr_array((_floats(path, "data", data), indices, indptr), shape=tuple(shape.tolist()))
        # In full, and before anything is sorted: SciPy's own routines trust these numbers.
        X.check_format(full_check=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: its arrays are not a CSR matrix: {error}") from None
    return _canonical(X)


def _floats(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: {key} has dtype {array.dtype}, expected numbers")
    return np.ascontiguousarray(array, dtype=np.float64)


def _canonical(X: Any, zeros: bool = False) -> csr_array:
    """Sorted, unique columns, no stored zeros unless they count, and int32 indices where they suffice."""
    from scipy.sparse import csr_array

    X.sum_duplicates()
    if not zeros:
        X.eliminate_zeros()
    shape = X.shape
    dtype = np.int32 if max(X.nnz, shape[1]) <= _LARGEST_INDEX else np.int64
    return csr_array((X.data, X.indices.astype(dtype), X.indptr.astype(dtype)), shape=shape)
