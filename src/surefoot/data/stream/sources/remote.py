"""URLs, which fsspec reads. What goes wrong there becomes one sentence, without what URLs keep secret."""

from __future__ import annotations

import contextlib
import glob
import importlib.metadata
import io
import re
from collections.abc import Iterator
from typing import Any

from surefoot.data.errors import DataError
from surefoot.text import without_secrets

TABLE = 'run pip install "surefoot[table]"'
INCLUDED = ("http", "https")
"""What the extra `table` reads besides what needs no package."""
MISSING = (404, 410)
"""What a server of http answers where it has no such file."""
EXTRAS = {"az": "abfs", "abfss": "abfs", "s3a": "s3"}
"""The extras of fsspec for schemes that are not called like them."""


def is_url(file: Any) -> bool:
    """Whether a file is one that fsspec reads."""
    return isinstance(file, str) and "://" in file


def imported() -> Any:
    """The module fsspec.

    Raises:
        DataError: it is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise DataError(f"URLs are read by fsspec; {TABLE}") from None
    return fsspec


def opened(url: str) -> io.BufferedReader:
    """What a URL leads to, open for reading bytes.

    Raises:
        DataError: it cannot be read.
    """
    with one_sentence(url):
        return io.BufferedReader(_Remote(imported().open(url, "rb").open(), url))  # pyright: ignore[reportArgumentType]


def names(url: str) -> list[str]:
    """The files that a URL, which may have a pattern, stands for.

    Raises:
        DataError: nothing matches the pattern, or that cannot be known.
    """
    fsspec = imported()
    if not has_pattern(url):
        return [url]
    with one_sentence(url):
        system, pattern = fsspec.core.url_to_fs(url)
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    if not found:
        raise DataError(f"{without_secrets(url)}: no files match this pattern; check it and the folder")
    return found


def has_pattern(url: str) -> bool:
    """Whether a URL stands for files that match a pattern; in http the question mark begins the query.

    >>> has_pattern("s3://bucket/part-?.csv"), has_pattern("https://host/a.csv?x=[1]"), has_pattern("http://h/*.csv")
    (True, False, True)
    """
    scheme, _, rest = next(part for part in url.split("::") if "://" in part).partition("://")
    return glob.has_magic(re.split("[?#]", rest)[0] if scheme.lower() in INCLUDED else rest)


@contextlib.contextmanager
def one_sentence(url: str) -> Iterator[None]:
    """While fsspec does something with a URL. Its file systems raise anything.

    Raises:
        DataError: it raised something; the message has the cause.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{without_secrets(url)}: {said(url, error)}") from None


def said(url: str, error: Exception) -> str:
    """What is wrong, and what to do."""
    if isinstance(error, ImportError):
        return f"cannot be read ({' '.join(str(error).split())}); {advice(url)}"
    # A server that cannot be reached counts as one that does not have the file; what caused that knows better.
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) in MISSING:
        return "there is no such file; check the name and the folder"
    text = without_secrets(" ".join(str(error).split())) or type(error).__name__
    return f"could not be read ({text}); check the address, and whether it can be reached"


def advice(url: str) -> str:
    """What to install for a URL.

    >>> advice("s3://bucket/a.svm"), advice("https://host/a.svm")
    ('run pip install "fsspec[s3]"', 'run pip install "surefoot[table]"')
    """
    scheme = url.rpartition("::")[2].partition("://")[0].lower()
    extra = EXTRAS.get(scheme, scheme)
    if scheme in INCLUDED:
        return TABLE
    known = importlib.metadata.metadata("fsspec").get_all("Provides-Extra") or ()
    return f'run pip install "fsspec[{extra}]"' if extra in known else "install what it names"


class _Remote(io.RawIOBase):
    """A file of fsspec's as one of Python's: one that is only streamed says that it cannot seek."""

    def __init__(self, stream: Any, url: str):
        self.stream, self.url = stream, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.stream.seekable() and getattr(self.stream, "size", 0) is not None

    def readinto(self, buffer: Any) -> int:
        with one_sentence(self.url):
            found = self.stream.read(len(buffer))
            buffer[: len(found)] = found
            return len(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        with one_sentence(self.url):
            return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
        super().close()
