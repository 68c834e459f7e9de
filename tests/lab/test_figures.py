"""Figures: nothing cut off, files of every kind, animations, and errors in one sentence."""

import itertools

import numpy as np
import pytest

import surefoot
from surefoot.lab import figures
from surefoot.lab.problems import Problem

matplotlib = pytest.importorskip("matplotlib")


def trace(**arguments):
    return surefoot.trace(**{"rules": ["adagrad", "sgd"], "lr": {"sgd": 0.6}, "steps": 5} | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"rules": "adagrad", "problem": "rosenbrock"},
        {"rules": ["adagrad", "rmsprop", "adam", "yogi", "nadam", "full_matrix", "ftrl"], "lr": 0.5},
        {"rules": "rmsprop", "lr": 0.4, "convention": "pytorch", "momentum": 0.2, "centered": True, "noise": 1.0},
        {"rules": "sgd", "lr": 1e6, "steps": 100},
        {"rules": "sgd", "lr": 0.1, "start": (40, -30)},
        {"rules": ["sgd", "adagrad"], "lr": [0.1, 0.2], "problem": "beale"},
    ],
)
def test_nothing_is_cut_off_or_crowded(arguments):
    result = trace(**{"lr": None, **arguments})
    figure = result.figure()
    assert figures.flaws(figure) == []
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == len(result)
    for axes, path in zip(shown, result, strict=True):
        assert axes.get_title().startswith(path.rule)
        assert any(np.array_equal(line.get_xydata(), path.positions) for line in axes.lines)
        if not path.diverged:
            (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
            assert (path.positions >= (left, low)).all()
            assert (path.positions <= (right, high)).all()


def test_a_custom_problem_without_a_minimum_or_contours():
    slope = Problem("slope", "x₁", lambda a, b: a, lambda a, b: (1 + 0 * a, 0 * b))
    flat = Problem("flat", "0", lambda a, b: 0 * a, lambda a, b: (0 * a, 0 * b))
    for problem in (slope, flat):
        assert figures.flaws(trace(problem=problem, rules="sgd").figure()) == []


def test_a_diverging_path_is_labelled_and_clipped():
    figure = trace(rules="sgd", lr=0.6, steps=20).figure()
    assert [text.get_text() for text in figure.axes[0].texts] == ["diverged"]
    assert figure.axes[0].get_ylim()[1] < 10


def test_flaws_finds_overlapping_text():
    figure, axes = figures.curves("title", "x", "y")
    axes.text(0.5, 0.5, "one")
    axes.text(0.5, 0.5, "two")
    assert figures.flaws(figure) == ["two | one"]


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_saved_by_suffix_into_a_new_folder(tmp_path, suffix, magic):
    target = tmp_path / "new" / f"trace.{suffix}"
    figures.save(trace().figure(), target)
    assert target.read_bytes().startswith(magic)


def test_equal_figures_are_equal_files(tmp_path):
    for name in ("one.svg", "two.svg"):
        figures.save(trace(rules="adagrad", lr=0.4).figure(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_an_animation_has_a_frame_for_every_step(tmp_path):
    from PIL import Image

    trace().gif(tmp_path / "trace.gif")
    with Image.open(tmp_path / "trace.gif") as image:
        assert image.n_frames == 6
        frames = []
        for number in range(6):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    assert all((one != two).any() for one, two in itertools.pairwise(frames))


def test_other_suffixes_and_invalid_folders_are_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"trace\.jpg: a figure is written as \.png, \.svg, \.pdf; found \.jpg"):
        figures.save(trace().figure(), "trace.jpg")
    with pytest.raises(ValueError, match=r"trace: an animation is written as \.gif; found no suffix"):
        trace().gif("trace")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written"):
        figures.save(trace().figure(), tmp_path / "file" / "trace.png")


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    """Figures and animations are written to a temporary file first."""
    image, animation = tmp_path / "trace.png", tmp_path / "trace.gif"
    for path in (image, animation):
        path.write_bytes(b"the last one")

    def fail(_, file, *rest, **options):
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(ValueError, match=r"trace\.png: cannot be written: the disk is full"):
        figures.save(trace().figure(), image)
    monkeypatch.undo()
    monkeypatch.setattr("PIL.Image.Image.save", fail)
    with pytest.raises(ValueError, match=r"trace\.gif: cannot be written: the disk is full"):
        trace().gif(animation)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "trace.png": b"the last one",
        "trace.gif": b"the last one",
    }


def test_the_style_is_restored_after_its_block():
    before = dict(matplotlib.rcParams)
    with figures.style():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before
    trace().figure()
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_draws_figures_without_pyplot():
    assert trace(rules="adagrad", lr=None).figure()._repr_png_().startswith(b"\x89PNG")


def test_a_rule_keeps_its_colour_at_every_rate():
    figure = trace(rules=["sgd", "adagrad"], lr={"sgd": [0.1, 0.2], "adagrad": 0.4}).figure()
    one, two, other = (axes.lines[1].get_color() for axes in figure.axes if axes.get_visible())
    assert one == two != other


@pytest.mark.parametrize(
    "values, shown",
    [
        ([0.0005, 0.001, 0.002], ["0.0005", "0.001", "0.002"]),
        ([1e-5, 1e-3, 0.1, 10], ["10⁻⁵", "10⁻³", "10⁻¹", "10"]),
        ([1e4, 2.5e5], ["10⁴", "2.5·10⁵"]),
    ],
)
def test_the_ticks_of_an_axis_are_written_alike(values, shown):
    assert figures.written_alike().format_ticks(values) == shown
