"""Rules that are broken on purpose, each by a line, and figures that are altered: tables, to see that checks notice."""

import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from surefoot.lab.figures import PALETTE
from surefoot.rules import MATRIX_RULES, REGISTRY, Rule
from surefoot.rules.slots import direction, scale


@dataclass(frozen=True)
class Mutant:
    """A broken copy of a rule.

    Attributes:
        rule: the name.
        what: how it is broken.
        change: the rule -> the broken one.
        at_defaults: whether training with the rule's defaults is enough to show it.
    """

    rule: str
    what: str
    change: Callable[[Rule], Rule]
    at_defaults: bool = True

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.what}"

    def built(self) -> Rule:
        return self.change((REGISTRY | MATRIX_RULES)[self.rule])


def line(old: str, new: str) -> Callable[[Rule], Rule]:
    """Replaces a piece of the rule's function, or else of its coefficients."""

    def change(rule: Rule) -> Rule:
        for name in ("function", "coefficients"):
            written = getattr(rule, name)
            source = textwrap.dedent(inspect.getsource(written)) if written else ""
            if old in source:
                found = dict(written.__globals__)
                exec(source[source.index("def ") :].replace(old, new), found)
                return replace(rule, **{name: found[written.__name__]})
        raise AssertionError(f"{rule.name}: there is no {old!r} in the rule")

    return change


def starting_from_zero(rule: Rule) -> Rule:
    """Ignores initial_accumulator_value."""
    zero = {"scale": scale(), "direction": direction()}
    return replace(rule, slots={name: zero[slot.kind] for name, slot in rule.slots.items()})


def without_weight_decay(rule: Rule) -> Rule:
    return replace(rule, options={"decoupled_weight_decay": 0.0})


ROOT_OF_TOTAL = "ops.sqrt(total + eps_root)"
ROOT_OF_SQUARE = "ops.sqrt(square + eps_root)"
ROOT_OF_CORRECTED = "ops.sqrt(square * correction + eps_root)"
ADAM_SQUARE = "square = beta2 * square + fresh2 * g2"
ADAM_VELOCITY = "velocity = beta1 * velocity + fresh1 * g"
OF_STEP_25 = "ops.minimum(t, 25)"
YOGI_CHANGE = "ops.where(g2 > square, change, ops.where(g2 < square, -change, 0.0))"
OF_ADAM = (
    ("s is not corrected", line("square * correction", "square")),
    ("v is not corrected", line("lr / (1 - beta1**t)", "lr")),
    ("steps along g", line("velocity, velocity, square", "g, velocity, square")),
    ("s is a sum", line(ADAM_SQUARE, "square = square + g2")),
    ("no root", line(ROOT_OF_CORRECTED, "(square * correction + eps_root)")),
    ("v is not averaged", line(ADAM_VELOCITY, "velocity = g")),
)

MUTANTS = (
    Mutant("sgd", "twice as far", line("return lr, g", "return 2.0 * lr, g")),
    Mutant("sgd", "uphill", line("return lr, g", "return -lr, g")),
    Mutant("sgd", "by the sign", line("return lr, g", "return lr, ops.where(g > 0.0, 1.0, -1.0)")),
    Mutant("momentum", "no velocity", line("momentum * velocity + fresh * g", "fresh * g")),
    Mutant("momentum", "steps along g", line("return lr, velocity, velocity", "return lr, g, velocity")),
    Mutant("momentum", "averages", line("fresh * g", "(1.0 - momentum) * g")),
    Mutant("momentum", "the velocity never decays", line("momentum * velocity", "velocity")),
    Mutant("visits", "counts nothing", line("ops.where(g2 > 0.0, 1.0, 0.0)", "ops.where(g2 > 0.0, 0.0, 0.0)")),
    Mutant("visits", "counts steps", line("ops.where(g2 > 0.0, 1.0, 0.0)", "1.0")),
    Mutant("visits", "no root", line("ops.sqrt(count + c)", "(count + c)")),
    Mutant("visits", "sums gradients", line("ops.where(g2 > 0.0, 1.0, 0.0)", "g2")),
    Mutant("visits", "c is ignored", line("ops.sqrt(count + c)", "ops.sqrt(count + 1.0)"), at_defaults=False),
    Mutant("adagrad", "no accumulation", line("total = total + g2", "total = g2")),
    Mutant("adagrad", "s of the step before", line(ROOT_OF_TOTAL, "ops.sqrt(total - g2 + eps_root)")),
    Mutant("adagrad", "forgets a hundredth", line("total = total + g2", "total = 0.99 * total + g2")),
    Mutant("adagrad", "no root", line(ROOT_OF_TOTAL, "(total + eps_root)")),
    Mutant("adagrad", "no ε", line(ROOT_OF_TOTAL, "ops.sqrt(total)")),
    Mutant("adagrad", "ε outside the root", line(ROOT_OF_TOTAL, "(ops.sqrt(total) + eps_root)")),
    Mutant("adagrad", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("mean_adagrad", "divides by the sum", line("total * per_step", "total")),
    Mutant("mean_adagrad", "one step too many", line("1 / t", "1 / (t + 1)")),
    Mutant("mean_adagrad", "no accumulation", line("total = total + g2", "total = g2")),
    Mutant("dual_averaging", "the last gradient alone", line("dual = dual + g", "dual = g")),
    Mutant("dual_averaging", "the last square alone", line("total = total + g2", "total = g2")),
    Mutant("dual_averaging", "no root", line(ROOT_OF_TOTAL, "(total + eps_root)")),
    Mutant("dual_averaging", "the threshold does not grow", line("l1 * t", "l1"), at_defaults=False),
    Mutant("dual_averaging", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("ftrl", "no σ", line("g - (root - before) * per_lr * x", "g")),
    Mutant("ftrl", "the last square alone", line("total + g2, ops.where", "g2, ops.where")),
    Mutant("ftrl", "the last gradient alone", line("ops.where(follows, dual, held - old * x) + g", "g")),
    Mutant("ftrl", "β is ignored", line("beta / divisor", "1.0 / divisor"), at_defaults=False),
    Mutant("ftrl", "λ₂ is ignored", line("beta / divisor + l2", "beta / divisor"), at_defaults=False),
    Mutant("ftrl", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("rmsprop", "without 1 − γ", line("fresh * g2", "g2")),
    Mutant("rmsprop", "no accumulation", line("gamma * square + fresh * g2", "fresh * g2")),
    Mutant("rmsprop", "s never decays", line("gamma * square", "square")),
    Mutant("rmsprop", "no root", line(ROOT_OF_SQUARE, "(square + eps_root)")),
    Mutant("rmsprop", "ε outside the root", line(ROOT_OF_SQUARE, "(ops.sqrt(square) + eps_root)")),
    Mutant("adadelta", "Δ is fed with g²", line("(rate * rate * g2)", "g2")),
    Mutant("adadelta", "Δ stays 0", line("rho * change + fresh * (rate * rate * g2)", "change")),
    Mutant("adadelta", "s is a sum", line("rho * square + fresh * g2", "square + g2")),
    Mutant("adadelta", "no Δ", line("(ops.sqrt(change + eps_root) + eps) /", "1.0 /")),
    *(Mutant("adam", what, change) for what, change in OF_ADAM),
    *(Mutant("adamw", what, change) for what, change in OF_ADAM),
    Mutant("adamw", "no weight decay", without_weight_decay),
    Mutant("nadam", "half the rate", line("rate = lr /", "rate = 0.5 * lr /")),
    Mutant("nadam", "does not look ahead", line("gradient * g + ahead * velocity", "velocity")),
    Mutant("nadam", "s is not corrected", line("square * correction", "square")),
    Mutant("nadam", "μ of this step", line("momentum(t + 1, beta1", "momentum(t, beta1")),
    *(
        Mutant(
            name,
            "s is corrected as at step 25 from then on",
            line("beta2**t", f"beta2**{OF_STEP_25}"),
            at_defaults=False,
        )
        for name in ("adam", "adamw", "nadam", "yogi")
    ),
    Mutant("mean_adagrad", "divides by 25 from then on", line("1 / t", f"1 / {OF_STEP_25}"), at_defaults=False),
    Mutant("dual_averaging", "the threshold stops growing", line("l1 * t", f"l1 * {OF_STEP_25}"), at_defaults=False),
    Mutant("yogi", "is Adam", line(f"square + {YOGI_CHANGE}", "(1.0 - fresh2) * square + change")),
    Mutant("yogi", "s only grows", line("-change", "0.0")),
    Mutant("yogi", "s is not corrected", line("square * correction", "square")),
    Mutant("yogi", "steps along g", line("velocity, velocity, square", "g, velocity, square")),
    Mutant("yogi", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("full_matrix", "no accumulation", line("outer = outer + g", "outer = g")),
    Mutant("full_matrix", "no root", line("lr, eps) @ g", "lr, eps) @ scaled_inverse_root(outer, 1.0, eps) @ g")),
    Mutant("full_matrix", "ten times ε", line("(outer, lr, eps)", "(outer, lr, 10.0 * eps)")),
)
"""At least three of each rule."""

AT_ONCE = ("visits: counts nothing", "mean_adagrad: divides by the sum", "nadam: half the rate")
COMBINED = tuple(one for one in MUTANTS if one.id in AT_ONCE or one.what == "starts from 0")
"""Broken all at once, which once went unnoticed; a rule occurs at most once."""


# Figures


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
