"""Figures: the palette and style of the whole laboratory, traces over contours, and the pictures of the source texts.

Every function returns a Matplotlib figure made without pyplot, so nothing here changes a caller's state.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.lab.problems import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from surefoot.lab.tracing import Path, Trace

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
"""Okabe & Ito's colours, which people with any colour vision can tell apart; the yellow darkened for white paper."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SUFFIXES = (".png", ".svg", ".pdf")
COLUMNS = 3
FRAMES = 120

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#666666",
    "axes.grid": False,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#DDDDDD",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    # Text stays text: it can be searched and read aloud.
    "svg.fonttype": "none",
    "svg.hashsalt": "surefoot",
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The style of the laboratory's figures, within the `with` block and nowhere else.

    Raises:
        ValueError: if Matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ValueError('figures need Matplotlib; run pip install "surefoot[lab]"') from None
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def curves(title: str, x_label: str, y_label: str, width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one empty panel for curves."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(True)
    return figure, axes


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Writes a figure as PNG, SVG or PDF, by the suffix of the path, making its folder.

    Raises:
        ValueError: for any other suffix, or if it cannot be written there.
    """
    target = FilePath(path)
    check_suffix(target)
    # A date in the file would make equal figures differ.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(target.suffix.lower())
    with writing(target), style():
        figure.savefig(target, metadata=metadata)


def check_suffix(figure: FilePath | None = None, animation: FilePath | None = None) -> None:
    """Raises ValueError unless a figure is to be written as PNG, SVG or PDF, and an animation as GIF."""
    for target, what, suffixes in ((figure, "a figure", SUFFIXES), (animation, "an animation", (".gif",))):
        if target is not None and target.suffix.lower() not in suffixes:
            found = target.suffix or "no suffix"
            raise ValueError(f"{target}: {what} is written as {', '.join(suffixes)}; found {found}")


@contextlib.contextmanager
def writing(target: FilePath) -> Iterator[None]:
    """Makes the folder of a file; what keeps it from being written becomes one sentence."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ValueError(f"{target}: cannot be written: {error.strerror or error}") from None


def flaws(figure: Figure) -> list[str]:
    """The texts of a figure that do not lie inside it or run into one another.

    >>> figure, axes = curves("A title", "x", "y")
    >>> flaws(figure)
    []
    >>> _ = figure.text(0.99, 0.5, "cut off on the right")
    >>> flaws(figure)
    ['cut off on the right']
    """
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure) if text.get_text().strip()]
    found = [text for text, box in boxes if not _inside(box, figure.bbox)]
    for i, (text, box) in enumerate(boxes):
        found += [f"{text} | {other}" for other, near in boxes[:i] if _overlapping(box, near)]
    return found


def _inside(box, frame) -> bool:
    """Whether a box lies in a frame, to within a pixel."""
    return box.x0 > frame.x0 - 1 and box.y0 > frame.y0 - 1 and box.x1 < frame.x1 + 1 and box.y1 < frame.y1 + 1


def _overlapping(one, other) -> bool:
    """Whether two boxes have more in common than the two pixels that fonts leave around letters."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    return width > 2 and min(one.y1, other.y1) - max(one.y0, other.y0) > 2


def _texts(figure: Figure) -> list[Any]:
    """The texts that are seen: titles, labels, legends, notes, and the ticks within an axis's limits."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        legend = axes.get_legend()
        texts += [axes.title, *axes.texts, *(legend.get_texts() if legend else ())]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [
                tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
            texts += [axis.label, *(tick.label1 for tick in ticks)]
    return texts


# Traces


def trace_figure(trace: Trace) -> Figure:
    """Every path of a trace over the contours of its problem, a panel each, all with the same axes."""
    with style():
        figure, panels, _ = _panels(trace)
        for panel, path in zip(panels, trace.paths, strict=True):
            panel.set_title(_heading(path, len(path.rates)))
        # With fixed aspects, a layout settles at its second drawing.
        figure.draw_without_rendering()
        return figure


def trace_gif(trace: Trace, path: str | PathLike[str], frames_per_second: int = 8) -> None:
    """Writes an animation of the panels of `trace_figure`; long traces skip steps, to stay below 120 frames.

    Raises:
        ValueError: if the path does not end in .gif or cannot be written.
    """
    target = FilePath(path)
    check_suffix(None, target)
    with style():
        from PIL import Image

        images = list(_frames(trace))
    # One palette, the last image's, so that pixels that do not move take no room.
    palette = images[-1].quantize(128)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with writing(target):
        pause = 1000 // frames_per_second
        durations = [pause] * (len(frames) - 1) + [10 * pause]
        frames[0].save(target, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _frames(trace: Trace):
    """The images of an animation. The contours are drawn once; only paths and titles change from frame to frame."""
    from PIL import Image

    figure, panels, lines = _panels(trace)
    canvas: Any = figure.canvas
    for panel, path in zip(panels, trace.paths, strict=True):
        panel.set_title(_heading(path, len(path.rates)))
    canvas.draw()
    figure.set_layout_engine("none")
    moving = [*lines, *(panel.title for panel in panels), *(text for panel in panels for text in panel.texts)]
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    steps = max(len(path.rates) for path in trace.paths)
    for t in np.unique(np.linspace(0, steps, min(steps + 1, FRAMES)).astype(int)):
        canvas.restore_region(background)
        for panel, line, path in zip(panels, lines, trace.paths, strict=True):
            line.set_data(*path.positions[: t + 1].T)
            panel.set_title(_heading(path, t))
            for artist in (line, panel.title, *(panel.texts if t == steps else ())):
                panel.draw_artist(artist)
        yield Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")


def _panels(trace: Trace):
    """A figure with contours, start, minimizer and path for every path of a trace; the panels and the lines in them."""
    count = len(trace.paths)
    columns = 2 if count == 4 else min(count, COLUMNS)
    rows = -(-count // columns)
    window = _window(trace)
    left, right, low, high = window
    panel_height = 3.4 * min(max((high - low) / (right - left), 0.6), 1.0)
    figure = new_figure(max(3.9 * columns, 5.2), (panel_height + 0.75) * rows + 1.1)
    panels: list[Any] = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_visible(False)
    lines = []
    for number, (panel, path) in enumerate(zip(panels, trace.paths, strict=False)):
        contours(panel, trace.problem, window)
        lines.append(_draw_path(panel, path, number))
        panel.label_outer()
        # The lowest panel of every column says what its axis is, even where the last row is short.
        if number + columns >= count:
            panel.xaxis.set_tick_params(labelbottom=True)
            panel.set_xlabel("x₁")
    figure.suptitle(f"f(x) = {trace.problem.formula}", fontsize=12)
    _legend(figure)
    return figure, panels[:count], lines


def _draw_path(panel: Axes, path: Path, number: int):
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    markers: dict[str, Any] = {"marker": marker, "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.4}
    if len(path.positions) > 60:
        markers = {"marker": marker, "markersize": 2.5, "markeredgewidth": 0}
    (line,) = panel.plot(*path.positions.T, color=colour, label="steps", zorder=3, **markers)
    panel.plot(*path.positions[0], marker="o", color="none", markeredgecolor="#222222", markersize=10, zorder=4)
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

    blank: dict[str, Any] = {"linestyle": "none", "color": "none"}
    handles = [
        Line2D([], [], color="#555555", marker="o", markersize=4.5, label="path, a marker each step"),
        Line2D([], [], marker="o", markersize=9, markeredgecolor="#222222", label="start", **blank),
        Line2D([], [], marker="*", markersize=12, color="#222222", linestyle="none", label="minimizer"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _heading(path: Path, t: int) -> str:
    """What is traced, and where it is after step t."""
    t = min(t, len(path.rates))
    x1, x2 = path.positions[t]
    name = textwrap.fill(path.label, 38)
    if path.diverged and t == len(path.rates):
        return f"{name}\nstep {t}: diverged"
    return f"{name}\nstep {t}: x = ({_plain(x1)}, {_plain(x2)})"


def _plain(value: float) -> str:
    return (f"{value:.3f}" if abs(value) < 1000 else f"{value:.1e}").replace("-", "−")


def _window(trace: Trace) -> tuple[float, float, float, float]:
    """The problem's window, widened to hold the start and every path that did not diverge."""
    left, right, low, high = trace.problem.window
    points = np.vstack([path.positions[:1] if path.diverged else path.positions for path in trace.paths])
    (x_low, y_low), (x_high, y_high) = points.min(axis=0), points.max(axis=0)
    x_margin, y_margin = 0.05 * (x_high - x_low), 0.05 * (y_high - y_low)
    return (
        min(left, x_low - x_margin),
        max(right, x_high + x_margin),
        min(low, y_low - y_margin),
        max(high, y_high + y_margin),
    )


def contours(panel: Axes, problem: Problem, window: Sequence[float]) -> None:
    """Contour lines of a problem, at levels that grow geometrically from its minimum, and a star at its minimizer."""
    left, right, low, high = window
    x1, x2 = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))
    values = problem.at(np.stack([x1, x2], axis=-1))
    base = min(float(problem.at(np.asarray(problem.minimizer))), float(values.min()))
    span = float(values[np.isfinite(values)].max()) - base
    if span > 0:
        levels = base + np.geomspace(1e-3, 1, 13) * span
        panel.contourf(x1, x2, values, levels=[base - 1e-3 * span, *levels], cmap="Greys", alpha=0.25, zorder=0)
        panel.contour(x1, x2, values, levels=levels, colors="#9A9A9A", linewidths=0.7, zorder=1)
    panel.plot(*problem.minimizer, marker="*", markersize=12, color="#222222", zorder=5, linestyle="none")
    panel.set(xlim=(left, right), ylim=(low, high), xlabel="x₁", ylabel="x₂")
    if 0.5 < (right - left) / (high - low) < 2:
        panel.set_aspect("equal")
