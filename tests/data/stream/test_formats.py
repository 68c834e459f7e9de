"""Formats are guessed by endings and by first lines; errors of lines mention the guess."""

import gzip
import io

import pytest

from surefoot.data import DataError
from surefoot.data.stream import joined, read

SVMLIGHT, LIBFFM, VW = b"1 1:2\n-1 3:4\n", b"1 1:1:2\n-1 2:3:4\n", b"1 |a b:2\n-1 |a c:4\n"
CSV, TSV = b"y,x\n1,2\n-1,4\n", b"y\tx\n1\t2\n-1\t4\n"


@pytest.mark.parametrize(
    "content, format",
    [
        (SVMLIGHT, "svmlight"),
        (b"# a comment\n\n1 qid:3 cost:4 1:2\n", "svmlight"),
        (b"1\n" + SVMLIGHT, "svmlight"),
        (b"foo\n" + SVMLIGHT, "svmlight"),
        (b"\xef\xbb\xbf" + SVMLIGHT, "svmlight"),
        (LIBFFM, "libffm"),
        (VW, "vw"),
        (b"|a b\n", "vw"),
        (b"1 0.5 'tag |a b, c\n", "vw"),
        (CSV, "csv"),
        (TSV, "tsv"),
        (gzip.compress(CSV, mtime=0), "csv"),
    ],
)
def test_by_first_lines(content, format, tmp_path):
    (tmp_path / "file").write_bytes(content)
    for paths in (io.BytesIO(content), tmp_path / "file"):
        stream = read(paths, on_error="skip")
        assert stream.guess == f"read as {format}, by its first lines; specify the format if this is wrong"
        assert len(joined(list(stream))) > 0


def test_by_endings(tmp_path):
    for ending, content in ((".svm.gz", gzip.compress(SVMLIGHT)), (".ffm", LIBFFM), (".vw", VW), (".CSV", CSV)):
        path = tmp_path / f"file{ending}"
        path.write_bytes(content)
        stream = read(path)
        assert "by its file extension" in stream.guess
        assert len(joined(list(stream))) == 2


def test_a_wrong_guess_is_reported(tmp_path):
    (tmp_path / "file.vw").write_bytes(SVMLIGHT)
    with pytest.raises(DataError, match=r"vw:1:3: found .* \(read as vw, by its file extension; specify"):
        list(read(tmp_path / "file.vw"))
    with pytest.raises(DataError, match=r"1:1: found '1:2' in place of the label, .*\(read as svmlight, by its first"):
        list(read(io.BytesIO(b"1:2 3:4\n5:6\n")))
    with pytest.raises(DataError, match=r"cannot be guessed \(it begins with 'hello'\); specify it, one of"):
        read(io.BytesIO(b"hello\n"))
    assert read(io.BytesIO(SVMLIGHT), "svmlight").guess is None
