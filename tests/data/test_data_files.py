"""Files by path: what is read is what was written, and every fault is one sentence that names file and line."""

import bz2
import gzip
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse import csc_array, csr_array, save_npz

from surefoot.data import DataError, Dataset, load

GOOD = b"-1 1:0.5 3:2\n+1 2:1 # a comment\n# only a comment\n\n1 qid:7 1:1\n-1 2:-1e-3\n-1 3:4\n"
HEAD = b"-1 1:0.5 3:2\n+1 2:1\n"
TAIL = b"\n-1 2:3\n1 2:3\n-1 3:4\n"

# These properties write many small files; one folder for all of them is fine.
many_files = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def write(tmp_path):
    def write(content, name="toy"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def archive(**members) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **members)
    return stream.getvalue()


@st.composite
def tables(draw):
    """A dense float32 table in which the first and the last column are used, and a target that is not constant."""
    shape = draw(st.integers(5, 12)), draw(st.integers(1, 6))
    floats = st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False, allow_infinity=False))
    X = draw(arrays.arrays(np.float32, shape, elements=floats))
    y = draw(arrays.arrays(np.float32, shape[0], elements=st.floats(-1e6, 1e6, width=32)))
    X[draw(st.integers(0, shape[0] - 1)), 0] = X[draw(st.integers(0, shape[0] - 1)), -1] = 1
    y[:5] = range(5)
    return X, y


def check(data: Dataset, X, y, task="regression"):
    found = data.X if isinstance(data.X, np.ndarray) else data.X.toarray()
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(data.y, y)
    fits = np.array_equal(np.float32(X), X) and np.array_equal(np.float32(y), y)
    assert data.X.dtype == data.y.dtype == (np.float32 if fits else np.float64)
    assert data.task == task


@many_files
@given(tables(), st.sampled_from([0, 1]), st.sampled_from([bytes, gzip.compress, bz2.compress]))
def test_svmlight_round_trip(write, table, base, compress):
    X, y = table
    lines = [
        " ".join([repr(float(target)), *(f"{j + base}:{float(row[j])!r}" for j in np.flatnonzero(row))])
        for row, target in zip(X, y, strict=True)
    ]
    data = load(write(compress("\n".join(lines).encode())))
    check(data, X, y)
    assert data.X.indices.dtype == np.int32
    assert np.count_nonzero(data.X.data) == data.X.nnz


@many_files
@given(tables(), st.sampled_from(["dense", "csr", "csr64"]), st.sampled_from([np.savez, np.savez_compressed]))
def test_npz_round_trip(tmp_path, table, layout, save):
    X, y = table
    matrix = csr_array(X)
    stored = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
    if layout == "csr64":
        stored |= {"data": matrix.data.astype(float), "indices": matrix.indices.astype(np.int64)}
    save(tmp_path / "toy.npz", y=y, **({"X": X} if layout == "dense" else stored))
    data = load(tmp_path / "toy.npz")
    check(data, X, y)
    assert data.is_sparse == (layout != "dense")


@many_files
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.booleans())
@example(3, b"\xff\xff", True)
def test_damaged_files_are_read_or_rejected_and_never_crash(write, position, junk, cut):
    X = csr_array(np.eye(6, dtype=np.float32))
    npz = archive(data=X.data, indices=X.indices, indptr=X.indptr, shape=X.shape, y=np.arange(6.0))
    for content in (GOOD, gzip.compress(GOOD), bz2.compress(GOOD), npz):
        start = position % len(content)
        damaged = content[:start] + junk + (b"" if cut else content[start + len(junk) :])
        try:
            said = load(write(damaged)).describe()
        except DataError as error:
            said = str(error)
        assert said.count("\n") == 0 < len(said)


def test_comments_blank_lines_and_query_ids(write):
    data = load(write(GOOD))
    expected = [[0.5, 0, 2], [0, 1, 0], [1, 0, 0], [0, -1e-3, 0], [0, 0, 4]]
    check(data, np.array(expected), [0, 1, 1, 0, 0], "classification")
    assert (data.name, data.classes) == ("toy", ("-1", "1"))


@pytest.mark.parametrize("layout", ["svmlight", "dense", "csr"])
@pytest.mark.parametrize("where", ["X", "y", "neither"])
def test_numbers_are_those_of_the_file(write, layout, where):
    """Float32 holds them where it can hold all of them exactly."""
    X, y = np.eye(6) + (0.1 if where == "X" else 0.25), np.arange(6) + (0.1 if where == "y" else 0.25)
    if layout == "svmlight":
        lines = (
            " ".join([repr(t), *(f"{j}:{v!r}" for j, v in enumerate(x))])
            for x, t in zip(X.tolist(), y.tolist(), strict=True)
        )
        data = load(write("\n".join(lines).encode()))
    else:
        matrix = csr_array(X)
        sparse = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        data = load(write(archive(y=y, **({"X": X} if layout == "dense" else sparse)), "toy.npz"))
    check(data, X, y)


def test_windows_line_ends_and_a_home_folder(write, tmp_path, monkeypatch):
    write(GOOD.replace(b"\n", b"\r\n"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/toy").n_examples == 5


def test_the_task_can_be_set(write):
    path = write(GOOD)
    assert load(path, task="regression").y.tolist() == [-1, 1, 1, -1, -1]
    path = write(GOOD.replace(b"-1 3", b"5 3"))
    assert load(path).task == "regression"
    with pytest.raises(DataError, match="toy: found 3 classes \\(-1, 1, 5\\), but only two are supported"):
        load(path, task="classification")


def test_a_test_set_in_the_same_folder_is_not_read(write):
    write(b"junk", "toy.t")
    assert load(write(GOOD)).n_examples == 5


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize(
    "line, said",
    [
        (b"spam 1:2", "found label 'spam', expected a number, in svmlight lines"),
        (b"label,age,income", "found label 'label,age,income', expected a number"),
        (b"1,2 1:3", "found label '1,2', expected a number"),
        (b"nan 1:2", "found label 'nan', expected a finite number"),
        (b"1e300 1:2", "found label '1e300', expected a finite number"),
        (b"1 junk", "found 'junk', expected INDEX:VALUE"),
        (b"1 |f a:1", "found '|f', expected INDEX:VALUE"),
        (b"1 1.5:2", "found '1.5:2', expected INDEX:VALUE with a whole number"),
        (b"1 -1:2", "found '-1:2', expected INDEX:VALUE with a whole number from 0"),
        (b"1 9999999999:2", "found '9999999999:2', expected INDEX:VALUE with a whole number from 0 to 2147483647"),
        (b"1 2:1 2:3", "found feature 2 after 2, expected rising indices, each at most once"),
        (b"1 +3:1 2:3", "found feature 2 after 3, expected rising indices"),
        (b"1 2:", "found feature 2 with value '', expected a number"),
        (b"1 2:1:1", "found feature 2 with value '1:1', expected a number"),
        (b"1 2:inf", "found feature 2 with value 'inf', expected a finite number"),
        (b"1 2:nan", "found feature 2 with value 'nan', expected a finite number"),
        (b"1 2:1e39", "found feature 2 with value '1e39', expected a finite number (at most 3.4e+38)"),
        (b"1 2:\x00\x01", "found binary data, expected svmlight lines"),
        ("1 2:²".encode(), "found binary data, expected svmlight lines"),
        (b"x" * 500, "found label 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…', expected a number"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(write, compress, line, said):
    path = write(compress(HEAD + line + TAIL))
    with pytest.raises(DataError) as refusal:
        load(path)
    assert re.sub(":3:[0-9]+:", ":3:", str(refusal.value)).startswith(f"{path}:3: {said}")
    assert len(str(refusal.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "{path}: is empty"),
        (b"\n# nothing\n", "{path}: found only comments and blank lines"),
        (b"1 1:1\n", "toy: the target is constant (always 1)"),
        (b"1 1:1\n2 1:1\n", "toy: found 2 example(s), expected at least 5"),
        (b"1 1:1\n" * 9, "toy: the target is constant (always 1)"),
        (b"1\n2\n3\n4\n5\n", "toy: found no feature that is ever different from 0"),
        (b"1 1:0\n2 1:0\n3 1:0\n4 1:0\n5 1:0\n", "toy: found no feature that is ever different from 0"),
        (gzip.compress(GOOD * 99, mtime=0)[:60], "{path}: is damaged"),
        (bz2.compress(GOOD * 99)[:60], "{path}: is damaged"),
        (gzip.compress(GOOD, mtime=0)[:-6] + b"\0" * 6, "{path}: is damaged"),
        (os.urandom.__doc__.encode(), "{path}:1:1: found label"),
        (b"\x89PNG\r\n\x1a\n\0\0", "{path}:1:1: found binary data"),
    ],
)
def test_a_file_that_cannot_be_learned_from(write, content, said):
    path = write(content)
    with pytest.raises(DataError) as refusal:
        load(path)
    assert str(refusal.value).startswith(said.format(path=path))


EYE = np.eye(6)
ROWS = np.arange(6.0)
CSR = {"data": ROWS + 1, "indices": np.arange(6), "indptr": np.arange(7), "shape": (6, 6)}


class Bomb:
    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize(
    "members, said",
    [
        ({"X": EYE}, "found X, but no y"),
        ({}, "found nothing, but no y"),
        ({"y": ROWS}, "found y; expected X, or data, indices, indptr, shape"),
        ({"y": ROWS, "data": ROWS}, "found data, y; expected X, or data, indices, indptr, shape"),
        ({"X": np.array([Bomb()]), "y": ROWS}, "holds an array of Python objects, which could run code"),
        ({"X": EYE, "y": np.array([None] * 6)}, "holds an array of Python objects"),
        ({"X": EYE + 0j, "y": ROWS}, "X has dtype complex128, expected numbers"),
        ({"X": EYE.astype(str), "y": ROWS}, "X has dtype <U32, expected numbers"),
        ({**CSR, "y": ROWS, "format": "csc"}, "holds a sparse matrix of format csc, expected csr"),
        ({**CSR, "y": ROWS, "indices": ROWS}, "indices, indptr and shape must hold whole numbers"),
        ({**CSR, "y": ROWS, "indices": np.arange(6) + 1}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "indices": np.arange(6) - 1}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "indptr": np.array([0, 5, 1, 2, 3, 4, 6])}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "indptr": np.arange(9)}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "shape": (6,)}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "shape": (6, -6)}, "its arrays are not a CSR matrix"),
        ({**CSR, "y": ROWS, "shape": (6, 6, 6)}, "its arrays are not a CSR matrix"),
        ({"X": EYE, "y": ROWS[:5]}, "y has shape (5,), expected (6,)"),
        ({"X": EYE, "y": ROWS[:, None]}, "y has shape (6, 1), expected (6,)"),
        ({"X": EYE[0], "y": ROWS}, "X has shape (6,), expected examples by features"),
        ({"X": EYE[:1], "y": np.array([1])}, "the target is constant"),
        ({"X": EYE * 1e300, "y": ROWS}, "feature 0 of example 0 (both counted from 0) is inf"),
        ({"X": EYE, "y": np.where(ROWS == 3, np.nan, 1)}, "the target of example 3 (counted from 0) is nan"),
        ({"X": EYE, "y": ROWS * 0 + 2}, "the target is constant (always 2)"),
        ({"X": EYE, "y": np.array(list("abcabc"))}, "found 3 classes (a, b, c), but only two are supported"),
        ({"X": EYE, "y": ROWS, "feature_names": np.array(["a"])}, "found 1 feature names for 6 features"),
    ],
)
def test_an_npz_that_cannot_be_used(write, members, said):
    with pytest.raises(DataError) as refusal:
        load(write(archive(**members), "toy.npz"))
    assert f"toy.npz: {said}" in str(refusal.value)


@pytest.mark.parametrize(
    "content", [archive(X=EYE, y=ROWS)[:200], archive(X=EYE, y=ROWS)[:-30], b"1 1:1\n", pickle.dumps(EYE)]
)
def test_a_truncated_npz(write, content):
    with pytest.raises(DataError, match=r"toy\.npz: is not a complete npz file"):
        load(write(content, "toy.npz"))


def test_names_words_and_repeated_entries_in_an_npz(write):
    repeated = {
        "data": [1, 2, 0, 3, 4, 5],
        "indices": [1, 1, 0, 0, 0, 0],
        "indptr": [0, 3, 4, 5, 6, 6],
        "shape": (5, 2),
    }
    labels = ["spam", "ham", "ham", "spam", "ham"]
    data = load(write(archive(**repeated, y=labels, feature_names=["free", "lunch"]), "mail"))
    check(data, [[0, 3], [3, 0], [4, 0], [5, 0], [0, 0]], [1, 0, 0, 1, 0], "classification")
    assert (data.classes, data.feature_names, data.X.nnz) == (("ham", "spam"), ("free", "lunch"), 4)


def test_scipys_files_need_only_a_target(tmp_path):
    for kind, said in ((csr_array, None), (csc_array, "of format b'csc', expected csr")):
        save_npz(tmp_path / "matrix.npz", kind(EYE))
        with np.load(tmp_path / "matrix.npz") as saved:
            np.savez(tmp_path / "toy.npz", **saved, y=ROWS)
        if said is None:
            check(load(tmp_path / "toy.npz"), EYE, ROWS)
        else:
            with pytest.raises(DataError, match=said):
                load(tmp_path / "toy.npz")


def test_unknown_names_and_paths(tmp_path, write, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, said in {
        "Docstring": r"Docstring: is neither a built-in data set \(docstrings, airfoil\) nor a file; did you mean",
        "AIRFOIL": "AIRFOIL: .*did you mean airfoil",
        "mnist": "mnist: is neither .*check the spelling",
        "sub/mnist": "sub/mnist: there is no such file",
        "mnist.npz": r"mnist\.npz: there is no such file",
        str(tmp_path): "is a folder, expected a file",
        os.devnull: "is a pipe or device, expected a file",
        "x" * 999 + ".": "could not be read",
        str(write(b"file") / "below"): "could not be read",
    }.items():
        with pytest.raises(DataError, match=said):
            load(name)


def test_a_file_with_the_name_of_a_built_in_set(write, tmp_path, monkeypatch):
    path = write(GOOD, "docstrings")
    monkeypatch.chdir(tmp_path)
    assert load("./docstrings").n_examples == load(path).n_examples == 5


def test_no_permission(write, monkeypatch):
    path = write(GOOD)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # As root every file can be read, so the error is simulated.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="toy: no permission to read it"):
        load(path)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, surefoot.data; print(*{'scipy', 'sklearn', 'pooch', 'numba', 'torch'} & set(sys.modules))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "\n"


@pytest.mark.skipif(
    not os.path.exists(os.path.join(os.environ.get("SUREFOOT_DATA", ""), "a9a")),
    reason="SUREFOOT_DATA names no folder with a9a",
)
def test_a_real_file():
    data = load(os.path.join(os.environ["SUREFOOT_DATA"], "a9a"))
    assert (data.X.shape, data.task, data.classes) == ((32561, 123), "classification", ("-1", "1"))
    assert data.y.sum() == 7841
    assert set(data.X.data) == {1}
    assert data.X.nnz == 451592


ROWS_OF = {
    "vw": (b"%d |f a:%d b\n", ("f^a", "f^b")),
    "libffm": (b"%d 1:1:%d 2:7:1\n", None),
    "csv": (b"%d,%d,b\n", ("a", "f=b")),
}


@pytest.mark.parametrize("format", ROWS_OF)
def test_other_formats(write, format):
    line, names = ROWS_OF[format]
    content = b"".join(line % (k % 2, k) for k in range(1, 7))
    data = load(write((b"y,a,f\n" if format == "csv" else b"") + content, f"file.{format}"))
    assert (data.task, data.y.tolist()) == ("classification", [1, 0] * 3)
    X = data.X.toarray()
    np.testing.assert_array_equal(np.sort(X, axis=1), np.sort(np.stack([np.arange(1, 7), np.ones(6)], axis=1), axis=1))
    assert data.feature_names is None if names is None else sorted(data.feature_names) == sorted(names)


def test_fields_that_a_data_set_cannot_hold(write):
    for head, said in (
        (b"2", "example 1 .* has the weight 2"),
        (b"1 3", "some examples have an initial prediction"),
    ):
        with pytest.raises(DataError, match=f"{said}.*, which data sets do not support; remove it"):
            load(write(b"1 |a b\n-1 %s |a c\n" % head * 9, "file.vw"))
    with pytest.raises(DataError, match="found the columns a, b; call the target's label, target or y"):
        load(write(b"a,b\n1,2\n", "file.csv"))
