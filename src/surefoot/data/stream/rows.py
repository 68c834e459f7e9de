"""Rows in memory, dicts or a data frame, as the block that a file of them gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.arrays import texts_of
from surefoot.data.stream.blocks import Block
from surefoot.data.stream.columns import Batch, ColumnParser
from surefoot.data.stream.hashing import Names
from surefoot.data.stream.number_like import are_words, warn_of
from surefoot.data.stream.reader import Piece, Request
from surefoot.data.stream.table import Table
from surefoot.data.stream.values import hold_numbers

NAME = "rows"
"""What messages call them."""


def read_rows(
    rows: Iterable[Mapping[str, Any]] | Any,
    table: Table | None = None,
    *,
    names: Names | None = None,
    trained: bool = False,
) -> Block:
    """Read examples from rows in memory: the ids, values, labels and weights that a file of the same table gives.

    Args:
        rows: dicts {column: value}, in which a column that is not there has no value; or a data frame of pandas or of
            any library that shares its data with PyArrow. Columns whose values are numbers are numeric, all others are
            categorical, unless `table` says otherwise.
        table: which columns are what.
        names: a table of names that those of these rows are added to.
        trained: a model has been trained with this table: target and weights may be missing, and columns that the
            table does not name are ignored.

    Returns:
        A block, with values and labels in float64.

    Raises:
        DataError: a column that is requested is not there, or a row cannot be used.

    >>> from surefoot.data.stream import Table, read_rows
    >>> block = read_rows([{"sky": "clear", "wind": 3, "y": 1}, {"sky": None, "wind": 5, "y": 0}], Table(target="y"))
    >>> block.labels, sorted(block.values.tolist())
    (array([1., 0.]), [1.0, 1.0, 3.0, 5.0])
    """
    table = table or Table()
    batch, numeric = _of_frame(rows) if hasattr(rows, "columns") or _is_arrow(rows) else _of_dicts(rows, table, trained)
    if trained:
        table = table.without_unknown(tuple(batch))
    if table.word_labels is None and table.target is not None and table.target in batch:
        words = not numeric[table.target] and are_words(texts_of(batch[table.target]), table.missing)
        table = replace(table, word_labels=words)
    schema = table.schema(NAME, tuple(batch), [numeric[name] for name in batch]).used
    warn_of(NAME, schema.guessed, lambda name: texts_of(batch[name]), table.missing, numbers=False)
    request = Request(faults=1, known=None if names is None else names.known)
    parsed = ColumnParser(schema, request)(Piece(0, NAME, batch, 0))
    if parsed.faults:
        fault = parsed.faults[0]
        raise DataError(f"{NAME}: row {fault.line + 1:,}: {fault.said}")
    if names is not None and parsed.names is not None:
        names.add(*parsed.names)
    return parsed.block


def _of_dicts(rows: Any, table: Table, trained: bool) -> tuple[Batch, Mapping[str, bool]]:
    """Columns of dicts, and which of them hold numbers."""
    if isinstance(rows, Mapping):
        raise DataError(f"{NAME}: found a single dict, expected several; give [row] for one row")
    found = list(rows)
    columns = dict.fromkeys(name for row in found for name in row)
    if trained:
        columns |= dict.fromkeys([*table.numeric, *table.categorical])
    batch, numeric = {}, {}
    for name in columns:
        values = [row.get(name) for row in found]
        numeric[name] = hold_numbers(values)
        batch[name] = np.empty(len(values), object)
        batch[name][:] = values
    return batch, numeric


def _is_arrow(rows: Any) -> bool:
    return hasattr(rows, "__arrow_c_stream__")


def _of_frame(frame: Any) -> tuple[Batch, Mapping[str, bool]]:
    """Columns of a data frame, and which of them hold numbers, as a Parquet file of it has them."""
    try:
        import pyarrow
    except ImportError:
        raise DataError('data frames are read by PyArrow; run pip install "surefoot[table]"') from None
    from surefoot.data.stream.parquet import kind

    try:
        if isinstance(frame, pyarrow.Table):
            table = frame
        elif _is_pandas(frame):
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pyarrow.table(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{NAME}: a data frame that cannot be read ({error})") from None
    numeric, batch = {}, {}
    for column in table.schema:
        if (holds := kind(column.type)) == "nested":
            raise DataError(f"{NAME}: column {column.name!r} holds lists or records, expected single values; drop it")
        numeric[column.name] = holds == "number"
        chunks = table.column(column.name).combine_chunks()
        batch[column.name] = chunks.combine_chunks() if isinstance(chunks, pyarrow.ChunkedArray) else chunks
    return batch, numeric


def _is_pandas(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "pandas"
