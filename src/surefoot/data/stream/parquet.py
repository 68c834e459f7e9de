"""Parquet files, read by PyArrow: some thousand rows at a time, strings with the dictionaries they are stored in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from surefoot.data.errors import DataError
from surefoot.data.stream import sources
from surefoot.data.stream.columns import Batch, columnar
from surefoot.data.stream.sources import remote

BEGINS = b"PAR1"


class Parquet:
    """A Parquet file that is open.

    Args:
        file: a path, a URL, or an open file that can seek.
        name: for messages.

    Raises:
        DataError: it cannot be read, or has several columns of the same name.
    """

    def __init__(self, file: Any, name: str):
        self.file, self.name = file, name
        if sources.is_read_once(file) and (isinstance(file, str) or not file.seekable()):
            raise DataError(f"{name}: Parquet cannot be read from a pipe; save it to a file first")
        self.source: Any = file
        if isinstance(file, str):
            stream = sources.opened(file, name)
            if not remote.is_url(file):
                stream.close()  # it is there; PyArrow reads it faster by its path
            elif not stream.seekable():
                raise DataError(f"{name}: its server does not send parts of files, as Parquet needs; download it first")
            else:
                self.source = stream
        self.begin = None if isinstance(self.source, str) else self.source.tell()
        self.opened = self._open()
        schema = self.opened.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            raise DataError(f"{name}: found several columns of the same name, expected different names")
        self.columns = {column.name: kind(column.type) for column in schema}
        self.rows: int | None = self.opened.metadata.num_rows

    def __enter__(self) -> Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()
        if self.source is not self.file:
            self.source.close()
        elif self.begin is not None:
            self.source.seek(self.begin)

    def batches(self, names: Sequence[str], rows: int) -> Iterator[Batch]:
        import pyarrow

        schema = self.opened.schema_arrow
        text = [name for name in names if _is_text(schema.field(name).type)]
        # Strings come with their dictionaries, so that each has to be hashed only once.
        reader = self._open(read_dictionary=text) if text else self.opened
        try:
            for batch in reader.iter_batches(rows, columns=list(names), use_threads=False):
                yield dict(zip(batch.schema.names, batch.columns, strict=True))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            if isinstance(error, DataError):
                raise
            raise self._damaged(error) from None

    def _open(self, **options: Any) -> Any:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise DataError(f'{self.name}: Parquet is read by PyArrow; run pip install "surefoot[table]"') from None
        if self.begin is not None:
            self.source.seek(self.begin)
        try:
            return parquet.ParquetFile(self.source, **options)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.name}: damaged ({error}); download or write it again")


def kind(column: Any) -> str:
    """What a column of an Arrow type holds, see `columns.KINDS`."""
    from pyarrow import types

    if types.is_nested(column):
        return "nested"
    return "number" if types.is_integer(column) or types.is_floating(column) or types.is_decimal(column) else "text"


def _is_text(column: Any) -> bool:
    from pyarrow import types

    return types.is_string(column) or types.is_large_string(column)


FORMATS = (columnar("parquet", Parquet, (".parquet",), BEGINS),)
