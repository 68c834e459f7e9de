"""Section 4: linear regression on the airfoil data.

A published loss is one draw: of initial weights, and of the order of examples. A row passes if, from the same draws,
the library ends every epoch with the weights of the texts' loop, which `loops` and `formulas` have without the library,
and if every published loss lies between the 0.1 % and the 99.9 % quantile of that loop's losses over 5,000 draws, no
further apart than 0.05. Weights are compared in float64, where only the order of sums differs: by less than 1e-9. A
"concise" run, with the framework's own optimizer, is trained by torch.optim's and surefoot.optim's, too, on tensors.

Time is given as the ratio to the texts' own loop, eager PyTorch a mini-batch at a time, measured side by side.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.data import DataError, airfoil_textbook
from surefoot.engines import order, registry
from surefoot.lab.published import eager, loops
from surefoot.lab.published.rows import NOTEBOOK, ROWS, Finding, Row, Skipped, clock, row
from surefoot.lab.race import pass_through, predict, weights_of
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Method
from surefoot.rules import get

SECTION = "4 airfoil"
SEEDS = 5000
COMPARED = 20
"""Of these draws, those that the library trains on, too."""

QUANTILES = (0.001, 0.999)
WIDEST = 0.05
ROUNDING = 1e-9
OPTIMUM = 0.24169


@dataclass(frozen=True)
class Run:
    """One line of the table: a rule, its setting, and what was published for it.

    Args:
        id: of the row.
        rule: its name.
        hyper: its hyperparameters.
        published: losses, by the text they stand in.
        seconds: per epoch as published, by text.
        batch_size, epochs: as published.
        convention: the defaults of the framework's own optimizer, for "concise" runs.
        engine: where it is run; every engine gives the same bits.
    """

    id: str
    rule: str
    hyper: dict[str, Any]
    published: dict[str, float]
    seconds: dict[str, float]
    batch_size: int = 10
    epochs: int = 2
    convention: str = "textbook"
    engine: str = registry.DEFAULT

    @property
    def concise(self) -> bool:
        return self.convention == "pytorch"


def concise(id: str, rule: str, hyper: dict[str, Any], published: dict[str, float], seconds: dict[str, float]) -> Run:
    """The framework's own optimizer: its conventions, and 4 epochs."""
    return Run(f"{id}-concise", rule, hyper, published, seconds, epochs=4, convention="pytorch")


RUNS = (
    Run("airfoil-gd", "sgd", {"lr": 1.0}, {"notebook": 0.244}, {"notebook": 0.038}, batch_size=1500, epochs=10),
    Run("airfoil-sgd", "sgd", {"lr": 0.005}, {"notebook": 0.244}, {"notebook": 0.077}, batch_size=1, epochs=5),
    Run("airfoil-sgd-100", "sgd", {"lr": 0.4}, {"notebook": 0.249}, {"notebook": 0.005}, batch_size=100),
    Run("airfoil-sgd-10", "sgd", {"lr": 0.05}, {"notebook": 0.245}, {"notebook": 0.015}),
    concise("airfoil-sgd-10", "sgd", {"lr": 0.05}, {"notebook": 0.246}, {"notebook": 0.015}),
    Run("airfoil-momentum-0.5", "momentum", {"lr": 0.02, "momentum": 0.5}, {"notebook": 0.245}, {"notebook": 0.016}),
    Run("airfoil-momentum-0.9", "momentum", {"lr": 0.01, "momentum": 0.9}, {"notebook": 0.257}, {"notebook": 0.016}),
    Run(
        "airfoil-momentum-0.9-small",
        "momentum",
        {"lr": 0.005, "momentum": 0.9},
        {"notebook": 0.251},
        {"notebook": 0.017},
    ),
    concise(
        "airfoil-momentum-0.9-small",
        "momentum",
        {"lr": 0.005, "momentum": 0.9},
        {"notebook": 0.243},
        {"notebook": 0.017},
    ),
    Run(
        "airfoil-adagrad",
        "adagrad",
        {"lr": 0.1},
        {"D2L": 0.242, "D2L-MXNet": 0.243, "notebook": 0.243},
        {"D2L": 0.016, "D2L-MXNet": 0.057, "notebook": 0.021},
    ),
    concise(
        "airfoil-adagrad",
        "adagrad",
        {"lr": 0.1},
        {"D2L": 0.242, "D2L-MXNet": 0.243, "notebook": 0.244},
        {"D2L": 0.016, "D2L-MXNet": 0.071, "notebook": 0.017},
    ),
    Run("airfoil-rmsprop", "rmsprop", {"lr": 0.01, "gamma": 0.9}, {"notebook": 0.247}, {"notebook": 0.019}),
    concise("airfoil-rmsprop", "rmsprop", {"lr": 0.01, "gamma": 0.9}, {"notebook": 0.244}, {"notebook": 0.018}),
    Run("airfoil-adadelta", "adadelta", {"rho": 0.9}, {"notebook": 0.243}, {"notebook": 0.020}),
    concise("airfoil-adadelta", "adadelta", {"rho": 0.9}, {"notebook": 0.243}, {"notebook": 0.019}),
    Run("airfoil-adam", "adam", {"lr": 0.01}, {"notebook": 0.245}, {"notebook": 0.021}),
    concise("airfoil-adam", "adam", {"lr": 0.01}, {"notebook": 0.246}, {"notebook": 0.019}),
    Run("airfoil-yogi", "yogi", {"lr": 0.01}, {"notebook": 0.244}, {"notebook": 0.022}),
)

BY_ID = {run.id: run for run in RUNS}


@functools.cache
def loaded() -> tuple[np.ndarray, np.ndarray] | str:
    """The data, or why they cannot be had: kept too, so that only the first row waits for the network."""
    try:
        X, y = airfoil_textbook()
    except DataError as error:
        return str(error)
    return X.astype(np.float32), y.astype(np.float32)


def examples() -> tuple[np.ndarray, np.ndarray]:
    """The 1,500 rows in float32, as in the texts; Skipped where they cannot be had."""
    data = loaded()
    if isinstance(data, str):
        raise Skipped(data)
    return data


def method_of(run: Run) -> Method:
    """As the texts train, in float64: nothing is scaled again, and with the conventions of texts or framework."""
    convention = None if run.rule in ("sgd", "momentum") else run.convention
    hyper = {"lr": get(run.rule).settings(convention)["lr"]} | run.hyper
    return Method(
        run.rule,
        lr=hyper.pop("lr"),
        batch_size=run.batch_size,
        normalize=False,
        convention=convention,
        dtype="float64",
        engine=run.engine,
        hyper=hyper,
    )


def start(run: Run, seed: int) -> tuple[Learner, ArrayDataset, np.random.Generator]:
    """A learner with weights N(0, 0.01²) and a bias of 0, the examples, and the generator of their orders."""
    X, y = examples()
    rng = np.random.default_rng(seed)
    initial = {"weight": rng.normal(0, 0.01, (5, 1, 1))}
    learner = Learner(method_of(run).learning(losses.squared, None, 1), 5, initial=initial)
    return learner, ArrayDataset(X, y.astype(np.float64), np.ones(len(y))), rng


def loss_of(x: np.ndarray) -> float:
    """The loss on all 1,500 rows: half the mean squared error, as in the texts."""
    X, y = examples()
    return half(predict(X, x), y)


def half(predictions: np.ndarray, y: np.ndarray) -> float:
    """½ MSE, in float64."""
    return float(losses.squared.values(predictions, y).mean())


def train(run: Run, seed: int) -> tuple[np.ndarray, float]:
    """The weights before the first and after every epoch, and the seconds that an epoch's steps took (the median)."""
    learner, data, rng = start(run, seed)
    weights, seconds = [weights_of(learner)], []
    for _ in range(run.epochs):
        turns, begin = order(len(data), rng), clock()
        pass_through(learner, data, turns)
        seconds.append(clock() - begin)
        weights.append(weights_of(learner))
    return np.array(weights), statistics.median(seconds)


@functools.cache
def optimum() -> float:
    """The least-squares optimum of the loss, in float64."""
    X, y = examples()
    design = np.column_stack([X, np.ones(len(y))]).astype(np.float64)
    return half(design @ np.linalg.lstsq(design, y.astype(np.float64), rcond=None)[0], y)


@dataclass(frozen=True)
class Loop:
    """What the texts' loop does with a published run, from many draws.

    Attributes:
        weights: (epochs + 1, COMPARED, 6): before the first epoch and after each, for the first draws.
        ends: (draws,): ½ MSE after the last epoch.
    """

    weights: np.ndarray
    ends: np.ndarray


@functools.cache
def loop(id: str, seeds: int = SEEDS) -> Loop:
    """The texts' loop for the run of that id, as published."""
    run, (X, y) = loops.RUNS[id], examples()
    start, orders = loops.draws(seeds, len(X), run.epochs)
    weights = loops.descend(run.formula, run.setting, X, y, start, orders, run.batch_size)
    return Loop(weights[:, :COMPARED], loops.half_mean_squares(X, y, weights[-1]))


def measure(run: Run, seeds: int = SEEDS, compared: int = COMPARED) -> Finding:
    """A run against the texts' loop: weights, published losses, and time.

    Args:
        run: how the library trains; the loop trains as `loops.RUNS` has it under this id.
        seeds: draws of the loop.
        compared: of these, those that the library trains on.
    """
    expected = loop(run.id, seeds)
    trained = [train(run, seed) for seed in range(compared)]
    ours = np.array([weights for weights, _ in trained]).swapaxes(0, 1)
    apart = largest_difference(ours, expected.weights[:, :compared])
    low, high = map(float, np.quantile(expected.ends, QUANTILES))
    ranks = {text: float(np.mean(expected.ends < loss)) for text, loss in run.published.items()}
    losses = set(run.published.values())
    within = (
        losses == loops.RUNS[run.id].losses and all(low <= loss <= high for loss in losses) and high - low <= WIDEST
    )
    shares = "; ".join(f"{run.published[text]} at {rank:.1%}" for text, rank in ranks.items())
    median = float(np.median(expected.ends))
    text = f"{compared} draws: weights within {apart:.0e} of the loop's; {seeds:,} draws of the loop end at "
    text += f"{low:.4f} to {high:.4f}, median {median:.4f}: {shares}"
    numbers = {"largest_difference": apart, "low": low, "high": high, "median": median}
    numbers |= {f"rank_{name}": rank for name, rank in ranks.items()}
    if run.concise:
        shown, numbers["optimizers"] = optimizers_of(run, expected.weights[:, 0], seeds)
        text, apart = f"{text}; {shown}", max(apart, numbers["optimizers"])
    about, times = time_of(run, statistics.median(seconds for _, seconds in trained))
    return Finding(f"{text}; {about}", apart <= ROUNDING and within, numbers | times)


def optimizers_of(run: Run, expected: np.ndarray, seeds: int) -> tuple[str, float]:
    """How far from the texts' loop the optimizers of torch.optim and surefoot.optim get, from the first draw."""
    try:
        import torch

        from surefoot import optim
    except ImportError:
        return "torch.optim and surefoot.optim: torch not installed", 0.0
    (X, y), far = examples(), {}
    starts, orders = loops.draws(seeds, len(X), run.epochs)
    for name, library in {"torch.optim": torch.optim, "surefoot.optim": optim}.items():
        weights = eager.descend(library, run.rule, run.hyper, X, y, starts[0], orders[:, :, 0], run.batch_size)
        far[name] = largest_difference(weights, expected)
    text = " and ".join(f"{name}.{eager.OPTIMIZERS[run.rule]} within {apart:.0e}" for name, apart in far.items())
    return text, max(far.values())


def largest_difference(ours: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a weight, relative where weights are larger than 1; infinite if the epochs differ."""
    if ours.shape != expected.shape:
        return float("inf")
    return float(np.max(np.abs(ours - expected) / np.maximum(np.abs(expected), 1)))


def time_of(run: Run, ours: float) -> tuple[str, dict[str, float]]:
    """The seconds of an epoch next to those of the texts' own loop."""
    theirs = eager.seconds_per_epoch(run.rule, run.hyper, *examples(), run.batch_size, run.concise)
    numbers = {"seconds_per_epoch": ours}
    if theirs is None:
        return f"{1e6 * ours:,.0f} µs/epoch (ratio: torch not installed)", numbers
    numbers |= {"eager_seconds_per_epoch": theirs, "speed_up": theirs / ours}
    return f"{1e6 * ours:,.0f} µs/epoch, {theirs / ours:,.0f}× the texts' loop", numbers


# The rows


def claim_of(run: Run) -> str:
    setting = ", ".join(f"{SYMBOLS[key]} = {value:g}" for key, value in run.hyper.items())
    how = "the framework's own optimizer, " if run.concise else ""
    return f"{run.rule}, {setting}; {how}batch {run.batch_size:,}, {run.epochs} epochs; ½ MSE after the last"


SYMBOLS = {"lr": "η", "momentum": "β", "gamma": "γ", "rho": "ρ"}


def published_of(run: Run) -> str:
    """The losses and times, with their texts where there are several."""
    several = len(run.published) > 1
    return "; ".join(
        f'{loss}, {run.seconds[text]:.3f} "sec/epoch"' + (f" ({text})" if several else "")
        for text, loss in run.published.items()
    )


SECTIONS = {
    False: {"D2L": "Implementation from Scratch", "D2L-MXNet": "Implementation from Scratch"},
    True: {"D2L": "Concise Implementation", "D2L-MXNet": "Implementation with Gluon"},
}
"""Of the chapter, by whether a run is concise."""


def places_of(run: Run) -> dict[str, str]:
    """Where the losses are printed."""
    return {text: "" if text == "notebook" else SECTIONS[run.concise][text] for text in run.published}


def optimum_row(published: float = OPTIMUM) -> Finding:
    """The least-squares optimum and the condition number of the design."""
    X, y = examples()
    design = np.column_stack([X, np.ones(len(y))]).astype(np.float64)
    condition = float(np.linalg.cond(design.T @ design))
    passed = abs(optimum() - published) < 5e-6 and abs(condition - 12.1) < 0.05
    text = f"{optimum():.5f}, condition number {condition:.2f}"
    return Finding(text, passed, {"optimum": optimum(), "condition_number": condition})


ROWS["airfoil-optimum"] = Row(
    "airfoil-optimum",
    SECTION,
    "the least-squares optimum of ½ MSE, and the condition number",
    "",
    optimum_row,
    ours=f"{OPTIMUM}, condition number 12.1",
)
NOTES = {
    "airfoil-gd": "η = 1 is too large: see airfoil-gd-diverges, and docs/errata.md",
    "airfoil-yogi": "the cell has a comparison that is not valid, which is not part of the rule; see docs/errata.md",
}
for one in RUNS:
    ROWS[one.id] = Row(
        one.id,
        SECTION,
        claim_of(one),
        published_of(one),
        functools.partial(measure, one),
        places_of(one),
        note=NOTES.get(one.id, ""),
    )


@row(
    "airfoil-gd-diverges",
    SECTION,
    "gradient descent (sgd), η = 1, batch 1,500: a step multiplies the error along an eigenvector by 1 − ηΛ",
    "after 6 steps progress stalls",
    texts=NOTEBOOK,
    ours="the largest eigenvalue is 2.0985 > 2/η: the loss dips at epochs 5 and 6, then grows, to 65 at epoch 60",
    note="progress does not stall, it turns around; see docs/errata.md",
)
def diverges(lr=1.0, epochs=60) -> Finding:
    X, _ = examples()
    design = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    largest = float(np.linalg.eigvalsh(design.T @ design / len(X))[-1])
    run = replace(BY_ID["airfoil-gd"], hyper={"lr": lr}, epochs=epochs)
    losses = np.median([[loss_of(x) for x in train(run, seed)[0]] for seed in range(COMPARED)], axis=0)
    lowest = int(losses.argmin())
    text = (
        f"largest eigenvalue {largest:.4f}; median of {COMPARED} draws: lowest {losses[lowest]:.4f} at epoch {lowest}, "
    )
    text += f"{losses[10]:.4f} at 10, {losses[20]:.3f} at 20, {losses[-1]:.3g} at {epochs}"
    rises = bool((np.diff(losses[lowest:]) > 0).all()) and abs(losses[-1] - 65) < 0.5
    passed = abs(largest - 2.0985) < 5e-5 and lowest in (5, 6) and rises
    return Finding(text, passed, {"largest_eigenvalue": largest, "lowest_epoch": lowest, "last": float(losses[-1])})


TIMED = {1: ("airfoil-sgd", 1), 1500: ("airfoil-gd", 10), 10: ("airfoil-sgd-10", 2), 100: ("airfoil-sgd-100", 2)}
"""The runs that the texts' loop is timed on, and for how many epochs, by batch size."""


@row(
    "airfoil-times",
    SECTION,
    "the texts' loop, eager PyTorch with its data loader, for batches of 1, 1,500 (gradient descent), 10 and 100: its "
    "clock; SGD takes longer to the same loss than gradient descent",
    '0.077, 0.038, 0.015, 0.005 "sec/epoch"; longer',
    texts=NOTEBOOK,
    note="the clock stops at each multiple of 200 examples and prints the mean: seconds for 200 examples, and for two "
    "epochs of gradient descent, not for an epoch; see docs/errata.md",
)
def times(repeats=3) -> Finding:
    """The shortest of several times, measured in turn: other work on the machine lengthens some, of all runs alike."""
    histories: dict[int, list[eager.History]] = {size: [] for size in TIMED}
    try:
        for _ in range(repeats):
            for size, (id, epochs) in TIMED.items():
                lr = loops.RUNS[id].setting["lr"]
                histories[size].append(eager.History.of(lr, *examples(), size, epochs))
    except ImportError:
        raise Skipped('the texts\' loop needs PyTorch; run pip install "surefoot[torch]"') from None
    clocks = {size: min(statistics.median(each.seconds) for each in found) for size, found in histories.items()}
    epochs = {size: min(each.per_epoch for each in found) for size, found in histories.items()}
    level = histories[1500][0].losses[0]
    stochastic, descent = (min(each.until(level) for each in histories[size]) for size in (1, 1500))
    text = ", ".join(f"{1e3 * seconds:.3g}" for seconds in clocks.values()) + " ms by its clock; per epoch "
    text += ", ".join(f"{1e3 * seconds:.3g}" for seconds in epochs.values())
    text += f" ms; to a loss of {level:.3f} {1e3 * stochastic:.3g} ms against {1e3 * descent:.3g} ms"
    falls = clocks[1] > clocks[1500] > clocks[10] > clocks[100]
    passed = falls and epochs[1] > epochs[10] > epochs[100] and stochastic > descent
    numbers = {f"clock_{size}": seconds for size, seconds in clocks.items()}
    return Finding(text, passed, numbers | {f"epoch_{size}": seconds for size, seconds in epochs.items()})
