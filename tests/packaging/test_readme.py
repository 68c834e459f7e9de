"""What README.md, CONTRIBUTING.md and docs/train.md show works: commands, make targets, Python blocks, examples."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from surefoot import losses

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/train.md")
OPTIONAL = ("torch",)
"""Modules without which a Python block is skipped."""

FILES = {
    "clicks.svm": "1 1:1 3:0.5\n-1 2:1 3:0.5\n" * 50,
    "later.svm": "1 1:1 3:0.5\n-1 2:1 3:0.5\n" * 50,
    "weather.txt": "grey windy -> 1\nclear -> 0\n" * 50,
    "weather.csv": "sky,wind,rain\n" + "clear,3,0\ngrey,5,1\n" * 50,
}
"""What commands read, next to the Python blocks that begin with the name of a file."""

SMALL = {
    "compare": ["--rules", "adagrad", "--lr", "0.1", "--epochs", "1", "--seeds", "1"],
    "reproduce": ["--only", "trace-adagrad-0.4"],
}
"""Added to a subcommand's arguments, where the last value given counts: the command as written would take too long."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text and the line of the page where the text begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    def commands(self, program: str) -> list[list[str]]:
        """The arguments of each command for the program; in `console` blocks those after the prompt `$`."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        commands = [shlex.split(line, comments=True) for line in lines]
        return [arguments for name, *arguments in filter(None, commands) if name == program]


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks in these languages, of all pages."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start(2)) + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if block.language in languages]


def run(command: list[str], folder: Path, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Runs a command in the folder as a reader would, without a screen; fails with what it wrote."""
    environment = os.environ | {"MPLBACKEND": "Agg", "NO_COLOR": "1", "COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


SHELL = blocks("console", "bash")


def marked(block: Block):
    """Slow is a comparison of three rules: each compiles kernels of its own."""
    slow = "--rules adagrad,adam,ftrl" in block.text
    return pytest.param(block, marks=pytest.mark.slow if slow else ())


def test_pages_show_commands_and_code():
    assert any(block.commands("surefoot") for block in SHELL)
    assert any(block.commands("make") for block in SHELL)
    assert blocks("python")


@pytest.mark.parametrize("block", [marked(block) for block in SHELL if block.commands("surefoot")], ids=str)
def test_surefoot_commands_run(block, tmp_path):
    surefoot = Path(sys.executable).with_name("surefoot")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for code in blocks("python"):
        if name := re.match(r"# (\w+\.py)\n", code.text):
            (tmp_path / name[1]).write_text(code.text, encoding="utf-8")
    for arguments in block.commands("surefoot"):
        small = SMALL.get(arguments[0], []) if arguments else []
        done = run([str(surefoot), *arguments, *small], tmp_path)
        assert (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("block", [block for block in SHELL if block.commands("make")], ids=str)
def test_make_targets_exist(block):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = {word for arguments in block.commands("make") for word in arguments if "=" not in word}
    assert named <= set(targets)


def test_examples_exist():
    """Other tests run them."""
    named = {script for block in SHELL for script, *_ in block.commands("python") if script.endswith(".py")}
    assert named == {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_named_files_of_tests_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:tests|examples|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_number_of_losses():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(losses.REGISTRY) == 10
    assert "with ten losses" in text


@pytest.mark.parametrize("block", list(map(marked, blocks("python"))), ids=str)
def test_python_runs(block, tmp_path, monkeypatch):
    """In this process: importing everything again takes longer than most of them."""
    for module in OPTIONAL:
        if re.search(rf"^\s*(import|from) {module}\b", block.text, re.MULTILINE):
            pytest.importorskip(module)
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
