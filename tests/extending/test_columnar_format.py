"""A custom columnar format, defined in this file: NumPy's structured arrays in `.npy` files."""

import csv

import numpy as np
import pytest

from surefoot import cli
from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Table, columns, joined, read, register
from surefoot.data.stream.record import FORMATS
from surefoot.learn.model import Model

SOURCE = """
import numpy as np
from surefoot.data.stream import columnar

class Npy:
    def __init__(self, file, name):
        self.array = np.load(file, mmap_mode="r")
        self.columns = {n: "number" if self.array[n].dtype.kind in "iuf" else "text" for n in self.array.dtype.names}
        self.rows = len(self.array)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def batches(self, names, rows):
        for first in range(0, self.rows, rows):
            yield {name: np.array(self.array[name][first : first + rows]) for name in names}

npy = columnar("npy", Npy, (".npy",), b"\\x93NUMPY")
"""
WORDS = ["a", "b", "NA", 'c "d", e']
ROWS = [(k % 2, 0.1 * k if k % 5 else np.nan, k - 7, WORDS[k % 4], k % 3 == 0) for k in range(200)]
ARRAY = np.array(ROWS, [("y", "i1"), ("x", "f8"), ("k", "i8"), ("s", "U12"), ("t", "?")])


@pytest.fixture
def npy():
    """The format, registered while a test runs."""
    module: dict = {}
    exec(SOURCE, module)
    yield register(module["npy"])
    FORMATS.pop("npy", None)


@pytest.fixture
def files(tmp_path):
    """The same table as an array and as CSV."""
    np.save(tmp_path / "data.npy", ARRAY)
    with open(tmp_path / "data.csv", "w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(ARRAY.dtype.names)
        writer.writerows([(y, x, k, s, bool(t)) for y, x, k, s, t in ROWS])
    return tmp_path


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_read_like_the_csv_of_the_same_table(npy, files, threads, monkeypatch):
    monkeypatch.setattr(columns, "VALUES", 60)
    (files / "renamed").write_bytes((files / "data.npy").read_bytes())
    expected = read(files / "data.csv", Table(target="y"), dtype="float64")
    block = joined(list(expected))
    for name in ("data.npy", "renamed"):
        stream = read(files / name, Table(target="y"), threads=threads, dtype="float64")
        found = joined(list(stream))
        for field, array in vars(block).items():
            np.testing.assert_array_equal(getattr(found, field), array, err_msg=field, strict=True)
        assert {k: stream.names[k] for k in stream.names} == {k: expected.names[k] for k in expected.names}
        assert stream.position == stream.size


def test_options_of_tables_apply(npy, files):
    options = ReadOptions(target="y", categorical=("k",), drop=("t",), bits=12)
    stream, expected = options.open(files / "data.npy"), options.open(files / "data.csv")
    np.testing.assert_array_equal(joined(list(stream)).indices, joined(list(expected)).indices)
    assert stream.names.bits == 12
    with pytest.raises(DataError, match=r"delimiter: an option of .*; these files are read as npy"):
        ReadOptions(delimiter=";").open(files / "data.npy")
    with pytest.raises(DataError, match=r"data\.npy: has no column 'z'; "):
        read(files / "data.npy", Table(target="z"))
    with pytest.raises(DataError, match=r'data\.npy: a npy file, expected lines of text; read it as format "npy"'):
        list(read(files / "data.npy", "svmlight"))


WRONG = {
    "a truncated file": ("", r"cannot be read \(\w+Error: .*\); check the file, and what reads its format"),
    "an error when opening": ("def __init__(self, *_): raise KeyError('boom')", r"cannot be read \(KeyError: 'boom'\)"),
    "no columns": ("columns = None; __init__ = lambda self, *_: None", r"cannot be read \(TypeError: "),
    "a kind that there is not": (
        "columns = property(lambda self: {'y': 'float'}, lambda *_: None)",
        "its format says that column 'y' holds 'float', expected number, text, nested",
    ),
    "an error when reading": (
        "def batches(self, *_): raise RuntimeError('disk')",
        r"cannot be read \(RuntimeError: disk",
    ),
    "an exit when reading": ("def batches(self, *_): raise SystemExit(3)", r"cannot be read \(SystemExit: 3\)"),
    "batches of something else": ("def batches(self, *_): return [3]", r"cannot be read \(TypeError: "),
    "a column less": (
        "def batches(self, names, rows): return [{n: self.array[n] for n in names if n != 's'}]",
        "a batch of its format lacks the column 's', which was requested",
    ),
    "unequal lengths": (
        "def batches(self, names, rows): return [{n: self.array[n][:5 + (n == 's')] for n in names}]",
        r"found columns of different lengths in a batch \(y 5, x 5, k 5, s 6, t 5\), expected as many rows in each",
    ),
    "two dimensions": (
        "def batches(self, names, rows): return [{n: self.array[n].reshape(100, 2) for n in names}]",
        "column 'y' has 2 dimensions in a batch, expected 1",
    ),
    "lists": (
        "def batches(self, names, rows): return [{n: self.array[n].tolist() for n in names}]",
        "column 'y' cannot be read ",
    ),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_its_class_does_wrong_is_one_error(wrong, threads, files):
    """It names the file and the cause."""
    source, message = WRONG[wrong]
    module: dict = {}
    exec(SOURCE, module)
    exec(f"class Wrong(Npy):\n    pass\n    {source}", module)
    if not source:
        (files / "data.npy").write_bytes((files / "data.npy").read_bytes()[:-100])
    register(columns.columnar("wrong", module["Wrong"], (".npy",), b"\x93NUMPY"))
    try:
        with pytest.raises(DataError, match=rf"data\.npy: {message}[^\n]*$"):
            list(ReadOptions(target="y").open(files / "data.npy", on_error="skip", threads=threads))
    finally:
        FORMATS.pop("wrong", None)


def test_it_is_used_from_the_command_line(files, capsys):
    """The file that defines it is named; models of the array and of the CSV are the same, and predict either."""
    (files / "own.py").write_text(SOURCE)
    own = ["--format", f"{files / 'own.py'}"]
    try:
        models = {}
        for name, how in (("data.npy", own), ("data.csv", [])):
            model = str(files / f"{name}.st")
            assert cli.run(["train", str(files / name), *how, "--target", "y", "-m", model, "-q"]) == 0
            models[name] = Model.load(model)
        np.testing.assert_array_equal(models["data.npy"].weights, models["data.csv"].weights)
        cache = str(files / "data.cache")
        assert cli.run(["convert", str(files / "data.npy"), *own, "--target", "y", "-o", cache, "-q"]) == 0
        assert cli.run(["train", cache, "-m", str(files / "cached.st"), "-q"]) == 0
        np.testing.assert_array_equal(Model.load(files / "cached.st").weights, models["data.csv"].weights)
        capsys.readouterr()
        for name in ("data.npy", "data.csv"):
            assert cli.run(["predict", str(files / "data.csv.st"), str(files / name), "-q"]) == 0
        printed = capsys.readouterr().out.split()
        assert printed[: len(ROWS)] == printed[len(ROWS) :]
    finally:
        FORMATS.pop("npy", None)
