"""A value is the same example in a dict, a data frame, Parquet and CSV, as a number and as a category."""

import csv
import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pandas
import pyarrow
import pytest

from surefoot.data import DataError
from surefoot.data.stream import Hashing, Table, joined, read, read_rows

WORDS = {"categorical": ["c"]}
NUMBERS = {"numeric": ["c"]}
BOTH = (WORDS, NUMBERS)
HOURS = [datetime(2020, 1, 1, 3), datetime(1969, 12, 31, 23, 59, 59), datetime(2020, 1, 1, 3)]

CASES = {
    "integers beyond 2^53": ([2**53 + 1, 2**53, 2**62 + 1, -(2**53) - 1], BOTH, None),
    "unsigned integers": ([np.uint64(2**64 - 1), np.uint64(1)], BOTH, "uint64"),
    "integers of NumPy": ([np.int8(1), np.int8(-3)], BOTH, "int8"),
    "integers and None": ([1, None, 3], BOTH, None),
    "integers and NaN": ([1, math.nan, 3], BOTH, None),
    "integers and NA": ([pandas.NA, 2**53 + 1, 2**53], BOTH, "Int64"),
    "integers and NA as objects": ([pandas.NA, 2**53 + 1, 2**53], BOTH, object),
    "floats": ([0.1, 1e-7, 1e-5, 12345678901234.5, 1e22, -2.5, None], BOTH, None),
    "float32 as numbers": ([np.float32(0.5), np.float32(-2.5)], (NUMBERS,), "float32"),
    "float32 as categories": ([np.float32(0.1), np.float32(1e-7), np.float32(-2.5)], (WORDS,), "float32"),
    "float16 as categories": ([np.float16(0.1), np.float16(-2.5)], (WORDS,), "float16"),
    "decimals": ([Decimal("1.50"), Decimal("-2.25"), None, Decimal("NaN")], BOTH, object),
    "booleans": ([True, False, True], (WORDS,), None),
    "booleans of NumPy": ([np.True_, np.False_], (WORDS,), None),
    "booleans and None": ([True, None, False], (WORDS,), object),
    "booleans and NA": ([True, pandas.NA, False], (WORDS,), "boolean"),
    "datetimes": (HOURS, (WORDS,), None),
    "datetimes with fractions": ([datetime(2020, 1, 1, 3, 0, 0, 500), *HOURS], (WORDS,), None),
    "datetimes with a zone": ([hour.replace(tzinfo=UTC) for hour in HOURS], (WORDS,), None),
    "datetimes of pandas": ([*map(pandas.Timestamp, HOURS), pandas.Timestamp(1)], (WORDS,), None),
    "datetimes and NaT": ([pandas.NaT, *HOURS, None], (WORDS,), None),
    "dates and times": ([date(2020, 1, 1), date(1969, 12, 31), None], (WORDS,), object),
    "times": ([time(3), time(3, 0, 0, 500)], (WORDS,), object),
    "spans of time": ([timedelta(1), timedelta(hours=25, microseconds=1), pandas.NaT], (WORDS,), None),
    "strings": (["a", "é", 'a"b', "c,d", "", "NA", None, "True", "1.0", "a"], (WORDS,), object),
    "strings of numbers": (["01", "1.0", "1e3", None], BOTH, object),
    "spaces": ([" a", "a ", "a", " NA"], (WORDS,), object),
    "categories": (["a", None, "b", "a"], (WORDS,), "category"),
    "categories that are integers": ([2**53 + 1, None, 2**53], (WORDS,), "category"),
    "categories that are booleans": ([True, None, False], (WORDS,), "category"),
    "none at all": ([None, None], BOTH, object),
}


def rows_of(values) -> list[dict]:
    return [{"y": k % 2, "c": value} for k, value in enumerate(values)]


def frame_of(values, dtype) -> pandas.DataFrame:
    if dtype == "category" and any(value is None for value in values):
        # Of the values that are there: pandas would make floats of integers otherwise.
        dtype = pandas.CategoricalDtype([value for value in dict.fromkeys(values) if value is not None])
    return pandas.DataFrame({"y": [k % 2 for k in range(len(values))], "c": pandas.Series(values, dtype=dtype)})


def as_csv(values, quoting=csv.QUOTE_ALL) -> io.BytesIO:
    target = io.StringIO()
    writer = csv.DictWriter(target, ["y", "c"], quoting=quoting, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(values))
    return io.BytesIO(target.getvalue().encode())


def as_parquet(frame) -> io.BytesIO:
    target = io.BytesIO()
    frame.to_parquet(target)
    return io.BytesIO(target.getvalue())


def from_file(file, table):
    return joined(list(read(file, table, dtype="float64")))


def assert_same(found, expected, what):
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), array, err_msg=f"{what}: {name}", strict=True)


def encodes_float16() -> bool:
    try:
        pyarrow.array(np.zeros(1, np.float16)).dictionary_encode()
    except pyarrow.ArrowNotImplementedError:
        return False
    return True


@pytest.mark.parametrize("case", CASES)
def test_the_same_value_in_dicts_frames_parquet_and_csv(case):
    values, kinds, dtype = CASES[case]
    if dtype == "float16" and not encodes_float16():
        pytest.skip("this PyArrow makes no categories of float16")
    for kind in kinds:
        table = Table(target="y", **kind)
        expected = from_file(as_csv(values), table)
        dicts = rows_of(values)
        assert_same(read_rows(dicts, table), expected, "dicts")
        assert_same(joined([read_rows([row], table) for row in dicts]), expected, "one dict at a time")
        frame = frame_of(values, dtype)
        assert_same(read_rows(frame, table), expected, "frame")
        if dtype not in ("float16", "float32"):  # pandas turns them into other numbers, Python's floats
            assert_same(read_rows(frame.to_dict("records"), table), expected, "dicts of a frame")
        if dtype != "float16":  # which pandas does not write
            assert_same(from_file(as_parquet(frame), table), expected, "Parquet")


@pytest.mark.parametrize(
    "case", ["booleans", "booleans and NA", "datetimes", "datetimes and NaT", "decimals", "floats"]
)
def test_csv_that_pandas_writes(case):
    values, kinds, dtype = CASES[case]
    frame = frame_of(values, dtype)
    for kind in kinds:
        table = Table(target="y", **kind)
        assert_same(from_file(io.BytesIO(frame.to_csv(index=False).encode()), table), read_rows(frame, table), "CSV")


@pytest.mark.parametrize("case", ["integers beyond 2^53", "integers and None", "integers and NA", "floats", "booleans"])
def test_whether_a_column_holds_numbers_is_found_alike(case):
    values, kinds, dtype = CASES[case]
    table, frame = Table(target="y"), frame_of(values, dtype)
    expected = read_rows(rows_of(values), Table(target="y", **kinds[-1]))
    assert_same(read_rows(rows_of(values), table), expected, "dicts")
    assert_same(read_rows(frame, table), expected, "frame")
    assert_same(from_file(as_csv(values), table), expected, "CSV")
    assert_same(from_file(as_parquet(frame), table), expected, "Parquet")


def test_decimals_are_numbers():
    values = CASES["decimals"][0]
    expected = read_rows(rows_of(values), Table(target="y", numeric=["c"]))
    assert_same(read_rows(rows_of(values), Table(target="y")), expected, "dicts")
    assert_same(read_rows(frame_of(values, object), Table(target="y")), expected, "frame")


def test_what_text_cannot_tell_apart():
    """As documented: a whole float as a category, and spaces around values without quotes."""
    table, index = Table(target="y", categorical=["c"]), Hashing().index
    assert read_rows(rows_of([1.0, 1]), table).indices.tolist() == [index("1", "c")] * 2
    assert from_file(as_csv([1.0, 1]), table).indices.tolist() == [index("1.0", "c"), index("1", "c")]
    assert read_rows(rows_of([" a"]), table).indices.tolist() == [index(" a", "c")]
    assert from_file(as_csv([" a"], csv.QUOTE_MINIMAL), table).indices.tolist() == [index("a", "c")]


@pytest.mark.parametrize(
    "value, found", [(10**400, "1000"), (Decimal("1e999"), "1E"), (True, "True")], ids=["integer", "decimal", "boolean"]
)
def test_what_is_not_a_number_for_a_model_is_named(value, found):
    with pytest.raises(DataError, match=f"row 2: found '{found}.*' in the numeric column 'c', expected a"):
        read_rows(rows_of([1, value]), Table(target="y", numeric=["c"]))
