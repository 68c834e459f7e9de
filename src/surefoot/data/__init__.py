"""Data to learn from: built-in sets and files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from surefoot.data import airfoil, docstrings, files
from surefoot.data.airfoil import airfoil_textbook
from surefoot.data.dataset import Dataset, Task, split
from surefoot.data.errors import DataError

__all__ = ["BUILT_IN", "BuiltIn", "DataError", "Dataset", "Task", "airfoil_textbook", "load", "split"]


class BuiltIn(NamedTuple):
    """A data set that has a name: how to load it, and one line on what it is."""

    load: Callable[[], Dataset]
    about: str


BUILT_IN = {
    "docstrings": BuiltIn(
        docstrings.load, "words of the standard library's docstrings: class or function? (sparse, needs no download)"
    ),
    "airfoil": BuiltIn(
        airfoil.load, "NASA's airfoil self-noise, 1,500 rows of 5 measurements (dense; SUREFOOT_DATA or one download)"
    ),
}


def load(name_or_path: str | os.PathLike[str], task: Task | None = None) -> Dataset:
    """Load a built-in data set by name, or an svmlight or `.npz` file by path (see `files.load` for the formats).

    Args:
        name_or_path: a key of `BUILT_IN`, or a file. A file that is called like a built-in set is reached by `./NAME`.
        task: "classification" or "regression" where labels alone do not tell: two distinct labels are taken as
            classes, more as numbers to predict.

    Returns:
        The data set, with its fixed split.

    Raises:
        DataError: it cannot be had; the message is one sentence for a person.

    >>> load("docstring")
    Traceback (most recent call last):
    surefoot.data.errors.DataError: docstring: is neither ... nor a file; did you mean docstrings?
    """
    if name_or_path not in BUILT_IN:
        _check_name(os.fspath(name_or_path))
        return files.load(name_or_path, task)
    data = BUILT_IN[str(name_or_path)].load()
    if task not in (None, data.task):
        raise DataError(f"{data.name}: is a {data.task} data set, found task {task!r}; leave the task out")
    return data


def _check_name(name: str) -> None:
    """A bare word that is not a file was probably meant as a name."""
    if os.path.basename(name) != name or "." in name or Path(name).exists():
        return
    near = difflib.get_close_matches(name.lower(), BUILT_IN, n=1)
    advice = f"did you mean {near[0]}?" if near else "check the spelling"
    raise DataError(f"{name}: is neither a built-in data set ({', '.join(BUILT_IN)}) nor a file; {advice}")
