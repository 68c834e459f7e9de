"""Block caches: examples as arrays in a file, which are read at the speed of memory.

The file is a zip archive without compression, which keeps a checksum of each member: how the examples were read, then
a block of them after the other, then the names of hashed features and what has been counted. A block is a safetensors
document; indices are stored in 32 bits where they fit, and what is the same for all rows not at all.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream import Block, Names, Policy
from surefoot.data.stream.ordered import in_order
from surefoot.replacing import replacing
from surefoot.threads import get_threads

if TYPE_CHECKING:
    from surefoot.data.stream import Stream

ZIP = b"PK\x03\x04"
FIRST = "surefoot-blocks-1.json"
"""The first member says that the file is a block cache, and of which form."""
LAST, NAMES = "counts.json", "names"
STORED = {"indices": np.uint32, "lengths": np.uint16}
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, KeyError, EOFError, OSError, ValueError, RuntimeError)
"""What is raised where an archive is not as it was written."""
OPTIONAL = ("bases", "groups", "fields")


def is_cache(file: Any) -> bool:
    """Whether a file is a block cache."""
    if not isinstance(file, str) or not os.path.isfile(file):
        return False
    with contextlib.suppress(OSError), open(file, "rb") as stream:
        start = stream.read(30 + len(FIRST))
        return start.startswith(ZIP) and start[30:] == FIRST.encode()
    return False


def write(stream: Stream | Cached, path: str | os.PathLike[str], reading: Mapping[str, Any]) -> Iterator[int]:
    """Writes all blocks of a stream; yields how many examples are written so far.

    The file is written beside its place and put there when it is complete.

    Args:
        stream: the examples.
        path: where to.
        reading: how they were read, for `Cached.reading`.

    Raises:
        DataError: the file cannot be written, or the stream not be read.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield from _write_members(archive, stream, reading)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _write_members(archive: zipfile.ZipFile, stream: Any, reading: Mapping[str, Any]) -> Iterator[int]:
    from safetensors.numpy import save

    archive.writestr(FIRST, json.dumps({"reading": dict(reading)}))
    for number, block in enumerate(stream):
        archive.writestr(f"block{number}", save(_packed(block)))
        yield stream.rows
    if stream.names is not None:
        names = {key: np.ascontiguousarray(array) for key, array in stream.names.arrays().items()}
        # Most of it is a table that is nearly empty.
        archive.writestr(NAMES, save(names), zipfile.ZIP_DEFLATED)
    counts = {"rows": stream.rows, "entries": stream.entries, "left_out": dict(stream.policy.counts)}
    archive.writestr(LAST, json.dumps(counts))


def _packed(block: Block) -> dict[str, np.ndarray]:
    """The arrays of a block, as small as they can be without a change."""
    arrays = {"lengths": np.diff(block.indptr), "indices": block.indices, "labels": block.labels}
    for name, small in STORED.items():
        if len(arrays[name]) and int(arrays[name].max()) <= np.iinfo(small).max:
            arrays[name] = arrays[name].astype(small)
    if (block.values != 1).any():
        arrays["values"] = block.values
    if (block.weights != 1).any():
        arrays["weights"] = block.weights
    return arrays | {name: array for name in OPTIONAL if (array := getattr(block, name)) is not None}


def _unpacked(arrays: dict[str, np.ndarray]) -> Block:
    """The block. Kernels trust what it says, so nothing that contradicts itself comes through."""
    rows, entries = len(arrays["lengths"]), len(arrays["indices"])
    sizes = {"labels": rows, "weights": rows, "bases": rows, "groups": rows, "values": entries, "fields": entries}
    if any(len(arrays[name]) != size for name, size in sizes.items() if name in arrays):
        raise ValueError("arrays of different lengths")
    if int(arrays["lengths"].sum(dtype=np.uint64)) != entries or (entries and arrays["indices"].min() < 0):
        raise ValueError("rows or indices out of range")
    if "values" in arrays and not np.isfinite(arrays["values"]).all():
        raise ValueError("values that are not finite")
    indptr = np.zeros(len(arrays["lengths"]) + 1, np.int64)
    np.cumsum(arrays["lengths"], out=indptr[1:])
    # Kernels are compiled for arrays that may be written to and lie where their type wants it: these are copies.
    indices = arrays["indices"].astype(np.int64)
    values, weights = (arrays.get(name) for name in ("values", "weights"))
    return Block(
        indptr,
        indices,
        np.ones(len(indices), np.float32) if values is None else values.copy(),
        arrays["labels"],
        np.ones(len(indptr) - 1, np.float32) if weights is None else weights,
        **{name: arrays[name] for name in OPTIONAL if name in arrays},
    )


class Cached:
    """The blocks of block caches, with the attributes of `Stream` that those who learn from it use.

    Args:
        files: their names.
        policy: for rows that whoever reads them cannot use; the caches hold none that could not be read.
        threads: that make arrays of what is read.

    Attributes:
        reading: how the examples were read when the first cache was made.
    """

    def __init__(self, files: list[str], policy: Policy | None = None, threads: int | None = None):
        self.files, self.policy, self.threads = files, policy or Policy(), threads
        heads = [_head(file) for file in files]
        self.reading: dict[str, Any] = heads[0]["reading"]
        for file, head in zip(files[1:], heads[1:], strict=True):
            if head["reading"] != self.reading:
                raise DataError(f"{file}: is a cache made in another way than {files[0]}; convert their files together")
        self.guess = None
        sizes = [os.path.getsize(file) for file in files]
        self.size: int | None = sum(sizes)
        self._before = np.cumsum([0, *sizes]).tolist()
        self.rows = self.entries = self.position = 0

    @functools.cached_property
    def names(self) -> Names | None:
        """Of hashed features, those of the first cache that has some."""
        for file in self.files:
            with _archive(file) as archive:
                if NAMES in archive.namelist():
                    return Names.of_arrays(_arrays(archive, NAMES))
        return None

    def __iter__(self) -> Generator[Block, None, None]:
        """The blocks, in the order of the files.

        Raises:
            DataError: a file is damaged, or there is no example in any of them.
        """
        self.rows = self.entries = self.position = 0
        self.policy.counts.clear()
        for file, before in zip(self.files, self._before[:-1], strict=True):
            rows_before = self.rows
            with _archive(file) as archive:
                members = [info for info in archive.infolist() if info.filename.startswith("block")]
                blocks = in_order(
                    iter(members), lambda info: (info, _block(archive, info)), self.threads or get_threads()
                )
                with contextlib.closing(blocks):
                    for info, block in blocks:
                        self.position = before + info.header_offset + info.file_size
                        self.rows += len(block)
                        self.entries += len(block.indices)
                        self._place = file, self.rows - len(block) + 1 - rows_before
                        yield block
        if not self.rows:
            raise DataError(f"{self.files[0]}: holds no example")

    def where(self, row: int) -> str:
        """The file and place of a row of the latest block."""
        file, first = self._place
        return f"{file}: example {first + row:,}"


def _archive(file: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except DAMAGED as error:
        raise DataError(
            f"{file}: is damaged, or a part of a block cache only ({error}); convert the files again"
        ) from None


def _head(file: str) -> dict[str, Any]:
    if not is_cache(file):
        raise DataError(f"{file}: is no block cache, as the first file is; give either caches or other files")
    with _archive(file) as archive, _undamaged(archive):
        return json.loads(archive.read(FIRST))


def _block(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Block:
    with _undamaged(archive):
        return _unpacked(_arrays(archive, member))


def _arrays(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    with _undamaged(archive):
        return load(archive.read(member))


@contextlib.contextmanager
def _undamaged(archive: zipfile.ZipFile) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (*DAMAGED, SafetensorError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{archive.filename}: is damaged ({error}); convert the files again") from None
