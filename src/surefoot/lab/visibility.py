"""What a reader cannot see of a figure: curves, areas and texts that leave too little on it, axes without numbers.

A figure is drawn again, one artist after the other. The ink of an artist are the pixels that it changes to a colour
whose contrast with the paper under it suffices for its kind; what is drawn later can cover it. So it does not matter
why something is not seen: no width, a transparent or pale colour, another range of the axis, or paper over it.

WCAG 2.2, success criteria 1.4.3 and 1.4.11, and its definition of the contrast ratio.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis, Tick
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

TEXT = 4.5
CURVE = 3.0
AREA = 1.1
"""Contrast ratios. A band is pale, so that curves on it are seen, and it is seen by its size."""

COVERING = 60
"""What changes a channel of a pixel by as much, of 255, covers what was there; a band over a curve does not."""

FEWEST = 4
"""Pixels of ink."""

SHARE = 0.2
"""Of the pixels that a piece changes, those that are ink; and of these, those that stay uncovered."""

THIN = 2.0
"""Pixels: narrower bands are hidden by the curve in them, if they can be drawn at all."""

SMALLEST = 7.0
"""Points: smaller letters cannot be read, whatever their colour."""

THINNEST, FINEST = 0.7, 0.5
"""Points: a curve has to be a pixel wide; of several at once, such as contour lines, more than half of that will do."""

DOT = 2.0
"""Points: of marks without a line."""

LINEAR = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.arange(256) / 255])


class Piece(NamedTuple):
    """What is drawn at once.

    Attributes:
        artist: what draws it.
        name: what it is called where it is not seen; empty if that does not matter.
        contrast: that its ink has to have.
        box: where it can leave ink.
    """

    artist: Artist
    name: str
    contrast: float
    box: BboxBase


@dataclass(frozen=True)
class Ink:
    """What a piece left as it was drawn, the how manyth it was: rows and columns of its box, its pixels in it, and
    how many changed at all."""

    piece: Piece
    number: int
    place: tuple[slice, slice]
    pixels: np.ndarray
    changed: int


def unseen(figure: Figure) -> list[str]:
    """What cannot be seen of a figure that was drawn, in words."""
    found, page, shown = [], Page(figure), set()
    for ink in page.inks:
        over = page.papered if ink.piece.contrast == AREA else page.covered
        free = int((ink.pixels & (over[ink.place] <= ink.number)).sum())
        count = int(ink.pixels.sum())
        if count < max(FEWEST, SHARE * ink.changed):
            found.append(f"{ink.piece.name}: cannot be seen")
        elif free < max(FEWEST, SHARE * count):
            found.append(f"{ink.piece.name}: is covered")
        elif size := undersized(ink.piece.artist):
            found.append(f"{ink.piece.name}: is too {size}")
        else:
            shown.add(ink.piece.artist)
    for axes in filter(has_data, figure.axes):
        for which in "xy":
            if not is_numbered(axes, which, shown):
                found.append(f"{which} of {panel_name(axes)}: has no numbers")
    return found


class Page:
    """A figure as it fills.

    Attributes:
        inks: of the pieces that have to be seen.
        covered: by pixel, the number of the last piece that covered what was there.
        papered: the same by paper, as a line may hide a band that is narrower.
        paper: by pixel, the relative luminance without lines, texts and bands.
    """

    def __init__(self, figure: Figure):
        from matplotlib.backends.backend_agg import RendererAgg

        width, height = (int(size) for size in figure.bbox.size)
        self.renderer = RendererAgg(width, height, figure.dpi)
        self.covered, self.papered = np.zeros((2, height, width), int)
        self.paper, self.inks = np.ones((height, width)), list[Ink]()
        for number, piece in enumerate(pieces(figure), 1):
            self.draw(number, piece)

    def draw(self, number: int, piece: Piece) -> None:
        """Draws a piece, and keeps what it left if it has a name."""
        from matplotlib.collections import Collection
        from matplotlib.lines import Line2D
        from matplotlib.text import Text

        place = self.place(piece.box)
        background = self.draw_background(piece.artist)
        before = self.pixels(place)
        with sharp(piece.artist):
            piece.artist.draw(self.renderer)
        after, paper, pale = self.pixels(place), self.paper[place], piece.contrast == AREA
        difference = np.abs(after - before).max(axis=-1)
        before, after, changed = luminance(before), luminance(after), difference > 0
        if piece.name:
            # A line that is nearly transparent does not become ink by what it is drawn over.
            ink = (changed if pale else difference >= COVERING) & (
                contrast(after, before if background else paper) >= piece.contrast
            )
            self.inks.append(Ink(piece, number, place, ink, int(changed.sum())))
        self.covered[place][difference >= COVERING] = number
        if not (pale or isinstance(piece.artist, (Line2D, Collection, Text))):
            self.papered[place][difference >= COVERING] = number
            paper[changed] = after[changed]

    def draw_background(self, artist: Any) -> bool:
        """Draws what an artist has around it, the box of a text or the halo of a line; whether there is any."""
        box, effects = getattr(artist, "get_bbox_patch", lambda: None)(), artist.get_path_effects()
        if box is not None:
            box.draw(self.renderer)
        if effects:
            artist.set_path_effects(effects[:-1])
            artist.draw(self.renderer)
            artist.set_path_effects(effects)
        return box is not None or bool(effects)

    def place(self, box: BboxBase) -> tuple[slice, slice]:
        """The rows and columns of a box, with a margin of two pixels."""
        height, width = self.covered.shape
        x0, y0, x1, y1 = np.nan_to_num(box.extents)
        rows = slice(*(int(np.clip(y, 0, height)) for y in (height - y1 - 2, height - y0 + 3)))
        return rows, slice(*(int(np.clip(x, 0, width)) for x in (x0 - 2, x1 + 3)))

    def pixels(self, place: tuple[slice, slice]) -> np.ndarray:
        """Red, green and blue of pixels, of 255; paper is white."""
        found = np.asarray(self.renderer.buffer_rgba())[place].astype(np.int16)
        opaque = found[..., 3:] == 255
        return found[..., :3] if opaque.all() else np.where(opaque, found[..., :3], 255)


def undersized(artist: Any) -> str:
    """Whether a text or a mark is too small, or a line too thin; empty if not."""
    from matplotlib.collections import LineCollection
    from matplotlib.contour import ContourSet
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    kind = type(artist)
    if issubclass(kind, Text):
        return "small" if artist.get_fontsize() < SMALLEST else ""
    if issubclass(kind, Line2D) and artist.get_linestyle() == "None":
        return "small" if artist.get_markersize() < DOT else ""
    if issubclass(kind, Line2D):
        return "thin" if artist.get_linewidth() < THINNEST else ""
    lines = issubclass(kind, (LineCollection, ContourSet))
    return "thin" if lines and np.min(artist.get_linewidths(), initial=np.inf) < FINEST else ""


def luminance(pixels: np.ndarray) -> np.ndarray:
    """The relative luminance of red, green and blue, (…, 3)."""
    return LINEAR[pixels] @ [0.2126, 0.7152, 0.0722]


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The contrast ratios of relative luminances."""
    return (np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05)


@contextlib.contextmanager
def sharp(artist: Any) -> Iterator[None]:
    """Draws lines without mixing their colour with what is behind them: thin ones have no other pixels."""
    if not hasattr(artist, "set_antialiased"):
        yield
        return
    before = artist.get_antialiased()
    artist.set_antialiased(False)
    yield
    artist.set_antialiased(before)


# What is drawn, in its order


def pieces(figure: Figure) -> Iterator[Piece]:
    """What a figure is made of, in the order in which it is drawn."""
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    yield Piece(figure.patch, "", CURVE, figure.bbox)
    for artist in in_order(child for child in figure.get_children() if child is not figure.patch):
        if isinstance(artist, Axes):
            yield from pieces_of_axes(artist)
        elif isinstance(artist, Legend):
            yield from pieces_of_legend(artist)
        else:
            yield from piece_of(artist, figure.bbox, "the figure")


def pieces_of_axes(axes: Axes) -> Iterator[Piece]:
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend

    box, where = axes.figure.bbox, panel_name(axes)
    yield Piece(axes.patch, "", CURVE, axes.bbox)
    for artist in in_order(child for child in axes.get_children() if child is not axes.patch):
        if isinstance(artist, Axis):
            yield from pieces_of_axis(artist, box)
        elif isinstance(artist, Legend):
            yield from pieces_of_legend(artist)
        else:
            yield from piece_of(artist, axes.bbox if artist.get_clip_on() else box, where)


def pieces_of_axis(axis: Axis, box: BboxBase) -> Iterator[Piece]:
    """Grid lines, numbers and the name of an axis."""
    for tick in ticks(axis):
        if tick.gridline.get_visible():
            yield Piece(tick.gridline, "", CURVE, axis.axes.bbox)
    for text in (*(tick.label1 for tick in ticks(axis)), axis.label):
        yield from piece_of(text, box, panel_name(axis.axes))


def pieces_of_legend(legend: Any) -> Iterator[Piece]:
    """The entries of a legend, each by itself."""
    frame = legend.get_frame()
    if frame.get_visible() and legend.get_frame_on():
        yield Piece(frame, "", CURVE, frame.get_window_extent())
    for artist in (*legend.legend_handles, *legend.get_texts(), legend.get_title()):
        yield from piece_of(artist, legend.get_window_extent(), "a legend")


def piece_of(artist: Any, box: BboxBase, where: str) -> Iterator[Piece]:
    """An artist, with a name if it is one that has to be seen."""
    from matplotlib.collections import Collection, PolyCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.spines import Spine
    from matplotlib.text import Text

    if not artist.get_visible():
        return
    if isinstance(artist, Text):
        words = " ".join(artist.get_text().split())
        if words:
            yield Piece(artist, f"“{words}” of {where}", TEXT, artist.get_window_extent())
    elif isinstance(artist, Spine):
        yield Piece(artist, "", CURVE, box)
    elif isinstance(artist, (Line2D, Collection, Patch)):
        label = str(artist.get_label())
        name = "" if label.startswith("_") else f" “{label}”"
        band = isinstance(artist, PolyCollection)
        pale = band or (isinstance(artist, Patch) and artist.get_alpha() is not None)
        name = "" if band and width(artist) < THIN else f"{type(artist).__name__}{name} of {where}"
        yield Piece(artist, name, AREA if pale else CURVE, box)
    else:
        yield Piece(artist, "", CURVE, box)


def width(band: Any) -> float:
    """The mean width of a band in pixels, of its area and circumference."""
    area = around = 0.0
    for path in band.get_paths():
        x, y = band.get_transform().transform(path.vertices).T
        area += abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        around += float(np.hypot(np.diff(x), np.diff(y)).sum())
    return 2 * area / max(around, 1.0)


def in_order(artists: Iterator[Artist]) -> list[Artist]:
    return sorted((artist for artist in artists if artist.get_visible()), key=lambda artist: artist.get_zorder())


def ticks(axis: Axis) -> list[Tick]:
    """The major ticks between the limits of an axis."""
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def panel_name(axes: Axes) -> str:
    return " ".join(axes.get_title().split()) or "a panel"


# Axes


def has_data(axes: Axes) -> bool:
    """Whether there is something in a panel whose place an axis has to tell."""
    return axes.get_visible() and bool([*axes.lines, *axes.collections, *axes.patches])


def is_numbered(axes: Axes, which: str, shown: set[Artist]) -> bool:
    """Whether an axis shows two numbers, or its categories, on the panel or on one in the same column or row."""
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    siblings = getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)
    side = slice(0, None, 2) if which == "x" else slice(1, None, 2)
    for other in siblings:
        axis = getattr(other, f"{which}axis")
        fixed = isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter))
        count = sum(tick.label1 in shown for tick in ticks(axis))
        near = np.abs(axes.bbox.extents[side] - other.bbox.extents[side]).max() < 1
        if near and other.get_visible() and count >= (1 if fixed else 2):
            return True
    return False
