"""Every figure of the laboratory shows what it draws, and `unseen` names what a reader cannot see."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import surefoot
from surefoot.cli import run
from surefoot.data import Dataset
from surefoot.lab import figures, report
from surefoot.lab.rates_figure import Rows, rates_figure
from surefoot.lab.visibility import unseen

pytest.importorskip("matplotlib")
from surefoot.lab.canvas import Drawing

LAB = Path(figures.__file__).parent
QUICK = {"epochs": 3, "seeds": 2, "batch_size": 4, "lr": 0.1, "engine": "reference"}


def data(sparse: bool) -> Dataset:
    """Examples whose features are the rarer the later they come, or all there."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12)) * (rng.random((60, 12)) < (1 / np.arange(1, 13) if sparse else 1))
    y = (X @ np.linspace(-2, 2, 12) + rng.normal(0, 0.3, 60) > 0).astype(np.float32)
    return Dataset("made", csr_array(X.astype(np.float32)) if sparse else X.astype(np.float32), y, "classification")


def a_trace():
    surefoot.trace(["sgd", "adagrad"], lr=0.4, steps=10).figure()


def a_race():
    report.render(surefoot.compare(data(sparse=True), ["sgd", "adagrad", "adam"], **QUICK))


def a_race_of_all_rules():
    surefoot.compare(data(sparse=True), "all", **QUICK).figures()


def a_race_on_dense_features():
    surefoot.compare(data(sparse=False), ["sgd", "adagrad"], **QUICK).figures()


def a_search_for_rates():
    surefoot.compare(data(sparse=True), ["sgd", "adagrad"], **{**QUICK, "lr": None}).figures()


def a_training():
    made = data(sparse=True)
    lines = [
        f"{int(y)} {' '.join(f'{k}:{x:.3f}' for k, x in enumerate(row) if x)}"
        for row, y in zip(csr_array(made.X).toarray(), made.y, strict=True)
    ]
    Path("made.svm").write_text("\n".join(lines) + "\n")
    assert run(["train", "made.svm", "--test", "made.svm", "--model", "m", "--report", "report.html", "-q"]) == 0
    assert run(["inspect", "m", "--figure", "weights.png"]) == 0


def a_diagnosis():
    visits = np.arange(1.0, 101.0)
    rates_figure([("table", Rows("steps in which a row had a gradient", visits, 1 / np.sqrt(visits)))])


DRAW = (a_trace, a_race, a_race_of_all_rules, a_race_on_dense_features, a_search_for_rates, a_training, a_diagnosis)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """All figures that are begun, and the functions of the laboratory that were at work."""
    monkeypatch.chdir(tmp_path)
    begun, at_work, begin = [], set(), Drawing.__init__

    def recorded(self, *given, **options):
        begin(self, *given, **options)
        begun.append(self)
        frame = sys._getframe(1)
        while frame is not None:
            at_work.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
            frame = frame.f_back

    monkeypatch.setattr(Drawing, "__init__", recorded)
    return begun, at_work


def beginners() -> set[tuple[str, str]]:
    """The functions of the laboratory that begin a figure."""
    found = set()
    for file in LAB.glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                calls = [
                    call.func.id
                    for call in ast.walk(function)
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
                ]
                if {"new_figure", "curves"} & set(calls):
                    found.add((file.name, function.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAW, ids=lambda draw: draw.__name__)
def test_a_figure_of_the_laboratory_shows_what_it_draws(drawn, draw):
    """Figures of published results go through the same functions in their rows."""
    begun, _ = drawn
    draw()
    assert begun
    with figures.style():
        assert [flaw for figure in begun for flaw in (*figures.flaws(figure), *unseen(figure))] == []


@pytest.mark.slow
def test_every_function_that_begins_a_figure_is_called(drawn):
    _, at_work = drawn
    for draw in DRAW:
        draw()
    assert beginners() <= at_work


class TestUnseen:
    x = np.arange(10.0)

    def panel(self, **line):
        with figures.style():
            figure, axes = figures.curves("a title", "x", "y")
            axes.plot(self.x, self.x, **{"color": "#cc1111", "label": "one", **line})
        return figure, axes

    def said(self, figure):
        with figures.style():
            figure.canvas.draw()
            return unseen(figure)

    def test_a_plain_figure_is_seen(self):
        assert self.said(self.panel()[0]) == []

    @pytest.mark.parametrize(
        "line", [{"alpha": 0.0}, {"alpha": 0.3}, {"linewidth": 0.0}, {"color": "#aaaaaa"}, {"color": "white"}]
    )
    def test_a_curve_without_ink_cannot_be_seen(self, line):
        assert self.said(self.panel(**line)[0]) == ["Line2D “one” of a title: cannot be seen"]

    @pytest.mark.parametrize(
        "line, what", [({"linewidth": 0.5}, "thin"), ({"linestyle": "none", "marker": "o", "markersize": 1.5}, "small")]
    )
    def test_curves_and_marks_have_a_least_size(self, line, what):
        assert self.said(self.panel(**line)[0]) == [f"Line2D “one” of a title: is too {what}"]

    def test_contour_lines_have_a_least_width(self):
        figure, axes = self.panel()
        lines = axes.contour(self.x, self.x, np.add.outer(self.x, self.x), colors="#777777", linewidths=0.6)
        assert self.said(figure) == []
        lines.set_linewidths(0.3)
        assert len(self.said(figure)) == 1
        assert self.said(figure)[0].endswith("is too thin")

    @pytest.mark.parametrize("of", ["title", "xaxis.label", "an entry"])
    def test_text_has_a_least_size(self, of):
        figure, axes = self.panel()
        text = {"title": axes.title, "xaxis.label": axes.xaxis.label, "an entry": axes.legend().get_texts()[0]}[of]
        text.set_fontsize(5)
        assert [flaw.partition(" of ")[2] for flaw in self.said(figure)] in (
            ["a title: is too small"],
            ["a legend: is too small"],
        )

    def test_a_halo_tells_a_curve_from_grey_ones_under_it(self):
        from matplotlib.patheffects import Normal, Stroke

        figure, axes = self.panel(color="#998899")
        for shift in np.linspace(-0.05, 0.05, 9):
            axes.plot(self.x, self.x + shift, color="#8f8f8f", linewidth=1.5, zorder=1)
        assert "Line2D “one” of a title: cannot be seen" in self.said(figure)
        axes.lines[0].set_path_effects([Stroke(linewidth=5, foreground="white"), Normal()])
        assert "Line2D “one” of a title: cannot be seen" not in self.said(figure)

    def test_a_curve_out_of_view_cannot_be_seen(self):
        figure, axes = self.panel()
        axes.set_xlim(20, 30)
        assert self.said(figure) == ["Line2D “one” of a title: cannot be seen"]

    def test_paper_over_a_curve_covers_it(self):
        figure, axes = self.panel()
        axes.axhspan(-1, 10, color="white", zorder=3)
        assert "Line2D “one” of a title: is covered" in self.said(figure)

    def test_a_curve_covers_another_where_they_are_the_same(self):
        figure, axes = self.panel(linewidth=1.0)
        axes.plot(self.x, self.x, color="#557777", linewidth=3.0)
        assert self.said(figure) == ["Line2D “one” of a title: is covered"]

    def test_a_pale_band_is_seen_and_hides_no_curve(self):
        figure, axes = self.panel()
        axes.fill_between(self.x, self.x - 1, self.x + 1, color="#8888bb", alpha=0.15, linewidth=0, zorder=3)
        assert self.said(figure) == []
        axes.collections[0].set_alpha(0.02)
        assert self.said(figure) == ["FillBetweenPolyCollection of a title: cannot be seen"]

    @pytest.mark.parametrize("color", ["white", "#999999"])
    def test_text_needs_more_contrast_than_curves(self, color):
        figure, axes = self.panel()
        axes.title.set_color(color)
        assert self.said(figure) == ["“a title” of a title: cannot be seen"]

    def test_text_is_seen_on_its_own_background(self):
        figure, axes = self.panel()
        note = axes.text(1, 8, "a note", color="white", bbox={"facecolor": "#A32A00"})
        assert self.said(figure) == []
        note.set_color("#A32A00")
        assert self.said(figure) == ["“a note” of a title: cannot be seen"]

    def test_an_axis_without_numbers_is_named(self):
        figure, axes = self.panel()
        axes.set_xticks([])
        axes.tick_params(axis="y", labelcolor="white")
        found = self.said(figure)
        assert {"x of a title: has no numbers", "y of a title: has no numbers"} <= set(found)

    def test_the_numbers_of_a_panel_below_count(self):
        with figures.style():
            figure = figures.new_figure(4, 4)
            for axes in figure.subplots(2, 1, sharex=True):
                axes.plot(self.x, self.x, color="#cc1111")
        assert self.said(figure) == []
