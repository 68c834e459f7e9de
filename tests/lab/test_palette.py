"""The palette of figures and reports is for readers of every colour vision, on light and on dark paper."""

import importlib.util
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import surefoot.lab
from surefoot.lab import figures

PROJECT = Path(__file__).parents[2]
STYLE = Path(surefoot.lab.__path__[0]) / "templates" / "style.css"

spec = importlib.util.spec_from_file_location("palette", PROJECT / "tools" / "palette.py")
assert spec is not None
assert spec.loader is not None
palette = importlib.util.module_from_spec(spec)
spec.loader.exec_module(palette)

PAIRS = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.903),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.263),
]
"""Of table 1 of Sharma, Wu & Dalal (2005): two colours in CIELAB, and their ΔE2000."""


@pytest.mark.parametrize("one, two, expected", PAIRS)
def test_the_distance_is_the_published_one(one, two, expected):
    for pair in ((one, two), (two, one)):
        assert palette.distance(*map(np.array, pair)) == pytest.approx(expected, abs=5e-5)


def test_the_visions_keep_greys_and_lose_a_dimension():
    for vision, matrix in palette.VISIONS.items():
        assert matrix.sum(axis=1) == pytest.approx(1, abs=2e-6), "a grey is seen as it is"
        assert (np.linalg.svd(matrix)[1][-1] < 0.2) == (vision != "normal")
    assert palette.contrasts(["#ffffff"], ["#000000"]) == pytest.approx(21)


@pytest.mark.parametrize("vision", palette.VISIONS)
def test_every_two_series_are_told_apart(vision):
    points = dict(zip(figures.PALETTE, palette.seen(figures.PALETTE, vision), strict=True))
    for one, two in itertools.combinations(points, 2):
        assert palette.distance(points[one], points[two]) >= 10, (one, two)


def test_every_series_stands_out_from_everything_it_is_drawn_on():
    """The page and the paper of the reports, in light and in dark, and a figure's own background."""
    css = STYLE.read_text()
    under = {color for name in ("page", "paper") for color in re.findall(rf"--{name}: (#\w{{6}})", css)}
    assert len(under) == 4
    under.add(figures.STYLE["figure.facecolor"])
    assert set(palette.BACKGROUNDS) == under
    for background in under:
        assert palette.contrasts(figures.PALETTE, [background]).min() >= 3, background


def test_what_lies_behind_the_series_stands_out_too():
    """Contour lines and diagonals, on figures and on the page and the paper of each scheme of the reports."""
    assert palette.contrasts([figures.CONTOUR, figures.REFERENCE], ["#ffffff"]).min() >= 3
    css = STYLE.read_text()
    named = {name: re.findall(rf"--{name}: (#\w{{6}})", css) for name in ("page", "paper", "contour")}
    for page, paper, contour in zip(*named.values(), strict=True):
        assert palette.contrasts([contour], [page, paper]).min() >= 3


def test_a_palette_that_is_too_light_for_the_page_is_found_out():
    """A colour of an earlier palette, which has enough contrast with white alone."""
    light, _ = re.findall(r"--page: (#\w{6})", STYLE.read_text())
    assert palette.contrasts(["#bb8800"], ["#ffffff"]) > 3 > palette.contrasts(["#bb8800"], [light])


def test_a_swatch_that_is_pointed_at_keeps_its_background():
    """Reports draw swatches on the page or on paper alone: no rule of theirs gives them another background."""
    rules = re.findall(r"([^{}]*(?:chip|swatch)[^{}]*)\{([^}]*)\}", STYLE.read_text())
    assert rules
    assert not [selector for selector, body in rules if "background" in body]


def test_series_also_differ_by_markers_and_neighbours_by_dashes():
    looks = [figures.look(number) for number in range(len(figures.PALETTE))]
    assert len({way.marker for way in looks}) == len({way.color for way in looks}) == 12
    assert all(one.dashes != two.dashes for one, two in itertools.pairwise(looks))


def test_a_palette_that_hides_a_pair_from_protanopes_is_found_out():
    """The orange and the darkened yellow of an earlier palette."""
    assert palette.distances(["#e69f00", "#b8a800"])[0, 1] < 1


@pytest.mark.slow
def test_the_tool_finds_the_palette_again():
    assert tuple(palette.search(12)) == figures.PALETTE
