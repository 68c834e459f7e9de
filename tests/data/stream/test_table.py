"""Tables: what is read is what a slow reader in plain Python reads, from text and from Parquet."""

import gzip
import io
import math
import os
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import slow_readers
from support.sampling import up_to

from surefoot.data import DataError
from surefoot.data.stream import Hashing, Table, joined, read
from surefoot.data.stream.blocks import without_fields
from surefoot.data.stream.sources import limits

numbers = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "NA", "nan", ' "2.5" ', "1e3", "-2.5E-3"]),
    st.floats(-1e9, 1e9, width=32).map(repr),
)
characters = st.characters(codec="utf-8", exclude_characters='",', exclude_categories=["C", "Z"])
words = st.one_of(st.sampled_from(["", "red", "NA", "nan", "a b", "3", "missing"]), st.text(characters))
quoted = st.text(st.one_of(characters, st.sampled_from(',"" ')), max_size=30).map(
    lambda text: '"' + text.replace('"', '""') + '"'
)
lines = st.builds(
    lambda label, weight, *values: ",".join([label, weight, *values]),
    st.sampled_from(["0", "1", "", "x"]),
    st.floats(0, 100, width=32).map(repr),
    numbers,
    numbers,
    st.one_of(words, quoted),
    st.one_of(words, quoted),
)
ASKED = Table(target="label", word_labels=False, weight="w", numeric=["n*"], categorical=["c*"])


def examples(content: bytes, format=ASKED, **how):
    return joined(list(read(io.BytesIO(content), format, **how)))


@settings(max_examples=up_to(80))
@given(st.lists(lines, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_reads_what_plain_python_reads(content, end):
    text = end.join(content).encode()
    expected, faults = slow_readers.rows(text, "csv")
    stream = read(io.BytesIO(slow_readers.HEADER + end.encode() + text), ASKED, on_error="skip")
    try:
        found = slow_readers.rows_of(joined(list(stream)))
    except DataError:
        found = []
    assert repr(found) == repr(expected)
    assert stream.policy.counts.total() == faults


@given(st.lists(lines, min_size=1, max_size=30), st.integers(1, 200), st.sampled_from([1, 2, 3]))
def test_splits_and_threads_make_no_difference(content, piece, threads):
    text = slow_readers.HEADER + b"\n1,1,1,1,a,b\n" + "\n".join(content).encode()
    whole = read(io.BytesIO(text), ASKED, on_error="skip")
    expected = slow_readers.rows_of(joined(list(whole)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PIECE", piece)
        stream = read(io.BytesIO(text), ASKED, on_error="skip", threads=threads)
        assert repr(slow_readers.rows_of(joined(list(stream)))) == repr(expected)
    assert list(stream.names) == list(whole.names)
    assert stream.lines == whole.lines == text.count(b"\n") + (not text.endswith(b"\n"))
    assert stream.policy.counts == whole.policy.counts


def test_names_of_features():
    text = b'label,age,colour\n1,3,red\n0,,"bl""ue"\n,1e2,NA\n1,0,"a, b"\n'
    stream = read(io.BytesIO(text), Table(target="label"))
    block = joined(list(stream))
    names = [
        sorted((stream.names[index], float(value)) for index, value in zip(row.indices, row.data, strict=True))
        for row in (block.matrix(1 << 20)[[k]] for k in range(4))
    ]
    assert names == [
        [("age", 3.0), ("colour=red", 1.0)],
        [("age=missing", 1.0), ('colour=bl"ue', 1.0)],
        [("age", 100.0), ("colour=missing", 1.0)],
        [("age", 0.0), ("colour=a, b", 1.0)],
    ]
    np.testing.assert_array_equal(block.labels, [1, 0, math.nan, 1])
    hashing = Hashing()
    expected = [hashing.index("age"), hashing.index("red", "colour"), hashing.index("missing", "age")]
    assert set(expected) <= set(block.indices.tolist())


def test_column_kinds_are_inferred_or_requested():
    text = b"y;id;a;b;c;empty\n1;7;1;x;0x1;\n0;8;NA;2;5;\n"
    found = read(io.BytesIO(text), Table(target="y", delimiter=";")).reader.schema
    assert (found.columns("numeric"), found.columns("categorical")) == (["id", "a", "empty"], ["b", "c"])
    found = read(
        io.BytesIO(text), Table(target="y", delimiter=";", categorical=["a", "i*"], drop=["empty"])
    ).reader.schema
    assert (found.columns("numeric"), found.columns("categorical")) == ([], ["id", "a", "b", "c"])
    assert found.columns("dropped") == ["empty"]


def test_without_a_header_and_without_quotes():
    found = examples(b"1 2\n0 3\n", Table(target="1", delimiter=" ", header=False))
    assert (found.labels.tolist(), found.values.tolist()) == ([1, 0], [2, 3])
    named = read(
        io.BytesIO(b"1\t\"x\n0\ty'\n"), Table("y", delimiter="\t", header=False, names=["y", "t"], quotes=False)
    )
    assert [named.names[index] for block in named for index in block.indices] == ['t="x', "t=y'"]


def test_shards_have_the_same_header(tmp_path):
    for name, text in (("a", "y,x\n1,2\n"), ("b", "\ufeffy, x\r\n0,3\r\n"), ("c", "y,z\n0,3\n"), ("d", "y,x")):
        (tmp_path / name).write_text(text)
    table = Table(target="y")
    assert joined(list(read([tmp_path / "a", tmp_path / "b", tmp_path / "d"], table))).values.tolist() == [2, 3]
    with pytest.raises(DataError, match="c:1:1: found the columns y, z, expected those of the first file, y, x"):
        list(read([tmp_path / "a", tmp_path / "c"], table))


def test_from_a_pipe(monkeypatch):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    text = b"y,x\n" + b"1,2\n" * 1000
    for content in (text, gzip.compress(text)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(content))))
        assert len(joined(list(read("-", Table(target="y"))))) == 1000
        assert len(joined(list(read(Pipe(content), Table(target="y"))))) == 1000


@pytest.mark.parametrize(
    "line, column, said",
    [
        (b"1,1,2", 6, "found 3 values, expected 6, one for each column"),
        (b"1,1,2,3,a,b,c", 13, "found 7 values, expected 6"),
        (b"1,1,2,3,a,b,", 13, "found 7 values, expected 6"),
        (b"x,1,2,3,a,b", 1, "found 'x' in the target's column 'label', expected a number"),
        (b"inf,1,2,3,a,b", 1, "found 'inf' in the target's column 'label', expected a finite number"),
        (b"1e40,1,2,3,a,b", 1, "found '1e40' in the target's column 'label', expected a finite number"),
        (b"1,-1,2,3,a,b", 3, "found '-1' in the weight's column 'w', expected a finite number of 0 or more"),
        (b"1,,2,3,a,b", 3, "found '' in the weight's column 'w', expected"),
        (b"1,inf,2,3,a,b", 3, "found 'inf' in the weight's column 'w', expected"),
        (b"1,1, two,3,a,b", 6, "found 'two' in the numeric column 'n1', expected a number; or make it categorical"),
        (b'1,1,"1,5",3,a,b', 5, "found '\"1,5\"' in the numeric column 'n1', expected a number"),
        (b"1,1,2,1e400,a,b", 7, "found '1e400' in the numeric column 'n2', expected a finite number"),
        (b'1,1,2,3,"a,b', 9, "found a quoted value that does not end before a delimiter in its line"),
        (b'1,1,2,3,"a"x,b', 12, "found a quoted value that does not end before a delimiter in its line"),
        (b"1,1,2,3,a\x00,b", 10, "found binary data, expected a table of text with ',' between values"),
        (b'1,1,2,3,"a\x00",b', 11, "found binary data"),
    ],
)
def test_faults_name_the_place_the_value_and_what_was_expected(line, column, said):
    text = slow_readers.HEADER + b"\n1,1,1,1,a,b\n" + line + b"\n0,1,1,1,a,b\n"
    with pytest.raises(DataError) as refusal:
        examples(text)
    assert str(refusal.value).startswith(f"an open file:3:{column}: {said}")
    stream = read(io.BytesIO(text), ASKED, on_error="skip")
    assert joined(list(stream)).labels.tolist() == [1, 0]
    assert stream.policy.counts.total() == 1


@pytest.mark.parametrize(
    "text, table, said",
    [
        (b"a,b\n1,2\n", Table(target="c"), "has no column 'c'; there are a, b"),
        (b"click,b\n1,2\n", Table(target="clicks"), "has no column 'clicks'; did you mean 'click'"),
        (b"a,b\n1,2\n", Table(numeric=["x*"]), r"has no column 'x\*'"),
        (b"a,a\n1,2\n", Table(), "found several columns called 'a'"),
        (b"1,2\n1,2\n", Table(), "found only numbers in the first line, expected column names"),
        (b"", Table(), "is empty"),
        (b"a,b\n", Table(), "found no example|found only"),
    ],
)
def test_invalid_columns(text, table, said):
    with pytest.raises(DataError, match=said):
        list(read(io.BytesIO(text), table))


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"weight": "y"}, "weight: found 'y', expected a column other than the target"),
        ({"drop": ["a", "y"]}, "drop: found 'y', which is the target"),
        ({"weight": "w", "drop": ["w"]}, "drop: found 'w', which is the weight"),
    ],
    ids=str,
)
def test_columns_that_are_requested_twice(asked, words):
    with pytest.raises(ValueError, match=words):
        Table(target="y", **asked)


@pytest.mark.parametrize("wrong", [{"delimiter": "ab"}, {"delimiter": "1"}, {"numeric": "a"}, {"names": "ab"}])
def test_invalid_settings(wrong):
    with pytest.raises((ValueError, TypeError), match=f"{next(iter(wrong))}: found .*, expected"):
        Table(**wrong)


@pytest.mark.skipif("SUREFOOT_DATA" not in os.environ, reason="SUREFOOT_DATA names no folder of data")
def test_real_files():
    folder = os.environ["SUREFOOT_DATA"]
    criteo = read(os.path.join(folder, "criteo_sample.txt"), Table(target="label"))
    block = joined(list(criteo))
    assert (len(block), set(block.labels)) == (200, {0, 1})
    assert criteo.reader.schema.columns("numeric") == [f"I{k}" for k in range(1, 14)]
    assert criteo.reader.schema.columns("categorical") == [f"C{k}" for k in range(1, 27)]
    assert len(block.indices) + criteo.summed == 200 * 39
    avazu = read(os.path.join(folder, "avazu_sample.txt"), Table(target="click", categorical=["*"], drop=["id"]))
    assert len(joined(list(avazu))) == 999
    assert set(joined(list(avazu)).values) <= {1, 2}


def test_fields_are_the_places_of_columns_in_the_order_of_their_names():
    """The same field whatever the order of a file's columns; entries that share an index keep their fields apart."""
    asked = Table(target="y", numeric=["n"], categorical=["a", "b"], fields=True, hashing=Hashing(bits=1))
    first = joined(list(read(io.BytesIO(b"b,n,y,a\nx,0.5,1,u\n,2,0,v\n"), asked)))
    other = joined(list(read(io.BytesIO(b"y,a,n,b\n1,u,0.5,x\n0,v,2,\n"), asked)))
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, getattr(other, name), name)
    hashing = Hashing(bits=1)
    a, b, n = hashing.index("u", "a"), hashing.index("x", "b"), hashing.index("n")
    expected = sorted([(a, 0, 1.0), (b, 1, 1.0), (n, 2, 0.5)])
    row = zip(first.indices[:3].tolist(), first.fields[:3].tolist(), first.values[:3].tolist(), strict=True)
    assert list(row) == expected
    assert np.diff(first.indptr).tolist() == [3, 3]


def test_without_fields_they_are_what_is_read_without_them():
    rng = random.Random(3)
    lines = [f"{rng.random()},{rng.choice('abc')},{rng.choice('abc')},{rng.random()}" for _ in range(200)]
    text = "\n".join(["y,p,q,n", *lines]).encode()
    asked = Table(target="y", hashing=Hashing(bits=2))
    plain, fielded = (
        joined(list(read(io.BytesIO(text), replace(asked, fields=fields), dtype="float64"))) for fields in (False, True)
    )
    assert len(fielded.indices) > len(plain.indices)
    summed = without_fields(fielded)
    for name, array in vars(plain).items():
        np.testing.assert_array_equal(array, getattr(summed, name), name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_beyond_float32_are_faults_in_both_types(dtype):
    for line in (b"1,1e39", b"1e39,1"):
        with pytest.raises(DataError, match=r"found '1e39'.*expected a finite number"):
            list(read(io.BytesIO(b"y,x\n" + line), Table(target="y", numeric=["x"]), dtype=dtype))
    for format, text in (("svmlight", b"1 1:1e39"), ("vw", b"1 |a x:1e39"), ("svmlight", b"1 1:3e38 1:3e38")):
        with pytest.raises(DataError, match="finite"):
            list(read(io.BytesIO(text), format, dtype=dtype))
