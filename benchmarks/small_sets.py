"""Twenty small sets: four that scikit-learn carries and sixteen that are generated, each from a seed of its own.

Generators, sizes and seeds were fixed before the first run, and nothing was chosen by what is measured on these sets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets
from sklearn.feature_extraction.text import TfidfTransformer


@dataclass(frozen=True)
class Shape:
    """How a set is generated: features around 0, labels of a softmax model of some of them, and what makes it hard.

    Args:
        seed: of the generator.
        rows, columns, classes: the sizes.
        useful: columns that labels depend on.
        strength: the standard deviation of the scores; the larger, the fewer labels are left to chance.
        prior: the probability of the last class is about this share of that of the first.
        correlation: of any two columns.
        scales: columns are multiplied by 10 to a power up to this, up or down.
        offset: the means of columns, up to this many standard deviations from 0.
        bend: how much of the scores is products of two columns, which no linear model has.
        wrong: the share of labels that are drawn at random.
        tails: columns are the exponential of this times a normal number.
    """

    seed: int
    rows: int
    columns: int
    classes: int = 2
    useful: int | None = None
    strength: float = 2.0
    prior: float = 1.0
    correlation: float = 0.0
    scales: float = 0.0
    offset: float = 0.0
    bend: float = 0.0
    wrong: float = 0.0
    tails: float = 0.0

    def draw(self) -> tuple[Any, np.ndarray]:
        """Features and labels."""
        rng = np.random.default_rng(self.seed)
        common = rng.normal(size=(self.rows, 1))
        Z = np.sqrt(1 - self.correlation) * rng.normal(size=(self.rows, self.columns))
        Z += np.sqrt(self.correlation) * common
        y = labels(self._scores(Z, rng), self.prior, self.wrong, rng)
        X = np.exp(self.tails * Z) if self.tails else Z
        X = X + self.offset * rng.uniform(-1, 1, self.columns)
        return X * 10.0 ** rng.uniform(-self.scales, self.scales, self.columns), y

    def _scores(self, Z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(rows, classes), of standard deviation `strength`."""
        useful = self.useful or self.columns
        scores = Z[:, :useful] @ rng.normal(size=(useful, self.classes))
        if self.bend:
            pairs = Z[:, rng.integers(useful, size=10)] * Z[:, rng.integers(useful, size=10)]
            scores = scores / scores.std() + self.bend * standard(pairs @ rng.normal(size=(10, self.classes)))
        return self.strength * standard(scores)


def standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / scores.std()


def labels(scores: np.ndarray, prior: float, wrong: float, rng: np.random.Generator) -> np.ndarray:
    """A class for each row of scores, by their softmax; each class at least twelve times, for the sake of folds."""
    rows, classes = scores.shape
    scores = scores + np.linspace(0.0, np.log(prior), classes)
    y = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
    y = np.where(rng.random(rows) < wrong, rng.integers(classes, size=rows), y)
    few = rng.permutation(rows)[: 12 * classes].reshape(classes, 12)
    for k in range(classes):
        if np.sum(y == k) < 12:
            y[few[k]] = k
    return y


def counts(seed: int, rows: int, columns: int, classes: int, length: float) -> tuple[Any, np.ndarray]:
    """Counts, most of them 0, of words whose rates depend on the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=rows)
    common = rng.dirichlet(np.full(columns, 0.3))
    of_class = 0.7 * common + 0.3 * rng.dirichlet(np.full(columns, 0.3), size=classes)
    lengths = rng.lognormal(np.log(length), 0.5, size=rows)
    return rng.poisson(lengths[:, None] * of_class[y]).astype(float), y


def text(seed: int, rows: int, words: int, classes: int, length: float) -> tuple[Any, np.ndarray]:
    """TF-IDF of documents whose words are as frequent as Zipf's law has it, and partly those of their class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=rows)
    frequency = 1.0 / np.arange(1, words + 1)
    documents = []
    topics = frequency * rng.lognormal(0.0, 1.0, size=(classes, words))
    for k in y:
        share = topics[k] / topics[k].sum()
        documents.append(rng.multinomial(2 + rng.poisson(length), 0.5 * share + 0.5 * frequency / frequency.sum()))
    return TfidfTransformer(sublinear_tf=True).fit_transform(sparse.csr_matrix(np.array(documents, float))), y


def carried(name: str) -> Callable[[], tuple[Any, np.ndarray]]:
    return lambda: getattr(datasets, name)(return_X_y=True)


SETS: dict[str, Callable[[], tuple[Any, np.ndarray]]] = {
    "iris": carried("load_iris"),
    "wine": carried("load_wine"),
    "breast cancer": carried("load_breast_cancer"),
    "digits": carried("load_digits"),
    "tiny": Shape(101, rows=100, columns=5).draw,
    "two columns": Shape(102, rows=150, columns=2, classes=3, strength=5.0).draw,
    "few rows, useless columns": Shape(103, rows=200, columns=30, useful=5, strength=3.0).draw,
    "more noise than rows allow": Shape(104, rows=300, columns=200, useful=10, strength=4.0).draw,
    "correlated": Shape(105, rows=400, columns=10, classes=4, correlation=0.8, strength=3.0).draw,
    "six classes": Shape(106, rows=500, columns=30, classes=6, strength=3.0).draw,
    "rare class": Shape(107, rows=600, columns=8, prior=0.03, strength=2.0).draw,
    "scales": Shape(108, rows=800, columns=40, classes=3, scales=4.0, useful=15, strength=3.0).draw,
    "offsets": Shape(109, rows=1_000, columns=15, offset=50.0, strength=3.0).draw,
    "wrong labels": Shape(110, rows=1_000, columns=100, useful=20, wrong=0.2, strength=6.0).draw,
    "not linear": Shape(111, rows=1_500, columns=6, bend=1.5, strength=3.0).draw,
    "correlated, five classes": Shape(112, rows=2_000, columns=50, classes=5, correlation=0.95, strength=6.0).draw,
    "wide": Shape(113, rows=2_500, columns=200, classes=3, scales=2.0, prior=0.2, strength=4.0, offset=3.0).draw,
    "counts": lambda: counts(114, rows=3_000, columns=60, classes=4, length=20.0),
    "text": lambda: text(115, rows=2_000, words=2_000, classes=2, length=30.0),
    "heavy tails": Shape(116, rows=5_000, columns=12, tails=1.0, bend=0.5, wrong=0.05, strength=4.0).draw,
}
