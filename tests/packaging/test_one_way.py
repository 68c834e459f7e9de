"""Files are written by one function, and a terminal is written to by one module: what they promise holds everywhere."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "surefoot"
FILES = sorted(SOURCE.rglob("*.py"))
WRITING = {"write_text", "write_bytes", "tofile", "savetxt", "mkstemp", "NamedTemporaryFile"}
WRITERS = {"atomic_write.py", "locks.py", "native/shipped.py"}  # the last one writes what a wheel is built from
PRINTING = {"Console", "print"}
PRINTERS = {"cli/output.py", "cli/terminal.py"}


def called(tree: ast.AST):
    """The calls in a module: the name of what is called, and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            yield name, node


def writes(name: str | None, call: ast.Call) -> bool:
    """Whether a call makes or changes a file."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return name in WRITING or (
        name == "open" and any(mode in ("w", "wb", "a", "ab", "x", "xb", "r+b") for mode in modes)
    )


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_there_is_one_way_to_write_and_to_print(file):
    place = file.relative_to(SOURCE).as_posix()
    calls = [*called(ast.parse(file.read_text(encoding="utf-8")))]
    if place not in WRITERS and place != "cli/__init__.py":  # which opens os.devnull for a stream that is closed
        assert [call.lineno for name, call in calls if writes(name, call)] == []
    if place.startswith("cli/") and place not in PRINTERS:
        direct = [call.lineno for name, call in calls if name in PRINTING and isinstance(call.func, ast.Name)]
        assert direct == []
