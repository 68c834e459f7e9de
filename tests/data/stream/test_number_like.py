"""Columns that look numeric to people: what is read as numbers, and what is reported, once, in text and in columns."""

import io
import warnings

import numpy as np
import pytest

from surefoot import cli
from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import DataWarning, Table, read_rows
from surefoot.data.stream.number_like import remark

ROWS = range(40)
WRITTEN = {
    "decimal commas": lambda k: f"{k / 4:.2f}".replace(".", ","),
    "decimal commas and signs": lambda k: f"-{k / 4:.2f}".replace(".", ","),
    "thousands by commas": lambda k: f"{k * 1037:,}",
    "thousands by dots": lambda k: f"{k * 1037:,},5".replace(",", ".").replace(".5", ",5"),
    "thousands by spaces": lambda k: f"{k * 1037:,}".replace(",", "\u202f"),
    "thousands by apostrophes": lambda k: f"{k * 1037:,}".replace(",", "'"),
    "underscores": lambda k: f"{k * 1037:_}",
    "percent": lambda k: f"{k / 4} %",
    "currency before": lambda k: f"€{k / 4}",
    "currency after": lambda k: f"{k / 4} USD",
    "minus signs": lambda k: f"\u2212{k / 4}",
    "one in twenty": lambda k: "0,25" if k % 20 == 9 else str(k / 4),
}
WORDS = {
    "two dashes": lambda k: "--" if k % 3 == 0 else str(k / 4),
    "a question": lambda k: "??" if k == 0 else str(k / 4),
    "a word": lambda k: "n.a." if k == 17 else str(k),
}
MEANT = {
    "words": lambda k: "abc"[k % 3],
    "numbered words": lambda k: f"u{k}",
    "addresses": lambda k: f"10.0.0.{k}",
    "dates": lambda k: f"2024-05-{k % 28 + 1:02}",
    "times": lambda k: f"{k % 24}:30",
    "sizes": lambda k: ["S", "M", "36", "38", "40"][k % 5],
    "half digits": lambda k: f"{k:02}" if k % 2 else "ab"[k % 4 // 2],
    "few words among missing ones": lambda k: "" if k % 13 else "ab"[k // 26],
    "few words and numbers": lambda k: "" if k % 13 else ["a", "7"][k // 26],
    "lists": lambda k: f"{k},{k + 1},{k + 2}",
}
NUMBERS = {
    "missing": lambda k: (
        ["", "NA", "NaN", "null", "None", "N/A", "?", "-", ".", "\\N"][k // 2 % 10] if k % 2 else str(k / 4)
    ),
    "numbers": lambda k: str(k / 4),
    "signs and exponents": lambda k: f"+{k}e-1",
}


def csv(write) -> bytes:
    return "".join(["x;y\n", *(f"{write(k)};{k % 2}\n" for k in ROWS)]).encode()


def remarks_of(read) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        read()
    assert all(issubclass(one.category, DataWarning) for one in found)
    return [str(one.message) for one in found]


def opened(write, **options):
    return ReadOptions("csv", target="y", delimiter=";", **options).open(io.BytesIO(csv(write)))


@pytest.mark.parametrize("how", WRITTEN)
def test_a_column_of_numbers_in_another_spelling_is_reported(how):
    """With the column and a value; as text, in a data frame and in dicts."""
    write = WRITTEN[how]
    [said] = remarks_of(lambda: list(opened(write)))
    assert "column 'x' looks numeric, but is categorical: " in said
    assert any(repr(write(k)) in said for k in ROWS)
    rows = [{"x": write(k), "y": k % 2} for k in ROWS]
    [of_rows] = remarks_of(lambda: read_rows(rows, Table(target="y")))
    assert of_rows.partition(":")[2] == said.partition(":")[2]


@pytest.mark.parametrize("how", WORDS)
def test_a_word_among_numbers_is_reported(how):
    [said] = remarks_of(lambda: list(opened(WORDS[how])))
    assert "column 'x' looks numeric, but is categorical: " in said
    assert "leave values that are missing empty" in said


@pytest.mark.parametrize("how", [*WRITTEN, *WORDS])
@pytest.mark.parametrize("options", [{"categorical": ("x",)}, {"categorical": ("?",)}, {"drop": ("x",)}])
def test_what_was_requested_is_not_reported(how, options):
    assert remarks_of(lambda: list(opened((WRITTEN | WORDS)[how], **options))) == []


@pytest.mark.parametrize("how", [*MEANT, *NUMBERS])
def test_other_columns_are_not_reported(how):
    stream = []
    assert remarks_of(lambda: stream.extend([opened((MEANT | NUMBERS)[how])])) == []
    kind = "numeric" if how in NUMBERS else "categorical"
    assert getattr(ReadOptions("csv").resolved(stream[0]), kind) == ("x",)


@pytest.mark.parametrize("how", WRITTEN)
def test_another_spelling_in_a_numeric_column_or_the_target_is_an_error(how):
    write = WRITTEN[how]
    with pytest.raises(DataError, match=r"numeric column 'x', expected a number, with a decimal point and no other"):
        list(opened(write, numeric=("x",)))
    reading = ReadOptions("csv", target="x", delimiter=";")
    with pytest.raises(DataError, match=r"target's column 'x', expected a number, with a decimal point and no other"):
        list(reading.open(io.BytesIO(csv(write))))


def test_columns_of_files_are_reported(tmp_path):
    """Text that holds digits is meant to be text there, numbers in another spelling are not."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"commas": WRITTEN["decimal commas"], "ids": str, "dashes": WORDS["two dashes"], "words": MEANT["words"]}
    table = pyarrow.table({name: [write(k) for k in ROWS] for name, write in columns.items()} | {"y": [1.0, 0.0] * 20})
    parquet.write_table(table, tmp_path / "t.parquet")
    [said] = remarks_of(lambda: list(ReadOptions(target="y").open(tmp_path / "t.parquet")))
    assert "t.parquet: column 'commas' looks numeric" in said
    [of_frame] = remarks_of(lambda: read_rows(table, Table(target="y")))
    assert of_frame.partition(":")[2] == said.partition(":")[2]


def test_train_reports_it_once_and_predict_rejects_it(tmp_path, capsys):
    """Once, however many files and passes; a model of numbers names the column and the value."""
    for name, write in (("commas", WRITTEN["decimal commas"]), ("points", NUMBERS["numbers"])):
        (tmp_path / f"{name}.csv").write_bytes(csv(write).replace(b";", b"\t"))
    files, more = [f"{tmp_path}/{name}.csv" for name in ("commas", "points")], ["--delimiter", "\\t", "--target", "y"]
    arguments = ["train", files[0], files[0], "-m", f"{tmp_path}/m", *more, "--lr", "0.1", "--passes", "2"]
    assert cli.run(arguments) == 0
    assert capsys.readouterr().err.count("looks numeric") == 1
    assert cli.run(["predict", f"{tmp_path}/m", files[0]]) == 0
    assert "looks numeric" not in capsys.readouterr().err
    assert cli.run(["train", files[1], "-m", f"{tmp_path}/m", *more, "--lr", "0.1"]) == 0
    assert "looks numeric" not in capsys.readouterr().err
    assert cli.run(["predict", f"{tmp_path}/m", files[0]]) == 2
    assert "found '0,00' in the numeric column 'x', expected a number, with a decimal point" in capsys.readouterr().err


def test_a_column_of_thousands_is_looked_at_in_its_first_rows_only():
    """The reading of wide tables of categories does not take longer for it."""
    values = [*map(str, range(2000)), "0,5"]
    assert remarks_of(lambda: read_rows([{"x": np.str_(value)} for value in values])) == []


def test_codes_that_begin_with_zero_have_no_thousands():
    """Such as telephone numbers and parts of versions; and what has digits does not stand for a missing value."""
    assert remark([f"030 {k} {k}" for k in range(100, 900)], (), numbers=True) is None
    assert remark([f"0.{k}.{k}" for k in range(100, 900)], (), numbers=True) is None
    said = remark([*map(str, range(100)), "12a"], (), numbers=True)
    assert said == "'12a' is not a number; write it as one"
