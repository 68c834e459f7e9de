"""Section 6: the figures of runs on the airfoil data, their curves held against the texts' loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from surefoot.engines import order
from surefoot.lab.figures import REFERENCE, look, new_figure
from surefoot.lab.published import airfoil, eager, loops
from surefoot.lab.published.formulas import FRAMEWORK
from surefoot.lab.published.pictures import Picture, picture, series
from surefoot.lab.race import pass_through, weights_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS = 20
POINTS = 5
"""Moments of every epoch at which the loss is taken: each after whole mini-batches, of 1, 10 or 100."""

LOSSES = (0.2395, 0.285)
"""Of the panels; every published loss lies between them."""

COLUMNS = 6
OF_RUNS = {"D2L": "Implementation from Scratch", "notebook": "the figure of each run"}


def histories(run: airfoil.Run, points: int) -> np.ndarray:
    """The loss before training and at even moments of every epoch, a row for every seed, as the library trains."""
    losses = []
    for seed in range(SEEDS):
        learner, data, rng = airfoil.start(run, seed)
        seen = [airfoil.loss_of(weights_of(learner))]
        for _ in range(run.epochs):
            for part in np.split(order(len(data), rng), points):
                pass_through(learner, data, part)
                seen.append(airfoil.loss_of(weights_of(learner)))
        losses.append(seen)
    return np.array(losses)


@functools.cache
def expected_histories(id: str, points: int) -> np.ndarray:
    """The same of the published run of that id, as the texts' loop has it."""
    run, (X, y) = airfoil.PRINTED[id], airfoil.examples()
    start, orders = loops.draws(SEEDS, len(X), run.epochs)
    setting = run.hyper | (FRAMEWORK.get(run.rule, {}) if run.concise else {})
    parts = orders.reshape(run.epochs * points, -1, SEEDS)
    weights = loops.descend(run.rule, setting, X, y, start, parts, run.batch_size)
    return loops.half_mean_squares(X, y, weights).T


def compared(id: str) -> tuple[np.ndarray, np.ndarray]:
    """The losses of a published run, (seeds, moments), of the library and of the loop."""
    run = airfoil.PRINTED[id]
    points = POINTS if run.batch_size < 1500 else 1
    return histories(run, points), expected_histories(id, points)


def band(axes: Axes, number: int, x: np.ndarray, losses: np.ndarray, name: str, label: str = "") -> None:
    """The median over seeds, with the middle four fifths of them shaded."""
    low, middle, high = np.percentile(losses, [10, 50, 90], axis=0)
    axes.fill_between(x, low, high, color=look(number).color, alpha=0.15, linewidth=0)
    series(axes, number, x, middle, name, label, markevery=0.25)


def heading(run: airfoil.Run) -> str:
    """What a panel is of, and what was published."""
    hyper = ", ".join(f"{airfoil.SYMBOLS[key]} = {value:g}" for key, value in run.hyper.items())
    rule = f"SGD, batch {run.batch_size}" if run.rule == "sgd" else run.rule
    rule = "gradient descent" if run.batch_size == 1500 else rule
    published = "; ".join(f"{loss:g}" for loss in dict.fromkeys(run.published.values()))
    return f"{rule}{' (concise)' if run.concise else ''}\n{hyper}\npublished {published}"


@picture("figure-epochs", "airfoil: loss against epoch of every run, with the published losses", OF_RUNS)
def epochs() -> Picture:
    rows = -(-len(airfoil.RUNS) // COLUMNS)
    figure, expected = new_figure(2.15 * COLUMNS, 2.25 * rows + 0.9), {}
    panels = list(figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flat)
    rules = list(dict.fromkeys(run.rule for run in airfoil.RUNS))
    for panel, run in zip(panels, airfoil.RUNS, strict=True):
        losses, texts = compared(run.id)
        band(panel, rules.index(run.rule), np.linspace(0, run.epochs, losses.shape[1]), losses, run.id)
        expected[run.id] = np.percentile(texts, 50, axis=0)
        for loss in sorted(set(run.published.values())):
            panel.axhline(loss, color=REFERENCE, linestyle=":", linewidth=1.2)
        panel.set_title(heading(run), fontsize=9)
        panel.set(ylim=LOSSES, xlim=(0, run.epochs), xticks=[0, run.epochs // 2, run.epochs])
        panel.axhline(airfoil.optimum(), color=REFERENCE, linewidth=0.7)
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel("½ MSE", fontsize=11)
    figure.suptitle(
        f"Airfoil: median and middle 80 % of {SEEDS} seeds; dotted: published losses; thin line: least-squares optimum",
        fontsize=11,
    )
    return figure, expected


TIMED = {
    "airfoil-gd": "gradient descent",
    "airfoil-sgd": "SGD, batch 1",
    "airfoil-sgd-100": "batch 100",
    "airfoil-sgd-10": "batch 10",
}
RISE = "gradient descent at η = 1 > 2/Λ₁ = {:.2f}\ndips, then rises without bound"


@picture(
    "figure-time",
    "airfoil: loss against time (log axis) for gradient descent, SGD, batches of 10 and of 100, in the texts' eager "
    "loop and in the library",
    {"notebook": "Minibatch Stochastic Gradient Descent"},
    note="in the eager loop SGD takes longer to the same loss than gradient descent, as the text says; compiled, it is "
    "the other way round",
)
def against_time() -> Picture:
    figure, expected = new_figure(10.4, 4.8), {}
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (id, label) in enumerate(TIMED.items()):
        run, (losses, texts) = airfoil.PRINTED[id], compared(id)
        theirs = eager.seconds_per_epoch(run.rule, run.hyper, *airfoil.examples(), run.batch_size)
        ours = float(np.median([airfoil.train(run, seed)[1] for seed in range(SEEDS)]))
        for panel, loop, seconds in ((left, "eager", theirs), (right, "compiled", ours)):
            if seconds is not None:
                x = 1e3 * seconds * run.epochs * np.arange(1, losses.shape[1]) / (losses.shape[1] - 1)
                band(panel, number, x, losses[:, 1:] - airfoil.optimum(), f"{loop}: {label}", label)
                expected[f"{loop}: {label}"] = np.percentile(texts[:, 1:], 50, axis=0) - airfoil.optimum()
    for panel, title in ((left, "The texts' loop: eager PyTorch"), (right, "This library's compiled loop")):
        panel.set(title=title, xlabel="time (ms)", xscale="log", yscale="log", ylim=(2e-4, 0.6))
        panel.set_yticks([0.001, 0.01, 0.1], ["0.001", "0.01", "0.1"])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.grid(True)
    left.set_ylabel("½ MSE above the least-squares optimum")
    largest = float(np.linalg.eigvalsh(hessian())[-1])
    right.text(0.98, 0.98, RISE.format(2 / largest), transform=right.transAxes, ha="right", va="top", fontsize=9)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure, expected


def hessian() -> np.ndarray:
    """Of ½ MSE, with the bias last."""
    X, _ = airfoil.examples()
    A = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    return A.T @ A / len(A)
