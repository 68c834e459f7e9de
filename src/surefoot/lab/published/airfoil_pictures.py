"""Section 6: the figures of runs on the airfoil data, their curves held against the texts' loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from surefoot.engines import order
from surefoot.lab.figures import REFERENCE, look, new_figure, plain_logarithms
from surefoot.lab.published import airfoil, eager, loops
from surefoot.lab.published.pictures import Picture, picture, series
from surefoot.lab.published.reading import Panel, Points, Sheet, columns, level
from surefoot.lab.published.rows import NOTEBOOK
from surefoot.lab.race import pass_through, weights_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS = 20
POINTS = 5
"""Moments of every epoch at which the loss is taken: each after whole mini-batches, of 1, 10 or 100."""

LOSSES = (0.2395, 0.285)
"""Of the panels; every published loss lies between them."""

COLUMNS = 6
OF_RUNS = {"D2L": "Implementation from Scratch", "notebook": ""}


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
    run, (X, y) = loops.RUNS[id], airfoil.examples()
    start, orders = loops.draws(SEEDS, len(X), run.epochs)
    parts = orders.reshape(run.epochs * points, -1, SEEDS)
    weights = loops.descend(run.formula, run.setting, X, y, start, parts, run.batch_size)
    return loops.half_mean_squares(X, y, weights).T


def compared(id: str) -> tuple[np.ndarray, np.ndarray]:
    """The losses of a published run, (seeds, moments), of the library and of the loop."""
    run = airfoil.BY_ID[id]
    points = POINTS if run.batch_size < 1500 else 1
    return histories(run, points), expected_histories(id, points)


def band(axes: Axes, number: int, x: np.ndarray, losses: np.ndarray, label: str = "") -> None:
    """The median over seeds, with the middle four fifths of them shaded."""
    low, middle, high = np.percentile(losses, [10, 50, 90], axis=0)
    axes.fill_between(x, low, high, color=look(number).color, alpha=0.15, linewidth=0)
    series(axes, number, x, middle, label, markevery=0.25)


def expected_band(x: np.ndarray, losses: np.ndarray, name: str) -> dict[str, Points]:
    """What `band` has to show: of 20 seeds in order, between which two the tenth, the half and nine tenths lie."""
    ordered, last = np.sort(losses, axis=0), len(losses) - 1
    low, middle, high = (
        (1 - share) * ordered[place] + share * ordered[place + 1]
        for place, share in ((int(at), at % 1) for at in (0.1 * last, 0.5 * last, 0.9 * last))
    )
    return {name: columns(x, middle), f"band of {name}": columns(x, low, high)}


def heading(run: airfoil.Run) -> str:
    """What a panel is of, and what was published."""
    hyper = ", ".join(f"{airfoil.SYMBOLS[key]} = {value:g}" for key, value in run.hyper.items())
    rule = f"SGD, batch {run.batch_size}" if run.rule == "sgd" else run.rule
    rule = "gradient descent" if run.batch_size == 1500 else rule
    published = "; ".join(f"{loss:g}" for loss in dict.fromkeys(run.published.values()))
    return f"{rule}{' (concise)' if run.concise else ''}\n{hyper}\npublished {published}"


EXPECTED_HEADINGS = {
    "airfoil-gd": "gradient descent η = 1 published 0.244",
    "airfoil-sgd": "SGD, batch 1 η = 0.005 published 0.244",
    "airfoil-sgd-100": "SGD, batch 100 η = 0.4 published 0.249",
    "airfoil-sgd-10": "SGD, batch 10 η = 0.05 published 0.245",
    "airfoil-sgd-10-concise": "SGD, batch 10 (concise) η = 0.05 published 0.246",
    "airfoil-momentum-0.5": "momentum η = 0.02, β = 0.5 published 0.245",
    "airfoil-momentum-0.9": "momentum η = 0.01, β = 0.9 published 0.257",
    "airfoil-momentum-0.9-small": "momentum η = 0.005, β = 0.9 published 0.251",
    "airfoil-momentum-0.9-small-concise": "momentum (concise) η = 0.005, β = 0.9 published 0.243",
    "airfoil-adagrad": "adagrad η = 0.1 published 0.242; 0.243",
    "airfoil-adagrad-concise": "adagrad (concise) η = 0.1 published 0.242; 0.243; 0.244",
    "airfoil-rmsprop": "rmsprop η = 0.01, γ = 0.9 published 0.247",
    "airfoil-rmsprop-concise": "rmsprop (concise) η = 0.01, γ = 0.9 published 0.244",
    "airfoil-adadelta": "adadelta ρ = 0.9 published 0.243",
    "airfoil-adadelta-concise": "adadelta (concise) ρ = 0.9 published 0.243",
    "airfoil-adam": "adam η = 0.01 published 0.245",
    "airfoil-adam-concise": "adam (concise) η = 0.01 published 0.246",
    "airfoil-yogi": "yogi η = 0.01 published 0.244",
}
"""What `heading` has to say, on one line."""

SHOWN = "median and middle 80 % of {} seeds; dotted: published losses; thin line: least-squares optimum"


@picture(
    "figure-epochs",
    "airfoil: loss against epoch of every run, with the published losses",
    "a figure of each run, of one draw",
    OF_RUNS,
    ours=f"the median and the middle 80% of {SEEDS} draws, the published losses as lines, and the optimum",
)
def epochs() -> Picture:
    rows = -(-len(airfoil.RUNS) // COLUMNS)
    figure, texts = new_figure(2.15 * COLUMNS, 2.25 * rows + 0.9), {}
    panels = list(figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flat)
    rules = list(dict.fromkeys(run.rule for run in airfoil.RUNS))
    for panel, run in zip(panels, airfoil.RUNS, strict=True):
        losses, texts[run.id] = compared(run.id)
        band(panel, rules.index(run.rule), np.linspace(0, run.epochs, losses.shape[1]), losses)
        for loss in sorted(set(run.published.values())):
            panel.axhline(loss, color=REFERENCE, linestyle=":", linewidth=1.2)
        panel.set_title(heading(run), fontsize=9)
        panel.set(ylim=LOSSES, xlim=(0, run.epochs), xticks=[0, run.epochs // 2, run.epochs])
        panel.axhline(airfoil.optimum(), color=REFERENCE, linewidth=0.7)
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel("½ MSE", fontsize=11)
    figure.suptitle(f"Airfoil: {SHOWN.format(SEEDS)}", fontsize=11)
    words = ["epoch", "½ MSE", f"Airfoil: {SHOWN.format(SEEDS)}"]
    return figure, Sheet([expected_epochs(id, texts[id]) for id in EXPECTED_HEADINGS], words)


def expected_epochs(id: str, losses: np.ndarray) -> Panel:
    """What the panel of a run has to show, from the losses of the texts' loop."""
    run, moments = loops.RUNS[id], losses.shape[1] - 1
    shown = expected_band(np.arange(moments + 1) * run.epochs / moments, losses, "the curve")
    shown |= {"dotted line": np.concatenate([level(loss) for loss in sorted(run.losses)]), "line": level(least())}
    return Panel(EXPECTED_HEADINGS[id], "", "", shown, ((0, run.epochs), (0.2395, 0.285)))


TIMED = {
    "airfoil-gd": "gradient descent",
    "airfoil-sgd": "SGD, batch 1",
    "airfoil-sgd-100": "batch 100",
    "airfoil-sgd-10": "batch 10",
}
ABOVE = "½ MSE above the least-squares optimum"
RISE_AT = np.array([[0.98, 0.98]])
RISE = "gradient descent at η = 1 > 2/Λ₁ = {:.2f}\ndips, then rises without bound"


@picture(
    "figure-time",
    "airfoil: loss against time (log axis) for gradient descent, SGD, batches of 10 and of 100, in the texts' eager "
    "loop and in the library",
    "a figure of the loop, of one draw",
    NOTEBOOK,
    ours=f"the median and the middle 80% of {SEEDS} draws, the distance from the optimum, and the library's loop",
    note="in the eager loop SGD takes longer to the same loss than gradient descent, as the text says; compiled, it is "
    "the other way round",
)
def against_time() -> Picture:
    figure = new_figure(10.4, 4.8)
    left, right = figure.subplots(1, 2, sharey=True)
    shown: dict[str, dict[str, Points]] = {"eager": {}, "compiled": {rise(): RISE_AT}}
    for number, (id, label) in enumerate(TIMED.items()):
        run, (losses, texts) = airfoil.BY_ID[id], compared(id)
        theirs = eager.seconds_per_epoch(run.rule, run.hyper, *airfoil.examples(), run.batch_size)
        ours = float(np.median([airfoil.train(run, seed)[1] for seed in range(SEEDS)]))
        for panel, loop, seconds in ((left, "eager", theirs), (right, "compiled", ours)):
            if seconds is not None:
                x = 1e3 * seconds * run.epochs * np.arange(1, losses.shape[1]) / (losses.shape[1] - 1)
                band(panel, number, x, losses[:, 1:] - airfoil.optimum(), label)
                shown[loop] |= expected_times(id, seconds, texts, label)
    titles = {"eager": "The texts' loop: eager PyTorch", "compiled": "This library's compiled loop"}
    for panel, title in zip((left, right), titles.values(), strict=True):
        panel.set(title=title, xlabel="time (ms)", xscale="log", yscale="log", ylim=(2e-4, 0.6))
        plain_logarithms(panel)
        panel.grid(True)
    left.set_ylabel(ABOVE)
    A = design()
    largest = float(np.linalg.eigvalsh(A.T @ A / len(A))[-1])
    right.text(*RISE_AT[0], RISE.format(2 / largest), transform=right.transAxes, ha="right", va="top", fontsize=9)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    view = (None, (2e-4, 0.6))
    panels = [Panel(titles[loop], "time (ms) (log)", f"{ABOVE} (log)", shown[loop], view) for loop in shown]
    return figure, Sheet(panels)


def expected_times(id: str, seconds: float, losses: np.ndarray, label: str) -> dict[str, Points]:
    """The curve of a run whose epochs took these seconds each, from the losses of the texts' loop."""
    each = losses.shape[1] // loops.RUNS[id].epochs
    x = np.cumsum(np.full(losses.shape[1] - 1, 1000 * seconds / each))
    return expected_band(x, losses[:, 1:] - least(), label)


def design() -> np.ndarray:
    """The features, with the bias last."""
    X, _ = airfoil.examples()
    return np.column_stack([X, np.ones(len(X))]).astype(np.float64)


def least() -> float:
    """The least-squares optimum again, by the normal equations."""
    A, (_, y) = design(), airfoil.examples()
    rest = y - A @ np.linalg.solve(A.T @ A, A.T @ y)
    return float(rest @ rest) / len(y) / 2


def rise() -> str:
    """The note on gradient descent again, with Λ₁ as the square of the largest singular value."""
    largest = np.linalg.svd(design(), compute_uv=False)[0] ** 2 / len(design())
    return f"“{' '.join(RISE.format(2 / largest).split())}”"
