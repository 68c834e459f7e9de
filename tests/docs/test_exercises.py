"""The Python blocks of docs/*.md run, and print what the comment that ends them says.

The blocks under one heading share their names, as they would in a notebook; other headings start from scratch.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from surefoot import modifiers

DOCS = Path(__file__).parents[2] / "docs"
OPTIONAL = ("jax", "torch", "matplotlib", "pandas", "pyarrow")
"""Modules without which a section is skipped."""


@pytest.fixture(autouse=True)
def own_modifiers(monkeypatch):
    """A page's modifiers are registered for its section alone."""
    monkeypatch.setattr(modifiers, "REGISTRY", dict(modifiers.REGISTRY))


NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced Python block, and the line of the page where its text begins."""

    line: int
    text: str

    @property
    def printed(self) -> list[str]:
        """The lines of the comment that ends the block: what it prints; none if it prints nothing."""
        comment = re.search(r"(?:^#.*\n)*\Z", self.text, re.MULTILINE)
        if "print(" not in self.text or comment is None:
            return []
        return [line.removeprefix("#").removeprefix(" ") for line in comment[0].splitlines()]


@dataclass(frozen=True)
class Section:
    """A heading of a page and the blocks under it, up to the next heading."""

    page: str
    heading: str
    blocks: list[Block] = field(default_factory=list)

    def __str__(self):
        return f"{self.page}: {self.heading}"


def sections(page: Path) -> list[Section]:
    """The sections of a page that have Python blocks. A # inside a fence is no heading."""
    found, fence, begin, text = [Section(page.name, "")], "", 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if fence and line.rstrip() == "```":
            if fence == "python":
                found[-1].blocks.append(Block(begin, text))
            fence = ""
        elif fence:
            text += line
        elif line.startswith("```"):
            fence, begin, text = line.strip().removeprefix("```") or "text", number + 1, ""
        elif line.startswith("#"):
            found.append(Section(page.name, line.strip("# \n")))
    return [section for section in found if section.blocks]


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


SECTIONS = [section for page in sorted(DOCS.glob("*.md")) for section in sections(page)]


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_section_runs(section, capsys, monkeypatch, tmp_path):
    for module in OPTIONAL:
        if any(re.search(rf"^\s*(import|from) {module}\b", block.text, re.MULTILINE) for block in section.blocks):
            pytest.importorskip(module)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "section"}
    for block in section.blocks:
        # Empty lines before it, so that errors name the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(DOCS / section.page), "exec", dont_inherit=True)
        exec(code, names)
        printed = capsys.readouterr().out.splitlines()
        if block.printed:
            assert not differences(printed, block.printed), f"{section.page}:{block.line}"


@pytest.mark.parametrize("section", sections(DOCS / "exercises.md"), ids=str)
def test_every_answer_can_fail(section):
    assert any(block.printed or re.search(r"\bassert", block.text) for block in section.blocks)


def test_every_exercise_has_code():
    text = (DOCS / "exercises.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert headings == [section.heading for section in sections(DOCS / "exercises.md")]


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
