"""Figures that are altered or drawn wrongly on purpose: tables, to see that checks notice."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from surefoot.lab.figures import PALETTE


@dataclass(frozen=True)
class FigureMutant:
    """A figure that is altered after it was drawn.

    Attributes:
        what: how.
        parts: what of a figure can be altered in this way, each part on its own.
        alter: alters a part, and returns the function that undoes it.
    """

    what: str
    parts: Callable[[Any], Iterable[Any]]
    alter: Callable[[Any], Callable[[], object]]


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def lines(figure, kind):
    """The lines of a kind: "curve", "reference" or "mark"."""
    for axes in panels(figure):
        for line in axes.lines:
            solid = str(line.get_linestyle())
            curve = line.get_color() in PALETTE and solid != ":"
            if kind == ("mark" if solid == "None" else "curve" if curve else "reference"):
                yield line


def curves(figure):
    return lines(figure, "curve")


def references(figure):
    return lines(figure, "reference")


def areas(figure):
    from matplotlib.collections import PolyCollection

    return [one for axes in panels(figure) for one in axes.collections if isinstance(one, PolyCollection)]


def outlines(figure):
    from matplotlib.contour import ContourSet

    return [one for axes in panels(figure) for one in axes.collections if isinstance(one, ContourSet)]


def legends(figure):
    own = [axes.get_legend() for axes in panels(figure) if axes.get_legend()]
    return [legend for legend in [*own, *figure.legends] if len(legend.get_texts()) > 1]


def neighbours(figure):
    """Two curves of a panel."""
    for axes in panels(figure):
        yield from pairwise([line for line in curves(figure) if line.axes is axes])


def data(change):
    """Changes the points of a line."""

    def alter(line):
        x, y = line.get_data()
        line.set_data(*change(np.asarray(x, float), np.asarray(y, float)))
        return lambda: line.set_data(x, y)

    return alter


def vertices(change):
    """Changes the points of an area or of contour lines."""

    def alter(artist):
        before = [(path, path.vertices) for path in artist.get_paths()]
        for path, points in before:
            path.vertices = change(points)
        return lambda: [setattr(path, "vertices", points) for path, points in before]

    return alter


def exchanged(get, put):
    """Exchanges what two artists have."""

    def alter(pair):
        one, two = (getattr(artist, get)() for artist in pair)
        for artist, value in zip(pair, (two, one), strict=True):
            getattr(artist, put)(value)
        return lambda: [getattr(artist, put)(value) for artist, value in zip(pair, (one, two), strict=True)]

    return alter


def hidden(artist):
    artist.set_visible(False)
    return lambda: artist.set_visible(True)


def reworded(text):
    before = text.get_text()
    text.set_text(before + "0")
    return lambda: text.set_text(before)


def reversed_legend(legend):
    texts = legend.get_texts()
    words = [text.get_text() for text in texts]
    for text, word in zip(texts, reversed(words), strict=True):
        text.set_text(word)
    return lambda: [text.set_text(word) for text, word in zip(texts, words, strict=True)]


def rescaled(which):
    """Makes a logarithmic axis linear, and the other way round."""

    def alter(axes):
        get, put = getattr(axes, f"get_{which}scale"), getattr(axes, f"set_{which}scale")
        before, axis = get(), getattr(axes, f"{which}axis")
        ticks = [axis.get_major_locator(), axis.get_major_formatter(), axis.get_view_interval().copy()]
        # Points at zero do not matter to a check of the scale.
        put({"linear": "symlog", "log": "linear"}[before])

        def undo():
            put(before)
            axis.set_major_locator(ticks[0])
            axis.set_major_formatter(ticks[1])
            axis.set_view_interval(*ticks[2], ignore=True)

        return undo

    return alter


def looked_away(axes):
    """Shows what lies to the right of the panel."""
    before, there = axes.get_xlim(), axes.transAxes.transform([[1.1, 0], [2.1, 0]])
    axes.set_xlim(axes.transData.inverted().transform(there)[:, 0])
    return lambda: axes.set_xlim(before)


def numbered(axis):
    """Writes twice the number at each tick."""
    before = axis.get_major_formatter()
    axis.set_major_formatter(lambda value, _: f"{2 * value:g}")
    return lambda: axis.set_major_formatter(before)


def spanned(axes):
    """Shades a part of the panel."""
    area = axes.axvspan(*axes.get_xlim(), alpha=0.1)
    return area.remove


def axes_of(figure):
    return [axis for axes in panels(figure) for axis in (axes.xaxis, axes.yaxis)]


def names_of_axes(figure):
    return [(axes.xaxis.label, axes.yaxis.label) for axes in panels(figure) if axes.get_xlabel() != axes.get_ylabel()]


def titles(figure):
    return pairwise([axes.title for axes in panels(figure)])


def notes(figure):
    titles = [legend.get_title() for legend in legends(figure) if legend.get_title().get_text()]
    return [*titles, *(text for holder in (figure, *panels(figure)) for text in holder.texts)]


FIGURE_MUTANTS = (
    FigureMutant("x of a curve is scaled", curves, data(lambda x, y: (1.01 * x, y))),
    FigureMutant("x of a curve is moved", curves, data(lambda x, y: (x + 0.01, y))),
    FigureMutant("y of a curve is scaled", curves, data(lambda x, y: (x, 1.01 * y))),
    FigureMutant("a curve is a step late", curves, data(lambda x, y: (x, np.roll(y, 1)))),
    FigureMutant("a curve ends early", curves, data(lambda x, y: (x[:-1], y[:-1]))),
    FigureMutant("a curve is dropped", curves, hidden),
    FigureMutant("the points of two curves are exchanged", neighbours, exchanged("get_data", "set_data")),
    FigureMutant("the colours of two curves are exchanged", neighbours, exchanged("get_color", "set_color")),
    FigureMutant("a published line or floor is moved", references, data(lambda x, y: (x, 1.01 * y))),
    FigureMutant("a floor times 3", references, data(lambda x, y: (x, 3 * y))),
    FigureMutant("a closed form times 100", references, data(lambda x, y: (x, 100 * y))),
    FigureMutant("a reference is dropped", references, hidden),
    FigureMutant("a mark is moved", lambda figure: lines(figure, "mark"), data(lambda x, y: (x + 0.1, y))),
    FigureMutant("a band is shifted", areas, vertices(lambda points: points + np.array([0, 0.01]))),
    FigureMutant("a band is dropped", areas, hidden),
    FigureMutant("the contours are those of another function", outlines, vertices(lambda points: 1.1 * points)),
    FigureMutant("a legend is reversed", legends, reversed_legend),
    FigureMutant(
        "two labels of a legend are exchanged",
        lambda figure: [legend.get_texts()[:2] for legend in legends(figure)],
        exchanged("get_text", "set_text"),
    ),
    FigureMutant("x is on another scale", panels, rescaled("x")),
    FigureMutant("y is on another scale", panels, rescaled("y")),
    FigureMutant("a panel shows another range", panels, looked_away),
    FigureMutant("the numbers of an axis are twice as large", axes_of, numbered),
    FigureMutant("something else is drawn over a panel", panels, spanned),
    FigureMutant("the names of the axes are exchanged", names_of_axes, exchanged("get_text", "set_text")),
    FigureMutant("the titles of two panels are exchanged", titles, exchanged("get_text", "set_text")),
    FigureMutant("a title has another number", lambda f: [axes.title for axes in panels(f)], reworded),
    FigureMutant("a note says something else", notes, reworded),
)
"""What an altered figure can get wrong. Every part of every figure that can be altered so is, one at a time."""


# What cannot be seen


def has(name, value):
    """Gives an artist another value of a property."""

    def alter(artist):
        before = getattr(artist, f"get_{name}")()
        getattr(artist, f"set_{name}")(value)
        return lambda: getattr(artist, f"set_{name}")(before)

    return alter


def without_ink(line):
    undo = [has("linewidth", 0.0)(line), has("markersize", 0.0)(line)]
    return lambda: [step() for step in undo]


def under_paper(axes):
    """Lays white paper over a panel, which belongs to the figure and not to the panel."""
    from matplotlib.patches import Rectangle

    (x, y), (width, height) = axes.bbox.p0, axes.bbox.size
    paper = Rectangle((x, y), width, height, transform=None, facecolor="white", zorder=10)
    axes.figure.add_artist(paper)
    return paper.remove


def views(which, low, high):
    """Shows from one share of an axis's range to another."""

    def alter(axes):
        before, column = getattr(axes, f"get_{which}lim")(), "xy".index(which)
        ends = axes.transData.inverted().transform(axes.transAxes.transform([[low, low], [high, high]]))
        getattr(axes, f"set_{which}lim")(ends[:, column])
        return lambda: getattr(axes, f"set_{which}lim")(before)

    return alter


def without_numbers(axis):
    from matplotlib.ticker import NullLocator

    before = axis.get_major_locator()
    axis.set_major_locator(NullLocator())
    return lambda: axis.set_major_locator(before)


def numbers_in(which, color):
    def alter(figure):
        for axes in panels(figure):
            axes.tick_params(axis=which, labelcolor=color)
        return lambda: [axes.tick_params(axis=which, labelcolor="black") for axes in panels(figure)]

    return alter


def words(figure):
    """All texts but those on a background of their own."""
    own = [text for axes in panels(figure) for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
    entries = [text for legend in legends(figure) for text in (*legend.get_texts(), legend.get_title())]
    shown = [text for text in (*own, *figure.texts, *entries) if text.get_text() and text.get_visible()]
    return [text for text in shown if text.get_bbox_patch() is None]


def entries(figure):
    return [handle for legend in legends(figure) for handle in legend.legend_handles]


def marks(figure):
    return lines(figure, "mark")


HIDING = (
    FigureMutant("a curve is transparent", curves, has("alpha", 0.0)),
    FigureMutant("a curve is nearly transparent", curves, has("alpha", 0.2)),
    FigureMutant("a curve has no width", curves, without_ink),
    FigureMutant("a curve is too thin", curves, has("linewidth", 0.4)),
    FigureMutant("a reference is transparent", references, has("alpha", 0.0)),
    FigureMutant("a reference has no width", references, without_ink),
    FigureMutant("a reference is pale", references, has("color", "#dddddd")),
    FigureMutant("a mark is transparent", marks, has("alpha", 0.0)),
    FigureMutant("a mark is tiny", marks, has("markersize", 1.0)),
    FigureMutant("contour lines are too thin", outlines, has("linewidths", 0.3)),
    FigureMutant("contour lines are transparent", outlines, has("alpha", 0.0)),
    FigureMutant("contour lines are pale", outlines, has("edgecolor", "#dddddd")),
    FigureMutant("a panel lies under white paper", panels, under_paper),
    FigureMutant("a panel is as dark as its curves", panels, has("facecolor", "#555555")),
    FigureMutant("x shows the left half alone", panels, views("x", 0.0, 0.5)),
    FigureMutant("y shows the lower half alone", panels, views("y", 0.0, 0.5)),
    FigureMutant("x shows ten times as much", panels, views("x", -4.5, 5.5)),
    FigureMutant("y shows ten times as much", panels, views("y", -4.5, 5.5)),
    FigureMutant("an axis has no numbers", axes_of, without_numbers),
    FigureMutant("the numbers of x are white", lambda figure: [figure], numbers_in("x", "white")),
    FigureMutant("the numbers of y are white", lambda figure: [figure], numbers_in("y", "white")),
    FigureMutant("a text is white", words, has("color", "white")),
    FigureMutant("a text is pale", words, has("color", "#aaaaaa")),
    FigureMutant("a text is tiny", words, has("fontsize", 4.0)),
    FigureMutant("a text is hidden", words, hidden),
    FigureMutant("an entry of a legend is transparent", entries, has("alpha", 0.0)),
)
"""How what is drawn in its place can be hidden from a reader."""


def patched(change):
    """Makes a method of Matplotlib, or a function of the library, that changes what it is given or returns."""

    def build(sound, calls):
        def broken(*given, **options):
            calls.append(given)
            return change(sound, *given, **options)

        return broken

    return build


def reversed_entries(axes):
    handles, labels = axes.get_legend_handles_labels()
    return handles, labels[::-1]


WRONGLY_DRAWN = {
    "plot scales x": (
        "matplotlib.axes.Axes.plot",
        patched(lambda sound, axes, x, y, *rest, **options: sound(axes, 1.01 * np.asarray(x), y, *rest, **options)),
    ),
    "plot scales y": (
        "matplotlib.axes.Axes.plot",
        patched(lambda sound, axes, x, y, *rest, **options: sound(axes, x, 1.01 * np.asarray(y), *rest, **options)),
    ),
    "lines across are three times as high": (
        "matplotlib.axes.Axes.axhline",
        patched(lambda sound, axes, y, **options: sound(axes, 3 * y, **options)),
    ),
    "lines across are a little too high": (
        "matplotlib.axes.Axes.axhline",
        patched(lambda sound, axes, y, **options: sound(axes, y + 0.001, **options)),
    ),
    "bands lie too high": (
        "matplotlib.axes.Axes.fill_between",
        patched(lambda sound, axes, x, low, high, **options: sound(axes, x, low, high + 0.01, **options)),
    ),
    "the closed form is a hundred times as large": (
        "surefoot.lab.published.curve_pictures.closed_form",
        patched(lambda sound, *given: 100 * sound(*given)),
    ),
    "the legend is reversed": (
        "matplotlib.axes.Axes.legend",
        patched(lambda sound, axes, **options: sound(axes, *reversed_entries(axes), **options)),
    ),
    "logarithmic axes are linear": (
        "matplotlib.axes.Axes.set_yscale",
        patched(lambda sound, axes, scale: sound(axes, "linear")),
    ),
}
"""By what goes wrong while a figure is drawn: what is replaced, and by what."""
