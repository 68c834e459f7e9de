"""The linear learner: progressive loss in one pass compared with Vowpal Wabbit's best learning rate, and its speed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import corpora
from benchmarks.harness import Figure, Row, Times, installed, race, times_as_fast
from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings
from surefoot.threads import set_threads

TITLE = "Linear learner: quality in one pass with all defaults, and speed from memory"
POWERS = range(-4, 5)
"""Vowpal Wabbit's learning rates are 2 to these."""
VOWPAL_WABBIT = """
import sys
from vowpalwabbit import Workspace
best, power = min(
    (workspace.get_sum_loss() / workspace.get_weighted_examples(), power)
    for power in range(int(sys.argv[2]), int(sys.argv[3]))
    for workspace in [Workspace(f"-d {sys.argv[1]} --loss_function logistic -b 20 -l {2.0 ** power} --quiet")]
    if workspace.run_parser() is None and workspace.finish() is None
)
print(best, power)
"""


def measure(quick: bool) -> Iterator[Row]:
    """Progressive log loss on every set, then nonzeros a second."""
    sets = {"Zipf": lambda: corpora.zipf(500)} if quick else corpora.NAMED | corpora.OTHERS
    for name, load in sets.items():
        try:
            data = load()
        except FileNotFoundError:
            yield Row(
                f"log loss, {name}", "", "SUREFOOT_DATA does not name the folder with this set", bar=1.01, at_most=True
            )
            continue
        yield quality(name, data)
    yield from speed(corpora.zipf(2_000, 142, 200_000) if quick else corpora.zipf(200_000, 142, 200_000), quick)


def quality(name: str, data: Examples) -> Row:
    """Our progressive loss as a share of the best of Vowpal Wabbit over its grid of learning rates."""
    learner = Learner(Settings())
    learner.learn(data)
    what = f"progressive log loss, {name} ({len(data):,} examples)"
    if not installed("vowpalwabbit"):
        return Row(what, f"{learner.loss:.4f}", "vowpalwabbit is not installed", bar=1.01, at_most=True)
    best, power = best_of_vowpal_wabbit(data)
    ratio = learner.loss / best
    peer = f"best of {len(POWERS)} rates, 2^{power}: {best:.4f}"
    return Row(what, f"{learner.loss:.4f}", peer, Figure(ratio, ratio, ratio), bar=1.01, at_most=True)


def best_of_vowpal_wabbit(data: Examples) -> tuple[float, int]:
    """In a process of its own: it ends the whole process where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.vw"
        corpora.write_vowpal_wabbit(data, path)
        command = [sys.executable, "-c", VOWPAL_WABBIT, str(path), str(POWERS.start), str(POWERS.stop)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    loss, power = done.stdout.split()
    return float(loss), int(power)


def speed(data: Examples, quick: bool) -> Iterator[Row]:
    """Learning from memory on one thread: logistic AdaGrad at a fixed rate, and with lr="auto"."""
    features, nonzeros = int(data.indices.max()) + 1, len(data.indices)

    def learning(**settings):
        return lambda: Learner(Settings(**settings), features).learn(data)

    contenders = {"fixed": learning(lr=0.1), "auto": learning(), "theirs": scikit_learn(data, features)}
    set_threads(1)
    try:
        times = race(contenders, rounds=2 if quick else 7)
    finally:
        set_threads(None)
    rate = Times(tuple(nonzeros / 1e6 / seconds for seconds in times["fixed"].seconds))
    what = f"AdaGrad, logistic, {nonzeros / 1e6:.0f}M nonzeros of {features:,} features"
    yield Row(f"{what}, lr=0.1: nonzeros/s", str(times["fixed"]), "", Figure.of(rate.seconds), unit="M/s", bar=100)
    ratio = times_as_fast(times["fixed"], times["auto"])
    yield Row(
        f'{what}, lr="auto" compared with lr=0.1: time',
        str(times["auto"]),
        str(times["fixed"]),
        ratio,
        bar=4,
        at_most=True,
    )
    ratio = times_as_fast(times["fixed"], times["theirs"])
    yield Row(f"{what}, lr=0.1", str(times["fixed"]), f"SGDClassifier, one pass: {times['theirs']}", ratio)


def scikit_learn(data: Examples, features: int):
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import SGDClassifier

    X = csr_matrix((data.values.astype(float), data.indices, data.indptr), shape=(len(data), features))
    model = SGDClassifier(loss="log_loss", max_iter=1, tol=None, shuffle=False)  # pyright: ignore[reportArgumentType]
    return lambda: model.fit(X, data.targets)
