"""Section 6: the figures the source texts show, drawn from runs made here.

A figure is reproduced if it has all its curves, every number in it is finite, and no text is cut off or runs into
another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step, order
from surefoot.lab.figures import MARKERS, PALETTE, curves, flaws, save, style
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published import airfoil
from surefoot.lab.published.rows import ROWS, Finding, Row, Skipped
from surefoot.lab.published.theory import states
from surefoot.lab.race import pass_through, weights_of
from surefoot.lab.tracing import Trace, trace, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION = "6 figures"
SEEDS = 20
SUFFIXES = (".png", ".svg")
EXCESS = "loss above the least-squares optimum"


def measure(draw: Callable[[], Figure], name: str, curves: int, folder: Path | None = None) -> Finding:
    """Draws a figure and looks at it; with a folder, writes it there as PNG and SVG."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Skipped('figures need Matplotlib; run pip install "surefoot[lab]"') from None
    with style():
        figure = draw()
        found = flaws(figure)
        lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
    finite = all(np.isfinite(np.asarray(line.get_xydata(), float)).all() for line in lines)
    text = (
        f"{len(lines)} curves" + ("" if finite else ", not all finite") + (f", in the way: {found[0]}" if found else "")
    )
    if folder is not None:
        for suffix in SUFFIXES:
            save(figure, folder / f"{name}{suffix}")
        text += f"; {name}.png, .svg"
    numbers: dict[str, float] = {"curves": len(lines), "texts_in_the_way": len(found)}
    return Finding(text, len(lines) == curves and finite and not found, numbers)


def picture(id: str, claim: str, curves: int):
    """Decorates the function that draws a figure; `curves` is how many it must have."""

    def attach(draw: Callable[[], Figure]) -> Callable[[], Figure]:
        ROWS[id] = Row(id, SECTION, claim, f"{curves} curves", functools.partial(measure, draw, id, curves))
        return draw

    return attach


# Traces


def together(*traces: Trace) -> Figure:
    """The paths of several traces on the same problem, in one figure."""
    first = traces[0]
    return Trace(first.problem, tuple(path for one in traces for path in one.paths), first.noise, first.seed).figure()


@picture("figure-traces", "two-dimensional traces on 0.1x₁² + 2x₂²", 7)
def traces() -> Figure:
    return together(
        trace(["sgd", "adagrad"], lr={"sgd": [0.4, 0.6], "adagrad": [0.4, 2.0]}),
        trace("momentum", lr=0.6, momentum=0.5),
        trace("momentum", lr=0.6, momentum=0.25),
        trace("rmsprop", lr=0.4),
    )


@picture("figure-traces-noise", "gradient descent, and SGD with three schedules, on x₁² + 2x₂²", 4)
def traces_noise() -> Figure:
    falling, slowly = schedules.exponential(0.1, 0.1), schedules.polynomial(0.1, 0.1)
    falling.__name__, slowly.__name__ = "0.1 e^(−0.1t)", "0.1 (1 + 0.1t)^(−½)"
    return together(
        trace("sgd", "bowl", lr=0.1, steps=50),
        trace("sgd", "bowl", lr=[0.1, falling, slowly], noise=1.0, steps=50),
    )


@picture("figure-traces-rotated", "AdaGrad and RMSProp where the axes are turned by 45°, and full-matrix AdaGrad", 3)
def traces_rotated() -> Figure:
    rates = {"adagrad": 2.0, "rmsprop": 0.4, "full_matrix": 2.0}
    return trace(list(rates), "rotated", lr=rates).figure()


# Runs on the airfoil data


def histories(run: airfoil.Run, points: int, epochs: int | None = None) -> np.ndarray:
    """The loss above its optimum, before training and at `points` even moments of every epoch, a row for every seed."""
    losses = []
    for seed in range(SEEDS):
        learner, data, rng = airfoil.start(run, seed)
        seen = [airfoil.loss_of(weights_of(learner))]
        for _ in range(epochs or run.epochs):
            for part in np.array_split(order(len(data), rng).reshape(-1, run.batch_size), points):
                pass_through(learner, data, part.ravel())
                seen.append(airfoil.loss_of(weights_of(learner)))
        losses.append(seen)
    return np.array(losses) - airfoil.optimum()


def run_of(id: str) -> airfoil.Run:
    return next(run for run in airfoil.RUNS if run.id == id)


def band(axes: Axes, number: int, x: np.ndarray, losses: np.ndarray, label: str) -> None:
    """The median over seeds, with the middle four fifths of them shaded."""
    low, middle, high = np.percentile(losses, [10, 50, 90], axis=0)
    colour = PALETTE[number % len(PALETTE)]
    axes.plot(x, middle, color=colour, label=label, marker=MARKERS[number % len(MARKERS)], markersize=4, markevery=0.2)
    axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def loss_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylim(5e-4, 0.4)
    axes.set_yticks([0.001, 0.01, 0.1], ["0.001", "0.01", "0.1"])


@picture("figure-epochs", "airfoil: loss against epoch, batches of 10", 8)
def epochs() -> Figure:
    figure, axes = curves("Airfoil: loss against epoch, batches of 10, median of 20 seeds", "epoch", EXCESS, 7.6, 5.0)
    shown = ("sgd-10", "momentum-0.5", "momentum-0.9", "adagrad", "rmsprop", "adadelta", "adam", "yogi")
    for number, name in enumerate(shown):
        losses = histories(run_of(f"airfoil-{name}"), 15)
        band(axes, number, np.linspace(0, 2, losses.shape[1]), losses, name.removesuffix("-10"))
    loss_axis(axes)
    axes.legend(ncols=2)
    return figure


@picture("figure-time", "airfoil: loss against time (log axis) for gradient descent, SGD, batches of 10 and of 100", 4)
def against_time() -> Figure:
    figure, axes = curves("Airfoil: loss against training time, median of 20 seeds", "time (ms)", EXCESS, 7.0, 4.6)
    labels = {"gd": "gradient descent", "sgd": "SGD, batch 1", "sgd-100": "batch 100", "sgd-10": "batch 10"}
    for number, (name, label) in enumerate(labels.items()):
        run = run_of(f"airfoil-{name}")
        points = 1 if run.batch_size > 100 else 5
        losses = histories(run, points)
        seconds = float(np.median([airfoil.train(run, seed)[1] for seed in range(SEEDS)]))
        band(axes, number, 1e3 * seconds * np.arange(1, losses.shape[1]) / points, losses[:, 1:], label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    loss_axis(axes)
    axes.legend()
    return figure


# Curves


@picture("figure-schedules", "the three schedules", 4)
def three_schedules() -> Figure:
    figure, axes = curves("Learning rates that change with time", "step t", "learning rate η(t)")
    t = np.arange(1, 101)
    shown = {
        "constant 0.1": schedules.constant(0.1),
        "piecewise constant": schedules.piecewise_constant([25, 60], [0.1, 0.05, 0.02]),
        "exponential, λ = 0.1": schedules.exponential(0.1, 0.1),
        "polynomial, α = ½, β = 0.1": schedules.polynomial(0.1, 0.1),
    }
    for number, (label, schedule) in enumerate(shown.items()):
        axes.plot(t, schedule(t), color=PALETTE[number], label=label)
    axes.set_ylim(0, 0.115)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.86))
    return figure


@picture("figure-weights", "the weight of a gradient τ steps ago in momentum and in RMSProp, over 40 steps", 8)
def weights() -> Figure:
    from surefoot.lab.figures import new_figure

    figure = new_figure(9.4, 4.2)
    impulse = np.append(1.0, np.zeros(40))
    panels = figure.subplots(1, 2)
    for panel, rule, slot, key, symbol, values in (
        (panels[0], "momentum", "velocity", "momentum", "β", (0.95, 0.9, 0.6, 0.0)),
        (panels[1], "rmsprop", "square", "gamma", "γ", (0.95, 0.9, 0.8, 0.7)),
    ):
        for number, value in enumerate(values):
            hyper: dict[str, Any] = {key: value}
            seen = states(Step(rule, engine=ORACLE, **hyper), impulse, slot)
            panel.plot(seen, color=PALETTE[number], label=f"{symbol} = {value:g}", marker=MARKERS[number], markersize=3)
        panel.set(title=f"{rule}: weight of the gradient τ steps ago", xlabel="τ (steps)", ylabel="weight")
        panel.grid(True)
        panel.legend()
    return figure


@picture("figure-scalar", "(1 − ηλ)^t for λ = 0.1, 1, 10, 19 at η = 0.1", 4)
def scalar() -> Figure:
    figure, axes = curves("Gradient descent on ½λx² from x₀ = 1, η = 0.1", "step t", "x_t = (1 − ηλ)^t")
    curvature = np.array([0.1, 1.0, 10.0, 19.0])
    step, x = Step("sgd", lr=0.1, engine=ORACLE), np.ones(4)
    state, seen = step.init(x), [np.ones(4)]
    for _ in range(20):
        step.dense(x, curvature * x, state)
        seen.append(x.copy())
    for number, values in enumerate(np.array(seen).T):
        axes.plot(
            values, color=PALETTE[number], label=f"λ = {curvature[number]:g}", marker=MARKERS[number], markersize=3
        )
    axes.set_xticks(range(0, 21, 4))
    axes.legend(title="converges iff |1 − ηλ| < 1")
    return figure


@picture("figure-iterations", "gradient descent against SGD, by iteration, on x₁² + 2x₂²", 2)
def iterations() -> Figure:
    figure, axes = curves("x₁² + 2x₂², η = 0.1: exact and noisy gradients", "iteration", "f(x), mean of 1,000 seeds")
    problem = PROBLEMS["bowl"]
    for number, (label, noise) in enumerate({"gradient descent": 0.0, "SGD, gradient + N(0, 1) noise": 1.0}.items()):
        start = np.tile(problem.start, (1000, 1))
        positions = walk(Step("sgd", lr=0.1, engine=ORACLE), problem, start, 50, noise)[0]
        axes.plot(problem.at(positions).mean(axis=1), color=PALETTE[number], label=label)
    axes.set_yscale("log")
    axes.legend()
    return figure
