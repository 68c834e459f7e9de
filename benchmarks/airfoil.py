"""Epochs on the textbook's airfoil data, compared with the textbook's own loop: eager torch, a mini-batch at a time.

An epoch is all that it takes: a new random order, and every step. The loop is written from its description in
`surefoot.lab.published.eager`. It slices a shuffled copy; with the textbook's data loader it would take longer.
"""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Row, installed, race, times_as_fast
from surefoot import losses, rules
from surefoot.data import DataError, airfoil_textbook
from surefoot.engines import order
from surefoot.lab.published import eager
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.epochs import learn
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Method

torch = installed("torch")

TITLE = "Airfoil epochs compared with the textbook's eager loop"
HYPER = {
    "sgd": {"lr": 0.05},
    "momentum": {"lr": 0.005, "momentum": 0.9},
    "adagrad": {"lr": 0.1},
    "rmsprop": {"lr": 0.01, "gamma": 0.9},
    "adadelta": {"rho": 0.9},
    "adam": {"lr": 0.01},
    "yogi": {"lr": 0.01},
}


def measure(quick: bool) -> Iterator[Row]:
    """Every rule of the textbook at batch size 10, and SGD at batch size 1."""
    X, y, origin = data()
    if quick:
        X, y = X[:100], y[:100]
    for rule, hyper in HYPER.items():
        if not quick or rule == "adagrad":
            yield epoch(rule, hyper, X, y, origin, 10, 100, rounds=2 if quick else 11)
    yield epoch("sgd", {"lr": 0.005}, X, y, origin, 1, 300, rounds=2 if quick else 11)


def data() -> tuple[np.ndarray, np.ndarray, str]:
    try:
        X, y = airfoil_textbook()
    except DataError:
        rng = np.random.default_rng(0)
        return rng.standard_normal((1500, 5), np.float32), rng.standard_normal(1500, np.float32), "random stand-in"
    return X.astype(np.float32), y.astype(np.float32), "airfoil"


def epoch(rule: str, hyper: dict, X, y, origin: str, batch_size: int, bar: float, rounds: int) -> Row:
    what = f"{rule}, batch size {batch_size}, {len(y):,} examples ({origin})"
    contenders = {"ours": our_epoch(rule, hyper, X, y, batch_size)}
    if torch:
        contenders["theirs"] = their_epoch(rule, hyper, X, y, batch_size)
    times = race(contenders, rounds)
    if not torch:
        return Row(what, str(times["ours"]), "torch is not installed", bar=bar)
    figure = times_as_fast(times["ours"], times["theirs"])
    return Row(what, str(times["ours"]), f"eager torch: {times['theirs']}", figure, bar=bar)


def our_epoch(rule: str, hyper: dict, X, y, batch_size: int) -> Callable[[], object]:
    settings = {"lr": rules.get(rule).settings()["lr"]} | hyper
    method = Method(rule, lr=settings.pop("lr"), batch_size=batch_size, normalize=False, hyper=settings)
    learner, rng = Learner(method.learning(losses.squared, None, 1), X.shape[1]), np.random.default_rng(0)
    data = ArrayDataset(X, y.astype(np.float64), np.ones(len(y)))
    return lambda: learn(learner, data, order(len(y), rng))


def their_epoch(rule: str, hyper: dict, X, y, batch_size: int) -> Callable[[], object]:
    examples, targets = torch.from_numpy(X), torch.from_numpy(y).reshape(-1, 1)
    w = torch.normal(0, 0.01, (X.shape[1], 1)).requires_grad_()
    b = torch.zeros(1, requires_grad=True)
    update = eager.from_scratch(rule, hyper, [w, b])
    return lambda: eager.epoch(examples, targets, w, b, update, batch_size)
