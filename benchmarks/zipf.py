"""Texts like bags of words: which words occur follows Zipf's law, and a label that depends on them can be learned.

A document draws its words independently; the k-th most frequent has index k and a share in proportion to k^−1.1, as in
vocabularies sorted by frequency. A word's value is how often it occurs, times the word's scale. The label is drawn from
a logistic model whose weights are the same for every part of a seed.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

EXPONENT = 1.1
MOST = 9
"""A word is counted so often at most."""
AT_ONCE = 10_000
"""Documents in memory."""
FORMS = {"svmlight": ("\n{}", " {}:{}"), "vw": ("\n{} |w", " {}:{}")}
"""How a label and an entry are written."""


@dataclass(frozen=True)
class Zipf:
    """Documents of Zipf's law.

    Args:
        rows: documents.
        nonzeros: distinct words of a document, on average.
        words: there are.
        spread: scales of words lie between 10^−spread and 10^spread.
        seed: of everything drawn.
    """

    rows: int = 200_000
    nonzeros: int = 142
    words: int = 100_000
    spread: float = 0.0
    seed: int = 0

    @functools.cached_property
    def shares(self) -> np.ndarray:
        """How likely each word is, added up."""
        shares = np.cumsum(np.arange(1, self.words + 1, dtype=float) ** -EXPONENT)
        return shares / shares[-1]

    @functools.cached_property
    def drawn(self) -> int:
        """Words of a document, repeated ones counted: as many as give the distinct ones that are asked for."""
        share = np.diff(self.shares, prepend=0.0)
        low, high = self.nonzeros, 100 * self.nonzeros
        while low < high:
            middle = (low + high) // 2
            enough = (1 - (1 - share) ** middle).sum() >= self.nonzeros
            low, high = (low, middle) if enough else (middle + 1, high)
        return low

    @functools.cached_property
    def model(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights of words, and their scales."""
        rng = np.random.default_rng([self.seed, 0])
        return rng.normal(0, 0.5, self.words), 10 ** rng.uniform(-self.spread, self.spread, self.words)

    def parts(self) -> Iterator[tuple[csr_array, np.ndarray]]:
        """Documents as counts of words, and their labels −1 and 1; so many at once as memory allows."""
        weights, _ = self.model
        for start in range(0, self.rows, AT_ONCE):
            rng = np.random.default_rng([self.seed, 1, start])
            n = min(AT_ONCE, self.rows - start)
            words = np.searchsorted(self.shares, rng.random(n * self.drawn))
            indptr = np.arange(0, n * self.drawn + 1, self.drawn)
            X = csr_array((np.ones(n * self.drawn), words, indptr), shape=(n, self.words))
            X.sum_duplicates()
            np.minimum(X.data, MOST, out=X.data)
            z = X @ weights
            yield X, np.where(rng.random(n) < 1 / (1 + np.exp(-(z - z.mean()) / z.std() * 2)), 1, -1)

    def write(self, path: Path, form: str = "svmlight") -> None:
        """Writes the documents as svmlight or as Vowpal Wabbit's text."""
        label, entry = FORMS[form]
        _, scales = self.model
        tokens = [label.format(-1), label.format(1)]
        for count in range(1, MOST + 1):
            values = scales * count
            numbers = np.full(self.words, str(count)) if self.spread == 0 else [f"{value:.6g}" for value in values]
            tokens += [entry.format(word + 1, number) for word, number in enumerate(numbers)]
        ends = np.cumsum([0, *map(len, tokens)])
        text = np.frombuffer("".join(tokens).encode(), np.uint8)
        with path.open("wb") as file:
            for start, (X, y) in enumerate(self.parts()):
                numbers = 2 + (X.data.astype(np.int64) - 1) * self.words + X.indices
                joined = _glued(text, ends, np.insert(numbers, X.indptr[:-1], (y + 1) // 2))
                file.write((joined if start else joined[1:]).data)
            file.write(b"\n")


def _glued(text: np.ndarray, ends: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The tokens of these numbers one after the other; token k is text[ends[k] : ends[k + 1]]."""
    lengths = ends[numbers + 1] - ends[numbers]
    stops = np.cumsum(lengths)
    places = np.repeat(ends[numbers] - (stops - lengths), lengths)
    places += np.arange(len(places))
    return text[places]
