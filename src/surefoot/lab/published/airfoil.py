"""Section 4: linear regression on the airfoil data, every published loss held against 100 seeds.

A published loss is one draw: of initial weights, and of the order of examples. It is reproduced if it lies within the
spread of 100 draws, or within three standard deviations of their mean, allowing for its rounding. Time is given as the
ratio to the source texts' own loop, eager PyTorch a mini-batch at a time, measured side by side.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.data import DataError, airfoil_textbook
from surefoot.engines import order, registry
from surefoot.lab.published import eager
from surefoot.lab.published.rows import ROWS, Finding, Row, Skipped, clock
from surefoot.lab.race import pass_through, predict, weights_of
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Method
from surefoot.rules import get

SECTION = "4 airfoil"
SEEDS = 100
OPTIMUM = 0.24169
ROUNDING = 0.0005
"""Losses are published with three decimals."""


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
    seeds: int = field(default=SEEDS, repr=False)

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
    """As the texts train: neither features nor targets are scaled again, and the frameworks' conventions."""
    convention = None if run.rule in ("sgd", "momentum") else run.convention
    hyper = {"lr": get(run.rule).settings(convention)["lr"]} | run.hyper
    return Method(
        run.rule,
        lr=hyper.pop("lr"),
        batch_size=run.batch_size,
        normalize=False,
        convention=convention,
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
    """The loss before the first and after every epoch, and the seconds that an epoch's steps took (the median)."""
    learner, data, rng = start(run, seed)
    losses, seconds = [loss_of(weights_of(learner))], []
    for _ in range(run.epochs):
        turns, begin = order(len(data), rng), clock()
        pass_through(learner, data, turns)
        seconds.append(clock() - begin)
        losses.append(loss_of(weights_of(learner)))
    return np.array(losses), statistics.median(seconds)


@functools.cache
def optimum() -> float:
    """The least-squares optimum of the loss, in float64."""
    X, y = examples()
    design = np.column_stack([X, np.ones(len(y))]).astype(np.float64)
    return half(design @ np.linalg.lstsq(design, y.astype(np.float64), rcond=None)[0], y)


def measure(run: Run) -> Finding:
    """The published losses of a run against the spread of its seeds, and its time against the texts' loop."""
    results = [train(run, seed) for seed in range(run.seeds)]
    ends = np.array([losses[-1] for losses, _ in results])
    ours = statistics.median(seconds for _, seconds in results)
    mean, deviation = float(ends.mean()), float(ends.std(ddof=1))
    low = min(float(ends.min()), mean - 3 * deviation) - ROUNDING
    high = max(float(ends.max()), mean + 3 * deviation) + ROUNDING
    theirs = eager.seconds_per_epoch(run.rule, run.hyper, *examples(), run.batch_size, run.concise)
    text = (
        f"{mean:.4f} ± {deviation:.4f} ({ends.min():.4f} to {ends.max():.4f}), {mean - optimum():.4f} above the optimum"
    )
    numbers = {
        "mean": mean,
        "standard_deviation": deviation,
        "lowest": float(ends.min()),
        "highest": float(ends.max()),
        "above_optimum": mean - optimum(),
        "seconds_per_epoch": ours,
    }
    if theirs is None:
        text += f"; {1e6 * ours:,.0f} µs/epoch (ratio: torch not installed)"
    else:
        text += f"; {1e6 * ours:,.0f} µs/epoch, {theirs / ours:,.0f}× the texts' loop"
        numbers |= {"eager_seconds_per_epoch": theirs, "speed_up": theirs / ours}
    return Finding(text, all(low <= loss <= high for loss in run.published.values()), numbers)


# The rows


def claim_of(run: Run) -> str:
    setting = ", ".join(f"{SYMBOLS[key]} = {value:g}" for key, value in run.hyper.items())
    how = "the framework's own optimizer, " if run.concise else ""
    return f"{run.rule}, {setting}; {how}batch {run.batch_size:,}, {run.epochs} epochs; ½ MSE after the last"


SYMBOLS = {"lr": "η", "momentum": "β", "gamma": "γ", "rho": "ρ"}


def published_of(run: Run) -> str:
    return "; ".join(f"{loss}, {run.seconds[text]} s/epoch ({text})" for text, loss in run.published.items())


PLACES = {
    "sgd": "Minibatch Stochastic Gradient Descent",
    "momentum": "Momentum",
    "adagrad": "Adagrad",
    "rmsprop": "RMSProp",
    "adadelta": "Adadelta",
    "adam": "Adam",
    "yogi": "Adam",
}
"""Sections of the notebook, by rule."""


def places_of(run: Run) -> dict[str, str]:
    """Where the losses are printed."""
    cell = "Concise Implementation" if run.concise else "Implementation from Scratch"
    return {text: PLACES[run.rule] if text == "notebook" else cell for text in run.published}


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
for one in RUNS:
    ROWS[one.id] = Row(
        one.id, SECTION, claim_of(one), published_of(one), functools.partial(measure, one), places_of(one)
    )
