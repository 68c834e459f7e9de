"""Names of columns, features, labels and files come from others: no command prints what a terminal would obey."""

import json
import sys
from contextlib import contextmanager
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot import cli
from surefoot.cli import output
from surefoot.learn import storage
from surefoot.text import CONTROL, printable, without_secrets

HOSTILE = {
    "a title and a colour": "\x1b]0;PWN\x07\x1b[31m",
    "a control sequence in one character": "\x9b31m",
    "text from right to left": "\u202egnp.exe",
    "isolates": "\u2067x\u2069",
    "backspaces and a return": "evil\b\b\b\bgood\r",
    "a line of its own": "x\nloss  0.0000",
    "a line separator": "x\u2028loss  0.0000",
    "deleted": "x\x7f\x85",
}


def unsafe(text: str) -> set[str]:
    """What a terminal would obey in what was printed, besides the ends of lines."""
    return {*CONTROL.findall(text)} - {"\n"}


@pytest.fixture(params=HOSTILE)
def hostile(request) -> str:
    return HOSTILE[request.param]


@pytest.fixture
def printed(capsys):
    def printed(*arguments: object, status: int = 0) -> str:
        assert cli.run([str(argument) for argument in arguments]) == status
        out, err = capsys.readouterr()
        assert not unsafe(out + err)
        return out + err

    return printed


@pytest.fixture
def table(hostile, tmp_path):
    """A table whose column, and whose file, has a hostile name."""
    path = tmp_path / f"{hostile}.csv"
    quoted = f'"{hostile}c"' if "\n" in hostile else f"{hostile}c"
    with path.open("w", newline="") as file:
        file.write(f"y,{quoted}\n" + "".join(f"{k % 2},{k % 3}\n" for k in range(60)))
    return path


def test_results_of_training_and_models(table, hostile, printed, tmp_path):
    if "\n" in hostile or "\r" in hostile:
        with table.open("w") as file:  # a header is one line
            file.write("y,c\n" + "".join(f"{k % 2},{k % 3}\n" for k in range(60)))
    model = tmp_path / f"{hostile}.safetensors"
    trained = ["train", table, "--target", "y", "--lr", 0.1, "-m", model, "--test", table]
    shown = printed(*trained)
    assert "PWN" not in hostile or "\\x1b]0;PWN\\x07" in shown
    json.loads(printed(*trained, "--json", "-q"))
    shown = printed("inspect", model)
    assert "trained on" in shown.partition("\n")[2]
    json.loads(printed("inspect", model, "--json"))
    printed("predict", model, table)
    assert "examples" in printed("convert", table, "--target", "y", "-o", tmp_path / f"{hostile}.cache")


def test_names_in_models(hostile, printed, tmp_path):
    """A model may name whatever it likes: features, its files, why it diverged, its settings."""
    (tmp_path / "d.svm").write_text("1 1:1\n-1 2:1\n" * 20)
    printed("train", tmp_path / "d.svm", "--lr", 0.1, "-m", tmp_path / "m", "-q")
    arrays, facts = storage.read(tmp_path / "m", "model")
    text = f"{hostile}name".encode()
    arrays |= {"names.features": np.array([1]), "names.ends": np.array([len(text)])}
    arrays["names.text"] = np.frombuffer(text, np.uint8)
    facts["facts"] |= {"files": [hostile], "version": hostile, "skipped": {hostile: 3}, "learning_rate": hostile}
    facts["facts"]["settings"]["optimizer"] = hostile
    storage.write(tmp_path / "m", "model", arrays, facts)
    shown = printed("inspect", tmp_path / "m")
    assert printable(f"{hostile}name") in shown
    assert len(shown.splitlines()) == len(printed("inspect", tmp_path / "m").splitlines())
    printed("inspect", tmp_path / "m", "--json")
    printed("inspect", tmp_path / "m", "--figure", tmp_path / "f.svg")
    assert not unsafe((tmp_path / "f.svg").read_text())
    printed("predict", tmp_path / "m", tmp_path / "d.svm")


@pytest.mark.sampled(40)
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{}", "-m", "m"],
        ["train", "{}*", "-m", "m"],
        ["train", "d.svm", "-m", "d.svm/{}"],
        ["train", "d.svm", "-m", "m", "--loss", "{}"],
        ["train", "d.svm", "-m", "m", "--classes", "{}"],
        ["train", "d.svm", "-m", "m", "--set", "{}"],
        ["train", "d.svm", "-m", "m", "--format", "{}"],
        ["train", "d.svm", "-m", "m", "--{}"],
        ["predict", "{}", "d.svm"],
        ["inspect", "{}"],
        ["convert", "{}", "-o", "c"],
        ["compare", "{}"],
        ["trace", "{}"],
        ["rules", "{}"],
        ["losses", "{}"],
        ["reproduce", "--only", "{}"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_errors_quote_what_was_given(arguments, hostile, printed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.svm").write_text("1 1:1\n-1 2:1\n" * 20)
    shown = printed(*(word.format(hostile) for word in arguments), status=2)
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1


@contextmanager
def captured():
    """What is written meanwhile, for many examples of one test."""
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = stream = StringIO()
    try:
        yield stream
    finally:
        sys.stdout, sys.stderr = before


@pytest.mark.parametrize(
    "show",
    [output.note, output.error, lambda text: output.console().print(text)],
    ids=["note", "error", "print"],
)
@given(text=st.text(max_size=40))
def test_whatever_is_shown_is_printable(show, text):
    """Lines, errors and whatever goes through the console."""
    with captured() as stream:
        show(text)
    assert not unsafe(stream.getvalue())


@given(titles=st.lists(st.text(max_size=9), min_size=1, max_size=4), text=st.text(max_size=20))
def test_tables_are_printable(titles, text):
    with captured() as stream:
        output.table(titles, [[text] * len(titles)] * 2, {(0, 0): "bold"})
        output.facts([("name", text), (text, "value")])
    assert not unsafe(stream.getvalue())


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=20)))
def test_json_is_printable_and_the_same(document):
    with captured() as stream:
        output.write_json(document)
    assert not unsafe(stream.getvalue())
    assert json.loads(stream.getvalue()) == {k: without_secrets(v) for k, v in document.items()} or "://" in str(
        document
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("http://bob:secret@host/a.svm", "http://host/a.svm"),
        ("HTTPS://host/a?sig=secret", "HTTPS://host/a"),
        ("https://host/a?secret", "https://host/a"),
        ("https://host/a#secret", "https://host/a"),
        ("https://host?secret", "https://host"),
        ("s3://key:secret@bucket/part-?.csv", "s3://bucket/part-?.csv"),
        ("s3://bucket/year=2024/part-??.csv", "s3://bucket/year=2024/part-??.csv"),
        ("az://box/a.csv?sv=1&sig=secret", "az://box/a.csv"),
        ("simplecache::https://bob:secret@host/a.gz?sig=secret", "simplecache::https://host/a.gz"),
        ("zip://a@b.csv::http://bob@host/a.zip?secret", "zip://b.csv::http://host/a.zip"),
        ("ftp://bob:p@ss@host/a@1.csv", "ftp://host/a@1.csv"),
        ("http://a@b/c?d=e: not found (see https://f:g@h/i?j=k).", "http://b/c: not found (see https://h/i)."),
        ("'http://a/b?c' and \"http://d/e?f\"", "'http://a/b' and \"http://d/e\""),
        ("mail bob@host, what? a=b", "mail bob@host, what? a=b"),
        ("C:\\files\\a?.csv", "C:\\files\\a?.csv"),
    ],
)
def test_urls_lose_their_secrets(text, expected):
    assert without_secrets(text) == expected


@given(st.text("abc:/@?#=&%+.-_~!$'()*,;", max_size=30), st.text("abc/@.-_", max_size=10))
def test_no_url_shows_a_password_or_a_signature(noise, path):
    """The secret is a word that occurs nowhere else."""
    password = noise.translate(str.maketrans("", "", "/?#\"'"))
    for url in (f"http://bob{password}:SECRET@host/{path}", f"https://host/{path}?a={noise}&sig=SECRET"):
        assert "SECRET" not in without_secrets(url)
        assert "SECRET" not in without_secrets(f"{url}: could not be read ({url})")


@pytest.mark.parametrize("width", range(28, 140, 4))
def test_no_cell_of_a_table_is_broken(monkeypatch, capsys, width):
    """A narrow terminal gets several tables, each of whole columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    titles = ["rule", "η", "held-out loss", "training loss", "accuracy", "s/epoch", "frozen"]
    rows = [[name, "0.003", "0.2603 ± 0.0012", "0.1180 ± 0.0005", "89.5 ± 0.5%", "2.53 ms", "1%"] for name in LONG]
    output.table(titles, rows, {})
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    for row in rows:
        shown = " ".join(line for line in lines if line.startswith(row[0]))
        assert all(cell in shown for cell in row)
        assert len([line for line in lines if line.startswith(row[0])]) == sum(
            line.startswith("rule") for line in lines
        )


LONG = ("momentum", "adadelta")
