"""Section 6: what a reproduced figure is, and the figures of traces.

A figure is drawn from runs of the library. Its row reads it back, and passes if it shows what the texts' formulas,
closed forms and loops say, and nothing else: curves, bands, references and notes by their names in the legend, on axes
with these names and scales; and if `unseen` finds nothing that cannot be seen, and `flaws` no text that is cut off or
runs into another.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import schedules
from surefoot.lab.figures import flaws, look, save, style
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published.formulas import FORMULAS, states_of, walk
from surefoot.lab.published.reading import Panel, Points, Sheet, View, Within, columns, differences, read
from surefoot.lab.published.rows import NOTEBOOK, ROWS, Finding, Row, Skipped, signed
from surefoot.lab.tracing import Trace, trace
from surefoot.lab.visibility import unseen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION = "6 figures"
SUFFIXES = (".png", ".svg")
SAID = 3
"""Differences that are named; there may be more."""

Picture = tuple["Figure", Sheet]
"""A figure, and what it has to show."""

NOWHERE: Mapping[str, str] = MappingProxyType({})


def series(axes: Axes, number: int, x, y, label: str = "", **more: Any) -> None:
    """Draws a curve in the look of that number.

    Args:
        axes: the panel.
        number: of its look.
        x, y: its points.
        label: what the legend calls it.
        **more: for `plot`.
    """
    options: dict[str, Any] = look(number).line(4) | {"markevery": max(1, len(x) // 20)} | more
    axes.plot(x, y, label=label, **options)


def measure(draw: Callable[[], Picture], name: str, folder: Path | None = None) -> Finding:
    """Draws a figure and reads it back; with a folder, writes it there as PNG and SVG."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Skipped('figures need Matplotlib; run pip install "surefoot[lab]"') from None
    with style():
        figure, expected = draw()
        found, shown = [*flaws(figure), *unseen(figure)], read(figure)
    wrong, largest = differences(shown, expected)
    count = sum(len(panel.shown) for panel in shown.panels)
    said = [*wrong[:SAID], *(f"flaw: {one}" for one in found[:1])]
    text = f"{name}: {'; '.join(said)}" if said else f"{count} curves, bands and marks, where they have to be"
    if folder is not None:
        for suffix in SUFFIXES:
            save(figure, folder / f"{name}{suffix}")
        text += f"; {name}.png, .svg"
    numbers: dict[str, float] = {"shown": count, "differences": len(wrong), "flaws": len(found)}
    numbers["largest_difference"] = min(largest, np.finfo(float).max)
    return Finding(text, not wrong and not found, numbers)


def picture(
    id: str, claim: str, published: str = "", texts: Mapping[str, str] = NOWHERE, ours: str = "", note: str = ""
):
    """Decorates the function that draws a figure and says where its curves have to be; `published` is theirs."""

    def attach(draw: Callable[[], Picture]) -> Callable[[], Picture]:
        ROWS[id] = Row(id, SECTION, claim, published, functools.partial(measure, draw, id), texts, ours, note)
        return draw

    return attach


# Traces


def together(*traces: Trace) -> Figure:
    """The paths of several traces on the same problem, in one figure."""
    first = traces[0]
    return Trace(first.problem, tuple(path for one in traces for path in one.paths), first.noise, first.seed).figure()


START = (-5.0, -2.0)
FORMS: dict[str, tuple[np.ndarray, str]] = {
    "elongated": (np.diag([0.2, 4.0]), "0.1 x₁² + 2 x₂²"),
    "bowl": (np.diag([2.0, 4.0]), "x₁² + 2 x₂²"),
    "rotated": (np.array([[4.2, -3.8], [-3.8, 4.2]]), "0.1 (x₁ + x₂)² + 2 (x₁ − x₂)²"),
}
"""½xᵀQx by the names of the library's problems: Q, and the form as it is written. All start from START."""


def followed(name: str, problem: str, eta: Any, steps: int, noise: float = 0.0, start: Any = START, **hyper: float):
    """Where a formula goes, (steps + 1, …, 2), at the rate η or the schedule η(t), with the noise of seed 0."""
    (Q, _), rng = FORMS[problem], np.random.default_rng(0)
    x = np.array(start, float)
    states, seen = states_of(FORMULAS[name]), [x]
    for t in range(1, steps + 1):
        g = x @ Q + (noise * rng.standard_normal(x.shape) if noise else 0.0)
        x, *states = FORMULAS[name](t, x, g, *states, lr=eta(t) if callable(eta) else eta, **hyper)
        seen.append(x)
    return np.array(seen)


CONTOURS = 1e-3
"""How far f may be from the level of a contour line, relative to the highest: lines are straight between points."""


def expected_paths(problem: str, paths: Mapping[str, np.ndarray], diverged: Collection[str] = ()) -> Sheet:
    """What a figure of paths has to show: each over the contours of its problem, with start and minimizer.

    Args:
        problem: its name.
        paths: the points of each path, by what its panel is called.
        diverged: those that leave for infinity.
    """
    Q, form = FORMS[problem]
    contours = Within(lambda drawn: columns(*drawn[:, :2].T, ((drawn[:, :2] @ Q) * drawn[:, :2]).sum(1) / 2), CONTOURS)
    view, panels = expected_view(problem, [points for name, points in paths.items() if name not in diverged]), []
    for name, points in paths.items():
        x1, x2 = (signed(value, 3) for value in points[-1])
        end = "diverged" if name in diverged else f"x = ({x1}, {x2})"
        shown: dict[str, Points] = {"the curve": points, "contours": contours}
        shown |= {"start": np.array([START]), "minimizer": np.zeros((1, 2))}
        shown |= {"“diverged”": np.array([[0.5, 0.03]])} if name in diverged else {}
        panels.append(Panel(f"{name} step {len(points) - 1}: {end}", "x₁", "x₂", shown, view))
    return Sheet(panels, [f"f(x) = {form}"])


def expected_view(problem: str, paths: list[np.ndarray]) -> View:
    """The window of a problem, and whatever of these paths leaves it, with a twentieth of what they span."""
    left, right, bottom, top = PROBLEMS[problem].window
    points = np.concatenate(paths)
    (x_low, y_low), (x_high, y_high) = points.min(axis=0), points.max(axis=0)
    wide, high = 0.05 * (x_high - x_low), 0.05 * (y_high - y_low)
    return (min(left, x_low - wide), max(right, x_high + wide)), (min(bottom, y_low - high), max(top, y_high + high))


TRACED: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sgd, η = 0.4": ("sgd", 0.4, {}),
    "sgd, η = 0.5": ("sgd", 0.5, {}),
    "sgd, η = 0.6": ("sgd", 0.6, {}),
    "momentum, η = 0.6, momentum = 0.5": ("momentum", 0.6, {"momentum": 0.5}),
    "momentum, η = 0.6, momentum = 0.25": ("momentum", 0.6, {"momentum": 0.25}),
    "adagrad, η = 0.4": ("adagrad", 0.4, {}),
    "adagrad, η = 2": ("adagrad", 2.0, {}),
    "rmsprop, η = 0.4": ("rmsprop", 0.4, {}),
}
"""What the texts trace on the elongated bowl, by label: rule, learning rate and hyperparameters."""


def traced(steps: int) -> list[Trace]:
    rules = {"sgd": (0.4, 0.5, 0.6), "adagrad": (0.4, 2.0), "rmsprop": (0.4,)}
    paths = {rule: [trace(rule, lr=lr, steps=steps) for lr in rates] for rule, rates in rules.items()}
    heavy = [trace("momentum", lr=0.6, steps=steps, momentum=beta) for beta in (0.5, 0.25)]
    return [*paths["sgd"], *heavy, *paths["adagrad"], *paths["rmsprop"]]


def expected_traces(steps: int) -> dict[str, np.ndarray]:
    return {label: followed(rule, "elongated", lr, steps, **hyper) for label, (rule, lr, hyper) in TRACED.items()}


@picture(
    "figure-traces",
    "two-dimensional traces on 0.1x₁² + 2x₂²",
    "a figure of each, in D2L of AdaGrad's",
    {"D2L": "The Algorithm", "notebook": ""},
)
def traces() -> Picture:
    return together(*traced(20)), expected_paths("elongated", expected_traces(20), ["sgd, η = 0.6"])


@picture(
    "figure-traces-noise",
    "gradient descent, and SGD with three schedules, on x₁² + 2x₂²; exponential: 1000 steps",
    "a figure of each",
    NOTEBOOK,
    ours="the draws of the noise",
)
def traces_noise() -> Picture:
    falling, slowly = schedules.exponential(0.1, 0.1), schedules.polynomial(0.1, 0.1)
    ways = [("sgd", 0.1, 50, 0.0), ("sgd", 0.1, 50, 1.0), ("sgd", falling, 1000, 1.0), ("sgd", slowly, 50, 1.0)]
    names = ["gradient descent", "SGD", "SGD", "SGD"]
    paths = [
        dataclasses.replace(trace(rule, "bowl", lr=lr, steps=steps, noise=noise)[0], rule=name)
        for name, (rule, lr, steps, noise) in zip(names, ways, strict=True)
    ]
    printed: dict[str, tuple[Any, int, float]] = {
        "gradient descent, η = 0.1": (0.1, 50, 0.0),
        "SGD, η = 0.1, noise = 1": (0.1, 50, 1.0),
        "SGD, η(t) = 0.1 e^(−0.1t), noise = 1": (lambda t: 0.1 * np.exp(-0.1 * t), 1000, 1.0),
        "SGD, η(t) = 0.1 (1 + 0.1t)^(−0.5), noise = 1": (lambda t: 0.1 * (0.1 * t + 1) ** -0.5, 50, 1.0),
    }
    expected = {name: followed("sgd", "bowl", *way) for name, way in printed.items()}
    return Trace(PROBLEMS["bowl"], tuple(paths), 1.0).figure(), expected_paths("bowl", expected)


@picture(
    "figure-traces-rotated",
    "AdaGrad, RMSProp and full-matrix AdaGrad where the axes are turned by 45°",
    ours="the paths of the row `rotated`; the texts set the exercise and print no figure",
)
def traces_rotated() -> Picture:
    rates = {"adagrad": 2.0, "rmsprop": 0.4, "full_matrix": 2.0}
    (Q, _), start = FORMS["rotated"], np.array(START)
    expected = {
        f"{rule}, η = {lr:g}": np.array([start, *walk(rule, start, lambda t, x: Q @ x, 20, {"lr": lr})])
        for rule, lr in (("adagrad", 2.0), ("rmsprop", 0.4), ("full_matrix", 2.0))
    }
    return trace(list(rates), "rotated", lr=rates).figure(), expected_paths("rotated", expected)
