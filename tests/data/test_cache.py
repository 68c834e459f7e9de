"""Block caches: the same blocks come back; damaged ones, and those made with other options, are rejected."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data import DataError, cache
from surefoot.data.reading import ReadOptions

TEXT = {
    "svm": "1 qid:3 1:0.5 7:1\n-1 4294967299:2\n1 cost:0.25 2:1 # note\n",
    "vw": "1 0.5 0.25 'tag|f rain wind:3\n-1 |g sun\n|f rain\n",
    "ffm": "1 0:1:1 2:7:0.5\n-1 1:1:2\n",
    "csv": "y,a,b\n1,0.5,x\n0,,y\n1,2,x\n",
}
OPTIONS = {"csv": {"target": "y"}}


def converted(folder, suffix: str, **options):
    """A file, its cache, and both as streams."""
    path, blocks = folder / f"data.{suffix}", folder / "blocks"
    path.write_text(TEXT[suffix])
    reading = ReadOptions(**OPTIONS.get(suffix, {}), **options)
    stream = reading.open(path)
    assert list(cache.write(stream, blocks, reading.resolved(stream).record())) == [stream.rows]
    return reading.open(path), reading.open(blocks)


@pytest.mark.parametrize("suffix", TEXT)
def test_the_same_blocks_come_back(suffix, tmp_path):
    stream, cached = converted(tmp_path, suffix)
    for one, other in zip(stream, cached, strict=True):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(getattr(other, name), array, name)
            assert array is None or getattr(other, name).dtype == array.dtype
    assert (cached.rows, cached.entries, cached.position) == (stream.rows, stream.entries, cached.position)
    assert ReadOptions().resolved(cached) == ReadOptions(**OPTIONS.get(suffix, {})).resolved(stream)
    if stream.names is not None:
        assert {k: cached.names[k] for k in cached.names} == {k: stream.names[k] for k in stream.names}


def test_several_caches_follow_one_another(tmp_path):
    _, cached = converted(tmp_path, "svm")
    (tmp_path / "more").write_bytes((tmp_path / "blocks").read_bytes())
    both = ReadOptions().open([tmp_path / "blocks", tmp_path / "more"])
    places = [both.where(row) for block in both for row in range(len(block))]
    rows = sum(len(block) for block in cached)
    assert places == [f"{tmp_path / name}: example {k:,}" for name in ("blocks", "more") for k in range(1, rows + 1)]


def test_values_are_float64_and_take_half_the_room_where_that_does_not_change_them(tmp_path):
    for name, value in (("half", "0.5"), ("tenth", "0.1")):
        (tmp_path / "data.svm").write_text(f"1 3:{value}\n" * 10_000)
        reading = ReadOptions()
        stream = reading.open(tmp_path / "data.svm")
        list(cache.write(stream, tmp_path / name, reading.resolved(stream).record()))
        for blocks in (stream, reading.open(tmp_path / name)):
            assert {block.values.dtype for block in blocks} == {np.dtype(np.float64)}
            assert {value for block in blocks for value in block.values.tolist()} == {float(value)}
    assert (tmp_path / "tenth").stat().st_size - (tmp_path / "half").stat().st_size == 40_000


@pytest.mark.parametrize("suffix, options", [("ffm", {}), ("csv", {"fields": True})])
def test_fields_are_kept(suffix, options, tmp_path):
    stream, cached = converted(tmp_path, suffix, **options)
    for one, other in zip(stream, cached, strict=True):
        assert one.fields is not None
        np.testing.assert_array_equal(one.fields, other.fields)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_cache_is_rejected_or_reads_the_same(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("caches")
    stream, _ = converted(folder, "svm")
    content = bytearray((folder / "blocks").read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(60, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "blocks").write_bytes(content)
    reading = ReadOptions(format="auto" if cache.is_cache(str(folder / "blocks")) else "svmlight")
    found = []
    with contextlib.suppress(DataError):
        found = list(reading.open(folder / "blocks"))
    if not found:
        return
    for one, other in zip(stream, found, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.values, other.values)


def test_options_must_be_those_it_was_made_with(tmp_path):
    converted(tmp_path, "vw", bits=10)
    assert ReadOptions(bits=10).open(tmp_path / "blocks").reading["bits"] == 10
    with pytest.raises(DataError, match="made with bits 10, found 12"):
        ReadOptions(bits=12).open(tmp_path / "blocks")
    with pytest.raises(DataError, match="made with bits 10, but the model was trained with 20"):
        ReadOptions(format="vw", bits=20).open(tmp_path / "blocks", trained=True)
    with pytest.raises(DataError, match="not a block cache"):
        ReadOptions().open([tmp_path / "blocks", tmp_path / "data.vw"])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"target": "y"}, "target: an option of tsv, csv, parquet; these files are read as svmlight"),
        ({"format": "vw", "label_weights": True}, "label_weights: an option of libffm, svmlight; .* read as vw"),
        ({"seed": 3}, "seed: an option of vw, tsv, csv, parquet; these files are read as svmlight"),
        ({"format": "arff"}, "format: found 'arff', expected one of auto, libffm, svmlight"),
        ({"format": "parquet", "delimiter": ";"}, "delimiter: an option of tsv, csv; these files are read as parquet"),
        ({"format": "parquet", "header": False}, "header: an option of tsv, csv; these files are read as parquet"),
    ],
)
def test_options_without_an_effect_are_rejected(options, words, tmp_path):
    (tmp_path / "a.svm").write_text("1 1:1\n")
    with pytest.raises(ValueError, match=words):
        ReadOptions(**options).open(tmp_path / "a.svm")


def test_tables_for_a_model_may_lack_the_target_and_have_more_columns(tmp_path):
    stream, _ = converted(tmp_path, "csv")
    reading = ReadOptions(target="y").resolved(stream)
    (tmp_path / "new.csv").write_text("b,more,a\nx,7,0.5\ny,8,\n")
    (block,), (first, *_) = reading.open(tmp_path / "new.csv", trained=True), stream
    np.testing.assert_array_equal(block.indices, first.indices[: len(block.indices)])
    np.testing.assert_array_equal(block.values, first.values[: len(block.values)])
    (tmp_path / "less.csv").write_text("b\nx\n")
    with pytest.raises(DataError, match="has no column 'a'"):
        reading.open(tmp_path / "less.csv", trained=True)
