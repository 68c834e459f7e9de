"""Which format a file has: by its name's ending, and by its first lines."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import Any, Literal, TypeAlias, get_args

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.faults import shown
from surefoot.data.stream.parsing import Format
from surefoot.data.stream.svmlight import Libffm, Svmlight
from surefoot.data.stream.table import Table, TableOf
from surefoot.data.stream.vw import Vw

Name: TypeAlias = Literal["auto", "svmlight", "libffm", "vw", "csv", "tsv", "parquet"]

ENDINGS = {
    ".svmlight": "svmlight",
    ".svm": "svmlight",
    ".libsvm": "svmlight",
    ".libffm": "libffm",
    ".ffm": "libffm",
    ".vw": "vw",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
PACKED = (".gz", ".bz2", ".zst", ".zstd")
LINES = 20
"""Lines that are looked at; most of them decide, so that a faulty one does not."""

_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_HEAD = rb"\s*" + _NUMBER + rb"(?::" + _NUMBER + rb")?"
_LOOKS = (
    ("libffm", re.compile(_HEAD + rb"(?:\s+\d+:\d+:[^\s:]+)+\s*(?:#.*)?")),
    ("svmlight", re.compile(_HEAD + rb"(?:\s+(?:qid|cost):[^\s:]+)*(?:\s+\d+:[^\s:]+)*\s*(?:#.*)?")),
    ("vw", re.compile(rb"(?:\s*" + _NUMBER + rb"){0,3}\s*(?:'[^\s|]*)?\s*[^\s|]*\|.*")),
    ("tsv", re.compile(rb"[^\t]*\t.*")),
    ("csv", re.compile(rb"[^,]*,.*")),
)
"""What a line looks like, the most particular first."""

OF_LINES: dict[str, type[Svmlight | Libffm | Vw]] = {"svmlight": Svmlight, "libffm": Libffm, "vw": Vw}
"""The formats of lines by name."""
DELIMITERS = {"csv": ",", "tsv": "\t", "parquet": ","}
"""The formats that are tables by name, and what stands between their values unless it is said."""


def resolved(format: Name | Format | Table, files: list[Any]) -> tuple[Format, list[Any], str | None]:
    """The format of these files, the files to read (a pipe whose beginning is known is another one), and the guess.

    Raises:
        DataError: the format cannot be guessed, or a table lacks a column that is asked for.
    """
    if isinstance(format, str) and format not in get_args(Name):
        raise ValueError(f"format: found {format!r}, expected one of {', '.join(get_args(Name))}")
    guess = None
    if format == "auto":
        format, guess, files = guessed(files)
    if isinstance(format, str):
        format = named(format)
    if isinstance(format, Table):
        format, files = format.opened(files)
    return format, files, guess


def named(name: str, **settings: Any) -> Format | Table:
    """The format of this name; settings are those of its class."""
    if name in OF_LINES:
        return OF_LINES[name](**settings)
    settings.setdefault("delimiter", DELIMITERS[name])
    return Table(**settings)


def known_as(format: Format) -> str:
    """The name under which `named` has a format; Parquet files are tables like any other.

    >>> known_as(Vw()), known_as(Libffm())
    ('vw', 'libffm')
    """
    if isinstance(format, TableOf):
        return "tsv" if format.table.delimiter == DELIMITERS["tsv"] else "csv"
    return {kind: name for name, kind in OF_LINES.items()}[type(format)]  # pyright: ignore[reportArgumentType]


def guessed(files: list[Any]) -> tuple[Any, str, list[Any]]:
    """The name of the format, how it was found, and the files to read.

    Raises:
        DataError: it cannot be guessed.
    """
    name = sources.name_of(files[0])
    ending = next((end for end in reversed(PurePath(name).suffixes) if end.lower() not in PACKED), "").lower()
    if ending in ENDINGS:
        return (
            ENDINGS[ending],
            f"read as {ENDINGS[ending]}, by its name's ending; say another format if it is not",
            files,
        )
    beginning, first = sources.beginning(files[0])
    files = [first, *files[1:]]
    if beginning.startswith(sources.PARQUET):
        return "parquet", "read as Parquet, by its first bytes", files
    lines = [line for line in beginning.removeprefix(b"\xef\xbb\xbf").split(b"\n")[: 10 * LINES] if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith(b"#")][:LINES]
    if not lines:
        return "svmlight", "read as svmlight, since there are no lines", files
    looks = Counter(look for line in lines if (look := _look(line)))
    if not looks:
        raise DataError(
            f"{name}: its format cannot be guessed (it begins with {shown(lines[0])}); say which it is, "
            f"one of {', '.join(get_args(Name)[1:])}"
        )
    look = looks.most_common(1)[0][0]
    return look, f"read as {look}, which its first lines look like; say another format if it is not", files


def _look(line: bytes) -> str | None:
    return next((look for look, pattern in _LOOKS if pattern.fullmatch(line)), None)
