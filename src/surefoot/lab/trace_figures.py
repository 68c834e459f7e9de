"""Figures of traces: every path of a trace over contour lines, as a figure, an animation, or small for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from os import PathLike
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.lab.figures import CONTOUR, Look, check_suffix, look, new_figure, style, writing
from surefoot.lab.problems import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from surefoot.lab.paths import Path

MINIMUM: dict[str, Any] = {
    "marker": "*",
    "color": "none",
    "markeredgecolor": "#222222",
    "markersize": 12,
    "linestyle": "none",
}
"""A star, hollow, so that it does not hide where paths end."""

START: dict[str, Any] = {"marker": "o", "color": "none", "markeredgecolor": "#222222", "linestyle": "none"}

FRAMES = 120

Window = tuple[float, float, float, float]
"""x₁ from and to, x₂ from and to."""


def trace_figure(problem: Problem, paths: Sequence[Path]) -> Figure:
    """Every path of a trace over the contours of its problem, a panel each, all with the same axes."""
    with style():
        figure, panels, _ = _panels(problem, paths)
        for panel, path in zip(panels, paths, strict=True):
            panel.set_title(_heading(path, len(path.rates)))
        # With fixed aspects, a layout settles at its second drawing.
        figure.draw_without_rendering()
        return figure


def trace_gif(problem: Problem, paths: Sequence[Path], path: str | PathLike[str], frames_per_second: int = 8) -> None:
    """Writes an animation of the panels of `trace_figure`; long traces skip steps, to stay below 120 frames.

    Raises:
        ValueError: if the path does not end in .gif or cannot be written.
    """
    target = FilePath(path)
    check_suffix(None, target)
    with style():
        from PIL import Image

        images = list(_frames(problem, paths))
    # One palette, the last image's, so that pixels that do not move take no room.
    palette = images[-1].quantize(128)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with writing(target) as file:
        pause = 1000 // frames_per_second
        durations = [pause] * (len(frames) - 1) + [10 * pause]
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _frames(problem: Problem, paths: Sequence[Path]):
    """The images of an animation. The contours are drawn once; only paths and titles change from frame to frame."""
    from PIL import Image

    figure, panels, lines = _panels(problem, paths)
    canvas: Any = figure.canvas
    for panel, path in zip(panels, paths, strict=True):
        panel.set_title(_heading(path, len(path.rates)))
    canvas.draw()
    figure.set_layout_engine("none")
    moving = [*lines, *(panel.title for panel in panels), *(text for panel in panels for text in panel.texts)]
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    steps = max(len(path.rates) for path in paths)
    for t in np.unique(np.linspace(0, steps, min(steps + 1, FRAMES)).astype(int)):
        canvas.restore_region(background)
        for panel, line, path in zip(panels, lines, paths, strict=True):
            line.set_data(*path.positions[: t + 1].T)
            panel.set_title(_heading(path, t))
            for artist in (line, panel.title, *(panel.texts if t == steps else ())):
                panel.draw_artist(artist)
        yield Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")


def _panels(problem: Problem, paths: Sequence[Path]):
    """A figure with contours, start, minimizer and path for every path of a trace; the panels and the lines in them."""
    count = len(paths)
    rows, columns = shape(count)
    window = window_of(problem, paths, share=0.05)
    left, right, low, high = window
    panel_height = 3.4 * min(max((high - low) / (right - left), 0.6), 1.0)
    figure = new_figure(max(3.9 * columns, 5.2), (panel_height + 0.75) * rows + 1.1)
    panels: list[Any] = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_visible(False)
    lines, rules = [], list(dict.fromkeys(path.rule for path in paths))
    for number, (panel, path) in enumerate(zip(panels, paths, strict=False)):
        ground(panel, problem, window)
        lines.append(_draw_path(panel, path, look(rules.index(path.rule))))
        panel.label_outer()
        # The lowest panel of every column says what its axis is, even where the last row is short.
        if number + columns >= count:
            panel.xaxis.set_tick_params(labelbottom=True)
            panel.set_xlabel("x₁")
    figure.suptitle(f"f(x) = {problem.formula}", fontsize=12)
    _legend(figure)
    return figure, panels[:count], lines


def shape(count: int) -> tuple[int, int]:
    """Rows and columns for that number of panels: few empty places, then as square as can be.

    >>> shape(3), shape(4), shape(7), shape(8)
    ((1, 3), (2, 2), (2, 4), (2, 4))
    """
    ways = [(-(-count // columns), columns) for columns in ((3, 4, 2) if count > 3 else (count,))]
    return min(ways, key=lambda way: (way[0] * way[1] - count, abs(way[0] - way[1])))


def _draw_path(panel: Axes, path: Path, way: Look):
    markers: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.4}
    if len(path.positions) > 40:
        markers = {"markersize": 2.5, "markeredgewidth": 0}
    (line,) = panel.plot(*path.positions.T, color=way.color, marker=way.marker, label=path.label, zorder=3, **markers)
    panel.plot(*path.positions[0], markersize=10, zorder=4, **START)
    if path.diverged:
        panel.text(
            0.5,
            0.03,
            "diverged",
            transform=panel.transAxes,
            ha="center",
            color="white",
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "#A32A00", "edgecolor": "none"},
            zorder=6,
        )
    return line


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="#555555", marker="o", markersize=4.5, label="path, a marker each step"),
        Line2D([], [], markersize=9, label="start", **START),
        Line2D([], [], label="minimizer", **MINIMUM),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _heading(path: Path, t: int) -> str:
    """What is traced, and where it is after step t."""
    t = min(t, len(path.rates))
    x1, x2 = path.positions[t]
    # Lines break between settings, not inside one.
    name = textwrap.fill(path.label.replace(" = ", "\u00a0=\u00a0"), 38)
    if path.diverged and t == len(path.rates):
        return f"{name}\nstep {t}: diverged"
    return f"{name}\nstep {t}: x = ({_plain(x1)}, {_plain(x2)})"


def _plain(value: float) -> str:
    text = f"{value:.3f}" if abs(value) < 1000 else f"{value:.1e}"
    return text.replace("-", "−" if float(text) else "")


def small_figures(problem: Problem, paths: Sequence[Path], looks: dict[str, Look]) -> list[Figure]:
    """Each path of a trace as a small figure of its own, in the look of its rule."""
    with style():
        return [small_figure(problem, paths, path, looks[path.rule]) for path in paths]


def small_figure(problem: Problem, paths: Sequence[Path], path: Path, way: Look) -> Figure:
    """One path over contour lines, without a title, and without numbers at the corners, which would be cut off."""
    from matplotlib.ticker import MaxNLocator

    window = window_of(problem, paths, more=0.3)
    figure = new_figure(2.9, 2.2)
    panel = figure.add_subplot()
    surface = surface_of(problem, window, 60)
    contours(panel, *surface, levels=np.geomspace(0.02, surface[-1].max(), 9), colors=CONTOUR, linewidths=0.6)
    star = {"markersize": 9, "markeredgecolor": "#000000", "color": "#ffffff"}
    panel.plot(*problem.minimizer, **MINIMUM | star)
    panel.plot(*path.positions.T, color=way.color, marker=way.marker, markersize=3, linewidth=1.2)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(5, prune="both"))
    # The first layout is made before the axes have their numbers.
    figure.draw_without_rendering()
    return figure


# What paths are drawn over


def window_of(problem: Problem, paths: Sequence[Path], share: float = 0.0, more: float = 0.0) -> Window:
    """The problem's window, widened to hold the start and every path that did not diverge.

    Args:
        problem: has a window of its own.
        paths: all that are drawn over it.
        share: of what the paths span, as a margin around them.
        more: an additional margin.
    """
    left, right, low, high = problem.window
    points = np.vstack([path.positions[:1] if path.diverged else path.positions for path in paths])
    lowest, highest = points.min(axis=0), points.max(axis=0)
    margin = share * (highest - lowest) + more
    (x_low, y_low), (x_high, y_high) = lowest - margin, highest + margin
    return min(left, x_low), max(right, x_high), min(low, y_low), max(high, y_high)


def surface_of(problem: Problem, window: Window, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x₁, x₂ and f there, on a square grid in the window."""
    left, right, low, high = window
    x1, x2 = np.meshgrid(np.linspace(left, right, points), np.linspace(low, high, points))
    return x1, x2, problem.at(np.stack([x1, x2], axis=-1))


def ground(panel: Axes, problem: Problem, window: Window) -> None:
    """Contour lines of a problem, at levels that grow geometrically from its minimum, and a star there."""
    left, right, low, high = window
    x1, x2, values = surface_of(problem, window, 200)
    base = min(float(problem.at(np.asarray(problem.minimizer))), float(values.min()))
    span = float(values[np.isfinite(values)].max()) - base
    levels = base + np.geomspace(1e-3, 1, 13) * span if span > 0 else np.empty(0)
    contours(panel, x1, x2, values, levels, colors=CONTOUR, linewidths=0.7)
    panel.plot(*problem.minimizer, zorder=4, **MINIMUM)
    if 0.5 < (right - left) / (high - low) < 2:
        panel.set_aspect("equal")


def contours(panel: Axes, x1: np.ndarray, x2: np.ndarray, values: np.ndarray, levels: np.ndarray, **lines: Any) -> None:
    """Contour lines at these levels, if there are any, and axes with names that end where the grid does."""
    if len(levels):
        panel.contour(x1, x2, values, levels=levels, zorder=1, **lines)
    panel.set(xlim=(x1[0, 0], x1[0, -1]), ylim=(x2[0, 0], x2[-1, 0]), xlabel="x₁", ylabel="x₂")
