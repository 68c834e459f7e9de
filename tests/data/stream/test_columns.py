"""Columns become blocks without text: the same ids, values, names and faults as the CSV of the same table gives."""

import dataclasses
import io
import math
import random
import string

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from support import slow_readers

from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Hashing, Names, Table, columns, joined, read, read_rows
from surefoot.learn.training import Plan, Training

floats = st.one_of(st.sampled_from([0.0, -0.0, 0.1, 1e-300, 3e38]), st.floats(-1e30, 1e30))
words = st.text(st.sampled_from(string.ascii_letters + " é東,\"'=:|"), max_size=12)
TABLES = {
    "y": st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5])),
    "w": st.floats(0, 100),
    "x": st.one_of(st.none(), floats),
    "k": st.one_of(st.none(), st.integers(-(2**62), 2**62)),
    "s": st.one_of(st.none(), words, st.sampled_from(["NA", "", "null", " NA", "a"])),
    "t": st.one_of(words, st.sampled_from(["red", "green"])),
}
ASKED = Table("y", "w", numeric=["x", "k"], categorical=["s", "t"], hashing=Hashing(bits=8))


@st.composite
def tables(draw):
    """Columns of some rows, as Python has them."""
    rows = draw(st.integers(1, 12))
    return {name: draw(st.lists(values, min_size=rows, max_size=rows)) for name, values in TABLES.items()}


def arrow(table) -> pyarrow.Table:
    types = {"y": pyarrow.float64(), "w": pyarrow.float64(), "x": pyarrow.float64(), "k": pyarrow.int64()}
    return pyarrow.table(
        {name: pyarrow.array(values, types.get(name, pyarrow.string())) for name, values in table.items()}
    )


def as_csv(table: pyarrow.Table) -> io.BytesIO:
    target = io.BytesIO()
    csv.write_csv(table, target)
    return io.BytesIO(target.getvalue())


def as_parquet(table: pyarrow.Table, **how) -> io.BytesIO:
    target = io.BytesIO()
    parquet.write_table(table, target, **how)
    return io.BytesIO(target.getvalue())


def assert_same(found, expected):
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), array, err_msg=name, strict=True)


def known(names: Names) -> dict:
    return {index: (names[index], names.is_shared(index)) for index in names}


@settings(deadline=None)
@given(tables(), st.sampled_from(["float32", "float64"]), st.booleans(), st.booleans())
def test_the_same_table_as_csv_and_as_parquet(table, dtype, fields, dictionaries):
    asked = Table(**{**vars(ASKED), "fields": fields})
    made = arrow(table)
    text = read(as_csv(made), asked, dtype=dtype)
    binary = read(as_parquet(made, use_dictionary=dictionaries, row_group_size=5), asked, dtype=dtype)
    try:
        expected = joined(list(text))
    except DataError as error:
        with pytest.raises(DataError) as other:
            list(binary)
        said = [str(e).partition("found ")[2] for e in (error, other.value)]
        assert said[0] == said[1]
        return
    assert_same(joined(list(binary)), expected)
    assert known(binary.names) == known(text.names)
    assert (binary.rows, binary.entries, binary.summed) == (text.rows, text.entries, text.summed)


@settings(deadline=None)
@given(tables())
def test_the_same_rows_as_csv_parquet_dicts_and_frames(table):
    """One function maps a name to an id."""
    table["x"] = [None if value is None else value / 8 for value in table["x"]]
    made = arrow(table)
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    names = Names(ASKED.hashing.bits)
    found = read_rows(rows, ASKED, names=names)
    assert_same(found, joined(list(read(as_csv(made), ASKED, dtype="float64"))))
    assert_same(found, joined(list(read(as_parquet(made), ASKED, dtype="float64"))))
    assert_same(found, read_rows(made, ASKED))
    frame = pandas.DataFrame(
        {name: pandas.array(values, "Int64") if name == "k" else values for name, values in table.items()}
    )
    assert_same(found, read_rows(frame, ASKED))
    for index in names:
        column, equals, value = names[index].partition("=")
        assert index == (ASKED.hashing.index(value, column) if equals else ASKED.hashing.index(column))


def test_dicts_may_lack_columns_and_models_know_theirs():
    options = ReadOptions(target="y", numeric=("n",), categorical=("c",))
    both = options.examples([{"y": 1, "n": 2, "c": "a"}, {"n": None, "y": 0}])
    expected = [Hashing().index(*name) for name in (("n",), ("a", "c"), ("missing", "n"), ("missing", "c"))]
    assert sorted(both.indices[:2].tolist()) == sorted(expected[:2])
    assert sorted(both.indices[2:].tolist()) == sorted(expected[2:])
    alone = options.examples([{"c": "a", "other": 7}], trained=True)
    assert sorted(alone.indices.tolist()) == sorted([expected[1], expected[2]])
    assert np.isnan(alone.labels).all()


@pytest.mark.parametrize(
    "rows, said",
    [
        ({"y": 1}, "found a single dict, expected several; give \\[row\\] for one row"),
        ([{"x": 1}], "rows: has no column 'y'"),
        (
            [*[{"y": 1, "x": 2}] * 9, {"y": "much", "x": 2}],
            "rows: row 10: found 'much' in the target's column 'y', expected a number",
        ),
        ([{"y": 1, "x": math.inf}], "rows: row 1: found 'inf' in the numeric column 'x', expected a finite number"),
        ([{"y": 1, "x": "a\x1b"}], "rows: row 1: found 'a\\\\x1b' in the column 'x', expected text without control"),
        (
            pandas.DataFrame({"y": [1], "x": [[1]]}),
            "column 'x' holds lists or records, expected single values; drop it",
        ),
        (pandas.DataFrame({"y": [1, 2], "x": ["a", 1]}), "a data frame that cannot be read"),
    ],
)
def test_rows_that_cannot_be_used(rows, said):
    with pytest.raises(DataError, match=said):
        read_rows(rows, Table(target="y"))


def test_values_of_other_types_are_text():
    """Numbers, truth values and dates whose column is categorical; decimals are numbers."""
    table = pyarrow.table(
        {
            "y": [1, 0, 1],
            "i": pyarrow.array([5, None, -7], pyarrow.int16()),
            "f": [1.0, 0.1, 1e-7],
            "b": [True, False, None],
            "d": pyarrow.array([1, 2, None], pyarrow.date32()),
            "n": pyarrow.array([None, None, None], pyarrow.null()),
            "m": pyarrow.array(["1.10", "2", None]).cast(pyarrow.decimal128(10, 2)),
        }
    )
    texts = {"f": ["1", "0.1", "1e-07"], "b": ["True", "False", None]}
    if int(pyarrow.__version__.partition(".")[0]) >= 21:  # earlier ones do not write them
        texts["v"] = ["view", None, "a"]
        table = table.append_column("v", pyarrow.array(texts["v"], pyarrow.string_view()))
    asked = Table("y", categorical=["i", "f"], numeric=["m"])
    text = pyarrow.table([texts.get(name, table[name]) for name in table.column_names], table.column_names)
    found, expected = (joined(list(read(file, asked, dtype="float64"))) for file in (as_parquet(table), as_csv(text)))
    assert_same(found, expected)
    dicts = [{**row, "d": row["d"] and str(row["d"]), "m": row["m"] and str(row["m"])} for row in table.to_pylist()]
    assert_same(read_rows(dicts, asked), expected)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_are_named_as_python_writes_them(unit, zone):
    times = ["2026-03-01T12:00:05", "1969-12-31T23:59:59", "1700-01-01", None, "2026-03-01T12:00:05"]
    times += ["1969-12-31T23:59:59.5", "2026-03-01T00:00:00.000250"] if unit != "s" else []
    times += ["0001-01-01", "9999-12-31T23:59:59"] if unit != "ns" else ["2026-03-01T00:00:00.000000007"]
    array = pyarrow.array(np.array(times, f"datetime64[{unit}]"), pyarrow.timestamp(unit, zone))
    text = [None if value is None else str(value) for value in array.to_pylist()]
    found = []
    for column in (array, pyarrow.array(text)):
        stream = read(as_parquet(pyarrow.table({"y": [1.0] * len(text), "t": column})), Table("y"))
        found.append((joined(list(stream)).indices.tolist(), {name: stream.names[name] for name in stream.names}))
    assert found[0] == found[1]


def test_times_that_python_does_not_have_are_one_sentence():
    table = pyarrow.table({"y": [1.0], "t": pyarrow.array([1 << 40], pyarrow.timestamp("s"))})
    with pytest.raises(DataError, match=r"column 't' cannot be read \(.*out of range.*\); drop the column"):
        list(read(as_parquet(table), Table("y")))


def test_a_value_that_stands_for_none_after_rows_without_new_names():
    table = pyarrow.table({"y": [1.0] * 3, "s": ["a", "a", "NA"]})
    stream, expected = (read(file, Table(target="y")) for file in (as_parquet(table), as_csv(table)))
    assert_same(joined(list(stream)), joined(list(expected)))
    assert known(stream.names) == known(expected.names)
    assert len(stream.names) == 2


def test_line_breaks_stay_in_values():
    table = pyarrow.table({"y": [1.0], "s": ["line\nend"]})
    stream = read(as_parquet(table), Table(target="y"))
    assert joined(list(stream)).indices.tolist() == [Hashing().index("line\nend", "s")]
    assert [stream.names[index] for index in stream.names] == ["s=line\nend"]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_do_not_depend_on_threads_or_on_how_the_file_is_cut(threads, tmp_path, monkeypatch):
    rng = random.Random(0)
    n = 2_000
    table = pyarrow.table(
        {
            "y": [rng.randrange(2) for _ in range(n)],
            "x": [rng.random() for _ in range(n)],
            "s": [rng.choice(["a", "b", "c", None, f"rare {k}"]) for k in range(n)],
        }
    )
    expected = joined(list(read(as_csv(table), Table(target="y"))))
    monkeypatch.setattr(columns, "VALUES", 100)
    for size in (7, 100, n):
        path = tmp_path / f"{size}.parquet"
        parquet.write_table(table, path, row_group_size=size)
        stream = read(path, Table(target="y"), threads=threads)
        assert_same(joined(list(stream)), expected)
        assert stream.position == stream.size == path.stat().st_size
        assert (stream.lines, stream.rows) == (n, n)


def test_the_same_model_from_csv_and_from_parquet(tmp_path):
    """Bit for bit, over two passes, and predictions of either file by the model of the other."""
    rng = random.Random(1)
    n = 3_000
    table = pyarrow.table(
        {
            "click": [rng.randrange(2) for _ in range(n)],
            "price": [None if rng.random() < 0.1 else rng.gauss(0, 10) for _ in range(n)],
            "count": [rng.randrange(10**6) for _ in range(n)],
            "site": [rng.choice(["a", "b", 'c "d", e', "NA", None]) for _ in range(n)],
            "user": pyarrow.array([f"user {rng.randrange(500)}" for _ in range(n)]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    csv.write_csv(table, tmp_path / "t.csv")
    options = ReadOptions(target="click", numeric=("price", "count"), categorical=("site", "user"))
    models = {
        name: Training(Plan((str(tmp_path / name),), options, passes=2)).run().model for name in ("t.csv", "t.parquet")
    }
    a, b = models.values()
    np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.biases, b.biases)
    assert dataclasses.replace(a.reading, format="") == dataclasses.replace(b.reading, format="")
    for model in models.values():
        scores = [
            np.concatenate([model.scores(block) for block in model.reading.open(tmp_path / name, trained=True)])
            for name in ("t.csv", "t.parquet")
        ]
        np.testing.assert_array_equal(*scores)
    rows = a.reading.examples(table.to_pandas(), trained=True)
    np.testing.assert_array_equal(a.scores(rows), scores[0])


# Parquet


def test_parquet_from_everywhere(tmp_path, monkeypatch):
    made = pyarrow.table(slow_readers.COLUMNS)
    parquet.write_table(made, tmp_path / "t.parquet", row_group_size=3)
    monkeypatch.setattr(columns, "VALUES", 12)
    asked = Table(target="y", categorical=["b"])
    expected = slow_readers.rows_of(joined(list(read(as_parquet(made), asked))))
    content = io.BytesIO((tmp_path / "t.parquet").read_bytes())
    for paths in (tmp_path / "t.parquet", [f"file://{tmp_path}/t.parquet"], content):
        assert repr(slow_readers.rows_of(joined(list(read(paths, asked))))) == repr(expected)
    content.seek(0)
    assert read(content, asked).guess is None
    (tmp_path / "renamed").write_bytes(content.getvalue())
    assert read(tmp_path / "t.parquet").guess.startswith("read as parquet, by its file extension")
    assert read(tmp_path / "renamed").guess == "read as parquet, by its first bytes"


def test_faults_of_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    table = pyarrow.table({"y": [1.0, 0.0], "x": [1.0, math.inf], "l": [[1], [2]]})
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="column 'l' holds lists or records, expected single values; drop it"):
        read(path, Table(target="y"))
    stream = read(path, Table(target="y", drop=["l"]), on_error="skip")
    assert (joined(list(stream)).values.tolist(), stream.policy.counts) == ([1.0], {"value is not finite": 1})
    with pytest.raises(DataError, match=r"parquet: row 2: found 'inf' in the numeric column 'x', expected a finite"):
        list(read(path, Table(target="y", drop=["l"])))
    with pytest.raises(DataError, match='a parquet file, expected lines of text; read it as format "parquet"'):
        list(read(path, "svmlight"))
    content = path.read_bytes()
    for damaged in (content[:-20], content[:100], b"PAR1", content[:40] + bytes(60) + content[100:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged|cannot be read"):
            list(read(path, Table(target="y", drop=["l"])))


def test_a_file_without_rows_or_without_a_column_that_is_read_is_reported(tmp_path):
    parquet.write_table(arrow({"y": [], "x": [], "s": []}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: is empty, expected at least one row$"):
        list(ReadOptions(target="y").open(tmp_path / "a.parquet"))
    with pytest.raises(
        DataError, match=r"a\.parquet: found no column to read, expected at least one; there are y, x, s$"
    ):
        ReadOptions(drop=("*",)).open(tmp_path / "a.parquet")


def test_truth_values_as_target_are_0_and_1(tmp_path):
    """Where labels are numbers, in Parquet, data frames, arrays of NumPy and dicts; as features they are text."""
    labels, flags = [True, False, None, True], [False, True, True, None]
    made = pyarrow.table({"y": pyarrow.array(labels), "s": pyarrow.array(flags), "x": [1.0, 2.0, 3.0, 4.0]})
    expected = read_rows(
        [
            {"y": None if y is None else int(y), "s": s, "x": x}
            for y, s, x in zip(labels, flags, [1.0, 2.0, 3.0, 4.0], strict=True)
        ],
        Table(target="y"),
    )
    np.testing.assert_array_equal(expected.labels, [1, 0, np.nan, 1])
    numbers = Table(target="y", word_labels=False)
    assert_same(joined(list(read(as_parquet(made), numbers, dtype="float64"))), expected)
    assert_same(read_rows(made, numbers), expected)
    assert_same(read_rows(made.to_pylist(), numbers), expected)
    assert_same(read_rows(made.to_pandas(), numbers), expected)
    parquet.write_table(made.slice(0, 2), tmp_path / "a.parquet")
    model = Training(Plan((str(tmp_path / "a.parquet"),), reading=ReadOptions(target="y"))).run().model
    assert model.targets.classes == ("False", "True")


def test_rows_are_named_if_others_were_skipped():
    table = pyarrow.table({"y": [0.0, 1.0, 2.0, 3.0, 4.0], "x": [math.inf, 1.0, math.inf, 2.0, 3.0]})
    stream = read(as_parquet(table), Table(target="y"), on_error="skip")
    for block in stream:
        assert [stream.where(row) for row in range(len(block))] == [f"an open file: row {k}" for k in (2, 4, 5)]


def test_a_shard_without_a_column(tmp_path):
    parquet.write_table(pyarrow.table({"y": [1.0], "x": [1.0]}), tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"x": [1.0], "y": [1.0], "more": [1.0]}), tmp_path / "b.parquet")
    parquet.write_table(pyarrow.table({"y": [1.0]}), tmp_path / "c.parquet")
    found = joined(list(read(tmp_path / "[ab].parquet", Table(target="y"))))
    assert (found.values.tolist(), np.diff(found.indptr).tolist()) == ([1.0, 1.0], [1, 1])
    with pytest.raises(DataError, match=r"c\.parquet: has no column 'x', which the first file has"):
        list(read([tmp_path / "a.parquet", tmp_path / "c.parquet"], Table(target="y")))


def test_a_dictionary_without_the_string_that_a_row_names():
    """Found by fuzzing: a damaged page can name a string that its dictionary does not have."""
    strings = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 7]), pyarrow.array(["a", "b"]), safe=False)
    with pytest.raises(DataError, match="column 's' cannot be read"):
        read_rows(pyarrow.table({"s": strings}), Table())


@pytest.mark.parametrize("name, words", [("missing", "there is no such file"), ("folder", "is a folder")])
def test_what_is_no_parquet_file_is_not_called_damaged(name, words, tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    path = str(tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=rf"{name}.parquet: {words}"):
        list(ReadOptions(target="y").open(path))


def test_damaged_parquet_is_rejected_or_read():
    rng, said = random.Random(0), set()
    for _ in range(300):
        said.add(slow_readers.check_parquet(slow_readers.damaged(rng, slow_readers.PARQUET)))
    assert "" in said
    assert len(said) > 20
