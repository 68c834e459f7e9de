"""Block caches: examples as arrays in a file, which are read at the speed of memory.

The file is a zip archive without compression, which keeps a checksum of each member: how the examples were read, then
a block of them after the other, then the names of hashed features and what has been counted. Blocks and names are
safetensors documents, whose arrays `packing` makes and checks.
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

from surefoot.atomic_write import atomic_write
from surefoot.data import packing
from surefoot.data.errors import DataError
from surefoot.data.stream import Block, Names, Policy
from surefoot.data.stream.class_names import is_fit, labels_of_words
from surefoot.data.stream.ordered import in_order
from surefoot.threads import get_threads

if TYPE_CHECKING:
    from surefoot.data.stream import Stream

ZIP = b"PK\x03\x04"
KIND, VERSION = "surefoot-blocks-", 3
FIRST = f"{KIND}{VERSION}.json"
"""The first member says that the file is a block cache, and of which version."""
LAST, NAMES = "counts.json", "names"
DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, LookupError, EOFError, OSError, ValueError, TypeError, RuntimeError,
)  # fmt: skip
"""What is raised where an archive is not as it was written."""


def is_cache(file: Any) -> bool:
    """Whether a file is a block cache."""
    if not isinstance(file, str) or not os.path.isfile(file):
        return False
    with contextlib.suppress(OSError), open(file, "rb") as stream:
        start = stream.read(30 + len(KIND))
        return start.startswith(ZIP) and start[30:] == KIND.encode()
    return False


def write(stream: Stream | Cached, path: str | os.PathLike[str], reading: Mapping[str, Any]) -> Iterator[int]:
    """Writes all blocks of a stream; yields how many examples are written so far.

    The file is written under another name and renamed when it is complete.

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
        with atomic_write(path, sync=True) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield from _write_members(archive, stream, reading)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _write_members(archive: zipfile.ZipFile, stream: Any, reading: Mapping[str, Any]) -> Iterator[int]:
    from safetensors.numpy import save

    def add(name: str, content: str | bytes) -> None:
        archive.writestr(zipfile.ZipInfo(name), content)  # without the time: the same examples give the same bytes

    add(FIRST, json.dumps({"reading": dict(reading)}))
    for number, block in enumerate(stream):
        add(_of_block(number), save(packing.packed(block)))
        yield stream.rows
    if stream.names is not None:
        add(NAMES, save(packing.packed_names(stream.names)))
    counts = {"rows": stream.rows, "entries": stream.entries, "left_out": dict(stream.policy.counts)}
    counts["words"] = sorted({*stream.words.values()})
    add(LAST, json.dumps(counts))


class Cached:
    """The blocks of block caches, with the attributes of `Stream` that those who learn from it use.

    Args:
        files: their names.
        policy: for rows that cannot be learned from; caches hold none that could not be read.
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
                raise DataError(
                    f"{file}: a cache made with other options than {files[0]}; convert their files together"
                )
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
                    with _undamaged(archive):
                        return packing.unpacked_names(_arrays(archive, NAMES), int(self.reading["bits"]))
        return None

    @functools.cached_property
    def words(self) -> Mapping[float, str]:
        """The words that labels stand for, by label."""
        found: list[str] = []
        for file in self.files:
            with _archive(file) as archive, _undamaged(archive):
                own = json.loads(archive.read(LAST)).get("words", [])
                if not isinstance(own, list) or not all(isinstance(word, str) for word in own):
                    raise ValueError(f"words: found {own!r:.40}, expected a list of words")
                if unfit := [word for word in own if not is_fit(word)]:
                    raise ValueError(f"words: found {unfit[0]!r}, expected words in UTF-8 without control characters")
                found += own
        return dict(zip(labels_of_words(found).tolist(), found, strict=True))

    def __iter__(self) -> Generator[Block, None, None]:
        """The blocks, in the order of the files.

        Raises:
            DataError: a file is damaged, or none of them contains an example.
        """
        self.rows = self.entries = self.position = 0
        self.policy.counts.clear()
        assert self.words is not None  # which are looked at before any block is
        bits = self.reading.get("bits")
        features = None if bits is None else 1 << bits
        for file, before in zip(self.files, self._before[:-1], strict=True):
            rows_before = self.rows
            with _archive(file) as archive:
                members = [info for info in archive.infolist() if info.filename.startswith("block")]
                blocks = in_order(
                    iter(members), lambda info: (info, _block(archive, info, features)), self.threads or get_threads()
                )
                with contextlib.closing(blocks):
                    for info, block in blocks:
                        self.position = before + info.header_offset + info.file_size
                        self.rows += len(block)
                        self.entries += len(block.indices)
                        self._place = file, self.rows - len(block) + 1 - rows_before
                        with _undamaged(archive):
                            self._check_words(block.labels)
                        yield block
                _check_rows(archive, self.rows - rows_before)
        if not self.rows:
            raise DataError(f"{self.files[0]}: contains no examples")

    def _check_words(self, labels: np.ndarray) -> None:
        """Raises ValueError for labels that should stand for words, and do not."""
        if self.reading.get("word_labels") and not np.isin(labels[np.isfinite(labels)], [*self.words]).all():
            raise ValueError(f"words: found {len(self.words)}, expected one for each label")

    def where(self, row: int) -> str:
        """The file and place of a row of the latest block."""
        file, first = self._place
        return f"{file}: example {first + row:,}"


def _of_block(number: int) -> str:
    """The name of a member."""
    return f"block{number}"


def _archive(file: str) -> zipfile.ZipFile:
    """The archive, with the members of a block cache in their order.

    Nothing in it is compressed, so that no member is larger than the file.

    Raises:
        DataError: it is damaged.
    """
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED as error:
        raise DataError(_damaged(file, error)) from None
    members = archive.infolist()
    names = [info.filename for info in members]
    blocks = [_of_block(number) for number in range(sum(name not in (FIRST, NAMES, LAST) for name in names))]
    if names not in ([FIRST, *blocks, LAST], [FIRST, *blocks, NAMES, LAST]):
        archive.close()
        raise DataError(_damaged(file, "its members are not those of a block cache"))
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in members):
        archive.close()
        raise DataError(_damaged(file, "a member is compressed"))
    return archive


def _head(file: str) -> dict[str, Any]:
    if not is_cache(file):
        raise DataError(f"{file}: not a block cache, although the first file is one; give only caches, or none")
    with open(file, "rb") as stream:
        start = stream.read(30 + len(FIRST))[30:]
    if start != FIRST.encode():
        raise DataError(f"{file}: a block cache of another version of Surefoot; convert the files again")
    with _archive(file) as archive, _undamaged(archive):
        head = json.loads(archive.read(FIRST))
        if not isinstance(head["reading"], dict):
            raise ValueError("how it was read is not recorded")
        return head


def _check_rows(archive: zipfile.ZipFile, rows: int) -> None:
    """Whether the blocks of a file hold as many examples as were counted when it was written."""
    with _undamaged(archive):
        counted = json.loads(archive.read(LAST))["rows"]
        if counted != rows:
            raise ValueError(f"{rows:,} examples where {counted!r} were written")


def _block(archive: zipfile.ZipFile, member: zipfile.ZipInfo, features: int | None) -> Block:
    with _undamaged(archive):
        return packing.unpacked(_arrays(archive, member), features)


def _arrays(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(archive.read(member))


@contextlib.contextmanager
def _undamaged(archive: zipfile.ZipFile) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (*DAMAGED, SafetensorError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(_damaged(archive.filename, error)) from None


def _damaged(file: str | None, reason: object) -> str:
    return f"{file}: damaged ({reason}); convert the files again"
