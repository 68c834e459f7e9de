"""Figures of published results: their rows look at what is drawn, and their curves are told apart."""

import itertools
import os

import numpy as np
import pytest
from support.mutants import MUTANTS

from surefoot import schedules
from surefoot.lab.figures import PALETTE, curves, style
from surefoot.lab.published import ROWS, airfoil, airfoil_pictures, pictures
from surefoot.lab.reproduction import reproduce
from surefoot.rules import MATRIX_RULES, REGISTRY

pytest.importorskip("matplotlib")
FIGURES = [id for id, row in ROWS.items() if row.section == pictures.SECTION]
AIRFOIL = {"figure-epochs", "figure-time"}
SLOW = AIRFOIL | {"figure-unbalanced"}
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


def measured(id):
    if id in AIRFOIL and "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")
    (result,) = [result for result in reproduce(only=id) if result.id == id]
    return result


def drawn(monkeypatch, id):
    """The figure of a row that passes."""
    found, sound = [], pictures.drawn
    monkeypatch.setattr(pictures, "drawn", lambda figure: found.append(figure) or sound(figure))
    result = measured(id)
    assert result.verdict == "pass", result.measured
    return found[0]


def test_every_figure_says_which_rules_it_draws():
    assert set(RULES) == set(FIGURES)


@pytest.mark.parametrize(
    "id, mutant",
    [
        pytest.param(id, mutant, id=f"{id}, {mutant.id}", marks=pytest.mark.slow if id in SLOW else ())
        for id in FIGURES
        for mutant in broken(id)
    ],
)
def test_the_figure_of_a_broken_rule_fails(monkeypatch, id, mutant):
    table = REGISTRY if mutant.rule in REGISTRY else MATRIX_RULES
    monkeypatch.setitem(table, mutant.rule, mutant.built())
    result = measured(id)
    assert result.verdict == "fail"
    # A rule that diverges ends in an error; tests make one of NumPy's warning before it.
    ended = ("NonFiniteError", "RuntimeWarning: overflow", "RuntimeWarning: invalid value")
    assert "the furthest is" in result.measured or result.reason.startswith(ended)


@pytest.mark.parametrize("name", ["exponential", "polynomial", "piecewise_constant"])
def test_the_figure_of_a_broken_schedule_fails(monkeypatch, name):
    sound = getattr(schedules, name)
    monkeypatch.setattr(schedules, name, lambda *given: lambda t: 1.01 * sound(*given)(t))
    for id in ("figure-schedules", "figure-schedule-distances"):
        assert measured(id).verdict == "fail"


@pytest.mark.parametrize("id", each(FIGURES))
def test_the_curves_of_a_panel_have_colours_of_their_own(monkeypatch, id):
    for axes in drawn(monkeypatch, id).axes:
        lines = [line for line in axes.lines if not str(line.get_gid() or line.get_label()).startswith("_")]
        assert {line.get_color() for line in lines} <= set(PALETTE)
        for one, two in itertools.combinations(lines, 2):
            assert one.get_color() != two.get_color()
            assert one.get_marker() != two.get_marker()


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
        figure, axes = curves("", "x", "y")
        for number, name in enumerate(names):
            pictures.series(axes, number, self.x, self.x**2, name)
        return figure

    def verdict(self, figure, **expected):
        with style():
            return pictures.measure(lambda: (figure, expected), "name")

    def test_a_figure_with_its_curves_where_they_have_to_be_passes(self):
        assert self.verdict(self.figure("one", "two"), one=self.x**2, two=np.stack([self.x, self.x**2], 1)).passed

    @pytest.mark.parametrize(
        "names, expected, said",
        [
            (["one"], {"one": x**2, "two": x}, "missing or not expected: two"),
            (["one", "two"], {"one": x**2}, "missing or not expected: two"),
            (["one"], {"one": x**2 * (1 + 1e-8)}, "the furthest is one"),
            (["one"], {"one": x[:2]}, "the furthest is one"),
            (["one"], {"one": np.stack([x + 1, x**2], 1)}, "the furthest is one"),
        ],
    )
    def test_a_curve_that_is_missing_new_or_elsewhere_fails(self, names, expected, said):
        finding = self.verdict(self.figure(*names), **expected)
        assert not finding.passed
        assert said in finding.measured

    def test_numbers_that_are_not_finite_fail(self):
        figure, axes = curves("", "x", "y")
        pictures.series(axes, 0, self.x, np.array([0, np.nan, 1]), "one")
        assert not self.verdict(figure, one=np.array([0, np.nan, 1])).passed

    def test_text_that_is_cut_off_fails(self):
        figure = self.figure("one")
        figure.text(0.99, 0.5, "far too long")
        assert not self.verdict(figure, one=self.x**2).passed
