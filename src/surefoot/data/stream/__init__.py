"""Files of any size as a stream of blocks, in bounded memory."""

from __future__ import annotations

from typing import Literal

import numpy as np

from surefoot.data.stream import sources
from surefoot.data.stream.blocks import Block, joined
from surefoot.data.stream.columns import columnar
from surefoot.data.stream.faults import DataWarning, OnError, Policy
from surefoot.data.stream.hashing import Hashing, Names
from surefoot.data.stream.opening import open_files
from surefoot.data.stream.python_lines import Example, PythonLines
from surefoot.data.stream.reader import Reader
from surefoot.data.stream.record import Format, register
from surefoot.data.stream.rows import read_rows
from surefoot.data.stream.stream import Stream
from surefoot.data.stream.svmlight import Libffm, Svmlight
from surefoot.data.stream.table import Table
from surefoot.data.stream.vw import Vw

__all__ = [
    "Block",
    "DataWarning",
    "Example",
    "Format",
    "Hashing",
    "Libffm",
    "Names",
    "OnError",
    "Policy",
    "PythonLines",
    "Reader",
    "Stream",
    "Svmlight",
    "Table",
    "Vw",
    "columnar",
    "joined",
    "read",
    "read_rows",
    "register",
]


def read(
    paths: sources.Paths,
    format: str | Reader | Table = "auto",
    *,
    on_error: OnError = "stop",
    max_errors: int | None = None,
    threads: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    names: Names | bool = True,
) -> Stream:
    """Read examples from files, a block at a time.

    Args:
        paths: a path, a glob, a URL that fsspec knows, "-" for standard input, an open file, or several of these; each
            plain, or compressed by gzip, bzip2 or zstd, which its first bytes tell.
        format: the name of a built-in or registered format, or an object with settings, such as
            `Table(target="click")`; "auto" goes by the ending of the first file's name, and by its first lines.
        on_error: what happens at a line that cannot be used: "stop" raises an error, "warn" skips it with a
            warning, "skip" skips it. A file that is damaged as a whole is always an error.
        max_errors: how many lines may be skipped before reading stops with an error; None for no limit.
        threads: that parse, all processors unless given; the blocks are the same for any number.
        dtype: of values and labels, which are the nearest numbers of it.
        names: of hashed features, whether they are kept; a table that other files began is continued.

    Returns:
        A stream: iterating over it gives blocks.

    Raises:
        DataError: a glob matches nothing, the format cannot be guessed, or a table lacks a column that is requested.
            Iterating raises it for whatever else cannot be read.

    >>> import io
    >>> stream = read(io.BytesIO(b"1 3:0.5 7:1\\n-1 3:2\\n"), "svmlight")
    >>> for block in stream:
    ...     print(block.labels, block.indptr, block.indices, block.values)
    [ 1. -1.] [0 2 3] [3 7 3] [0.5 1. 2. ]
    >>> stream.rows, stream.lines, stream.bytes
    (2, 2, 19)
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads: found {threads}, expected at least 1")
    policy = Policy(on_error, max_errors)
    return Stream(open_files(sources.names(paths), format), policy, threads, np.dtype(dtype), names=names)
