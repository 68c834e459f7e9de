"""Arrays and facts in one file, for models and checkpoints: written whole or not at all, and checked when it is read.

The file is a safetensors file, which holds arrays and cannot run code. The facts are JSON in its metadata, with a
checksum of all arrays and facts: a file that was truncated, damaged or edited is rejected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.atomic_write import atomic_write, check, new_file
from surefoot.records.files import RecordError

VERSION = 3
DTYPES = {"<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64", "|u1": "U8"}
"""What safetensors calls the types of arrays."""


REMEDIES = {
    "model": "train again",
    "checkpoint": "remove it to train from the beginning",
}
"""What to do about a file that cannot be used, by its kind."""


class FileError(ValueError):
    """A model or checkpoint cannot be read or written; the message is one sentence that says why."""


def write(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Writes the file under a temporary name, flushes it to the disk, and renames it.

    Args:
        path: where to.
        kind: what it is: "model" or "checkpoint".
        arrays: by name.
        facts: what JSON can hold.

    Raises:
        FileError: it could not be written. The previous file is intact.
    """
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {"surefoot": f"{kind} {VERSION}", "facts": json.dumps(facts, sort_keys=True)}
    metadata["checksum"] = checksum(contiguous, metadata)
    try:
        with atomic_write(path, sync=True) as file:
            file.write(header(contiguous, metadata))
            for array in contiguous.values():
                file.write(raw(array))
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {reason(error)}{advice(path)}") from None


def check_place(path: str | os.PathLike[str]) -> None:
    """Makes the folder of a file, and makes sure that files can be written there.

    Raises:
        FileError: they cannot.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise FileError(f"{path}: is a folder, expected a file; give a file in it")
        check(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {reason(error)}") from None


def write_elsewhere(save: Callable[[Path], None]) -> Path | None:
    """Writes what has no other place in a new file of the working or the temporary folder, which only its owner reads.

    Args:
        save: writes it to a file, or raises FileError.

    Returns:
        the file; None where neither can be written to.
    """
    for folder in (os.getcwd(), tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            place = new_file(folder, ".safetensors")
            with contextlib.suppress(FileError):
                save(place)
                return place
            place.unlink()
    return None


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and facts of a file of that kind.

    Raises:
        FileError: it is missing, is something else, or is corrupt.
    """
    from safetensors import SafetensorError, safe_open

    if os.path.isdir(path):
        raise FileError(f"{path}: is a folder, expected a file; name a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"{path}: is a pipe or device, expected a file; save it to one first")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {reason(error)}") from None
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise FileError(
            f"{path}: not a Surefoot {kind}, or truncated ({error}); copy it again, or {REMEDIES[kind]}"
        ) from None
    found, _, version = metadata.get("surefoot", "").partition(" ")
    if found != kind:
        raise FileError(f"{path}: is {f'a {found}' if found else 'another safetensors file'}, expected a {kind}")
    if version != str(VERSION):
        raise FileError(
            f"{path}: was written by another version of Surefoot (file version {version}, expected {VERSION}); "
            f"{REMEDIES[kind]}"
        )
    with as_written(path, kind):
        if metadata.pop("checksum", None) != checksum(arrays, metadata):
            raise FileError(f"{path}: checksum mismatch, the file is corrupt; copy it again, or {REMEDIES[kind]}")
        return arrays, dict(json.loads(metadata["facts"]))


@contextlib.contextmanager
def as_written(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """While what a file holds is put together again: what does not fit was edited, and checksums can be made again.

    Raises:
        FileError: something that the file holds is missing, or does not fit.
    """
    try:
        yield
    except (FileError, RecordError):
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise FileError(f"{path}: is not as it was written ({why}); copy it again, or {REMEDIES[kind]}") from None


def checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of everything that a file holds.

    Raises:
        ValueError: an array has a type that no file of ours has.
    """
    found = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, array in sorted(arrays.items()):
        if array.dtype.str not in DTYPES:
            raise ValueError(f"{name}: found {array.dtype}, expected one of {', '.join(DTYPES.values())}")
        found.update(json.dumps([name, DTYPES[array.dtype.str], array.shape]).encode())
        found.update(raw(array))
    return found.hexdigest()


def header(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a safetensors file.

    The library's own writer copies all arrays, and makes files that only their owner can read.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def raw(array: np.ndarray) -> memoryview:
    """The bytes of an array, which are not copied."""
    return memoryview(array.reshape(-1).view(np.uint8))  # pyright: ignore[reportArgumentType]


def reason(error: OSError) -> str:
    """What the system says."""
    return error.strerror or str(error)


def advice(path: Path) -> str:
    return "; the previous file is intact" if path.is_file() else ""
