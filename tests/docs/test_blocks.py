"""The code blocks of docs/ run, print what the page says, and draw the figures that it shows.

The Python blocks under one heading share their names, as they would in a notebook; other headings start from scratch.
What a Python block prints is the comment that ends it. Console blocks run the examples.
"""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import frameworks
from support.documentation import doc_blocks

from surefoot import modifiers

ROOT = doc_blocks.DOCS.parent
OPTIONAL = ("jax", "torch", "matplotlib", "pandas", "pyarrow")
"""Modules without which a section is skipped."""

SLOW = ("exercises/rmsprop.md: 3. ", "errata.md: A speed-up without ")
"""Sections whose Python blocks take longer than others."""

EXERCISES = doc_blocks.DOCS / "exercises"
"""Pages of which the first section is fast, and the others are slow."""

NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
LARGEST = 60_000
"""Bytes of a figure in docs/exercises."""

SECTIONS = [section for page in doc_blocks.pages() for section in doc_blocks.sections(page)]
RUN = [section for section in SECTIONS if section.python]
QUICK = next(section for section in RUN if section.page == EXERCISES / "adagrad.md")
"""Of the exercises, the section that runs in fast tests, too."""


@pytest.fixture(autouse=True)
def own_modifiers(monkeypatch):
    """A page's modifiers are registered for its section alone."""
    monkeypatch.setattr(modifiers, "REGISTRY", dict(modifiers.REGISTRY))


def differences(found: list[str], expected: list[str]) -> list[str]:
    """What differs between printed lines: words must agree, numbers to one unit of the last digit that is shown."""
    if len(found) != len(expected):
        return [f"printed {len(found)} lines, expected {len(expected)}"]
    return [
        f"printed {ours!r}, expected {theirs!r}"
        for ours, theirs in zip(found, expected, strict=True)
        if NUMBER.sub("0", ours).split() != NUMBER.sub("0", theirs).split()
        or not all(map(near, NUMBER.findall(ours), NUMBER.findall(theirs)))
    ]


def near(found: str, expected: str) -> bool:
    digits, _, exponent = expected.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(value(found) - value(expected)) <= 1.001 * unit


def value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def texts(svg: Path) -> set[str]:
    """The words of a figure; shapes differ from one Matplotlib to the next."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", html.unescape(svg.read_text(encoding="utf-8")), re.DOTALL)
    return {" ".join(re.sub(r"<[^>]*>", "", text).split()) for text in found}


def blocks(png: Path, size: int = 8) -> np.ndarray:
    """The mean colour of each block of pixels, (rows, columns, 3)."""
    from PIL import Image

    pixels = np.asarray(Image.open(png).convert("RGB"), float)
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    return pixels[: rows * size, : columns * size].reshape(rows, size, columns, size, 3).mean(axis=(1, 3))


def is_current(drawn: Path, figure: Path) -> bool:
    """Whether a kept figure shows what is drawn now: an SVG has the same words, a PNG nearly all blocks alike."""
    if figure.suffix == ".svg":
        return texts(drawn) == texts(figure) and colors(drawn) == colors(figure)
    ours, theirs = blocks(drawn), blocks(figure)
    return ours.shape == theirs.shape and (np.abs(ours - theirs).max(axis=-1) > 16).mean() < 0.01


def colors(svg: Path) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}\b", svg.read_text(encoding="utf-8")))


def marked(section):
    later = section.page.parent == EXERCISES and section is not QUICK
    slow = later or str(section).startswith(SLOW)
    return pytest.param(section, marks=pytest.mark.slow if slow else (), id=str(section))


@pytest.mark.parametrize("section", [marked(section) for section in RUN])
def test_section_runs(section, monkeypatch, tmp_path):
    for module in OPTIONAL:
        if any(re.search(rf"^\s*(import|from) {module}\b", block.text, re.MULTILINE) for block in section.python):
            pytest.importorskip(module)
    for module in frameworks.STAND_INS:
        if any(re.search(rf"^(import|from) {module}\b", block.text, re.MULTILINE) for block in section.python):
            frameworks.provide(monkeypatch, module)
    if any("airfoil_textbook()" in block.text for block in section.python) and "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")  # a test does not download
    if section.figures:
        matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    printed, names = doc_blocks.run(section, tmp_path)
    for block, lines in zip(section.python, printed, strict=True):
        if block.printed:
            assert not differences(lines, block.printed), f"{section.page}:{block.line}"
    for figure in section.figures:
        drawn = tmp_path / figure.name
        assert drawn.stat().st_size > 0, f"{section}: no block saves {figure.name}"
        assert is_current(drawn, figure), f"run make figures: {figure} is out of date"
    if section.figures:
        from surefoot.lab.figures import flaws

        for figure in [each for each in names.values() if isinstance(each, matplotlib.figure.Figure)]:
            assert not flaws(figure)


@pytest.mark.parametrize(
    "figure, arguments", doc_blocks.captioned().items(), ids=lambda value: getattr(value, "name", "")
)
def test_figures_of_the_readme_are_current(figure, arguments, tmp_path):
    pytest.importorskip("matplotlib")
    doc_blocks.draw(arguments, tmp_path)
    assert is_current(tmp_path / figure.name, figure), f"run make figures: {figure} is out of date"


def test_every_figure_of_the_readme_has_its_command():
    shown = {ROOT / name for name in doc_blocks.IMAGE.findall(doc_blocks.README.read_text(encoding="utf-8"))}
    assert shown == doc_blocks.captioned().keys()


def test_a_figure_of_another_palette_or_with_another_path_is_out_of_date(tmp_path):
    pytest.importorskip("matplotlib")
    (figure, arguments), *_ = doc_blocks.captioned().items()
    from PIL import Image

    doc_blocks.draw([*arguments, "--lr", "0.45"], tmp_path)
    assert not is_current(tmp_path / figure.name, figure)
    pixels = np.array(Image.open(figure).convert("RGB"))
    red = (np.abs(pixels.astype(int) - [0xCC, 0x11, 0x11]) < 40).all(axis=-1)
    pixels[red] = [0x11, 0x77, 0x55]
    Image.fromarray(pixels).save(tmp_path / figure.name)
    assert red.any()
    assert not is_current(tmp_path / figure.name, figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [block for section in SECTIONS for block in section.blocks if "$ python examples/" in block.text]
)
def test_examples_print_what_the_page_says(block):
    """To what rounding leaves: the same runs with other vector instructions ended up to 3 points apart, and up to 15 on
    the way there."""
    pytest.importorskip("torch")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    printed = []
    for command in block.commands:
        _, *arguments = shlex.split(command)
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=600
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout.splitlines()
    assert [NUMBER.sub("0", line) for line in printed] == [NUMBER.sub("0", line) for line in block.printed]
    for found, expected in zip(printed, block.printed, strict=True):
        if "; loss" in expected:
            bounds = [20] * found.count("%")
            bounds[-1:] = [5, 0.1]
            apart = np.abs(np.subtract(results(found), results(expected)))
            assert (apart <= bounds).all(), f"printed {found!r}, expected {expected!r}"
        else:
            assert not differences([found], [expected])


def results(line: str) -> list[float]:
    """The accuracies of a line in percent, and the loss that ends it."""
    return [float(number) for number in re.findall(r"\d+(?=%)|(?<=loss )[\d.]+", line)]


def test_slow_sections_exist():
    for name in SLOW:
        assert any(str(section).startswith(name) for section in SECTIONS), name


def test_links_resolve():
    for page in doc_blocks.pages():
        for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_figures_of_exercises_are_small_and_shown():
    shown = {figure for section in SECTIONS for figure in section.figures}
    for figure in (doc_blocks.DOCS / "exercises" / "figures").iterdir():
        assert figure in shown, f"no page shows {figure}"
        assert figure.stat().st_size <= LARGEST, figure


@pytest.mark.parametrize(
    "found, expected, agree",
    [
        ("a 0.57, b 1,177", "a 0.57, b 1,177", True),
        ("a  0.58", "a 0.57", True),
        ("a 0.59", "a 0.57", False),
        ("b 0.57", "a 0.57", False),
        ("4e-07", "3e-07", True),
        ("3e-06", "3e-07", False),
        ("0.57 0.57", "0.57", False),
        ("nan", "0.57", False),
        ("-0.57", "0.57", False),
    ],
)
def test_the_comparator(found, expected, agree):
    assert (not differences([found], [expected])) is agree
