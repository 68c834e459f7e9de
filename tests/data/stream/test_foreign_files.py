"""Files that are no text, or text in another form: one sentence that says what they are, and wide tables."""

import io
import time
import zipfile

import pytest

from surefoot import cli
from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import read

TABLE = "a,b,y\n" + "".join(f"{k % 3 * 1.5},{'uvw'[k % 3]},{k % 2}\n" for k in range(50))


def zipped() -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as file:
        file.writestr("t.csv", TABLE)
    return packed.getvalue()


FOREIGN = {
    "zip": (zipped(), "is a zip archive or a spreadsheet, expected text; unpack it"),
    "xz": (b"\xfd7zXZ\0rest", "is an xz archive, expected text or gzip, bzip2 or zstd; unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1crest", "is a 7z archive, expected text; unpack it"),
    "UTF-16": (TABLE.encode("utf-16"), "is text in UTF-16, expected UTF-8; convert it"),
    "big-endian UTF-16": (b"\xfe\xff" + TABLE.encode("utf-16-be"), "is text in UTF-16, expected UTF-8; convert it"),
}
OTHERWISE = {
    "tabs": (TABLE.replace(",", "\t"), r"has no column 'y'; its first line is 'a\\tb\\ty': give the delimiter, perha"),
    "semicolons": (TABLE.replace(",", ";"), r"has no column 'y'; its first line is 'a;b;y': give the delimiter, perha"),
    "carriage returns": (TABLE.replace("\n", "\r"), "found carriage returns alone as line ends, expected line feeds"),
}


@pytest.mark.parametrize("format", ["auto", "csv"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_text_is_named(name, format):
    content, said = FOREIGN[name]
    with pytest.raises(DataError, match=rf"^an open file: {said}"):
        list(ReadOptions(format, target="y").open(io.BytesIO(content)))


@pytest.mark.parametrize("name", OTHERWISE)
def test_tables_in_another_form_are_named(name):
    content, said = OTHERWISE[name]
    with pytest.raises(DataError, match=said):
        list(ReadOptions("csv", target="y").open(io.BytesIO(content.encode())))


@pytest.mark.parametrize("content", [TABLE, TABLE.replace("\n", "\r\n"), "\ufeff" + TABLE, TABLE[:-1]])
def test_text_in_usual_forms_is_read(content):
    rows = list(ReadOptions("csv", target="y").open(io.BytesIO(content.encode())))
    assert sum(map(len, rows)) == 50


def test_tables_may_have_many_columns():
    """Their names were compared pair by pair: 100,000 took minutes."""
    columns = 20_000
    text = ",".join(map("c{}".format, range(columns))) + ",y\n" + ",".join(["1"] * columns + ["0"]) + "\n"
    began = time.thread_time()
    [block] = read(io.BytesIO(text.encode()), format="csv")
    assert len(block.indices) == columns + 1
    assert time.thread_time() - began < 2


@pytest.mark.parametrize("command", ["train", "predict", "convert"])
def test_outputs_are_not_written_to_urls(command, tmp_path, capsys, monkeypatch):
    """As a folder called s3: would be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.svm").write_text("1 1:1\n-1 2:1\n" * 9)
    first, option = {"train": [], "predict": ["m"], "convert": []}, "-m" if command == "train" else "-o"
    assert cli.run([command, *first[command], "a.svm", option, "s3://bucket/m"]) == 2
    assert "s3://bucket/m: is a URL, expected a file on this machine" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.svm"]
