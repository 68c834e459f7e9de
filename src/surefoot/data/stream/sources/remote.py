"""URLs, which fsspec reads."""

from typing import Any

from surefoot.data.errors import DataError


def imported() -> Any:
    """The module fsspec.

    Raises:
        DataError: it is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise DataError('URLs are read by fsspec; run pip install "surefoot[table]"') from None
    return fsspec
