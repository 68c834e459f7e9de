"""How files are read, as a record: what the command line requests, and what models and block caches remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from surefoot.data import cache
from surefoot.data.errors import DataError
from surefoot.data.stream import Block, Hashing, OnError, Policy, Stream, Table, formats, read_rows, sources
from surefoot.data.stream.delimited import OF_TEXT
from surefoot.data.stream.opening import open_files, schema_of

KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Args:
        format: "auto", or the name of a format, see `stream.formats`.
        bits: ids of features are below 2^bits; by default 63 for hashed names (43 in tables with fields), and indices
            stay as written.
        seed: of the hash of names.
        label_weights: labels of svmlight and libffm may be followed by a weight, LABEL:WEIGHT.
        target, word_labels, weight, numeric, categorical, drop, missing, delimiter, header, quotes, fields: of tables,
            as in `stream.Table`.

    >>> import io
    >>> stream = ReadOptions().open(io.BytesIO(b"1 |f rain\\n-1 |f sun\\n"))
    >>> ReadOptions().resolved(stream).format, stream.names.bits
    ('vw', 63)
    """

    format: str = "auto"
    bits: int | None = None
    seed: int = 0
    label_weights: bool = False
    target: str | None = None
    word_labels: bool | None = None
    weight: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] | None = None
    delimiter: str | None = None
    header: bool = True
    quotes: bool = True
    fields: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ReadOptions:
        """The record as it comes back from JSON.

        Raises:
            ValueError: an option is missing, or a value is of a type that it cannot have.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in record:
                raise ValueError(f"{field.name}: found none, expected all options")
            value = record[field.name]
            given[field.name] = tuple(value) if isinstance(value, list) else value
            if not _fits(given[field.name], field.name, field.default):
                raise ValueError(f"{field.name}: found {value!r}, which no option of this name is")
        return cls(**given)

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def check(self) -> None:
        """Raises ValueError where no file can be read so, such as for a wrong delimiter; an unknown format may be one
        of the user's own, which is registered later.
        """
        _hashing(self)
        if (format := formats.FORMATS.get(self.format)) is not None:
            format.with_options({name: value for name, value in self.given.items() if name in format.takes})
        if both := sorted({*self.numeric} & {*self.categorical}):
            raise ValueError(f"categorical: found {both[0]!r}, which is numeric, too")

    def open(
        self,
        paths: sources.Paths,
        *,
        on_error: OnError = "stop",
        max_errors: int | None = None,
        threads: int | None = None,
        trained: bool = False,
    ) -> Stream | cache.Cached:
        """The examples of files, as a stream of blocks with values and labels in float64.

        Args:
            paths: as in `stream.read`, or block caches.
            on_error: what happens at lines that cannot be used.
            max_errors: how many of them there may be.
            threads: that parse.
            trained: a model has been trained with these options. Tables may then lack target and weights, and their
                other columns are ignored.

        Raises:
            DataError: the files do not fit the options.
        """
        policy = Policy(on_error, max_errors)
        files = sources.names(paths)
        if cache.is_cache(files[0]):
            stream = cache.Cached(files, policy, threads)
            self._check_cache(stream, trained)
            return stream
        return Stream(open_files(files, self.format, self.given, trained), policy, threads, np.dtype(np.float64))

    def examples(self, rows: Any, trained: bool = False) -> Block:
        """Rows in memory, dicts or a data frame, as the block that a table of them gives; see `stream.read_rows`.

        >>> ReadOptions(target="y").examples([{"y": 1, "x": 0.5}]).values
        array([0.5])
        """
        given = {name: value for name, value in self.given.items() if name not in OF_TEXT}
        chosen = formats.named(formats.TABLE).with_options(given)
        assert isinstance(chosen, Table)
        return read_rows(rows, chosen, trained=trained)

    @property
    def given(self) -> dict[str, Any]:
        """The options, besides the format, that are not at their defaults."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "format"}
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in chosen.items() if value != defaults[name]}

    def resolved(self, stream: Stream | cache.Cached) -> ReadOptions:
        """The options that read other files as this stream, which they opened, is read: nothing is guessed."""
        if isinstance(stream, cache.Cached):
            return ReadOptions.of(stream.reading)
        reader = stream.reader
        assert stream.format is not None
        bits = reader.hashing.bits if reader.hashing is not None else self.bits
        schema = schema_of(reader)
        if schema is None:
            return replace(self, format=stream.format.name, bits=bits)
        columns = {kind: tuple(schema.columns(kind)) for kind in KINDS}
        # Files of columns and of text are read alike; first bytes say which they are.
        text, table = formats.as_text(stream.format), schema.table
        known = {"bits": bits, "delimiter": table.delimiter, "word_labels": table.word_labels}
        return replace(self, format=text.name, drop=(), **known, **columns)

    @property
    def is_table(self) -> bool:
        """Whether files are tables, in which an absent number is missing; elsewhere it is 0."""
        format = formats.FORMATS.get(self.format)
        return format is not None and "numeric" in format.options

    @property
    def weighs(self) -> bool:
        """Whether examples may have weights other than 1."""
        format = formats.FORMATS.get(self.format)
        options = () if format is None else format.options
        return (self.weight is not None) if self.is_table else ("label_weights" not in options or self.label_weights)

    @property
    def features(self) -> str:
        """What tells features apart, in a few words."""
        format = formats.FORMATS.get(self.format)
        if format is None or not self.is_table:
            return "names" if format is not None and format.hashed else "numbers"
        kinds = (f"{kind} {', '.join(sorted(getattr(self, kind)))}" for kind in KINDS if getattr(self, kind))
        return f"the columns {'; '.join(kinds)}"

    def _check_cache(self, stream: cache.Cached, trained: bool) -> None:
        try:
            made = ReadOptions.of(stream.reading)
            _hashing(made)
        except ValueError as error:
            raise DataError(f"{stream.files[0]}: damaged ({error}); convert the files again") from None
        name = sources.name_of(stream.files[0])
        if trained and made.features != self.features:
            raise DataError(
                f"{name}: a cache of {made.features}, but the model was trained with {self.features}; convert files "
                "like those it was trained with"
            )
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(made, field.name)
            if trained and field.name in ("bits", "seed") and mine != theirs:
                raise DataError(
                    f"{name}: a cache made with {field.name} {theirs}, but the model was trained with {mine}; "
                    "convert the files again with that"
                )
            if not trained and mine not in (field.default, theirs):
                raise DataError(
                    f"{name}: a cache made with {field.name} {theirs!r}, found {mine!r}; leave out that option, or "
                    "convert the files again"
                )


def _hashing(options: ReadOptions) -> Hashing:
    return Hashing(seed=options.seed) if options.bits is None else Hashing(options.bits, seed=options.seed)


def _fits(value: Any, name: str, default: Any) -> bool:
    """Whether an option may have this value, by the type that it has by default."""
    if isinstance(default, tuple) or (name == "missing" and value is not None):
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if isinstance(default, bool):
        return isinstance(value, bool)
    if name in ("bits", "seed"):
        return value is default or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63)
    if name == "word_labels":
        return isinstance(value, bool | None)
    return isinstance(value, str) or (default is None and value is None)
