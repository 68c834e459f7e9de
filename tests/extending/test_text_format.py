"""A custom text format, defined in this file: read, guessed, trained on and converted like the built-in ones.

Its lines are words, and then a label behind an arrow: `rain wind -> 1`. Vowpal Wabbit's text can say the same, so that
what is read is known.
"""

import functools
import io
import math
import re
import sys
from typing import Any

import numpy as np
import pytest

from surefoot import cli
from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import DataWarning, Example, Format, PythonLines, joined, read, register
from surefoot.data.stream.record import FORMATS
from surefoot.learn.model import Model

SOURCE = """
import functools, re
from surefoot.data.stream import Example, Format, PythonLines

def parse(line):
    if not line.strip():
        return None
    words, arrow, label = line.decode().partition("->")
    if not arrow:
        raise ValueError(f"found {line.decode()!r}, expected WORD WORD … -> LABEL")
    return Example(float(label), {word: 1.0 for word in words.split()})

arrows = Format(
    "arrows", functools.partial(PythonLines, parse), (".arrows",), line=re.compile(rb"[^>|:]*->[^>|:]*"), hashed=True
)
"""
LINES = [(["rain", "wind"], 1), (["sun"], -1), ([], 1), (["sun", "wind", "Zürich"], -1)] * 50
ARROWS = "\n".join(f"{' '.join(words)} -> {label}" for words, label in LINES)
VW = "\n".join(f"{label} | {' '.join(words)}" for words, label in LINES)


@pytest.fixture
def arrows():
    """The format, registered while a test runs."""
    module: dict = {}
    exec(SOURCE, module)
    yield register(module["arrows"])
    FORMATS.pop("arrows", None)


def assert_same(found, expected):
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), array, err_msg=name, strict=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_read_by_name_by_ending_and_by_its_lines(arrows, tmp_path, threads):
    expected = read(io.BytesIO(VW.encode()), "vw")
    block = joined(list(expected))
    (tmp_path / "a.arrows").write_text(ARROWS)
    (tmp_path / "b").write_text(ARROWS)
    for path, format in ((tmp_path / "a.arrows", "auto"), (tmp_path / "b", "auto"), (tmp_path / "b", "arrows")):
        stream = read(path, format, threads=threads)
        assert_same(joined(list(stream)), block)
        assert {k: stream.names[k] for k in stream.names} == {k: expected.names[k] for k in expected.names}
        assert (stream.rows, stream.lines) == (len(LINES), len(LINES))


def test_its_faults_have_a_line_and_are_skipped_or_not(arrows):
    text = b"rain -> 1\nno label\n\nsun -> nan?\nwind -> 1e99\nsun -> -1\n"
    stream = read(io.BytesIO(text), "arrows", on_error="skip")
    assert joined(list(stream)).labels.tolist() == [1, -1]
    assert stream.policy.counts == {"line cannot be read": 3}
    assert [stream.where(row) for row in range(2)] == ["an open file:1:1", "an open file:6:1"]
    with pytest.raises(DataError, match="an open file:2:1: found 'no label', expected WORD WORD … -> LABEL"):
        list(read(io.BytesIO(text), "arrows"))


def test_names_that_share_an_index_are_summed(arrows):
    block = joined(list(ReadOptions(format="arrows", bits=1).open(io.BytesIO(b"a b c d e f -> 1"))))
    assert block.values.sum() == 6
    assert block.indices.tolist() == sorted(set(block.indices.tolist()))


def test_options_are_those_of_its_record(arrows, tmp_path):
    (tmp_path / "a.arrows").write_text(ARROWS)
    with pytest.raises(DataError, match=r"target: an option of .*; these files are read as arrows"):
        ReadOptions(target="y").open(tmp_path / "a.arrows")
    with pytest.raises(ValueError, match=r"endings: found '\.vw', which format vw has"):
        register(Format("other", PythonLines, (".vw",)))


def test_numbers_as_features():
    """Without hashing, features are whole numbers; rows are sorted."""
    lines = PythonLines(lambda line: Example(1.0, {7: 2.0, 3: float(line)}, weight=0.5, base=0.25, group=4), None)
    (block,) = read(io.BytesIO(b"5\n6\n"), lines, dtype="float64")
    assert (block.indices.tolist(), block.values.tolist()) == ([3, 7, 3, 7], [5, 2, 6, 2])
    assert (block.weights.tolist(), block.bases.tolist(), block.groups.tolist()) == ([0.5] * 2, [0.25] * 2, [4] * 2)
    with pytest.raises(DataError, match="found feature -1, expected a whole number from 0"):
        list(read(io.BytesIO(b"5"), PythonLines(lambda line: Example(1.0, {-1: 1.0}), None)))


RAISED = {
    "KeyError: 'y'": lambda line: {}["y"],
    "ZeroDivisionError: division by zero": lambda line: 1 / 0,
    "AssertionError": lambda line: (_ for _ in ()).throw(AssertionError),
    "SystemExit: 3": lambda line: sys.exit(3),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", RAISED)
def test_whatever_a_parser_raises_is_a_fault_of_the_line(error, threads, tmp_path):
    def parse(line):
        return RAISED[error](line) if line == b"bad" else Example(1.0, {3: 1.0})

    (tmp_path / "a").write_bytes(b"good\nbad\ngood\n")
    message = re.escape(f"{tmp_path / 'a'}:2:1: the parser failed with {error}") + "$"
    with pytest.raises(DataError, match=message):
        list(read(tmp_path / "a", PythonLines(parse), threads=threads))
    with pytest.warns(DataWarning, match=message):
        assert len(joined(list(read(tmp_path / "a", PythonLines(parse), on_error="warn", threads=threads)))) == 2
    stream = read(tmp_path / "a", PythonLines(parse), on_error="skip", threads=threads)
    assert (len(joined(list(stream))), stream.policy.counts) == (2, {"line cannot be read": 1})


def test_an_interrupt_is_no_fault_of_a_line():
    def parse(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read(io.BytesIO(b"1\n"), PythonLines(parse), on_error="skip", threads=1))


WRONG = {
    "the parser returned dict, expected Example, or None": {"y": 1},
    "the parser returned tuple, expected Example, or None": (1.0, {}),
    "found features of type list, expected a mapping": Example(1.0, [3]),
    "found label None, expected a finite number": Example(None, {}),
    "found label '1', expected a finite number": Example("1", {}),
    "found label inf, expected a finite number": Example(math.inf, {}),
    "found weight nan, expected a finite number": Example(1.0, {}, weight=math.nan),
    "found weight -1, expected 0 or more": Example(1.0, {}, weight=-1),
    "found initial prediction 1j, expected a finite number": Example(1.0, {}, base=1j),
    "found group 2.5, expected a whole number": Example(1.0, {}, group=2.5),
    "found feature 3 with value 'x', expected a finite number": Example(1.0, {3: "x"}),
    "found feature -5, expected a whole number from 0 to 9223372036854775807": Example(1.0, {2: 1.0, -5: 1.0}),
    "found feature 9223372036854775808, expected a whole number from 0": Example(1.0, {2**63: 1.0}),
    "found feature True, expected a whole number": Example(1.0, {True: 1.0}),
    "found feature 'a', expected a whole number; names are hashed": Example(1.0, {"a": 1.0}),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_a_parser_returns_is_checked(message):
    given: Any = {b"bad": WRONG[message], b"good": Example(np.float32(1.0), {np.int32(3): np.float32(0.5)})}
    with pytest.raises(DataError, match="an open file:2:1: " + re.escape(message)):
        list(read(io.BytesIO(b"good\nbad\n"), PythonLines(given.get)))
    (block,) = read(io.BytesIO(b"good\nbad\ngood\n"), PythonLines(given.get), on_error="skip")
    assert (block.indices.tolist(), block.values.tolist()) == ([3, 3], [0.5, 0.5])


def test_ids_of_a_format_without_hashed_names_stay_as_they_are(tmp_path):
    def parse(line):
        label, *ids = map(int, line.split())
        return Example(label, dict.fromkeys(ids, 1.0))

    register(Format("ids", functools.partial(PythonLines, parse)))
    try:
        (tmp_path / "a").write_text(f"1 7 {1 << 40}\n")
        stream = ReadOptions(format="ids").open(tmp_path / "a")
        assert (joined(list(stream)).indices.tolist(), stream.names) == ([7, 1 << 40], None)
        with pytest.raises(DataError, match="bits: an option of"):
            ReadOptions(format="ids", bits=10).open(tmp_path / "a")
    finally:
        FORMATS.pop("ids", None)


@pytest.mark.parametrize("name", ["csv", "svmlight", "parquet"])
def test_the_name_of_a_built_in_format_is_taken(name, tmp_path, capsys):
    before = FORMATS[name]
    with pytest.raises(ValueError, match=f"name: found '{name}', which is a built-in format; give yours another name"):
        register(Format(name, PythonLines))
    assert FORMATS[name] is before
    (tmp_path / "own.py").write_text(SOURCE.replace('"arrows"', repr(name)))
    (tmp_path / "data.txt").write_text(ARROWS)
    command = ["train", str(tmp_path / "data.txt"), "--format", f"{tmp_path / 'own.py'}", "-m", str(tmp_path / "m")]
    assert cli.run(command) == 2
    assert "which is a built-in format" in capsys.readouterr().err


def test_it_is_used_from_the_command_line(tmp_path, capsys):
    """The file that defines it is named; what was trained with it and with Vowpal Wabbit's text is the same model."""
    (tmp_path / "own.py").write_text(SOURCE)
    (tmp_path / "data.txt").write_text(ARROWS)
    (tmp_path / "data.vw").write_text(VW)
    own = f"{tmp_path / 'own.py'}:arrows"
    try:
        for data, format, model in (("data.txt", own, "own.st"), ("data.vw", "vw", "vw.st")):
            assert cli.run(["train", str(tmp_path / data), "--format", format, "-m", str(tmp_path / model), "-q"]) == 0
        one, other = Model.load(tmp_path / "own.st"), Model.load(tmp_path / "vw.st")
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.reading.format == "arrows"
        cache = str(tmp_path / "data.cache")
        assert cli.run(["convert", str(tmp_path / "data.txt"), "--format", own, "-o", cache, "-q"]) == 0
        assert cli.run(["train", cache, "-m", str(tmp_path / "cached.st"), "-q"]) == 0
        np.testing.assert_array_equal(Model.load(tmp_path / "cached.st").weights, one.weights)
        capsys.readouterr()
        for data, model in (("data.txt", "own.st"), ("data.vw", "vw.st")):
            assert cli.run(["predict", str(tmp_path / model), str(tmp_path / data), "-q"]) == 0
        printed = capsys.readouterr().out.split()
        assert printed[: len(LINES)] == printed[len(LINES) :]
    finally:
        FORMATS.pop("arrows", None)
    assert cli.run(["predict", str(tmp_path / "own.st"), str(tmp_path / "data.txt"), "-q"]) == 2
    assert re.search("format: found 'arrows', expected one of", capsys.readouterr().err)
