"""The figure of a diagnosis: effective learning rates of rows against their visits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from surefoot.lab.figures import look, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 24
SHOWN = 8
"""Parameters that are drawn: those with the most rows."""


class Rows(NamedTuple):
    """The rows of a parameter: what `visits` counts, the visits (or what the memory holds), and the median rates."""

    label: str
    visits: np.ndarray
    rates: np.ndarray


def rates_figure(parameters: Sequence[tuple[str, Rows]]) -> Figure:
    """Per parameter, the median rate of rows with a similar number of visits, between the 10 % and the 90 % quantile.

    Raises:
        ValueError: if Matplotlib is not installed, or there is nothing to draw.
    """
    drawn = [(name, rows) for name, rows in parameters if positive(rows.visits, rows.rates).any()]
    if not drawn:
        raise ValueError("there is nothing to draw: no parameter has a memory that was ever visited; step it first")
    drawn = sorted(drawn, key=lambda named: -len(named[1].visits))[:SHOWN]
    with style():
        figure = new_figure(6.8, 4.6)
        axes = figure.add_subplot()
        for k, (name, rows) in enumerate(drawn):
            x, low, middle, high = binned(rows.visits, rows.rates)
            drawn_as = look(k)
            axes.fill_between(x, low, high, color=drawn_as.color, alpha=0.15, linewidth=0)
            axes.plot(x, middle, label=name, **drawn_as.line())
        labels = sorted({rows.label for _, rows in drawn})
        axes.set(xscale="log", yscale="log", xlabel=" / ".join(labels), ylabel="effective learning rate")
        axes.set_title("Effective learning rate of rows: median, and 10 to 90 %", loc="left")
        axes.grid(True)
        axes.legend(loc="best")
    return figure


def positive(visits: np.ndarray, rates: np.ndarray) -> np.ndarray:
    return (visits > 0) & np.isfinite(rates) & (rates > 0)


def binned(visits: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(visits, 10 %, 50 % and 90 % quantile of the rates) of rows with a similar number of visits."""
    shown = positive(visits, rates)
    visits, rates = visits[shown], rates[shown]
    edges = np.unique(np.geomspace(visits.min(), visits.max() * (1 + 1e-9), BINS + 1))
    place = np.clip(np.searchsorted(edges, visits, "right") - 1, 0, max(len(edges) - 2, 0))
    rows = [
        (np.exp(np.log(visits[place == k]).mean()), *np.quantile(rates[place == k], (0.1, 0.5, 0.9)))
        for k in np.unique(place)
    ]
    x, low, middle, high = np.array(rows).T
    return x, low, middle, high
