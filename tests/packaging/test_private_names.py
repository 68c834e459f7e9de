"""One file has all that Numba does not document: `native/numba_internals.py`, without which everything works."""

import ast
from collections.abc import Iterator
from pathlib import Path

import surefoot

SOURCES = Path(surefoot.__file__).parent
INTERNALS = Path("native/numba_internals.py")
DOCUMENTED = {
    "numba": {"njit", "typeof", "types", "config", "__version__"},
    "numba.core": {"cgutils", "errors"},  # in the documentation's chapters on extending Numba and on errors
    "numba.core.errors": {"NumbaError"},
    "numba.extending": {"intrinsic", "overload", "register_jitable"},
    "llvmlite": {"binding", "ir", "__version__"},
}


def used(path: Path) -> Iterator[tuple[str, str]]:
    """Names that a module takes from Numba and llvmlite: imported, or as attributes of a package that is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("numba", "llvmlite"):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in ("numba", "llvmlite"):
                    packages.add(alias.name)
                elif alias.name.partition(".")[0] in ("numba", "llvmlite"):
                    yield tuple(alias.name.rsplit(".", 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            yield node.value.id, node.attr


def test_only_one_file_uses_what_is_not_documented():
    found = {
        (module, name): path.relative_to(SOURCES)
        for path in SOURCES.rglob("*.py")
        for module, name in used(path)
        if name not in DOCUMENTED.get(module, ())
    }
    assert set(found.values()) == {INTERNALS}, found
