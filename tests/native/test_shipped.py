"""Kernels that come with the package are those that Numba would compile, and need no Numba."""

import functools
import importlib.util
import lzma
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from surefoot.native import cache, codegen, kernel, shipped

pytestmark = pytest.mark.skipif(
    not hasattr(llvm, "create_pass_builder"), reason="this llvmlite is too old for kernels that are shipped"
)
TOOL = Path(__file__).parents[2] / "tools" / "ship_kernels.py"


def powers(numbers, exponents, scale):
    if scale < 0:
        raise ValueError("found a negative scale")
    total = 0.0
    for k in range(numbers.size):
        numbers[k] = scale * numbers[k] ** exponents[k] + np.exp(numbers[k])
        total += numbers[k]
    return total


def arguments():
    return np.linspace(0.1, 2.0, 40), np.arange(40) % 3, 1.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where `powers` is shipped; nothing is cached, and Numba is not to be asked again."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "first"))
    monkeypatch.setattr(codegen, "shipping", functools.partial(shipped.write, folder))
    kernel(powers)(*arguments())
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "second"))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.setattr(codegen, "shipping", None)
    return folder


@pytest.fixture
def no_numba(folder, monkeypatch):
    def emit(*_):
        pytest.fail("Numba is to compile a kernel that is shipped")

    monkeypatch.setattr(codegen, "emit", emit)


@pytest.mark.usefixtures("no_numba")
def test_results_and_exceptions(folder):
    expected, found = arguments(), arguments()
    assert kernel(powers)(*found) == pytest.approx(powers(*expected), rel=1e-15)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-15)
    with pytest.raises(ValueError, match="found a negative scale"):
        kernel(powers)(*found[:2], -1.0)


@pytest.mark.usefixtures("no_numba")
def test_the_machine_code_that_numba_makes(folder, tmp_path):
    """So it is as fast, and its bits are the same."""
    kernel(powers)(*arguments())
    first, second = (list((tmp_path / place).rglob("*.kernel")) for place in ("first", "second"))
    assert [file.name for file in first] == [file.name for file in second]
    assert first[0].read_bytes() == second[0].read_bytes()


def test_it_is_cached(folder, monkeypatch):
    kernel(powers)(*arguments())
    monkeypatch.setattr(shipped, "read", lambda *_: pytest.fail("the kernel is in the cache"))
    kernel(powers)(*arguments())


def asked_numba(monkeypatch) -> bool:
    asked, emit = [], codegen.emit

    def counted(*given):
        asked.append(given)
        return emit(*given)

    with monkeypatch.context() as patch:
        patch.setattr(codegen, "emit", counted)
        kernel(powers)(*arguments())
    return bool(asked)


def test_code_of_a_later_llvm(folder, monkeypatch):
    (file,) = folder.iterdir()
    text = lzma.decompress(file.read_bytes()).replace(b"fadd", b"fnew")
    file.write_bytes(lzma.compress(text))
    assert asked_numba(monkeypatch)


def test_settings_of_numba(folder, monkeypatch):
    monkeypatch.setenv("NUMBA_OPT", "1")
    monkeypatch.setattr(cache, "machine", lambda: "with this setting")
    assert asked_numba(monkeypatch)


def test_another_llvmlite(folder, monkeypatch):
    """Which has no such passes, as that of Numba 0.60."""

    def missing(*_):
        raise AttributeError("create_pass_builder")

    monkeypatch.setattr(shipped, "optimize", missing)
    assert asked_numba(monkeypatch)


def test_a_function_that_is_missing(folder, monkeypatch):
    """Here the compiler's own library may have it."""
    monkeypatch.setattr(shipped, "symbols", lambda text: ["surefoot_has_no_such_function"])
    assert asked_numba(monkeypatch)


@pytest.mark.parametrize("difference", ["types", "sources", "pointers"])
def test_other_kernels_are_not_found(folder, monkeypatch, difference):
    (file,) = folder.iterdir()
    name = file.name.rpartition("-")[0]
    types = "C1<f8,C1<i8,f8"
    assert shipped.read(name, types) is not None
    if difference == "types":
        types = "C1<f4,C1<i8,f8"
    elif difference == "sources":
        name = "powers__0123456789"
    else:
        monkeypatch.setattr(shipped, "platform", lambda: "32 bits")
    assert shipped.read(name, types) is None


WITHOUT_NUMBA = """
import sys
from pathlib import Path
from surefoot.native import shipped
shipped.FOLDER = Path(sys.argv[1])
from surefoot.cli import run
assert run(sys.argv[2:]) == 0
assert "numba" not in sys.modules
"""


@pytest.mark.slow
def test_a_first_training_needs_no_numba(tmp_path):
    """Of each format of text, by default and with a learning rate."""
    spec = importlib.util.spec_from_file_location("ship_kernels", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = tmp_path / "shipped"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, TOOL, folder], env=os.environ | paths, check=True)
    rng = np.random.default_rng(1)
    for name, (line, options) in tool.FORMATS.items():
        file = tmp_path / f"own.{name}"
        with file.open("w") as text:
            text.write("label,x,c\n" if name == "csv" else "")
            text.writelines(line((k % 2, f"{rng.normal():.2f}", 2 + k % 9)) for k in range(3000))
        for rate in ([], ["--lr", "0.05"]):
            command = ["train", file, "--model", tmp_path / "model", *options, *rate, "--quiet"]
            subprocess.run([sys.executable, "-c", WITHOUT_NUMBA, folder, *command], env=os.environ | paths, check=True)
