"""From paths and a format to what reads them: the one place where files are opened for all fronts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from surefoot.data.stream import columns, delimited, formats, sources
from surefoot.data.stream.columns import ColumnTable
from surefoot.data.stream.delimited import DelimitedTable
from surefoot.data.stream.reader import Reader
from surefoot.data.stream.record import Format, of_first_bytes
from surefoot.data.stream.table import Schema, Table


class Opened(NamedTuple):
    """Files and what reads them.

    Attributes:
        reader: of all files.
        files: to read; a pipe whose beginning is known is another one than was given.
        format: the record, where the format was given by name or guessed.
        guess: how the format was found, where it was not given.
    """

    reader: Reader
    files: list[Any]
    format: Format | None = None
    guess: str | None = None


def open_files(
    files: list[Any],
    format: str | Reader | Table = "auto",
    options: Mapping[str, Any] | None = None,
    trained: bool = False,
) -> Opened:
    """What reads these files.

    Args:
        files: as `sources.names` gives them.
        format: by name, "auto", or as an object with settings.
        options: of `ReadOptions` that were given, for formats by name.
        trained: a model has been trained with these options. Tables may then lack target and weights, and their other
            columns are ignored.

    Raises:
        DataError: the format cannot be guessed, an option means nothing for it, or a table lacks a column.
    """
    record, guess = None, None
    if isinstance(format, str):
        if format == "auto":
            record, guess, files = formats.guessed(files)
        else:
            record = formats.named(format)
        given = {name: value for name, value in (options or {}).items() if not trained or name in record.takes}
        format = record.with_options(given)
    if isinstance(format, Table):
        if trained:
            format, files = _as_trained(format, files, record)
        format, files = open_table(format, files, record)
    return Opened(format, files, record, guess)


def open_table(table: Table, files: list[Any], format: Format | None = None) -> tuple[Reader, list[Any]]:
    """The reader of a table, whether its files hold text or columns: what they are, their first bytes say."""
    if format is not None and format.columns is not None:
        return columns.opened(table, files, format.columns), files
    name = sources.name_of(files[0])
    beginning, first = sources.beginning(files[0])
    files = [first, *files[1:]]
    found = of_first_bytes(beginning) or formats.of_ending(name)
    if found is not None and found.columns is not None:
        return columns.opened(table, files, found.columns), files
    return delimited.opened(table, name, beginning), files


def schema_of(reader: Any) -> Schema | None:
    """The columns of a reader of tables; None of other readers."""
    return reader.schema if isinstance(reader, (DelimitedTable, ColumnTable)) else None


def _as_trained(table: Table, files: list[Any], format: Format | None) -> tuple[Table, list[Any]]:
    """The table without the target and weights that the files lack, and without columns unknown to the model."""
    anything = replace(table, target=None, weight=None, numeric=(), categorical=("*",), drop=())  # nothing is guessed
    reader, files = open_table(anything, files, format)
    schema = schema_of(reader)
    return table.without_unknown(() if schema is None else schema.names), files
