"""Figures of the whole laboratory: palette, style and looks, axes, files, and what is wrong with them.

Figures are made without pyplot, so nothing here changes a caller's state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from surefoot.atomic_write import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

PALETTE = (
    "#8888bb", "#cc1111", "#9911ee", "#aa4466", "#ee5566", "#bb55ff",
    "#776699", "#aa8800", "#998899", "#669977", "#557777", "#667744",
)  # fmt: skip
"""Found by tools/palette.py: every pair has a ΔE2000 of at least 10 to protanopes, deuteranopes and tritanopes as well,
and every colour a contrast of at least 3 : 1 with figures and with the reports' page and paper, light and dark. What
has more series is drawn as small multiples."""

REFERENCE = "#666666"
"""Of lines and marks that are not series: a bound, a published value, an axis."""

CONTOUR = "#8f8f8f"
"""Of what lies behind the series: contour lines, a diagonal, the other rules in a panel of one."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "h", ">", "p")
SUFFIXES = (".png", ".svg", ".pdf")

NARROW = 0.8
"""Decades of a logarithmic axis below which 1, 2 and 5 may be too few ticks."""

FEW = 4
"""Ticks of such an axis, about."""

SHORT = (1e-4, 1e5)
"""Ticks in these bounds are written as decimals: 0.0005, 20000."""

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
    "figure.facecolor": "#ffffff",
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
    from surefoot.lab.canvas import Drawing

    return Drawing(figsize=(width, height))


def curves(title: str, x_label: str, y_label: str, width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one empty panel for curves."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(True)
    return figure, axes


class Look(NamedTuple):
    """How a rule is drawn."""

    number: int
    color: str
    marker: str
    dashes: str

    def line(self, markersize: float = 4.5) -> dict[str, Any]:
        """The arguments of `plot`."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dashes, "markersize": markersize}

    def gid(self, part: str) -> str:
        """Names a part of a figure, so that the report can find all that belongs to the rule."""
        return f"series-{self.number}-{part}"


def look(number: int) -> Look:
    """The look of the series of that number: neighbours also differ by their dashes.

    >>> look(0).dashes, look(1).dashes, look(0).color == look(12).color
    ('-', '--', True)
    """
    place = number % len(PALETTE)
    return Look(number, PALETTE[place], MARKERS[place], ("-", "--")[number % 2])


def plain_logarithms(axes: Axes, small: bool = False) -> None:
    """Numbers as people write them, with 2 and 5 between the powers of ten where there is room; a few where not.

    The ticks of an axis are written alike: as decimals, or as powers of ten if one of them would be too long. A small
    panel has room for two or three.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = sorted(axis.get_view_interval())
            decades = np.log10(high / low)
            powers = LogLocator(subs=(1, 2, 5) if decades < 2.5 and not small else (1,), numticks=4 if small else 9)
            few = MaxNLocator(FEW // 2 if small else FEW)
            axis.set_major_locator(powers if decades > (1 if small else NARROW) else few)
            axis.set_major_formatter(written_alike())
            axis.set_minor_formatter(NullFormatter())


def written_alike() -> Formatter:
    """Writes all ticks of an axis in one way."""
    from matplotlib.ticker import FuncFormatter

    class Alike(FuncFormatter):
        def format_ticks(self, values):
            shown = [value for value in values if value > 0]
            short = all(SHORT[0] <= value < SHORT[1] for value in shown)
            return [f"{value:g}" if short else power(value) for value in values]

    return Alike(lambda value, _: power(value))


def power(value: float) -> str:
    """A number as a multiple of a power of ten.

    >>> power(0.01), power(1.0), power(2.5e6)
    ('10⁻²', '1', '2.5·10⁶')
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    number, raised = float(mantissa), int(exponent)
    if raised in (0, 1):
        return f"{value:g}"
    tens = "10" + str(raised).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return tens if number == 1 else f"{number:g}·{tens}"


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Writes a figure as PNG, SVG or PDF, by the suffix of the path, making its folder.

    Raises:
        ValueError: for any other suffix, or if it cannot be written there.
    """
    target = Path(path)
    check_suffix(target)
    # A date in the file would make equal figures differ.
    kind = target.suffix.lower().removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with writing(target) as file, style():
        figure.savefig(file, format=kind, metadata=metadata)


def check_suffix(figure: Path | None = None, animation: Path | None = None) -> None:
    """Raises ValueError unless a figure is to be written as PNG, SVG or PDF, and an animation as GIF."""
    for target, what, suffixes in ((figure, "a figure", SUFFIXES), (animation, "an animation", (".gif",))):
        if target is not None and target.suffix.lower() not in suffixes:
            found = target.suffix or "no suffix"
            raise ValueError(f"{target}: {what} is written as {', '.join(suffixes)}; found {found}")


@contextlib.contextmanager
def writing(target: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """As `atomic_write`, making the folder of the file; what keeps it from being written becomes one sentence."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, mode) as file:
            yield file
    except OSError as error:
        raise ValueError(f"{target}: cannot be written: {error.strerror or error}") from None


def flaws(figure: Figure) -> list[str]:
    """Texts of a figure that do not lie inside it, or run into one another.

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
