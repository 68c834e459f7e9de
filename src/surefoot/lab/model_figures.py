"""Figures of a linear model: its largest weights, and effective learning rates against how often features occur."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surefoot.lab.figures import PALETTE, look, new_figure, plain_logarithms, style
from surefoot.lab.rates_figure import binned, positive
from surefoot.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from surefoot.learn.inspection import Largest
    from surefoot.learn.model import Model

LONGEST = 28
"""Letters of a name that a figure shows."""
FOR, AGAINST = PALETTE[0], PALETTE[1]


def weights_and_rates(model: Model, largest: list[Largest]) -> Figure:
    """Both, side by side.

    Raises:
        ValueError: Matplotlib is not installed.
    """
    with style():
        figure = new_figure(10.5, max(3.6, 0.24 * len(largest) + 1.2))
        left, right = figure.subplots(1, 2)
        draw_weights(left, largest)
        draw_rates(right, model)
        left.set_title("Largest weights", loc="left")
        right.set_title("Effective learning rates", loc="left")
    return figure


def draw_weights(axes: Axes, largest: list[Largest]) -> None:
    """Bars, the largest at the top."""
    if not largest:
        axes.text(0.5, 0.5, "all weights are 0", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
        return
    values = [weight.weight for weight in largest]
    axes.barh(range(len(values)), values, color=[FOR if value > 0 else AGAINST for value in values], height=0.7)
    axes.set_yticks(range(len(values)), [named(weight) for weight in largest], parse_math=False)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.axvline(0.0, color="#666666", linewidth=0.8)
    axes.set_xlabel("weight")
    axes.grid(True, axis="x")


def named(weight: Largest) -> str:
    """What a figure calls a weight.

    >>> from surefoot.learn.inspection import Largest
    >>> named(Largest(7, "7", 2.0, 0.5, 10, 0.1))
    '7 → 2'
    """
    name = printable(weight.name)
    name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return name if weight.label is None else f"{name} → {weight.label:g}"


def draw_rates(axes: Axes, model: Model) -> None:
    """The median rate of features that occur about as often, and the band of the middle 80 %."""
    axes.set(xlabel="examples in which a feature occurs", ylabel="effective learning rate")
    axes.grid(True)
    counts = rates = np.empty(0)
    if model.stats is not None:
        counts, rates = model.stats.counts.astype(float), np.median(model.stats.rates.astype(float), axis=1)
    if not positive(counts, rates).any():
        axes.text(0.5, 0.5, "no feature has occurred", transform=axes.transAxes, ha="center")
        return
    x, low, middle, high = binned(counts, rates)
    drawn = look(0)
    axes.fill_between(x, low, high, color=drawn.color, alpha=0.15, linewidth=0)
    axes.plot(x, middle, **drawn.line())
    axes.set(xscale="log", yscale="log")
    plain_logarithms(axes)
