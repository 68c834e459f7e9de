"""The model that is written after one pass with all defaults, on rows it did not see, beside Vowpal Wabbit's best."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks import corpora, streams
from benchmarks.harness import Figure, Row, installed
from benchmarks.learner import POWERS
from surefoot import losses
from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

TITLE = "One pass with all defaults: progressive loss, and loss of the model on a held-out fifth"
VOWPAL_WABBIT = """
import sys
from vowpalwabbit import Workspace
folder, options, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def loss(arguments):
    workspace = Workspace(f"{options} {arguments} --quiet")
    workspace.run_parser()
    found = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    return found

def both(power):
    progressive = loss(f"-d {folder}/train.vw -f {folder}/model -l {2.0 ** power} -b 20")
    return progressive, loss(f"-t -d {folder}/test.vw -i {folder}/model")

for column in zip(*map(both, range(first, last))):
    print(min(column))
"""


@dataclass(frozen=True)
class Kind:
    """A loss.

    Args:
        loss: its name.
        parameter: its own number, if it has one.
        options: Vowpal Wabbit's for it.
    """

    loss: str
    options: str
    parameter: float | None = None

    def settings(self) -> Settings:
        return Settings(loss=losses.get(self.loss), parameter=self.parameter)

    def mean(self, scores: np.ndarray, targets: np.ndarray) -> float:
        """As its metric has it."""
        settings = self.settings()
        values = settings.loss.value(scores, targets, *settings.loss.own(settings.parameter))
        return float(np.mean(values)) * settings.loss.metric.factor


LOGISTIC = Kind("logistic", "--loss_function logistic")
OF_NUMBERS = {
    "squared": Kind("squared", "--loss_function squared"),
    "median": Kind("quantile", "--loss_function quantile --quantile_tau 0.5", 0.5),
    "0.9 quantile": Kind("quantile", "--loss_function quantile --quantile_tau 0.9", 0.9),
}


def measure(quick: bool) -> Iterator[Row]:
    """Classes of the real sets and of all streams, in a random order; then numbers."""
    for name, load in ({} if quick else corpora.NAMED | corpora.OTHERS).items():
        yield from compared(name, load, LOGISTIC, "log loss")
    rows = 600 if quick else streams.ROWS
    for name, make in streams.STREAMS.items():
        yield from compared(name, lambda make=make: make(rows), LOGISTIC, "log loss")
    for name, load in NUMBERS.items():
        for what, kind in OF_NUMBERS.items():
            yield from compared(name, load, kind, f"loss, {what}", rows)


def compared(name: str, load: Callable[[], Examples], kind: Kind, what: str, most: int | None = None) -> Iterator[Row]:
    """The rows in a random order, `most` of them at most."""
    try:
        rows = streams.shuffled(load())
        rows = rows.part(0, min(len(rows), most or len(rows)))
    except FileNotFoundError:
        yield Row(name, "", "SUREFOOT_DATA does not name the folder with this set")
        return
    first = len(rows) * 4 // 5
    train, test = rows.part(0, first), rows.part(first, len(rows))
    learner = Learner(kind.settings())
    learner.learn(train)
    ours = learner.loss, kind.mean(scores(learner, test), test.targets)
    theirs = best_of_vowpal_wabbit(train, test, kind) if installed("vowpalwabbit") else None
    for when, our, their in zip(("progressive", "held-out"), ours, theirs or (None, None), strict=True):
        described = f"{when} {what}, {name} ({len(rows):,} examples)"
        if their is None:
            yield Row(described, f"{our:.4g}", "vowpalwabbit is not installed", bar=1.05, at_most=True)
        else:
            ratio = our / their
            peer = f"best of {len(POWERS)} rates: {their:.4g}"
            yield Row(described, f"{our:.4g}", peer, Figure(ratio, ratio, ratio), bar=1.05, at_most=True)


def scores(learner: Learner, rows: Examples) -> np.ndarray:
    """What the written model predicts, (n,)."""
    weights, bias = learner.weights()
    known = rows.indices < len(weights)
    values = np.where(known, rows.values, 0.0)
    X = csr_matrix((values, np.where(known, rows.indices, 0), rows.indptr), shape=(len(rows), len(weights)))
    return X @ weights[:, 0] + bias[0]


def best_of_vowpal_wabbit(train: Examples, test: Examples, kind: Kind) -> tuple[float, float]:
    """The least progressive and the least held-out loss of all rates, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("train", train), ("test", test)):
            corpora.write_vowpal_wabbit(rows, Path(folder) / f"{name}.vw", classes=kind is LOGISTIC)
        command = [sys.executable, "-c", VOWPAL_WABBIT, folder, kind.options, str(POWERS.start), str(POWERS.stop)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    progressive, held_out = map(float, done.stdout.split())
    return progressive, held_out


def airfoil() -> Examples:
    table = np.loadtxt(corpora.folder() / "airfoil_self_noise.dat")
    return numbers(table[:, :-1], table[:, -1])


def diabetes() -> Examples:
    from sklearn import datasets

    X, y = datasets.load_diabetes(return_X_y=True)
    return numbers(np.asarray(X), np.asarray(y))


def friedman(number: int) -> Examples:
    """One of Friedman's (1991) three made sets, which are not linear."""
    from sklearn import datasets

    return numbers(*getattr(datasets, f"make_friedman{number}")(10_000, noise=1.0, random_state=number))


def linear(heavy: bool) -> Examples:
    """Columns in units from 1e-2 to 1e2, each with its origin; errors are normal or have heavy tails."""
    rng = np.random.default_rng(20 + heavy)
    X, w = rng.normal(size=(10_000, 30)), rng.normal(size=30)
    noise = rng.standard_t(2, 10_000) if heavy else rng.normal(size=10_000)
    y = 300.0 + 20.0 * (X @ w + 2.0 * noise)
    return numbers(rng.uniform(-3, 3, 30) + X * 10.0 ** rng.uniform(-2, 2, 30), y)


def numbers(X: np.ndarray, y: np.ndarray) -> Examples:
    rows, columns = X.shape
    indices = np.tile(np.arange(columns), rows)
    return Examples(np.arange(rows + 1) * columns, indices, X.ravel().astype(float), y.astype(float), np.ones(rows))


NUMBERS: dict[str, Callable[[], Examples]] = {
    "airfoil": airfoil,
    "diabetes": diabetes,
    "Friedman 1": lambda: friedman(1),
    "Friedman 2": lambda: friedman(2),
    "Friedman 3": lambda: friedman(3),
    "linear, normal errors": lambda: linear(False),
    "linear, heavy tails": lambda: linear(True),
}
