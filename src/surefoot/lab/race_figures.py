"""The figures of a race. Every rule keeps its colour, dashes and marker through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from surefoot.lab.figures import CONTOUR, PALETTE, Look, curves, look, new_figure, plain_logarithms, style
from surefoot.lab.rarity import named
from surefoot.lab.standings import listed, zoomed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from surefoot.lab.race import Entry

SIZE = (5.8, 4.0)
"""Of a figure, in inches: text stays legible when a page shows it on a telephone."""

SMALL = (1.75, 1.45)
"""Of a panel, where each rule has one."""

COLUMNS = 4

GAP = 0.062
"""The least distance of two labels, as a share of the height of the panel."""

NEAR_EDGE = 0.93
"""Curves that end to the right of this share of the width are led to their labels."""

MARKS = 15
"""About the number of markers of a curve; it has fewer than twice this number."""

LOG_FROM = 5
"""An axis whose largest value is this many times its smallest is logarithmic."""

TITLES = {
    "held_out": "Held-out loss by epoch",
    "training": "Training loss by epoch",
    "time": "Training loss by time",
    "rarity": "Training loss by the rarity of features",
    "rarity_held_out": "Held-out loss by the rarity of features",
    "rates": "Effective learning rates",
    "search": "Search for the learning rates",
}


class Curve(NamedTuple):
    """What is drawn of a rule: values, and the lowest and highest over the seeds or features where there are any."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def top(self) -> float:
        return float(np.max(self.y if self.high is None else self.high))


Curves = dict[int, Curve]
"""By the number of the rule."""


def figures(entries: Sequence[Entry], metric: str, titled: bool = True) -> dict[str, Figure]:
    """The figures by name. Rules that diverged are drawn up to the epoch before.

    Args:
        entries: what raced.
        metric: what the losses are called.
        titled: whether the figures have their titles.

    Raises:
        ValueError: if Matplotlib is not installed.
    """
    with style():
        made = {
            "held_out": by_epoch(entries, "test_loss", f"held-out {metric}"),
            "training": by_epoch(entries, "train_loss", f"training {metric}"),
            "time": by_time(entries, f"training {metric}"),
            "rates": effective_rates(entries),
        }
        if any(run.by_rarity is not None for entry in entries for run in entry.runs):
            made["rarity"] = by_rarity(entries, "train", f"training {metric}")
            made["rarity_held_out"] = by_rarity(entries, "test", f"held-out {metric}")
        if any(entry.search for entry in entries):
            made["search"] = search_for_rates(entries, f"validation {metric}")
        for name, figure in made.items():
            if titled:
                figure.suptitle(TITLES[name], x=0.02, ha="left", fontsize=11)
        return {name: made[name] for name in TITLES if name in made}


# What is drawn


def mean_curve(entry: Entry, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest value over the seeds after epochs 1, 2, …, as far as all seeds got."""
    epochs = min(len(run.scores) for run in entry.runs)
    values = np.array([[getattr(score, measure) for score in run.scores[1:epochs]] for run in entry.runs])
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def curves_of(entries: Sequence[Entry], measure: str) -> Curves:
    """The means of a measure, and the band of the seeds, by epoch."""
    found = {number: mean_curve(entry, measure) for number, entry in enumerate(entries)}
    return {k: Curve(np.arange(1, len(mean) + 1), mean, low, high) for k, (mean, low, high) in found.items()}


def by_epoch(entries: Sequence[Entry], measure: str, label: str) -> Figure:
    """Loss after each epoch: the mean over the seeds, and a band from the lowest to the highest."""
    from matplotlib.ticker import MaxNLocator

    figure, panels = panels_for(entries, "epoch", label)
    finish(panels, entries, curves_of(entries, measure))
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4 if len(figure.axes) > 1 else "auto"))
    return figure


def by_time(entries: Sequence[Entry], label: str) -> Figure:
    """Training loss against time: epochs times the median seconds of one."""
    figure, panels = panels_for(entries, "seconds of training", label)
    found = curves_of(entries, "train_loss")
    found = {k: Curve(curve.x * entries[k].seconds_per_epoch, *curve[1:]) for k, curve in found.items()}
    finish(panels, entries, found, log_x=True)
    return figure


def by_rarity(entries: Sequence[Entry], part: str, label: str) -> Figure:
    """Loss after training of examples whose rarest feature occurs so often: the mean over the seeds, and their band."""
    figure, panels = panels_for(entries, "training examples with an example's rarest feature", label)
    found, names = {}, []
    for number, entry in enumerate(entries):
        groups = [run.by_rarity for run in entry.runs if run.by_rarity is not None]
        if groups and not entry.diverged:
            names = named(groups[0].limits)
            values = np.array([getattr(group, part) for group in groups], float)
            found[number] = Curve(np.arange(len(names)), values.mean(axis=0), values.min(axis=0), values.max(axis=0))
    finish(panels, entries, found)
    for axes in figure.axes:
        axes.set_xticks(range(len(names)), names, fontsize=10 if len(figure.axes) == 1 else 7)
    return figure


def effective_rates(entries: Sequence[Entry]) -> Figure:
    """Effective learning rates after training against how often a feature occurs: medians, and the middle half."""
    if not counts_differ(entries):
        return rates_by_rule(entries)
    figure, panels = panels_for(entries, "training examples in which a feature occurs", "effective learning rate")
    found = {}
    for number, entry in enumerate(entries):
        rates = entry.runs[0].rates
        if rates is not None and min(rates.low, default=0.0) > 0:
            found[number] = Curve(*map(np.array, (rates.occurrences, rates.median, rates.low, rates.high)))
    finish(panels, entries, found, log_x=True)
    return figure


def counts_differ(entries: Sequence[Entry]) -> bool:
    """Whether some features occur more often than others, so that rates can be drawn against how often they do."""
    return any(entry.runs[0].rates is not None and len(entry.runs[0].rates.median) > 1 for entry in entries)


def rates_by_rule(entries: Sequence[Entry]) -> Figure:
    """The same where every feature occurs equally often: a line for each rule."""
    figure, axes = curves("", "effective learning rate", "", height=0.4 * len(entries) + 1.4)
    axes.set_xscale("log")
    ranges = {number: entry.runs[0].rates for number, entry in enumerate(entries)}
    for number, rates in ranges.items():
        if rates is not None and rates.low and rates.low[0] > 0:
            way, (low, high) = look(number), (rates.low[0], rates.high[0])
            if low < high:
                axes.barh(number, high - low, 0.25, low, color=way.color, alpha=0.35, gid=way.gid("range"))
            axes.plot(rates.median[0], number, color=way.color, marker=way.marker, gid=way.gid("median"))
    if not axes.lines:
        say(axes, "no rule has a rate above zero to show")
        return figure
    axes.set_yticks(range(len(entries)), [entry.rule.name for entry in entries], parse_math=False)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    plain_logarithms(axes)
    return figure


def search_for_rates(entries: Sequence[Entry], label: str) -> Figure:
    """Validation loss against the learning rate; a large marker is the chosen one, a cross a rate that diverged."""
    figure, panels = panels_for(entries, "learning rate η", label)
    found = {}
    for number, entry in enumerate(entries):
        if entry.search is None:
            continue
        way, axes, tried = look(number), panels[number], sorted(entry.search.tried.items())
        valley = {lr: loss for lr, loss in tried if loss is not None}
        if valley:
            found[number] = Curve(np.array(list(valley)), np.array(list(valley.values())))
            best = entry.search.best
            axes.plot([best], [valley[best]], gid=way.gid("best"), **way.line(10))
        for lr in (lr for lr, loss in tried if loss is None):
            axes.plot(lr, 0.98, "x", color=way.color, transform=axes.get_xaxis_transform(), gid=way.gid(f"cross{lr:g}"))
    finish(panels, entries, found, "every rate diverged", log_x=True)
    return figure


# How it is drawn


def panels_for(entries: Sequence[Entry], x_label: str, y_label: str) -> tuple[Figure, list[Axes]]:
    """A figure, and the panel of each rule: one for all, or, of more rules than there are colours, one for each."""
    if len(entries) <= len(PALETTE):
        figure, axes = curves("", x_label, y_label, *SIZE)
        return figure, [axes] * len(entries)
    rows = -(-len(entries) // COLUMNS)
    figure = new_figure(COLUMNS * SMALL[0] + 0.4, rows * SMALL[1] + 0.7)
    panels: list[Axes] = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(entries) :]:
        axes.remove()
    for axes in panels[len(entries) - COLUMNS : len(entries)]:
        # The lowest panel of a column has its axis's numbers, even where the last row is short.
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes, entry in zip(panels, entries, strict=False):
        axes.set_title(entry.rule.name, fontsize=9.5, parse_math=False)
        axes.tick_params(labelsize=7.5)
        axes.grid(True)
    figure.supxlabel(x_label, fontsize=11)
    figure.supylabel(y_label, fontsize=11)
    return figure, panels[: len(entries)]


def finish(
    panels: list[Axes],
    entries: Sequence[Entry],
    found: Curves,
    otherwise: str = "every rule diverged in its first epoch",
    log_x: bool = False,
) -> None:
    """Draws the curves, on a logarithmic y-axis where the values ask for it, with the rules' names at their ends."""
    from matplotlib.collections import LineCollection

    found = {number: curve for number, curve in found.items() if len(curve.y)}
    if not found:
        return say(panels[0], otherwise)
    values = np.concatenate([curve.y for curve in found.values()])
    log_y = values.min() > 0 and values.max() > LOG_FROM * values.min()
    several = panels[0] is not panels[-1]
    for number, axes in enumerate(panels):
        if several:
            others = [np.column_stack([curve.x, curve.y]) for other, curve in found.items() if other != number]
            axes.add_collection(LineCollection(others, colors=CONTOUR, linewidths=0.6, zorder=1))
        if number in found:
            line = draw(axes, look(number), found[number], 2.5 if several else 4.5)
            line.set_path_effects(halo() if several else [])
        axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
    zoom(panels, {entries[number].rule.name: curve for number, curve in found.items()}, float(values.min()))
    for axes in panels if several else panels[:1]:
        plain_logarithms(axes, several)
    if not several:
        names = {look(number).gid("line"): entry.rule.name for number, entry in enumerate(entries)}
        label_ends(panels[0], {line: names[str(line.get_gid())] for line in panels[0].lines if line.get_gid() in names})


def halo() -> list[Any]:
    """Paper around a curve, which the grey ones under it would blur."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=5.0, foreground="#ffffff"), Normal()]


def draw(axes: Axes, way: Look, curve: Curve, markersize: float) -> Line2D:
    """A rule's curve with its band."""
    if curve.low is not None and curve.high is not None and np.any(curve.low < curve.high):
        axes.fill_between(curve.x, curve.low, curve.high, color=way.color, alpha=0.15, linewidth=0, gid=way.gid("band"))
    marks = max(1, len(curve.x) // MARKS)
    (line,) = axes.plot(curve.x, curve.y, gid=way.gid("line"), markevery=marks, **way.line(markersize))
    return line


def zoom(panels: list[Axes], named: dict[str, Curve], low: float) -> None:
    """Ends a y-axis where most curves are told apart, and says above the first panel what goes further up."""
    axes = panels[0]
    to, back = (np.log10, lambda value: 10**value) if axes.get_yscale() == "log" else (float, float)
    limit = back(zoomed(to(low), [to(curve.top) for curve in named.values()]))
    above = {name: curve.top for name, curve in named.items() if curve.top > limit}
    if above:
        axes.set_ylim(top=limit)
        said = f"zoomed in: {listed(list(above))} up to {max(above.values()):.3g}"
        axes.text(0.0, 1.01, said, transform=axes.transAxes, va="bottom", fontsize=9, parse_math=False)
        for panel in dict.fromkeys(panels):
            hide_above(panel, limit, panels[0] is not panels[-1])


def hide_above(axes: Axes, limit: float, several: bool) -> None:
    """Hides what lies above a limit altogether; in a panel of its own, an arrow points there."""
    for line in axes.lines:
        _, by_value = line.get_transform().contains_branch_seperately(axes.transData)
        if by_value and np.min(line.get_ydata(), initial=np.inf) > limit:
            line.set_visible(False)
            if several and line.get_gid():
                axes.text(0.5, 0.97, "↑", transform=axes.transAxes, ha="center", va="top")
    for band in axes.collections:
        if min(np.asarray(path.vertices)[:, 1].min() for path in band.get_paths()) > limit:
            band.set_visible(False)


def say(axes: Axes, text: str) -> None:
    """A panel of text if there is no curve to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")
    axes.set(xscale="linear", xticks=[], yticks=[])


def label_ends(axes: Axes, names: dict[Line2D, str]) -> None:
    """Writes each curve's name to the right of its last point, moved apart where they would touch."""
    axes.margins(x=0.02)
    axes.autoscale_view()
    ends = []
    for line, name in names.items():
        points = np.array(line.get_xydata())
        if len(points):
            x, y = map(float, axes.transAxes.inverted().transform(axes.transData.transform(points[-1])))
            ends.append((min(y, 1.0), x, line, f"{name} ↑" if y > 1 else name))
    ends.sort(key=lambda end: end[0])
    for (y, x, line, name), at in zip(ends, spread_out([end[0] for end in ends]), strict=True):
        gid = line.get_gid()
        # A lead from further away would cross the other curves; there, colour and marker have to do.
        if x > NEAR_EDGE:
            route = {"color": line.get_color(), "linewidth": 0.8, "clip_on": False}
            axes.plot([x, 1.02, 1.05], [y, at, at], transform=axes.transAxes, gid=f"{gid}-lead", **route)
        axes.plot(
            1.065,
            at,
            transform=axes.transAxes,
            marker=line.get_marker(),
            markersize=5,
            gid=f"{gid}-mark",
            color=line.get_color(),
            clip_on=False,
        )
        axes.text(
            1.09, at, name, transform=axes.transAxes, va="center", fontsize=9.5, gid=f"{gid}-name", parse_math=False
        )


def spread_out(places: list[float]) -> list[float]:
    """Rising places, moved as little as need be so that neighbours are at least a label apart.

    >>> [round(place, 3) for place in spread_out([0.5, 0.5, 0.9])]
    [0.469, 0.531, 0.9]
    """
    gap = min(GAP, 1 / max(len(places), 1))
    # Least squares under the gaps: after taking the gaps out, pool neighbours that are out of order.
    pools: list[list[float]] = []
    for k, place in enumerate(places):
        pools.append([place - k * gap, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(-2), pools.pop()
            pools.append([(a * m + b * n) / (m + n), m + n])
    flat = [mean for mean, count in pools for _ in range(int(count))]
    top = 1.0 - (len(places) - 1) * gap
    return [min(max(base, 0.0), top) + k * gap for k, base in enumerate(flat)]
