"""docs/architecture.md names files and functions that exist, and its picture has the packages of today."""

import ast
import contextlib
import html
import importlib.util
import itertools
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "surefoot"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAME = r"`([\w/]+\.py)(?::([\w.]+))?`"
NAMED = sorted(set(re.findall(NAME, TEXT)))
GRADIENT = TEXT.partition("## The life of one gradient")[2].partition("\n## ")[0]
COMPILED = {"engines/cpu/drivers/dense.py", "engines/cpu/drivers/coordinate.py", "rules/adagrad.py"}


def defined(file: Path) -> set[str]:
    """The functions, classes and methods of a file, dotted."""
    found = set()

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + child.name)
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, prefix)

    visit(ast.parse(file.read_text(encoding="utf-8")), "")
    return found


@pytest.fixture(scope="module")
def picture():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "figures" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file, name", NAMED, ids=str)
def test_named_files_and_functions_exist(file, name):
    assert (SOURCE / file).is_file()
    assert not name or name in defined(SOURCE / file)


def test_the_page_follows_a_line_from_the_command_to_the_weight():
    assert ("cli/train.py", "train") in NAMED
    assert len([name for _, name in NAMED if name]) > 15


def calls_in(work) -> list[tuple[str, str]]:
    """The (file, dotted name) of every Python function of the package that a function calls, in their order."""
    seen = []

    def note(frame, event, argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(SOURCE)):
            seen.append((Path(path).relative_to(SOURCE).as_posix(), frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def test_a_gradient_passes_the_functions_of_the_page_in_their_order():
    """Those before the section's last paragraph, which is about other ways; what is compiled cannot be seen."""
    torch = pytest.importorskip("torch")
    from surefoot import optim
    from surefoot.engines import NonFiniteError
    from surefoot.engines.cpu.specialize import specialize

    def train():
        weight = torch.nn.Parameter(torch.zeros(4, 3))
        optimizer = optim.Adagrad([weight])
        for gradient in (torch.ones(4, 3), torch.full((4, 3), torch.nan)):
            weight.grad = gradient
            with contextlib.suppress(NonFiniteError):
                optimizer.step()

    specialize.cache_clear()
    calls = calls_in(train)
    steps = re.findall(r"^\d\. (.*?)(?=^\d\. |^$)", GRADIENT, re.MULTILINE | re.DOTALL)
    assert len(steps) == 7
    named = [[pair for pair in re.findall(NAME, step) if pair[1] and pair[0] not in COMPILED] for step in steps]
    for file, name in itertools.chain(*named):
        classes = {called for where, called in calls if where == file and called.startswith(f"{name}.")}
        assert (file, name) in calls or classes or name == "NonFiniteError", f"{file}:{name}"
    firsts = [calls.index(pairs[0]) for pairs in named if pairs]
    assert firsts == sorted(firsts)
    assert len(firsts) == 6


def test_the_picture_has_the_packages_of_the_source(picture):
    entries = {path.stem for path in SOURCE.iterdir() if not path.name.startswith("_") and path.suffix in ("", ".py")}
    assert {name for layer in picture.layers() for name in layer} == entries
    assert set(picture.PACKAGES) == entries


def test_the_trail_of_the_picture_is_the_list_of_the_page(picture):
    steps = re.findall(r"^\d+\. \*\*`(\w+)`", TEXT, re.MULTILINE)
    assert tuple(steps) == picture.TRAIL


def test_the_picture_is_up_to_date(picture):
    """Its text, as shapes differ from one Matplotlib to the next."""
    drawn = {line for text in picture.draw().axes[0].texts for line in text.get_text().split("\n")}
    svg = html.unescape((ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8"))
    stored = {re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)}
    assert drawn == stored, "run python docs/figures/architecture.py"
