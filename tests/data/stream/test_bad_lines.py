"""Lines and files that crash, hang or mislead other readers, and the message about each of them.

`PYTHONPATH=tests python tests/data/stream/test_bad_lines.py` writes the table.
"""

import gzip
import io
import tempfile
from pathlib import Path

import pytest

from surefoot.data import DataError
from surefoot.data.stream import DataWarning, Table, joined, read

LONG = 10 * 1024 * 1024
FORMATS = {
    "svmlight": ("svmlight", b"", b"1 1:1", b"-1 2:1"),
    "libffm": ("libffm", b"", b"1 1:1:1", b"-1 2:2:1"),
    "vw": ("vw", b"", b"1 |f a:1", b"-1 |f b:1"),
    "csv": (Table("y", numeric=["x"], categorical=["c"], word_labels=False), b"y,x,c\n", b"1,1,a", b"-1,2,b"),
}
"""How each format is read, and a good beginning and end of a file."""

OK = "ok"
LINES: dict[str, dict[str, tuple[bytes, str]]] = {
    "blank": dict.fromkeys(FORMATS, (b"", "skipped")),
    "label only": {
        "svmlight": (b"1", OK),
        "libffm": (b"1", OK),
        "vw": (b"1 |", OK),
        "csv": (b"1", "found 1 values, expected 3, one for each column"),
    },
    "5:nan": {
        "svmlight": (b"1 5:nan", "found feature 5 with value 'nan', expected a finite number"),
        "libffm": (b"1 1:5:nan", "found feature 5 with value 'nan', expected a finite number"),
        "vw": (b"1 |f 5:nan", "found feature 5 with value 'nan', expected a finite number"),
        "csv": (b"1,nan,a", OK),
    },
    "5:1e40": {
        "svmlight": (b"1 5:1e40", "found feature 5 with value '1e40', expected a finite number (at most 3.4e+38)"),
        "libffm": (b"1 1:5:1e40", "found feature 5 with value '1e40', expected a finite number"),
        "vw": (b"1 |f 5:1e40", "found feature 5 with value '1e40', expected a finite number"),
        "csv": (b"1,1e40,a", "found '1e40' in the numeric column 'x', expected a finite number"),
    },
    "5:1e400": {
        "svmlight": (b"1 5:1e400", "found feature 5 with value '1e400', expected a finite number"),
        "libffm": (b"1 1:5:1e400", "found feature 5 with value '1e400', expected a finite number"),
        "vw": (b"1 |f 5:1e400", "found feature 5 with value '1e400', expected a finite number"),
        "csv": (b"1,1e400,a", "found '1e400' in the numeric column 'x', expected a finite number"),
    },
    "label foo": {
        "svmlight": (b"foo 1:1", "found label 'foo', expected a number, in svmlight lines LABEL INDEX:VALUE"),
        "libffm": (b"foo 1:1:1", "found label 'foo', expected a number, in libffm lines LABEL FIELD:INDEX:VALUE"),
        "vw": (b"foo |f a", "found label 'foo', expected a number, in Vowpal Wabbit lines LABEL |NAMESPACE NAME:VALUE"),
        "csv": (b"foo,1,a", "found 'foo' in the target's column 'y', expected a number"),
    },
    "label 1e400": {
        "svmlight": (b"1e400 1:1", "found label '1e400', expected a finite number"),
        "libffm": (b"1e400 1:1:1", "found label '1e400', expected a finite number"),
        "vw": (b"1e400 |f a", "found '1e400' before the bar, expected a finite number"),
        "csv": (b"1e400,1,a", "found '1e400' in the target's column 'y', expected a finite number"),
    },
    "-5:1": {
        "svmlight": (b"1 -5:1", "found '-5:1', expected INDEX:VALUE with a whole number from 0 to"),
        "libffm": (b"1 1:-5:1", "found '1:-5:1', expected FIELD:INDEX:VALUE with a whole number"),
        "vw": (b"1 |f -5:1", OK),
        "csv": (b"1,-5,a", OK),
    },
    "index over 2^32": {
        "svmlight": (b"1 4294967301:1", OK),
        "libffm": (b"1 1:4294967301:1", OK),
        "vw": (b"1 |f 4294967301:1", OK),
        "csv": (b"1,4294967301,a", OK),
    },
    "index over 2^64": {
        "svmlight": (b"1 18446744073709551621:1", "found '18446744073709551621:1', expected INDEX:VALUE with a whole"),
        "libffm": (b"1 1:18446744073709551621:1", "found '1:18446744073709551621:1', expected FIELD:INDEX:VALUE with"),
        "vw": (b"1 |f 18446744073709551621:1", OK),
        "csv": (b"1,18446744073709551621,a", OK),
    },
    "5: 7:1": {
        "svmlight": (b"1 5: 7:1", "found feature 5 with value '', expected a number"),
        "libffm": (b"1 1:5: 1:7:1", "found feature 5 with value '', expected a number"),
        "vw": (b"1 |f 5: 7:1", "found feature 5 with value '', expected a number"),
        "csv": (b"1,1:,a", "found '1:' in the numeric column 'x', expected a number; or make it categorical"),
    },
    "truncated line": {
        "svmlight": (b"1 1:1 5", "found '5', expected INDEX:VALUE"),
        "libffm": (b"1 1:5:1 1:5", "found '1:5', expected FIELD:INDEX:VALUE"),
        "vw": (b"1 0.5", "found no | before the end of the line, expected Vowpal Wabbit lines"),
        "csv": (b'1,1,"a', "found a quoted value that does not end before a delimiter in its line"),
    },
    "binary junk": dict.fromkeys(FORMATS, (b"\x89PNG\x1a\x00\x01\xff|,:", "found binary data, expected")),
    "NUL": {
        "svmlight": (b"1 1:1\x002:1", "found binary data, expected svmlight lines"),
        "libffm": (b"1 1:1:1\x00", "found binary data, expected libffm lines"),
        "vw": (b"1 |f a\x00b", "found binary data, expected Vowpal Wabbit lines"),
        "csv": (b"1,1,a\x00b", "found binary data, expected a table of text"),
    },
    "CRLF": {
        "svmlight": (b"1 1:1\r", OK),
        "libffm": (b"1 1:1:1\r", OK),
        "vw": (b"1 |f a\r", OK),
        "csv": (b"1,1,a\r", OK),
    },
    "duplicate, unsorted": {
        "svmlight": (b"1 3:1 2:1 3:1", OK),
        "libffm": (b"1 1:3:1 1:2:1 1:3:1", OK),
        "vw": (b"1 |f c b c", OK),
        "csv": (b"1,1,a,a", "found 4 values, expected 3"),
    },
    "a line of 10 MB": {
        "svmlight": (b"1 " + b"1234567:1 " * (LONG // 10), OK),
        "libffm": (b"1 " + b"12:34567:1 " * (LONG // 11), OK),
        "vw": (b"1 |f " + b"word:0.25 " * (LONG // 10), OK),
        "csv": (b"1,1," + b"x" * LONG, OK),
    },
    "a line of 20 MB": dict.fromkeys(
        FORMATS, (b"1 " + b"9" * 2 * LONG, "found a line of more than 16,777,216 bytes, expected shorter ones")
    ),
}
"""What is wrong, and for each format such a line and the message: "ok" for a row, "skipped" for none."""


def content(format: str, line: bytes) -> bytes:
    """A file with a good line before and after this one."""
    _, header, first, last = FORMATS[format]
    return header + first + b"\n" + line + b"\n" + last + b"\n"


CASES = [(what, format) for what, lines in LINES.items() for format in lines]


@pytest.mark.parametrize("what, format", CASES, ids=map("-".join, CASES))
def test_a_bad_line(what, format):
    line, said = LINES[what][format]
    text, number = content(format, line), 2 + (format == "csv")
    stream = read(io.BytesIO(text), FORMATS[format][0], on_error="skip")
    block = joined(list(stream))
    assert block.labels[[0, -1]].tolist() == [1, -1]
    assert (len(block), stream.policy.counts.total()) == {OK: (3, 0), "skipped": (2, 0)}.get(said, (2, 1))
    assert stream.lines == number + 1
    if said not in (OK, "skipped"):
        with pytest.raises(DataError) as refusal:
            list(read(io.BytesIO(text), FORMATS[format][0]))
        place, _, message = str(refusal.value).partition(": ")
        assert place.startswith(f"an open file:{number}:")
        assert message.startswith(said)
        assert len(message) < 250
        with pytest.warns(DataWarning, match=f"an open file:{number}:"):
            list(read(io.BytesIO(text), FORMATS[format][0], on_error="warn"))


FILES = {
    "byte order mark": (lambda text: b"\xef\xbb\xbf" + text, OK),
    "no last line end": (lambda text: text[:-1], OK),
    "gzip": (gzip.compress, OK),
    "truncated gzip": (lambda text: gzip.compress(text)[:-9], "is damaged"),
    "wrong gzip checksum": (lambda text: gzip.compress(text)[:-8] + bytes(8), "is damaged"),
    "junk after gzip": (lambda text: gzip.compress(text) + b"junk", "is damaged"),
    "empty": (lambda _: b"", "is empty, expected at least one line of data"),
}
"""What happens to a whole file, and the message."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("what", FILES)
def test_a_bad_file(tmp_path, what, format):
    damage, said = FILES[what]
    path = tmp_path / "file"
    path.write_bytes(damage(content(format, b"")))
    if said == OK:
        assert joined(list(read(path, FORMATS[format][0]))).labels.tolist() == [1, -1]
        return
    with pytest.raises(DataError) as refusal:
        list(read(path, FORMATS[format][0], on_error="skip"))
    assert str(refusal.value).startswith(f"{path}: {said}")


def outcome(format: str, text: bytes, folder: Path) -> str:
    """What a user sees."""
    path = folder / f"file.{format}"
    path.write_bytes(text)
    try:
        return f"read, {sum(map(len, read(path, FORMATS[format][0])))} rows"
    except DataError as error:
        return str(error).replace(f"{folder}/", "")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for what, lines in LINES.items():
            for format, (line, _) in lines.items():
                shown = repr(line[:40])[2:-1].replace("|", "\\|") + ("…" if len(line) > 40 else "")
                print(f"| {what} | {format} | `{shown}` | {outcome(format, content(format, line), Path(name))} |")  # noqa: T201
        for what, (damage, _) in FILES.items():
            for format in FORMATS:
                print(f"| {what} | {format} | | {outcome(format, damage(content(format, b'')), Path(name))} |")  # noqa: T201


if __name__ == "__main__":
    main()
