"""Runs the Python blocks of the documentation, as its tests do, and writes the figures that they draw.

    python tools/doc_blocks.py           # all figures
    python tools/doc_blocks.py sgd.md    # those of sections whose name has this word in it

A block saves a figure under its own name, and the page that shows it says where that file belongs. README.md has no
blocks that draw: the caption of its figure is the command.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]+\.(?:png|svg))\)")
CAPTION = re.compile(IMAGE.pattern + r"\n\n\*`surefoot ([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of the page where its text begins, and the text."""

    language: str
    line: int
    text: str

    @property
    def printed(self) -> list[str]:
        """What it prints: the lines of the comment that ends a Python block; of a console block, those of no prompt."""
        if self.language == "console":
            return [line for line in self.text.splitlines() if not line.startswith("$ ")]
        comment = re.search(r"(?:^#.*\n)*\Z", self.text, re.MULTILINE)
        if "print(" not in self.text or comment is None:
            return []
        return [line.removeprefix("#").removeprefix(" ") for line in comment[0].splitlines()]

    @property
    def commands(self) -> list[str]:
        """The commands of a console block."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


@dataclass(frozen=True)
class Section:
    """A heading of a page, with the blocks under it, and the figures that it shows."""

    page: Path
    heading: str
    blocks: list[Block] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)

    def __str__(self):
        return f"{self.page.relative_to(DOCS)}: {self.heading}"

    @property
    def python(self) -> list[Block]:
        return [block for block in self.blocks if block.language == "python"]


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def sections(page: Path) -> list[Section]:
    """The sections of a page. A # inside a fence does not begin one."""
    found, fence, begin, text = [Section(page, "")], "", 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if fence and line.rstrip() == "```":
            found[-1].blocks.append(Block(fence, begin, text))
            fence = ""
        elif fence:
            text += line
        elif line.startswith("```"):
            fence, begin, text = line.strip().removeprefix("```") or "text", number + 1, ""
        elif line.startswith("#"):
            found.append(Section(page, line.strip("# \n")))
        else:
            found[-1].figures.extend(page.parent / name for name in IMAGE.findall(line))
    return found


def run(section: Section, folder: Path) -> tuple[list[list[str]], dict[str, Any]]:
    """Runs the Python blocks of a section in a folder; they share their names, as they would in a notebook.

    Returns:
        the lines that each block printed, and the names that were defined.
    """
    names: dict[str, Any] = {"__name__": "section"}
    printed = []
    for block in section.python:
        # Empty lines before it, so that errors name the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(section.page), "exec", dont_inherit=True)
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, names)
        printed.append(output.getvalue().splitlines())
    return printed, names


def captioned() -> dict[Path, list[str]]:
    """The figures of README.md, each with the arguments of the command that draws it."""
    found = CAPTION.findall(README.read_text(encoding="utf-8"))
    return {README.parent / figure: shlex.split(command) for figure, command in found}


def draw(arguments: list[str], folder: Path) -> None:
    """Runs the command of a caption in a folder."""
    subprocess.run([sys.executable, "-m", "surefoot", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def store(drawn: Path, figure: Path) -> None:
    """Copies a figure to where the page shows it; a PNG with 64 colours, which makes it half as large."""
    figure.parent.mkdir(exist_ok=True)
    if figure.suffix == ".png":
        from PIL import Image

        # The default, median cut, merges colours of curves that take up little room.
        Image.open(drawn).convert("RGB").quantize(64, Image.Quantize.FASTOCTREE).save(figure, optimize=True)
    else:
        shutil.copyfile(drawn, figure)


def main() -> None:
    # Before torch is loaded: on networks this small its threads mostly wait for one another, eight times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = sys.argv[1:]
    for section in [section for page in pages() for section in sections(page)]:
        if not section.python or not section.figures or not all(word in str(section) for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run(section, Path(folder))
            for figure in section.figures:
                store(Path(folder) / figure.name, figure)
        sys.stdout.write(f"{section}: {', '.join(figure.name for figure in section.figures)}\n")
    for figure, arguments in captioned().items():
        if all(word in README.name for word in words):
            with tempfile.TemporaryDirectory() as folder:
                draw(arguments, Path(folder))
                store(Path(folder) / figure.name, figure)
            sys.stdout.write(f"{README.name}: {figure.name}\n")


if __name__ == "__main__":
    main()
