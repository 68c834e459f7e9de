"""A format of files as a record, and the registry that all fronts ask.

A new format is a reader and a record of it: `register` makes it known to `read`, the command line and whatever else
opens files by the name of their format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surefoot.data.errors import DataError
from surefoot.data.stream.hashing import Hashing

if TYPE_CHECKING:
    from surefoot.data.stream.reader import Reader
    from surefoot.data.stream.table import Table

OF_TABLES = ("target", "word_labels", "weight", "numeric", "categorical", "drop", "missing", "fields")
"""The options of all tables."""
OF_HASHES = ("bits", "seed")


@dataclass(frozen=True)
class Format:
    """A format of files.

    Args:
        name: what users call it.
        reader: makes what reads its files: called with those of `options` that are given, by name, and with `hashing`
            where names are hashed. For tables it is `Table`, or makes one.
        endings: of file names, such as ".svm".
        begins: the first bytes of a file, where all of them begin alike.
        line: what matches a whole line of text if it is of this format, and lines of few others.
        options: of `ReadOptions`, by name.
        hashed: whether names are hashed; then `bits` and `seed` are options, too. Otherwise features are whole numbers,
            which stay as they are.
        columns: opens a file whose columns are read as such, as `columns.OpenColumns` says; None for text.
    """

    name: str
    reader: Callable[..., Reader | Table]
    endings: tuple[str, ...] = ()
    begins: bytes | None = None
    line: re.Pattern[bytes] | None = None
    options: tuple[str, ...] = ()
    hashed: bool = False
    columns: Callable[[Any, str], Any] | None = None

    @property
    def takes(self) -> tuple[str, ...]:
        """All options that mean something for it."""
        return (*self.options, *(OF_HASHES if self.hashed else ()))

    def with_options(self, options: Mapping[str, Any]) -> Reader | Table:
        """What reads its files, with these options, all of which were given.

        Raises:
            DataError: one of them means nothing for it.
        """
        for option in options:
            if option not in self.takes:
                formats = ", ".join(format.name for format in FORMATS.values() if option in format.takes)
                raise DataError(f"{option}: an option of {formats}; these files are read as {self.name}")
        given = dict(options)
        if self.hashed:
            given["hashing"] = Hashing(**{name: given.pop(name) for name in OF_HASHES if name in given})
        return self.reader(**given)


FORMATS: dict[str, Format] = {}
"""All formats by name, the most particular first: a line is of the first one that it looks like."""
BUILT_IN: set[str] = set()
"""The names of those that are part of Surefoot: models remember names, so these mean the same on every machine."""


def register(format: Format, first: bool = True) -> Format:
    """Makes a format known; one of the same name is replaced unless it is built in.

    Args:
        format: which.
        first: whether lines are compared with it before all others.

    Raises:
        ValueError: it has the name of a built-in format, or another format has one of its endings.
    """
    if format.name == "auto" or not re.fullmatch(r"[a-z][a-z0-9_-]*", format.name):
        raise ValueError(f"name: found {format.name!r}, expected a word in lower case other than auto")
    if format.name in BUILT_IN:
        raise ValueError(f"name: found {format.name!r}, which is a built-in format; give yours another name")
    for other in FORMATS.values():
        if taken := set(format.endings).intersection(other.endings if other.name != format.name else ()):
            raise ValueError(f"endings: found {min(taken)!r}, which format {other.name} has; leave it out")
    others = {name: other for name, other in FORMATS.items() if name != format.name}
    FORMATS.clear()
    FORMATS.update({format.name: format} | others if first else others | {format.name: format})
    return format


def register_all(formats: Iterable[Format]) -> None:
    """Makes formats known that are built in, each less particular than the one before."""
    for format in formats:
        register(format, first=False)
        BUILT_IN.add(format.name)


def of_first_bytes(start: bytes) -> Format | None:
    """The format whose files begin so, among those whose files all begin alike."""
    return next((f for f in FORMATS.values() if f.begins is not None and start.startswith(f.begins)), None)
