"""The names of classes where these are words: which label a word has, and which words labels can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surefoot.data.errors import DataError
from surefoot.data.stream.kernels import compiled, layout
from surefoot.text import printable

UNDECODED = "\ufffd"
"""What stands for bytes that are not UTF-8."""
_NONE = np.empty(0, np.uint64)


def labels_of_words(words: Sequence[str]) -> np.ndarray:
    """The labels that blocks have for these words, float64: 52 bits of their hashes.

    >>> labels_of_words(["ham", "spam"])
    array([1.23818301e+15, 7.37140685e+14])
    """
    lines = [word.encode() for word in words]
    cuts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    text = np.frombuffer(b"".join(line + b"\n" for line in lines) + bytes(layout.PADDING), np.uint8)
    found = np.empty(len(lines))
    compiled("table", "class_labels")(text, cuts, np.uint64(0), _NONE, -1, found)
    return found


def is_fit(word: str) -> bool:
    """Whether a class may be called so: the word is not empty, is in UTF-8, and no terminal would obey it."""
    return bool(word) and UNDECODED not in word and printable(word) == word == word.encode(errors="ignore").decode()


def check_word(word: str) -> None:
    """Raises DataError for a word that no class may be called."""
    if not is_fit(word):
        raise DataError(f"found the label {word!r}, expected a word in UTF-8 without control characters")
