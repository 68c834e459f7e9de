"""All formats that files may have, and which of them a file has: by its name's ending, and by its first lines."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import Any

from surefoot.data.errors import DataError
from surefoot.data.stream import delimited, parquet, sources, svmlight, vw
from surefoot.data.stream.faults import check_text, shown
from surefoot.data.stream.record import FORMATS, Format, of_first_bytes, register, register_all

__all__ = ["FORMATS", "Format", "guessed", "named", "register"]

register_all([*svmlight.FORMATS, *vw.FORMATS, *delimited.FORMATS, *parquet.FORMATS])

NUMBERED = "svmlight"
"""The format of lines whose features are numbers, and of a file without lines, which is an error when it is read."""
TABLE = "csv"
"""The format of tables that are text, or not in a file."""
PACKED = (".gz", ".bz2", ".zst", ".zstd")
LINES = 20
"""Lines that are looked at; most of them decide, so that a faulty one does not."""
BOM = b"\xef\xbb\xbf"


def named(name: str) -> Format:
    """The format of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"format: found {name!r}, expected one of auto, {', '.join(FORMATS)}")
    return FORMATS[name]


def as_text(format: Format) -> Format:
    """The format itself, or CSV for formats of columns, whose files are known by their first bytes or their endings."""
    return format if format.columns is None else FORMATS[TABLE]


def guessed(files: list[Any]) -> tuple[Format, str, list[Any]]:
    """The format of these files, how it was found, and the files to read: a pipe gives its beginning only once.

    Raises:
        DataError: it cannot be guessed.
    """
    name = sources.name_of(files[0])
    if (format := of_ending(name)) is not None:
        return format, f"read as {format.name}, by its file extension; specify the format if this is wrong", files
    beginning, first = sources.beginning(files[0])
    files = [first, *files[1:]]
    if (format := of_first_bytes(beginning)) is not None:
        return format, f"read as {format.name}, by its first bytes", files
    check_text(name, beginning)
    lines = [line for line in beginning.removeprefix(BOM).split(b"\n")[: 10 * LINES] if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith(b"#")][:LINES]
    if not lines:
        return FORMATS[NUMBERED], f"read as {NUMBERED}, since there are no lines", files
    looks = Counter(format.name for line in lines if (format := _of_line(line)))
    if not looks:
        raise DataError(
            f"{name}: its format cannot be guessed (it begins with {shown(lines[0])}); specify it, "
            f"one of {', '.join(FORMATS)}"
        )
    look = looks.most_common(1)[0][0]
    guess = f"read as {look}, by its first lines; specify the format if this is wrong"
    return FORMATS[look], guess, files


def of_ending(name: str) -> Format | None:
    """The format that the ending of a file's name, before those of compression, stands for."""
    ending = next((end for end in reversed(PurePath(name).suffixes) if end.lower() not in PACKED), "").lower()
    return next((format for format in FORMATS.values() if ending in format.endings), None)


def _of_line(line: bytes) -> Format | None:
    return next((f for f in FORMATS.values() if f.line is not None and f.line.fullmatch(line)), None)
