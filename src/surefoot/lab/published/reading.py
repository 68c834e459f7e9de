"""What a figure shows, read back from what was drawn, as a reader of the figure has it.

A curve has the name that the legend gives to its colour, dashes and marker, not one that the program knows: where a
legend is wrong, the curve has a wrong name here, too. Bands and references belong to the curve of their colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from surefoot.lab.figures import PALETTE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

TOLERANCE = 1e-9
"""How far points may lie from the expected ones, relative to their size: what rounding makes of long runs."""

LOG = " (log)"
HALF = 0.5
RAISED = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]")
DASHES = {"-": "line", "--": "dashed line", ":": "dotted line", "-.": "dash-dotted line", "None": "mark"}


class Within(NamedTuple):
    """Points that are expected up to another tolerance; a function computes them from the drawn ones."""

    points: np.ndarray | Callable[[np.ndarray], np.ndarray]
    tolerance: float


Points = np.ndarray | Within
View = tuple[tuple[float, float] | None, tuple[float, float] | None]


@dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Args:
        title: of the panel, on one line.
        x, y: what the axes are called; of a logarithmic one, LOG follows.
        shown: by name: the points of curves, references and texts, (n, 2); of bands x, lowest and highest, (n, 3); of
            contours x₁, x₂ and the level, (n, 3). What has the same name follows one after the other.
        view: from where to where each axis goes; None expects that all of the curves lie in it and take up half of it.
        amiss: of a drawn one, for each axis what is wrong where all of the curves are expected in it.
    """

    title: str
    x: str
    y: str
    shown: Mapping[str, Points]
    view: View = (None, None)
    amiss: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Sheet:
    """What a figure shows: its panels, and the words around them, in order."""

    panels: Sequence[Panel]
    words: Sequence[str] = ()


def level(value: float) -> np.ndarray:
    """A horizontal line across a panel."""
    return np.array([[0.0, value], [1.0, value]])


def columns(*values: Any) -> np.ndarray:
    """The points with these coordinates, (n, …)."""
    return np.stack(np.broadcast_arrays(*values), axis=-1).astype(float)


# Reading


def read(figure: Figure) -> Sheet:
    """What a figure shows."""
    shown = list(filter(is_shown, figure.axes))
    panels = [panel(axes, figure) for axes in shown]
    titles = [legend.get_title() for legend in legends_of(figure)]
    words = [one_line(text.get_text()) for text in filter(is_shown, [*figure.texts, *titles])]
    entries = {name for axes in shown for look, name in legend_of(axes, figure).items() if look[0] in PALETTE}
    unused = sorted(entries.difference(*(panel.shown for panel in panels)))
    words = list(filter(None, words))
    return Sheet(panels, words + [f"in a legend, and not drawn: {name}" for name in unused])


def panel(axes: Axes, figure: Figure) -> Panel:
    """What a panel shows, under the names of its own legend or of the figure's."""
    from matplotlib.collections import PolyCollection
    from matplotlib.contour import ContourSet

    names = legend_of(axes, figure)
    series = {look[0]: name for look, name in names.items()}
    drawn: dict[str, list[np.ndarray]] = {}
    for line in filter(is_shown, axes.lines):
        drawn.setdefault(name_of(line, names, series), []).append(np.asarray(line.get_xydata(), float))
    for artist in filter(is_shown, [*axes.collections, *axes.patches, *axes.images, *axes.tables]):
        if isinstance(artist, PolyCollection):
            color = color_of(artist.get_facecolor()[0])
            drawn.setdefault(f"band of {series.get(color, 'the curve')}", []).append(band(artist))
        elif isinstance(artist, ContourSet):
            drawn.setdefault("contours", []).append(contours(artist))
        else:
            drawn.setdefault(f"another {type(artist).__name__}", []).append(np.zeros((1, 2)))
    for text in filter(is_shown, axes.texts):
        drawn.setdefault(f"“{one_line(text.get_text())}”", []).append(np.array([text.get_position()], float))
    shown = {name: np.concatenate(parts) for name, parts in drawn.items()}
    title = one_line(axes.get_title()) if is_shown(axes.title) else ""
    view, amiss = (axes.get_xlim(), axes.get_ylim()), (out_of_view(axes, 0), out_of_view(axes, 1))
    return Panel(title, axis_name(axes, "x"), axis_name(axes, "y"), shown, view, amiss)


def is_shown(artist: Artist) -> bool:
    return artist.get_visible()


def out_of_view(axes: Axes, which: int) -> str:
    """What is wrong if all curves and bands should lie in the view of an axis, 0 for x, to within a pixel."""
    low, high = axes.bbox.get_points()[:, which]
    lines = [line.get_transform().transform(line.get_xydata()) for line in filter(is_shown, axes.lines)]
    bands = [one.get_transform().transform(path.vertices) for one in areas(axes) for path in one.get_paths()]
    for points in (part[:, which] for part in (*lines, *bands) if len(part)):
        if not (points.min() > low - 1 and points.max() < high + 1):
            return "something lies out of view"
    siblings = getattr(axes, f"get_shared_{'xy'[which]}_axes")().get_siblings(axes)
    taken = max(share_taken(other, which) for other in siblings)
    return "" if taken > HALF else "most of the view is empty"


def share_taken(axes: Axes, which: int) -> float:
    """Of the view of an axis, what the data of its panel take up; negative if it runs backwards."""
    low, high = axes.bbox.get_points()[:, which]
    first, last = axes.transData.transform(axes.dataLim.get_points())[:, which]
    return float((last - first) / (high - low))


def areas(axes: Axes) -> list[Any]:
    from matplotlib.collections import PolyCollection

    return [one for one in filter(is_shown, axes.collections) if isinstance(one, PolyCollection)]


def legends_of(figure: Figure) -> list[Legend]:
    own = (axes.get_legend() for axes in figure.axes if is_shown(axes))
    return [legend for legend in (*own, *figure.legends) if legend is not None]


def legend_of(axes: Axes, figure: Figure) -> dict[tuple[str, str, str], str]:
    """By colour, dashes and marker, what the legend of a panel, or else those of the figure, call it."""
    own = axes.get_legend()
    names: dict[tuple[str, str, str], str] = {}
    for legend in [own] if own is not None else figure.legends:
        for line, text in zip(legend.get_lines(), legend.get_texts(), strict=True):
            # Of two entries that look alike, a reader cannot tell which is meant.
            words = text.get_text() if is_shown(text) else "an entry without a name"
            names[look_of(line)] = " or ".join(filter(None, (names.get(look_of(line)), words)))
    return names


def look_of(line: Line2D) -> tuple[str, str, str]:
    return color_of(line.get_color()), str(line.get_linestyle()), str(line.get_marker())


def color_of(color: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(color)


def name_of(line: Line2D, names: Mapping[tuple[str, str, str], str], series: Mapping[str, str]) -> str:
    """What a reader calls a line: as the legend does, or by its dashes, and the series of its colour."""
    look = look_of(line)
    if look in names:
        name = names[look]
    elif look[0] in series:
        name = f"{DASHES[look[1]]} of {series[look[0]]}"
    else:
        name = "the curve" if look[0] in PALETTE else DASHES[look[1]]
    return name if line.get_drawstyle() == "default" else f"{name}, {line.get_drawstyle()}"


def band(artist: Any) -> np.ndarray:
    """x, lowest and highest of a filled area, (n, 3)."""
    vertices = np.concatenate([path.vertices for path in artist.get_paths()])
    x, place = np.unique(vertices[:, 0], return_inverse=True)
    low, high = np.full(len(x), np.inf), np.full(len(x), -np.inf)
    np.minimum.at(low, place, vertices[:, 1])
    np.maximum.at(high, place, vertices[:, 1])
    return columns(x, low, high)


def contours(artist: Any) -> np.ndarray:
    """x₁, x₂ and the level of every point of contour lines, (n, 3)."""
    lines = [(path.vertices, at) for path, at in zip(artist.get_paths(), artist.levels, strict=True)]
    return np.concatenate([columns(*vertices.T, at) for vertices, at in lines if len(vertices)])


def axis_name(axes: Axes, which: str) -> str:
    """What an axis is called, on the panel or on one that shares it, and whether it is logarithmic."""
    shared = getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)
    axis: Axis = getattr(axes, f"{which}axis")
    labels = [getattr(other, f"{which}axis").label for other in shared]
    names = {label.get_text() for label in filter(is_shown, labels)} - {""}
    scale = {"linear": "", "log": LOG}.get(axis.get_scale(), axis.get_scale())
    return " or ".join(sorted(names)) + ("" if is_numbered(axis) else " with wrong numbers") + scale


def is_numbered(axis: Axis) -> bool:
    """Whether the ticks of an axis that have a text have that of their number."""
    places = [float(place) for place in axis.get_majorticklocs()]
    ticks = axis.get_major_formatter().format_ticks(places)
    largest = max(map(abs, places), default=0.0)
    sizes = [abs(place) if axis.get_scale() == "log" else largest for place in places]
    return all(
        abs(number_of(tick) - place) <= TOLERANCE * size
        for tick, place, size in zip(ticks, places, sizes, strict=True)
        if tick
    )


def number_of(tick: str) -> float:
    """The number that a tick says, a decimal or a multiple of a power of ten; NaN for any other text.

    >>> number_of("2.5·10⁻⁶"), number_of("10²"), number_of("−0.25"), number_of("low")
    (2.5e-06, 100.0, -0.25, nan)
    """
    plain = tick.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-"))
    mantissa, _, exponent = plain.partition("10") if RAISED.search(tick) else (plain, "", "0")
    try:
        return float(f"{mantissa.removesuffix('·') or 1}e{exponent}")
    except ValueError:
        return float("nan")


def one_line(text: str) -> str:
    return " ".join(text.split())


# Comparing


def differences(drawn: Sheet, expected: Sheet) -> tuple[list[str], float]:
    """What differs between two figures, in words, and the largest distance of points relative to their tolerance."""
    found, largest = [], 0.0
    if list(drawn.words) != list(expected.words):
        found.append(f"says {'; '.join(drawn.words)!r}, expected {'; '.join(expected.words)!r}")
    if len(drawn.panels) != len(expected.panels):
        return [*found, f"{len(drawn.panels)} panels, expected {len(expected.panels)}"], np.inf
    for one, other in zip(drawn.panels, expected.panels, strict=True):
        for part in ("title", "x", "y"):
            if (ours := getattr(one, part)) != (theirs := getattr(other, part)):
                found.append(f"{part} {ours!r}, expected {theirs!r}")
        found += views_differ(one, other)
        if wrong := sorted(one.shown.keys() ^ other.shown.keys()):
            found.append(f"missing or not expected: {', '.join(wrong)}")
        logs = [getattr(other, axis).endswith(LOG) for axis in "xy"]
        for name in one.shown.keys() & other.shown.keys():
            apart = distance(one.shown[name], other.shown[name], logs)
            largest = max(largest, apart)
            if not apart <= 1:
                found.append(f"{name} is not where it has to be")
    return found, largest


def views_differ(drawn: Panel, expected: Panel) -> list[str]:
    """What is wrong with what the axes of a panel show."""
    found = []
    for axis, ours, theirs, amiss in zip("xy", drawn.view, expected.view, drawn.amiss, strict=True):
        if theirs is None:
            found += [f"{axis} of {drawn.title}: {amiss}"] if amiss else []
        elif ours is None or not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * abs(theirs[1] - theirs[0])):
            found.append(f"{axis} of {drawn.title} from {ours}, expected {theirs}")
    return found


def distance(drawn: Points, expected: Points, logs: Sequence[bool] = (False, False)) -> float:
    """How far points lie from the expected ones, relative to the tolerance; infinite if there are others, or NaN.

    Args:
        drawn, expected: the points.
        logs: whether x and y are logarithmic: each point is then relative to itself, and else to the largest.
    """
    wanted, tolerance = expected if isinstance(expected, Within) else (expected, TOLERANCE)
    assert isinstance(drawn, np.ndarray)
    points = wanted(drawn) if callable(wanted) else wanted
    if drawn.shape != points.shape or not np.isfinite(drawn).all():
        return float("inf")
    along = [logs[min(column, 1)] for column in range(points.shape[1])]
    scale = np.where(along, np.abs(points), np.abs(points).max(axis=0))
    return float((np.abs(drawn - points) / np.maximum(scale, np.finfo(float).tiny)).max()) / tolerance
