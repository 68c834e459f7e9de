"""Section 6: what a reproduced figure is, and the figures of traces.

A figure is drawn from runs of the library. Its row passes if it has exactly the expected curves, every one of them
where the texts' formulas, closed forms or loops have it, and if no text is cut off or runs into another.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import schedules
from surefoot.lab.figures import flaws, look, save, style
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published.formulas import FORMULAS, states_of, walk
from surefoot.lab.published.rows import ROWS, Finding, Row, Skipped
from surefoot.lab.tracing import Trace, trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SECTION = "6 figures"
SUFFIXES = (".png", ".svg")
TOLERANCE = 1e-9
"""How far a curve may lie from the expected one, relative to its largest value: what rounding makes of long runs."""

Expected = Mapping[str, np.ndarray]
"""By the name of a curve: its values, (n,), or its points, (n, 2)."""

Picture = tuple["Figure", Expected]
NOWHERE: Mapping[str, str] = MappingProxyType({})


def series(axes: Axes, number: int, x, y, name: str, label: str = "", **more: Any) -> None:
    """Draws a curve of that name, in the look of that number; `label` is what the legend calls it.

    Args:
        axes: the panel.
        number: of its look.
        x, y: its points.
        name: by which its row finds it; no two curves of a figure have the same.
        label: for the legend; the name by default.
        **more: for `plot`.
    """
    options: dict[str, Any] = look(number).line(4) | {"markevery": max(1, len(x) // 20)} | more
    axes.plot(x, y, gid=name, label=label or name, **options)


def drawn(figure: Figure) -> dict[str, Line2D]:
    """The curves of a figure by name; lines without one are references."""
    named = {str(line.get_gid() or line.get_label()): line for axes in figure.axes for line in axes.lines}
    return {name: line for name, line in named.items() if not name.startswith("_")}


def distance(line: Line2D, expected: np.ndarray) -> float:
    """How far a curve lies from the expected one, relative to its largest value; infinite if it has other points."""
    found = np.asarray(line.get_xydata(), float)
    found = found[:, 1] if expected.ndim == 1 else found
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    scale = np.maximum(np.abs(expected).max(axis=0), np.finfo(float).tiny)
    return float((np.abs(found - expected) / scale).max())


def measure(draw: Callable[[], Picture], name: str, folder: Path | None = None) -> Finding:
    """Draws a figure and looks at it; with a folder, writes it there as PNG and SVG."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Skipped('figures need Matplotlib; run pip install "surefoot[lab]"') from None
    with style():
        figure, expected = draw()
        found, lines = flaws(figure), drawn(figure)
    wrong = sorted(lines.keys() ^ expected.keys())
    apart = {curve: distance(lines[curve], values) for curve, values in expected.items() if curve in lines}
    worst = max(apart, key=lambda curve: apart[curve], default="")
    text = f"{len(lines)} curves, within {max(apart.values(), default=0):.0e} of their formulas"
    if wrong:
        text += f"; missing or not expected: {', '.join(wrong)}"
    elif worst and apart[worst] > TOLERANCE:
        text += f"; the furthest is {worst}"
    if found:
        text += f"; in the way: {found[0]}"
    if folder is not None:
        for suffix in SUFFIXES:
            save(figure, folder / f"{name}{suffix}")
        text += f"; {name}.png, .svg"
    largest = min(max(apart.values(), default=0.0), np.finfo(float).max)
    numbers: dict[str, float] = {"curves": len(lines), "texts_in_the_way": len(found), "largest_difference": largest}
    return Finding(text, not wrong and largest <= TOLERANCE and not found, numbers)


def picture(id: str, claim: str, texts: Mapping[str, str] = NOWHERE, ours: str = "", note: str = ""):
    """Decorates the function that draws a figure and says where its curves have to be."""

    def attach(draw: Callable[[], Picture]) -> Callable[[], Picture]:
        shown = "a figure" if texts else ""
        ROWS[id] = Row(id, SECTION, claim, shown, functools.partial(measure, draw, id), texts, ours, note)
        return draw

    return attach


# Traces


def together(*traces: Trace) -> Figure:
    """The paths of several traces on the same problem, in one figure."""
    first = traces[0]
    return Trace(first.problem, tuple(path for one in traces for path in one.paths), first.noise, first.seed).figure()


def followed(name: str, problem: str, eta: Any, steps: int, noise: float = 0.0, start: Any = None, **hyper: float):
    """Where a formula goes, (steps + 1, …, 2), at the rate η or the schedule η(t), with the noise of seed 0."""
    where, rng = PROBLEMS[problem], np.random.default_rng(0)
    x = np.array(where.start if start is None else start, float)
    states, seen = states_of(FORMULAS[name]), [x]
    for t in range(1, steps + 1):
        g = where.slope(x) + (noise * rng.standard_normal(x.shape) if noise else 0.0)
        x, *states = FORMULAS[name](t, x, g, *states, lr=eta(t) if callable(eta) else eta, **hyper)
        seen.append(x)
    return np.array(seen)


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

BOWL = {"notebook": "Stochastic Gradient Descent"}
TURNED = {"D2L": "Exercises", "notebook": "RMSProp, exercises"}
PATHS = {"D2L": "The Algorithm", "notebook": "Momentum; RMSProp"}


def traced(steps: int) -> list[Trace]:
    return [trace(rule, lr=lr, steps=steps, **hyper) for rule, lr, hyper in TRACED.values()]


def expected_traces(steps: int) -> dict[str, np.ndarray]:
    return {label: followed(rule, "elongated", lr, steps, **hyper) for label, (rule, lr, hyper) in TRACED.items()}


@picture("figure-traces", "two-dimensional traces on 0.1x₁² + 2x₂²", PATHS)
def traces() -> Picture:
    return together(*traced(20)), expected_traces(20)


@picture(
    "figure-traces-noise",
    "gradient descent, and SGD with three schedules, on x₁² + 2x₂²; exponential: 1000 steps",
    BOWL,
)
def traces_noise() -> Picture:
    falling, slowly = schedules.exponential(0.1, 0.1), schedules.polynomial(0.1, 0.1)
    ways = [("sgd", 0.1, 50, 0.0), ("sgd", 0.1, 50, 1.0), ("sgd", falling, 1000, 1.0), ("sgd", slowly, 50, 1.0)]
    names = ["gradient descent", "SGD", "SGD", "SGD"]
    paths = [
        dataclasses.replace(trace(rule, "bowl", lr=lr, steps=steps, noise=noise)[0], rule=name)
        for name, (rule, lr, steps, noise) in zip(names, ways, strict=True)
    ]
    printed = [0.1, 0.1, lambda t: 0.1 * np.exp(-0.1 * t), lambda t: 0.1 * (0.1 * t + 1) ** -0.5]
    expected = {
        path.label: followed(rule, "bowl", eta, steps, noise)
        for path, eta, (rule, _, steps, noise) in zip(paths, printed, ways, strict=True)
    }
    return Trace(PROBLEMS["bowl"], tuple(paths), 1.0).figure(), expected


@picture("figure-traces-rotated", "AdaGrad, RMSProp and full-matrix AdaGrad where the axes are turned by 45°", TURNED)
def traces_rotated() -> Picture:
    rates = {"adagrad": 2.0, "rmsprop": 0.4, "full_matrix": 2.0}
    where = PROBLEMS["rotated"]
    expected = {
        f"{rule}, η = {lr:g}": np.array(
            [where.start, *walk(rule, np.array(where.start), lambda t, x: where.slope(x), 20, {"lr": lr})]
        )
        for rule, lr in rates.items()
    }
    return trace(list(rates), "rotated", lr=rates).figure(), expected
