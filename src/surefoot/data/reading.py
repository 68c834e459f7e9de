"""How files are read, as a record: what the command line asks for, and what models and block caches remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from surefoot.data import cache
from surefoot.data.errors import DataError
from surefoot.data.stream import Hashing, OnError, Policy, Stream, Table, formats, sources
from surefoot.data.stream.table import TableOf

TABLES = tuple(formats.DELIMITERS)
OF_LABELS = ("svmlight", "libffm")
"""Formats whose labels may be followed by a weight."""
OF_TEXT = ("delimiter", "header", "quotes")
OF_TABLES = ("target", "weight", "numeric", "categorical", "drop", "fields", *OF_TEXT)
HASHED = (*TABLES, "vw")
KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        format: "auto", or a name of `stream.formats`.
        bits: indices and hashed names lie below 2^bits; 20 for names unless given, indices as written.
        seed: of the hash of names.
        label_weights: labels of svmlight and libffm may be followed by a weight, LABEL:WEIGHT.
        target, weight, numeric, categorical, drop, delimiter, header, quotes, fields: of tables, as in `stream.Table`.

    >>> import io
    >>> stream = Reading().open(io.BytesIO(b"1 |f rain\\n-1 |f sun\\n"))
    >>> Reading().resolved(stream).format, stream.names.bits
    ('vw', 20)
    """

    format: str = "auto"
    bits: int | None = None
    seed: int = 0
    label_weights: bool = False
    target: str | None = None
    weight: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    delimiter: str | None = None
    header: bool = True
    quotes: bool = True
    fields: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reading:
        """The record as it comes back from JSON.

        Raises:
            ValueError: a value is of a type that the option cannot have.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in record:
                continue
            value = record[field.name]
            given[field.name] = tuple(value) if isinstance(value, list) else value
            if not _fits(given[field.name], field.name, field.default):
                raise ValueError(f"{field.name}: found {value!r}, which no option of this name is")
        return cls(**given)

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def open(
        self,
        paths: sources.Paths,
        *,
        on_error: OnError = "stop",
        max_errors: int | None = None,
        threads: int | None = None,
        trained: bool = False,
    ) -> Stream | cache.Cached:
        """The examples of files, as a stream of blocks.

        Args:
            paths: as in `stream.read`, or block caches.
            on_error: what happens at lines that cannot be used.
            max_errors: how many of them there may be.
            threads: that parse.
            trained: a model has been trained with this record. Tables may then lack target and weights, and their
                other columns are left out.

        Raises:
            DataError: the files do not fit the record.
        """
        policy = Policy(on_error, max_errors)
        files = sources.names(paths)
        if cache.is_cache(files[0]):
            stream = cache.Cached(files, policy, threads)
            self._check_cache(stream, trained)
            return stream
        name, guess = self.format, None
        if name == "auto":
            name, guess, files = formats.guessed(files)
        self._check_options(name)
        chosen: Any = self._format(name)
        if isinstance(chosen, Table):
            if trained:
                chosen, files = _as_trained(chosen, files)
            chosen, files = chosen.opened(files)
        return Stream(files, chosen, policy, threads, np.dtype(np.float64), guess=guess)

    def resolved(self, stream: Stream | cache.Cached) -> Reading:
        """The record that reads other files as this stream, which it has opened, is read: nothing is guessed."""
        if isinstance(stream, cache.Cached):
            return Reading.of(stream.reading)
        format = stream.format
        bits = format.hashing.bits if format.hashing is not None else self.bits
        named = replace(self, format=formats.known_as(format), bits=bits)
        if not isinstance(format, TableOf):
            return named
        columns = {kind: tuple(format.columns(kind)) for kind in KINDS}
        return replace(named, drop=(), delimiter=format.table.delimiter, **columns)

    @property
    def features(self) -> str:
        """What tells features apart, in a few words."""
        if self.format not in TABLES:
            return "names" if self.format == "vw" else "numbers"
        kinds = (f"{kind} {', '.join(sorted(getattr(self, kind)))}" for kind in KINDS if getattr(self, kind))
        return f"the columns {'; '.join(kinds)}"

    def _format(self, name: str) -> Any:
        hashing = _hashing(self)
        if name not in HASHED:
            return formats.named(name, bits=self.bits, weighted=self.label_weights)
        if name not in TABLES:
            return formats.named(name, hashing=hashing)
        return formats.named(
            name,
            hashing=hashing,
            target=self.target,
            weight=self.weight,
            numeric=self.numeric,
            categorical=self.categorical,
            drop=self.drop,
            delimiter=self.delimiter or formats.DELIMITERS[name],
            header=self.header,
            quotes=self.quotes,
            fields=self.fields,
        )

    def _check_options(self, name: str) -> None:
        """Whether all options that were given mean something in this format."""
        names = [*formats.get_args(formats.Name)[1:]]
        if name not in names:
            raise ValueError(f"format: found {name!r}, expected one of auto, {', '.join(names)}")
        allowed = {"format", "bits"} | ({"seed"} if name in HASHED else set())
        allowed |= {"label_weights"} if name in OF_LABELS else set()
        allowed |= set(OF_TABLES) if name in TABLES else set()
        allowed -= set(OF_TEXT) if name == "parquet" else set()
        for field in fields(self):
            if getattr(self, field.name) != field.default and field.name not in allowed:
                tables = "tables of text (csv, tsv)" if field.name in OF_TEXT else "tables (csv, tsv, parquet)"
                meant = tables if field.name in OF_TABLES else "formats whose names are hashed"
                meant = ", ".join(OF_LABELS) if field.name == "label_weights" else meant
                raise DataError(f"{field.name}: is for {meant}; these files are read as {name}")

    def _check_cache(self, stream: cache.Cached, trained: bool) -> None:
        try:
            made = Reading.of(stream.reading)
            _hashing(made)
        except ValueError as error:
            raise DataError(f"{stream.files[0]}: damaged ({error}); convert the files again") from None
        name = sources.name_of(stream.files[0])
        if trained and made.features != self.features:
            raise DataError(
                f"{name}: is a cache of {made.features}, but the model was trained with {self.features}; convert files "
                "like those it was trained with"
            )
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(made, field.name)
            if trained and field.name in ("bits", "seed") and mine != theirs:
                raise DataError(
                    f"{name}: is a cache made with {field.name} {theirs}, but the model was trained with {mine}; "
                    "convert the files again with that"
                )
            if not trained and mine not in (field.default, theirs):
                raise DataError(
                    f"{name}: is a cache made with {field.name} {theirs!r}, found {mine!r}; leave that option out, or "
                    "convert the files again"
                )


def _hashing(reading: Reading) -> Hashing:
    return Hashing(seed=reading.seed) if reading.bits is None else Hashing(reading.bits, seed=reading.seed)


def _fits(value: Any, name: str, default: Any) -> bool:
    """Whether an option may have this value, by the type that it has by default."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if isinstance(default, bool):
        return isinstance(value, bool)
    if name in ("bits", "seed"):
        return value is default or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63)
    return isinstance(value, str) or (default is None and value is None)


def _as_trained(table: Table, files: list[Any]) -> tuple[Table, list[Any]]:
    """The table without the target and weights that the files lack, and without columns unknown to the model."""
    found, files = replace(table, target=None, weight=None, numeric=(), categorical=(), drop=()).opened(files)
    known = {*table.numeric, *table.categorical, table.target, table.weight}
    drop = tuple(name for name in found.names if name not in known)
    there = {
        name: column if column in found.names else None
        for name, column in (("target", table.target), ("weight", table.weight))
    }
    return replace(table, drop=drop, **there), files
