"""Real sparse text that every Python has: the docstrings of its own standard library.

The question: do these words document a class or a function? Sources are read and parsed, never imported.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from surefoot.data.dataset import Dataset
from surefoot.data.errors import DataError

_WORD = re.compile("[a-z]{2,}")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")

# Tests are not documentation; the rest are optional parts that some distributions package separately. Without them
# two machines with one Python version see the same examples.
_SKIPPED = {"__pycache__", "dist-packages", "site-packages", "idle_test", "test", "tests"}
_SKIPPED |= {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"}


@cache
def load() -> Dataset:
    """The docstrings of the running Python's standard library; the label is class (1) or function (0).

    An example is the set of words (two or more of a-z, lower-cased) of the docstring of a class, function or method.
    Each of its k words has the value 1/√k, so that every example has length one and a long text counts no more than a
    short one. Words of a single docstring are dropped; a docstring with the same words and label as an
    earlier one is, too, so that held-out examples hardly ever repeat one of training.

    Returns:
        Sparse float32 examples, 5,752 by 4,470 words and 16% classes in Python 3.11.7; the same for everyone with the
        same Python version. Loaded once per process, in about two seconds; not to be written to.

    Raises:
        DataError: this Python was installed without its sources.
    """
    return read(Path(sysconfig.get_path("stdlib")))


def read(root: Path) -> Dataset:
    """The docstrings of all Python sources under `root`, as `load` makes them; files that do not parse are skipped."""
    from scipy.sparse import csr_array

    with warnings.catch_warnings(), _no_garbage_collection():
        warnings.simplefilter("ignore")
        examples = {example: None for source in _sources(root) for example in _docstrings(source)}
    occurrences = Counter(word for words, _ in examples for word in words)
    vocabulary = sorted(word for word, count in occurrences.items() if count > 1)
    if not vocabulary:
        raise DataError(
            f"docstrings: found no documented Python sources under {root}, so this Python was installed without them; "
            f"give a data file instead"
        )
    column = {word: number for number, word in enumerate(vocabulary)}
    rows = [([column[word] for word in words if word in column], label) for words, label in examples]
    rows = [(columns, label) for columns, label in rows if columns]
    lengths = np.array([len(columns) for columns, _ in rows])
    indices = np.concatenate([np.array(columns, np.int32) for columns, _ in rows])
    values = np.repeat(1 / np.sqrt(lengths), lengths).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Dataset(
        "docstrings",
        csr_array((values, indices, indptr), shape=(len(rows), len(vocabulary))),
        np.array([label for _, label in rows], np.float32),
        "classification",
        feature_names=tuple(vocabulary),
        classes=("function", "class"),
        noun="words",
    )


def _sources(root: Path) -> Iterator[ast.Module]:
    paths = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED]
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        try:
            yield ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue


def _docstrings(node: ast.AST) -> Iterator[tuple[tuple[str, ...], int]]:
    # Only statements hold definitions; visiting every expression, as ast.walk does, takes three times as long.
    for block in _BLOCKS:
        for statement in getattr(node, block, ()):
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(statement, clean=False) or ""
                if words := set(_WORD.findall(text.lower())):
                    yield tuple(sorted(words)), int(isinstance(statement, ast.ClassDef))
            yield from _docstrings(statement)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A syntax tree is millions of live objects; looking for garbage among them takes a quarter of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
