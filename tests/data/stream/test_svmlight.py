"""svmlight text as a stream: what is read is what was written, however it is cut, packed and shared among threads."""

import bz2
import functools
import gzip
import io
import os
import sys
import threading
import time

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file
from support.sampling import up_to

from surefoot.data import DataError
from surefoot.data import stream as streams
from surefoot.data.stream import DataWarning, Svmlight, joined
from surefoot.data.stream.sources import limits

read = functools.partial(streams.read, format="svmlight")

in_one_folder = settings(max_examples=up_to(100), suppress_health_check=[HealthCheck.function_scoped_fixture])


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


PACKED = [bytes, gzip.compress, bz2.compress, zstd]


def examples(content: bytes, **how):
    """All examples of a text, in one block."""
    return joined(list(read(io.BytesIO(content), **how)))


def assert_equal(a, b):
    for name in ("indptr", "indices", "values", "labels", "weights", "groups"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        if getattr(a, name) is not None:
            assert getattr(a, name).dtype == getattr(b, name).dtype


numbers = st.one_of(
    st.sampled_from(["0", "1", "-1", "0.5", "1e3", "-2.5E-3"]),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
)


@st.composite
def lines(draw):
    """A line of svmlight with rising indices."""
    indices = sorted(draw(st.sets(st.integers(1, 10**6), max_size=40)))
    entries = [f"{index}:{draw(numbers)}" for index in indices]
    blank = draw(st.sampled_from([" ", "  ", "\t"]))
    return blank.join([draw(numbers), *entries]) + draw(st.sampled_from(["", " ", " # 5:6", "\r"]))


files = st.lists(st.one_of(lines(), lines(), st.sampled_from(["", "# nothing", "   "])), min_size=1)


@given(files, st.sampled_from(["", "\n"]))
def test_reads_what_scikit_learn_reads(content, end):
    text = ("\n".join(["1 1:1", *content]) + end).encode()
    X, y = load_svmlight_file(io.BytesIO(text), zero_based=True)
    found = examples(text, dtype="float64")
    np.testing.assert_array_equal(found.matrix(X.shape[1]).toarray(), X.toarray())
    np.testing.assert_array_equal(found.labels, y)
    single = examples(text)
    assert single.values.dtype == single.labels.dtype == np.float32
    np.testing.assert_array_equal(single.values, found.values.astype(np.float32))


@in_one_folder
@given(files, st.integers(1, 200), st.sampled_from([1, 2, 3]), st.sampled_from(PACKED), st.sampled_from(["", "\n"]))
def test_splits_compression_and_threads_make_no_difference(tmp_path, content, piece, threads, pack, end):
    text = ("\n".join(["1 1:1", *content]) + end).encode()
    path = tmp_path / "file"
    path.write_bytes(pack(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PIECE", piece)
        stream = read(path, threads=threads)
        blocks = list(stream)
        assert_equal(joined(blocks), joined(list(stream)))
        again = list(read(path, threads=1))
    assert [len(block) for block in blocks] == [len(block) for block in again]
    assert_equal(joined(blocks), examples(text))
    assert stream.lines == text.count(b"\n") + (not text.endswith(b"\n"))
    assert stream.rows == sum(map(len, blocks))
    assert stream.position == stream.size == path.stat().st_size


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 60), st.integers(0, 10**18 - 1)),
            st.one_of(st.integers(0, 9), st.floats(-9, 9, width=32)),
        ),
        min_size=1,
        max_size=300,
    ),
    st.booleans(),
)
def test_entries_in_any_order_are_sorted_and_summed(entries, rising):
    """In order of occurrence, in float64, rounded once."""
    entries = sorted(entries) if rising else entries
    found = examples(b"1 " + b" ".join(f"{index}:{value!r}".encode() for index, value in entries))
    sums = {}
    for index, value in entries:
        sums[index] = sums.get(index, 0.0) + value
    assert found.indices.tolist() == sorted(sums)
    assert found.values.tolist() == [np.float32(sums[index]) for index in sorted(sums)]


def test_counts_rows_that_were_sorted_and_entries_that_were_summed():
    stream = read(io.BytesIO(b"1 2:1 1:1\n1 1:1 1:2 2:1\n1 1:1\n"))
    assert len(joined(list(stream)).indices) == 5
    assert (stream.sorted, stream.summed, stream.entries) == (2, 1, 5)


def test_weights_groups_and_comments():
    text = b"1:0.5 qid:7 1:2 # note\n-1 qid:8 cost:3 2:1#5:1\n+1\n"
    found = examples(text, format=Svmlight(label_weights=True))
    assert found.weights.tolist() == [0.5, 3, 1]
    assert found.groups is not None
    assert found.groups.tolist() == [7, 8, -1]
    assert (found.labels.tolist(), found.indices.tolist(), found.values.tolist()) == ([1, -1, 1], [1, 2], [2, 1])


def test_byte_order_mark_carriage_returns_and_no_last_line_end(tmp_path):
    text = b"\xef\xbb\xbf1 1:2\r\n\r\n-1 2:3\r\n1 3:4"
    (tmp_path / "file").write_bytes(text)
    for found in (joined(list(read(tmp_path / "file"))), examples(text)):
        assert (found.labels.tolist(), found.values.tolist()) == ([1, -1, 1], [2, 3, 4])


@pytest.mark.parametrize(
    "line, column, said",
    [
        (b"foo 1:2", 1, "found label 'foo', expected a number, in svmlight lines LABEL INDEX:VALUE"),
        (b"nan 1:2", 1, "found label 'nan', expected a finite number"),
        (b"1e400 1:2", 1, "found label '1e400', expected a finite number"),
        (b"1:0.25 2:0.3", 1, "found '1:0.25' in place of the label, expected a number, in svmlight lines LABEL"),
        (b"+1:1", 1, "found '+1:1' in place of the label"),
        (b"1: 2", 1, "found '1:' in place of the label"),
        (b"qid:3 1:2", 1, "found label 'qid:3', expected a number"),
        (b"1 cost:-2 1:2", 8, "found weight '-2', expected"),
        (b"1 qid:x 1:2", 7, "found qid 'x', expected a whole number"),
        (b"1 -5:1", 3, "found '-5:1', expected INDEX:VALUE with a whole number from 0 to"),
        (b"1 18446744073709551621:1", 3, "found '18446744073709551621:1', expected INDEX:VALUE"),
        (b"1 +:1", 3, "found '+:1', expected INDEX:VALUE"),
        (b"1 qid:+ 1:1", 7, "found qid '+', expected a whole number"),
        (b"1 1.5:1", 3, "found '1.5:1', expected INDEX:VALUE"),
        (b"1 5: 7:1", 5, "found feature 5 with value '', expected a number"),
        (b"1 5:nan", 5, "found feature 5 with value 'nan', expected a finite number"),
        (b"1 5:1e40", 5, "found feature 5 with value '1e40', expected a finite number"),
        (b"1 5:1e400", 5, "found feature 5 with value '1e400', expected a finite number"),
        (b"1 4:2 5:1_0", 9, "found feature 5 with value '1_0', expected a number"),
        (b"1 5:3e38 5:3e38", 1, "found a feature whose values, summed, are not finite"),
        (b"1 5:1\x002", 5, "found binary data, expected svmlight lines"),
        ("1 5:²".encode(), 5, "found binary data, expected svmlight lines"),
        (b"\xff\xfe1\x00 \x00", 1, "found UTF-16, expected svmlight lines"),
        (b"1 5:1\r0 6:1", 7, "found '0', expected INDEX:VALUE"),
    ],
)
def test_faults_name_the_place_the_value_and_what_was_expected(tmp_path, line, column, said):
    path = tmp_path / "file"
    path.write_bytes(b"1 1:1\n\n" + line + b"\n-1 2:1\n")
    with pytest.raises(DataError) as refusal:
        list(read(path))
    assert str(refusal.value).startswith(f"{path}:3:{column}: {said}")
    stream = read(path, on_error="skip")
    found = joined(list(stream))
    assert (found.labels.tolist(), found.indices.tolist()) == ([1, -1], [1, 2])
    assert stream.policy.counts.total() == 1


@pytest.mark.parametrize("weight", ["x", "-2", "1e40", "nan", ""])
def test_weights_after_labels_are_read_on_request_and_checked(weight):
    weighted = functools.partial(examples, format=Svmlight(label_weights=True))
    found = weighted(b"1:0.25 2:0.3\n-1 1:1\n")
    assert (found.labels.tolist(), found.weights.tolist(), found.indices.tolist()) == ([1, -1], [0.25, 1], [2, 1])
    with pytest.raises(DataError, match=f"1:3: found weight '{weight}', expected a finite number of 0 or more"):
        weighted(f"1:{weight} 1:2".encode())


def test_faults_are_numbered_within_their_file_and_reported_in_order(tmp_path, monkeypatch):
    (tmp_path / "a.svm").write_bytes(b"1 1:1\nx\n")
    (tmp_path / "b.svm").write_bytes(b"1 1:1\n2:\n" * 50)
    monkeypatch.setattr(limits, "PIECE", 20)
    stream = read(tmp_path / "*.svm", on_error="warn", threads=2)
    with pytest.warns(DataWarning) as told:
        assert sum(map(len, stream)) == 51
    places = [str(warning.message).removeprefix(f"{tmp_path}/").partition(": ")[0] for warning in told]
    assert places == ["a.svm:2:1", *(f"b.svm:{line}:1" for line in range(2, 101, 2))]
    assert stream.policy.summary() == "label is not a number: 1, no label: 50"


def test_too_many_faults():
    content = b"1 1:1\n" + b"x\n" * 5
    assert len(examples(content, on_error="skip", max_errors=5)) == 1
    with pytest.raises(DataError, match=r"could not be used.*more than the 4 allowed"):
        examples(content, on_error="skip", max_errors=4)


@pytest.mark.parametrize("pack", PACKED)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_long_line_is_read_and_one_past_the_limit_is_skipped(tmp_path, pack, where):
    long = b"1 " + b" ".join(b"%d:1" % k for k in range(1, 10_001))
    content = [b"1 1:1", b"-1 2:1"]
    content.insert({"first": 0, "middle": 1, "last": 2}[where], long)
    path = tmp_path / "file"
    path.write_bytes(pack(b"\n".join(content)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PIECE", 1000)
        for limit in (None, len(long), len(long) - 1):
            if limit:
                patch.setattr(limits, "LONGEST_LINE", limit)
            stream = read(path, on_error="skip")
            lengths = np.diff(joined(list(stream)).indptr).tolist()
            assert sorted(lengths) == ([1, 1] if limit == len(long) - 1 else [1, 1, 10_000])
            assert stream.lines == 3
            assert stream.policy.counts == ({"line too long": 1} if limit == len(long) - 1 else {})


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"# nothing\n\n", "found only comments and blank lines"),
        (gzip.compress(b"1 1:1\n" * 999, mtime=0)[:-12], "is damaged"),
        (gzip.compress(b"1 1:1\n" * 999, mtime=0)[:-8] + b"\0" * 8, "is damaged"),
        (gzip.compress(b"1 1:1\n", mtime=0) + b"junk", "is damaged"),
        (bz2.compress(b"1 1:1\n" * 999)[:-12], "is damaged"),
        (zstd(b"1 1:1\n" * 999)[:-3], "is damaged"),
        (b"\x1f\x8bjunk", "is damaged"),
        (b"BZhjunk", "is damaged"),
        (b"\x28\xb5\x2f\xfdjunk", "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        list(read(path, on_error="skip"))
    assert str(refusal.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("cut", range(1, 40, 3))
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zstd])
def test_partial_rows_of_truncated_files_are_not_used(tmp_path, monkeypatch, cut, pack):
    rng = np.random.default_rng(0)
    rows = [b"1 1:%d 2:%d" % tuple(rng.integers(0, 10**9, 2)) for _ in range(200)]
    path = tmp_path / "file"
    path.write_bytes(pack(b"\n".join(rows))[:-cut])
    monkeypatch.setattr(limits, "PIECE", 100)
    blocks = []
    with pytest.raises(DataError, match="is damaged"):
        blocks.extend(read(path))
    seen = joined(blocks).values.reshape(-1, 2).tolist() if blocks else []
    expected = [[float(np.float32(entry.partition(b":")[2])) for entry in row.split()[1:]] for row in rows]
    assert seen == expected[: len(seen)]


def test_shards_globs_open_files_and_urls(tmp_path, monkeypatch):
    for k in range(3):
        (tmp_path / f"part-{k}").write_bytes(b"%d 1:1" % k if k != 1 else b"")
    every = [0, 2]
    monkeypatch.chdir(tmp_path)
    for paths in ("part-*", ["part-0", tmp_path / "part-1", "part-2"], f"file://{tmp_path}/part-*"):
        assert joined(list(read(paths))).labels.tolist() == every
    with open("part-2", "rb") as file:
        assert joined(list(read([file, "part-0"]))).labels.tolist() == [2, 0]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"3 1:1\n", mtime=0))))
    stream = read("-")
    assert joined(list(stream)).labels.tolist() == [3]
    with pytest.raises(DataError, match="standard input: can be read only once"):
        list(stream)


@pytest.mark.parametrize(
    "path, said",
    [
        ("nothing", "there is no such file"),
        ("*.nothing", "no files match this pattern"),
        (".", "is a folder"),
        ("nothing/below", "there is no such file"),
        ("no-such-protocol://x", "could not be read"),
        ("memory://nothing", "there is no such file"),
        ([], "found no file to read"),
    ],
)
def test_missing_paths(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=said):
        list(read(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"1 1:1\n" * 100,))
    writer.start()
    assert sum(map(len, read(tmp_path / "pipe"))) == 100
    writer.join()


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"1 1:1\n" * 1000)
    monkeypatch.setattr(limits, "PIECE", 100)
    monkeypatch.setattr(limits, "LOOK_AHEAD", 50)
    blocks = iter(read(path, threads=1))
    next(blocks)
    os.truncate(path, 10)
    with pytest.raises(DataError, match="became shorter while it was read"):
        next(blocks)


def test_a_stream_can_be_abandoned(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1 1:1\n" * 1000)
    before = threading.active_count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PIECE", 100)
        blocks = iter(read(path, threads=3))
        next(blocks)
        del blocks
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before  # a thread of an earlier test may end meanwhile


def test_rising_indices_on_request():
    with pytest.raises(DataError, match="1:7: found feature 2 after 3, expected rising indices, each at most once"):
        examples(b"1 3:1 2:1", format=Svmlight(rising=True))
    with pytest.raises(DataError, match="found '9:1', expected INDEX:VALUE with a whole number from 0 to 8"):
        examples(b"1 9:1", format=Svmlight(largest=8))


@pytest.mark.parametrize("wrong", [{"format": "json"}, {"on_error": "ask"}, {"max_errors": -1}, {"threads": 0}])
def test_invalid_settings(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: found .*, expected"):
        read("file", **wrong)


def outcome(content: bytes, dtype, **how):
    """Examples, or what was said instead."""
    try:
        return examples(content, dtype=dtype, **how)
    except DataError as error:
        return str(error)


MUTATIONS = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=up_to(1500))
@given(st.lists(lines(), min_size=1, max_size=4), MUTATIONS, st.sampled_from(["float32", "float64"]))
def test_mutated_lines_are_read_or_rejected(content, mutations, dtype):
    """Every line is a whole row, blank, or a fault that can be put into words; rows are as they are alone."""
    text = "\n".join(content).encode()
    for place, junk, cut in mutations:
        place %= len(text) + 1
        text = text[:place] + junk + text[place + cut :]
    outcomes = [outcome(line, dtype) for line in [*text.split(b"\n"), text]]
    assert all(said.count("\n") == 0 < len(said) for said in outcomes if isinstance(said, str))
    alone = [block for block in outcomes[:-1] if not isinstance(block, str)]
    together = outcome(text, dtype, on_error="skip")
    if isinstance(together, str):
        assert not alone or "is damaged" in together
        return
    together_groups = together.groups if together.groups is not None else np.full(len(together), -1)
    assert len(together) == sum(map(len, alone))
    assert np.isfinite(together.values).all()
    assert np.isfinite(together.labels).all()
    assert (together.indices >= 0).all()
    assert len(together_groups) == len(together)
    np.testing.assert_array_equal(together.values, joined(alone).values)
    np.testing.assert_array_equal(together.indices, joined(alone).indices)
