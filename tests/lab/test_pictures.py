"""Figures of published results: their rows look at what is drawn, and their curves are told apart."""

import functools
import itertools
import os
from dataclasses import replace
from functools import partial
from pkgutil import resolve_name

import numpy as np
import pytest
from support.figure_mutants import FIGURE_MUTANTS, HIDING, WRONGLY_DRAWN, curves
from support.mutants import MUTANTS

from surefoot import schedules
from surefoot.lab.figures import curves as plain
from surefoot.lab.figures import look, style
from surefoot.lab.published import ROWS, airfoil, airfoil_pictures, pictures
from surefoot.lab.published.reading import Panel, Sheet, columns, differences, read
from surefoot.lab.reproduction import reproduce
from surefoot.lab.visibility import unseen

pytest.importorskip("matplotlib")
FIGURES = [id for id, row in ROWS.items() if row.section == pictures.SECTION]
AIRFOIL = {"figure-epochs", "figure-time"}
SLOW = AIRFOIL | {"figure-unbalanced"}
SAMPLE = {"figure-noise-floors", "figure-weights", "figure-traces-rotated"}
"""Figures that are drawn wrongly in the fast tests, too: with references, with several panels, and with contours."""


ALTERED = SAMPLE | {"figure-unbalanced"}
"""Those whose rows are tried, once drawn: one with bands, too."""

RULES = {
    "figure-traces": ("sgd", "momentum", "adagrad", "rmsprop"),
    "figure-traces-noise": ("sgd",),
    "figure-traces-rotated": ("adagrad", "rmsprop", "full_matrix"),
    "figure-epochs": ("sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "yogi"),
    "figure-time": ("sgd",),
    "figure-schedules": (),
    "figure-schedule-distances": ("sgd",),
    "figure-noise-floors": ("sgd",),
    "figure-iterations": ("sgd",),
    "figure-weights": ("momentum", "rmsprop"),
    "figure-scalar": ("sgd",),
    "figure-eigenvalues": ("sgd", "momentum"),
    "figure-elongated": ("sgd", "momentum", "adagrad", "rmsprop"),
    "figure-unbalanced": ("sgd", "adagrad"),
}
"""The rules whose runs a figure draws."""

INVISIBLE = {("figure-weights", "momentum: steps along g"), ("figure-weights", "rmsprop: no root")}
"""A figure of what a rule keeps does not show how it steps."""


def each(ids):
    return [pytest.param(id, marks=pytest.mark.slow if id in SLOW else ()) for id in ids]


def broken(id):
    """Two ways of breaking each rule of a figure."""
    for rule in RULES[id]:
        ways = [one for one in MUTANTS if one.rule == rule and one.at_defaults and (id, one.id) not in INVISIBLE]
        yield from ways[:2]


def needs_data(id):
    if id in AIRFOIL and "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")


def measured(id):
    needs_data(id)
    (result,) = [result for result in reproduce(only=id) if result.id == id]
    return result


@functools.cache
def drawn(id):
    """The figure of a row, and what it has to show; tests that alter it undo that."""
    needs_data(id)
    with style():
        figure, expected = ROWS[id].measure.args[0]()
        figure.canvas.draw()
    return figure, expected


def test_every_figure_says_which_rules_it_draws():
    assert set(RULES) == set(FIGURES)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "id, mutant",
    [
        pytest.param(id, mutant, id=f"{id}, {mutant.id}", marks=pytest.mark.slow if id in SLOW else ())
        for id in FIGURES
        for mutant in broken(id)
    ],
)
def test_the_figure_of_a_broken_rule_fails(monkeypatch, id, mutant):
    monkeypatch.setitem(mutant.table, mutant.rule, mutant.built())
    result = measured(id)
    assert result.verdict == "fail"
    # A rule that diverges ends in an error; tests make one of NumPy's warning before it.
    ended = ("NonFiniteError", "RuntimeWarning: overflow", "RuntimeWarning: invalid value")
    assert id in result.measured or result.reason.startswith(ended)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["exponential", "polynomial", "piecewise_constant"])
def test_the_figure_of_a_broken_schedule_fails(monkeypatch, name):
    sound = getattr(schedules, name)
    monkeypatch.setattr(schedules, name, lambda *given: lambda t: 1.01 * sound(*given)(t))
    for id in ("figure-schedules", "figure-schedule-distances"):
        assert measured(id).verdict == "fail"


@pytest.mark.parametrize("id", each(FIGURES))
def test_the_curves_of_a_panel_have_colours_of_their_own(id):
    figure, _ = drawn(id)
    for axes in figure.axes:
        lines = [line for line in curves(figure) if line.axes is axes]
        for one, two in itertools.combinations(lines, 2):
            assert one.get_color() != two.get_color()
            assert one.get_marker() != two.get_marker()


@pytest.mark.parametrize("id", each(FIGURES))
def test_an_altered_figure_is_noticed_whatever_part_is_altered(id):
    figure, expected = drawn(id)
    assert not differences(read(figure), expected)[0]
    altered, unnoticed = 0, []
    for mutant in FIGURE_MUTANTS:
        for part in mutant.parts(figure):
            undo = mutant.alter(part)
            altered += 1
            if not differences(read(figure), expected)[0]:
                unnoticed.append(f"{mutant.what}: {part}")
            undo()
    assert altered > len(FIGURE_MUTANTS) / 2
    assert not unnoticed
    assert not differences(read(figure), expected)[0], "every change was undone"


@pytest.mark.slow
@pytest.mark.parametrize("id", FIGURES)
def test_a_figure_is_noticed_in_which_something_cannot_be_seen(id):
    """The first and the last part of each kind, of a figure that no other test has altered."""
    figure, expected = drawn.__wrapped__(id)
    assert not [*differences(read(figure), expected)[0], *unseen(figure)]
    unnoticed = []
    for mutant in HIDING:
        parts = list(mutant.parts(figure))
        for part in [parts[0], parts[-1]] if parts else ():
            undo = mutant.alter(part)
            if not (differences(read(figure), expected)[0] or unseen(figure)):
                unnoticed.append(f"{mutant.what}: {part}")
            undo()
    assert not unnoticed
    assert not [*differences(read(figure), expected)[0], *unseen(figure)], "every change was undone"


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "id, mutant",
    [
        pytest.param(id, mutant, id=f"{id}, {mutant.what}")
        for id in sorted(ALTERED)
        for mutant in (*FIGURE_MUTANTS, *(HIDING if id == "figure-noise-floors" else ()))
    ],
)
def test_the_row_of_an_altered_figure_fails(monkeypatch, id, mutant):
    figure, expected = drawn(id)
    part = next(iter(mutant.parts(figure)), None)
    if part is None:
        return
    monkeypatch.setitem(ROWS, id, replace(ROWS[id], measure=partial(pictures.measure, lambda: (figure, expected), id)))
    undo = mutant.alter(part)
    result = measured(id)
    undo()
    assert result.verdict == "fail"
    assert result.measured.startswith(f"{id}: ")


def test_every_alteration_alters_a_figure_of_the_fast_tests():
    for mutant in (*FIGURE_MUTANTS, *HIDING):
        assert any(list(mutant.parts(drawn(id)[0])) for id in ALTERED), mutant.what


@pytest.mark.sampled(4)
@pytest.mark.parametrize("wrong", WRONGLY_DRAWN)
@pytest.mark.parametrize("id", [pytest.param(id, marks=() if id in SAMPLE else pytest.mark.slow) for id in FIGURES])
def test_the_row_of_a_figure_that_is_drawn_wrongly_fails(monkeypatch, id, wrong):
    """It fails if what draws wrongly was used, and else it passes."""
    target, build = WRONGLY_DRAWN[wrong]
    calls: list[tuple] = []
    holder, _, name = target.rpartition(".")
    monkeypatch.setattr(target, build(getattr(resolve_name(holder), name), calls))
    result = measured(id)
    assert result.verdict == ("fail" if calls else "pass")
    assert result.measured.startswith(f"{id}: ") == bool(calls)


@pytest.mark.parametrize(
    "id", ["airfoil-gd", "airfoil-sgd-100", pytest.param("airfoil-adam-concise", marks=pytest.mark.slow)]
)
def test_runs_are_drawn_in_their_published_mini_batches(id):
    """The curve ends where the run ends whose losses are taken after whole epochs."""
    if "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")
    ours, loop = airfoil_pictures.compared(id)
    ends = airfoil.loop(id, airfoil_pictures.SEEDS).ends
    np.testing.assert_allclose(loop[:, -1], ends, rtol=1e-12)
    np.testing.assert_allclose(ours[:, -1], ends, rtol=1e-9)


class TestMeasure:
    x = np.arange(3.0)

    def figure(self, *names):
        figure, axes = plain("", "x", "y")
        for number, name in enumerate(names):
            pictures.series(axes, number, self.x, self.x**2, name)
        axes.legend()
        return figure

    def verdict(self, figure, **expected):
        with style():
            return pictures.measure(lambda: (figure, Sheet([Panel("", "x", "y", expected)])), "name")

    def test_a_figure_with_its_curves_where_they_have_to_be_passes(self):
        assert self.verdict(self.figure("one", "two"), one=columns(self.x, self.x**2), two=columns(self.x, self.x**2))

    @pytest.mark.parametrize(
        "names, expected, said",
        [
            (["one"], {"one": columns(x, x**2), "two": columns(x, x)}, "missing or not expected: two"),
            (["one", "two"], {"one": columns(x, x**2)}, "missing or not expected: two"),
            (["one"], {"one": columns(x, x**2 * (1 + 1e-8))}, "one is not where it has to be"),
            (["one"], {"one": columns(x[:2], x[:2])}, "one is not where it has to be"),
            (["one"], {"one": columns(x + 1, x**2)}, "one is not where it has to be"),
        ],
    )
    def test_a_curve_that_is_missing_new_or_elsewhere_fails(self, names, expected, said):
        finding = self.verdict(self.figure(*names), **expected)
        assert not finding.passed
        assert said in finding.measured

    def test_numbers_that_are_not_finite_fail(self):
        figure, axes = plain("", "x", "y")
        points = columns(self.x, [0, np.nan, 1])
        pictures.series(axes, 0, *points.T, "one")
        axes.legend()
        assert not self.verdict(figure, one=points).passed

    def test_text_that_is_cut_off_fails(self):
        figure = self.figure("one")
        figure.axes[0].set_title("far too long to fit into a figure of this width, " * 4)
        expected = Panel(read(figure).panels[0].title, "x", "y", {"one": columns(self.x, self.x**2)})
        with style():
            finding = pictures.measure(lambda: (figure, Sheet([expected])), "name")
        assert (finding.passed, finding.numbers["differences"]) == (False, 0)

    def test_entries_of_a_legend_that_look_alike_name_nothing(self):
        figure, axes = plain("", "x", "y")
        for name in ("one", "two"):
            pictures.series(axes, 0, self.x, self.x, name)
        axes.legend()
        assert list(read(figure).panels[0].shown) == ["one or two"]

    def test_a_curve_without_an_entry_and_an_entry_without_a_curve_are_seen(self):
        figure, axes = plain("", "x", "y")
        pictures.series(axes, 0, self.x, self.x, "one")
        axes.legend()
        axes.lines[0].set_color(look(1).color)
        sheet = read(figure)
        assert list(sheet.panels[0].shown) == ["the curve"]
        assert list(sheet.words) == ["in a legend, and not drawn: one"]
