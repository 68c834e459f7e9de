"""The figures of a race. Every rule keeps its colour, dashes and marker through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from surefoot.lab.figures import Look, curves, look, plain_logarithms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from surefoot.lab.race import Entry

SIZE = (5.8, 4.0)
"""Of a figure, in inches: text stays legible when a page shows it on a telephone."""

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
    "rates": "Effective learning rates",
    "search": "Search for the learning rates",
}


def figures(entries: Sequence[Entry], metric: str) -> dict[str, Figure]:
    """The figures by name. Rules that diverged are drawn up to the epoch before.

    Args:
        entries: what raced.
        metric: what the losses are called.

    Raises:
        ValueError: if Matplotlib is not installed.
    """
    with style():
        made = {
            "held_out": loss_by_epoch(entries, "test_loss", f"held-out {metric}"),
            "training": loss_by_epoch(entries, "train_loss", f"training {metric}"),
            "time": loss_by_time(entries, f"training {metric}"),
            "rates": effective_rates(entries),
        }
        if any(entry.search for entry in entries):
            made["search"] = search_for_rates(entries, f"validation {metric}")
        for name, figure in made.items():
            figure.axes[0].set_title(TITLES[name], loc="left")
        return made


def mean_curve(entry: Entry, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest value over the seeds after epochs 1, 2, …, as far as all seeds got."""
    epochs = min(len(run.scores) for run in entry.runs)
    values = np.array([[getattr(score, measure) for score in run.scores[1:epochs]] for run in entry.runs])
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def loss_by_epoch(entries: Sequence[Entry], measure: str, label: str) -> Figure:
    """Loss after each epoch: the mean over the seeds, and a band from the lowest to the highest."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = curves("", "epoch", label, *SIZE)
    for number, entry in enumerate(entries):
        mean, low, high = mean_curve(entry, measure)
        epochs = np.arange(1, len(mean) + 1)
        draw(axes, look(number), epochs, mean, low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes, entries)
    return figure


def loss_by_time(entries: Sequence[Entry], label: str) -> Figure:
    """Training loss against the seconds that training took: means over the seeds."""
    figure, axes = curves("", "seconds of training", label, *SIZE)
    for number, entry in enumerate(entries):
        mean, _, _ = mean_curve(entry, "train_loss")
        seconds = np.mean([np.cumsum(run.seconds[: len(mean)]) for run in entry.runs], axis=0)
        draw(axes, look(number), seconds, mean)
    axes.set_xscale("log")
    finish(axes, entries)
    return figure


def effective_rates(entries: Sequence[Entry]) -> Figure:
    """Effective learning rates after training against how often a feature occurs: medians, and the middle half."""
    if not counts_differ(entries):
        return rates_by_rule(entries)
    figure, axes = curves("", "training examples in which a feature occurs", "effective learning rate", *SIZE)
    for number, entry in enumerate(entries):
        rates = entry.runs[0].rates
        if rates is not None and min(rates.low, default=0.0) > 0:
            draw(axes, look(number), np.array(rates.occurrences), *map(np.array, (rates.median, rates.low, rates.high)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    finish(axes, entries)
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
            way, ends = look(number), [rates.low[0], rates.high[0]]
            axes.plot(ends, [number] * 2, color=way.color, linewidth=5, alpha=0.35, gid=way.gid("range"))
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
    figure, axes = curves("", "learning rate η", label, *SIZE)
    for number, entry in enumerate(entries):
        if entry.search is None:
            continue
        way, tried = look(number), sorted(entry.search.tried.items())
        valley = {lr: loss for lr, loss in tried if loss is not None}
        draw(axes, way, np.array(list(valley)), np.array(list(valley.values())))
        if valley:
            best = entry.search.best
            axes.plot([best], [valley[best]], gid=way.gid("best"), **way.line(10))
        for lr in (lr for lr, loss in tried if loss is None):
            axes.plot(lr, 0.98, "x", color=way.color, transform=axes.get_xaxis_transform(), gid=way.gid(f"cross{lr:g}"))
    axes.set_xscale("log")
    finish(axes, entries, "every rate diverged")
    return figure


def draw(axes: Axes, way: Look, x, mean, low=None, high=None) -> None:
    """A rule's curve with its band."""
    if low is not None and high is not None and np.any(low < high):
        axes.fill_between(x, low, high, color=way.color, alpha=0.15, linewidth=0, gid=way.gid("band"))
    axes.plot(x, mean, gid=way.gid("line"), markevery=max(1, len(x) // MARKS), **way.line())


def finish(axes: Axes, entries: Sequence[Entry], otherwise: str = "every rule diverged in its first epoch") -> None:
    """A logarithmic y-axis where the values ask for it, plain tick labels, and the rules' names at their curves."""
    names = {look(number).gid("line"): entry.rule.name for number, entry in enumerate(entries)}
    lines = {line: names[str(line.get_gid())] for line in axes.lines if line.get_gid() in names}
    values = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), float) for line in lines)])
    if not len(values):
        return say(axes, otherwise)
    if values.min() > 0 and values.max() > LOG_FROM * values.min():
        axes.set_yscale("log")
    plain_logarithms(axes)
    label_ends(axes, lines)


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
            place = axes.transAxes.inverted().transform(axes.transData.transform(points[-1]))
            ends.append((float(place[1]), float(place[0]), line, name))
    ends.sort(key=lambda end: end[0])
    for (y, x, line, name), at in zip(ends, spread_out([end[0] for end in ends]), strict=True):
        gid = line.get_gid()
        # A lead from further away would cross the other curves; there, colour and marker have to do.
        if x > NEAR_EDGE:
            route = {"color": line.get_color(), "linewidth": 0.8, "alpha": 0.7, "clip_on": False}
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
