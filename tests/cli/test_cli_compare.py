"""`surefoot compare` from the outside: what it prints and writes, and how it ends."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from surefoot.cli import run
from surefoot.cli.compare import compare as command
from surefoot.lab import standings
from surefoot.lab.comparison import compare
from surefoot.lab.race import Settings

SMALL = ["--epochs", "2", "--seeds", "2", "--engine", "reference"]


@pytest.fixture
def data(tmp_path):
    """A small regression problem in a file."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    np.savez(tmp_path / "small.npz", X=X, y=X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40))
    return str(tmp_path / "small.npz")


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """In a folder of its own, on a wide screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def test_prints_a_table_and_writes_a_report(data, tmp_path, capsys):
    assert run(["compare", data, "--rules", "sgd,adagrad", "--lr", "0.1", *SMALL]) == 0
    text = capsys.readouterr().out
    results = json.loads((tmp_path / "surefoot-report/results.json").read_text(encoding="utf-8"))
    assert (tmp_path / "surefoot-report/report.html").stat().st_size > 10_000
    for path in ("surefoot-report/report.html", "surefoot-report/results.json"):
        assert path.replace("/", os.sep) in text.splitlines()
    assert standings.headline(results["table"]) in text
    assert (
        results["command"]
        == f"surefoot compare {data} --rules=sgd,adagrad --lr=0.1 --epochs=2 --seeds=2 --engine=reference"
    )


def test_rules_may_be_given_apart(data, capsys):
    assert run(["compare", data, "--rules", "sgd", "--rules", "adagrad,adam", "--lr", "0.1", *SMALL, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {row["rule"] for row in results["table"]} == {"sgd", "adagrad", "adam"}
    assert "--rules=sgd,adagrad,adam" in results["command"]


def test_json_is_what_the_table_shows(data, tmp_path, capsys):
    arguments = ["compare", data, "--rules", "sgd,adagrad,adam", "--lr", "sgd=0.1", *SMALL]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    results = json.loads(captured.out, parse_constant=pytest.fail)
    assert not (tmp_path / "surefoot-report").exists(), "JSON alone writes no files"
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    timeless = [column for column in standings.columns(results["table"]) if column.key != "seconds_per_epoch"]
    shown = [line.split() for line in lines if line.split()[:1] and line.split()[0] in ("sgd", "adagrad", "adam")]
    for row, cells in zip(results["table"], shown[: len(results["table"])], strict=True):
        for column in timeless:
            for word in column.text(row).split():
                assert word in cells


@pytest.mark.slow
def test_the_loss_takes_its_own_number(tmp_path, capsys):
    """Of the same name and with the same help as in `surefoot train`."""
    (tmp_path / "rows.svm").write_text("".join(f"{k % 7 + 0.5} 1:{k % 7} 2:{k % 3}\n" for k in range(40)))
    command = ["compare", "rows.svm", "--rules=adagrad", "--lr=0.1", "--epochs=1", "--seeds=1", "--loss=huber", "-q"]
    found = {}
    for number in (0.5, 5):
        assert run([*command, "--loss-parameter", str(number), "--json"]) == 0
        found[number] = json.loads(capsys.readouterr().out)
        assert found[number]["loss_parameter"] == number
        assert f"--loss-parameter={number:.1f}" in found[number]["command"]
    assert 0 < found[0.5]["table"][0]["test_loss"] < found[5]["table"][0]["test_loss"]
    assert run([*command, "--loss-parameter", "0.5"]) == 0
    assert "delta = 0.5" in (tmp_path / "surefoot-report" / "report.html").read_text(encoding="utf-8")
    help_texts = set()
    for name in ("train", "compare"):
        assert run([name, "--help"]) == 0
        words = " ".join(re.sub(r"[^\w\s';,.-]", " ", capsys.readouterr().out).split())
        help_texts.add(re.search(r"--loss-parameter NUMBER (.*?otherwise)", words).group(1))
    assert len(help_texts) == 1


def test_json_with_out_writes_the_same_results(data, tmp_path, capsys):
    assert run(["compare", data, "--rules", "sgd", "--lr", "0.1", *SMALL, "--json", "--out", "there"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        (tmp_path / "there/results.json").read_text(encoding="utf-8")
    )


def test_quiet_says_nothing(data, tmp_path, capsys):
    assert run(["compare", data, "--rules", "sgd", "--lr", "0.1", *SMALL, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "surefoot-report/report.html").exists()


def test_a_diverging_rule_is_shown_as_diverged(data, capsys):
    assert run(["compare", data, "--rules", "sgd,adagrad", "--lr", "sgd=100,adagrad=0.1", *SMALL]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^sgd .*diverged \(epoch 1\)", text, re.MULTILINE)
    assert not re.search(r"\b(nan|inf)\b", text)


def test_divergence_of_all_rules_is_the_headline(data, capsys):
    assert run(["compare", data, "--rules", "sgd,momentum", "--lr", "1e30", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "Every rule diverged." in text
    assert text.count("diverged (epoch 1)") == 2


@pytest.mark.parametrize("width", [60, 80, 200])
def test_narrow_terminals_get_every_column(width, data, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("SUREFOOT_DATA", os.path.dirname(data))
    assert run(["compare", data, "--rules", "sgd,dual_averaging,adam", "--lr", "0.01", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in re.sub(r"tried .*", "", text)
    for title in ("held-out loss", "training loss", "s/epoch", "B/coord.", "frozen"):
        assert title in text
    assert len(re.findall(r"^dual_averaging +\S", text, re.MULTILINE)) == sum(
        line.startswith("rule ") for line in lines
    )


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nofile.svm"], "nofile.svm: there is no such file"),
        (["docstring"], "did you mean docstrings?"),
        (["broken.svm"], "broken.svm:2:5: found feature 3 with value 'x', expected a number"),
        (["empty.svm"], "empty.svm: is empty"),
        (["constant.svm"], "the target is constant"),
        (["--rules", "adagrd"], "there is no rule 'adagrd'; did you mean 'adagrad'?"),
        (["--rules", "nofile.py:mine"], "nofile.py: there is no such file"),
        (["--rules", ","], "at least one rule"),
        (["--lr", "-1"], "lr must lie in [0, inf), got -1"),
        (["--lr", "fast"], "is neither a number nor a schedule: constant:RATE"),
        (["--lr", "adagrad=fast"], "is neither a number nor a schedule: constant:RATE"),
        (["--lr", "adagrd=1"], "lr names 'adagrd', which does not take part"),
        (["--lr", "sgd=1,sgd=2"], "--lr has more than one rate for sgd"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1, got 0"),
        (["--batch-size", "-4"], "batch_size must be a whole number of at least 1, got -4"),
        (["--seeds", "0"], "seeds must be a whole number of at least 1"),
        (["--engine", "gpo"], "engine: found 'gpo', expected one of cpu, reference"),
        (["--granularity", "row"], "granularity must be coordinate or tensor, got 'row'"),
        (["--loss-parameter", "2"], "found the parameter 2, but this loss does not have one"),
        (["airfoil", "--loss", "huber", "--loss-parameter", "0"], "huber: delta must lie in (0, inf), got 0"),
        (["--l1", "-1"], "l1 must be a finite number of at least 0"),
        (["--convention", "pytroch"], "'pytroch'; there are pytorch, keras, fbgemm, textbook, optax"),
        (["--out", "empty.svm"], "empty.svm: is a file, expected a folder to write to"),
        (["--out", "empty.svm/below"], "empty.svm/below: Not a directory"),
    ],
    ids=str,
)
def test_mistakes_are_reported_in_one_sentence(arguments, sentence, tmp_path, capsys):
    (tmp_path / "broken.svm").write_text("1 1:2\n0 3:x\n")
    (tmp_path / "empty.svm").touch()
    (tmp_path / "constant.svm").write_text("1 1:2\n" * 9)
    assert run(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def test_the_defaults_are_those_of_the_function():
    options, arguments = (inspect.signature(function).parameters for function in (command, compare))
    for name in arguments.keys() & options.keys() - {"engine", "out"}:
        assert options[name].default == arguments[name].default, name
    assert {*Settings.__dataclass_fields__, "data", "rules", "lr", "loss", "loss_parameter"} <= options.keys()


# On a terminal


@pytest.mark.skipif(os.name != "posix", reason="terminals as on Unix")
class TestTerminal:
    @staticmethod
    def start(*arguments, **environment):
        """The command with a terminal as its standard error and output; returns the process and the terminal."""
        import pty

        ours, theirs = pty.openpty()
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | environment
        command = [sys.executable, "-m", "surefoot", "compare", *arguments]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        return process, ours

    @staticmethod
    def read(terminal: int, until: bytes | None = None) -> str:
        """What appears on the terminal, up to a text or to the end."""
        seen = b""
        while until is None or until not in seen:
            try:
                more = os.read(terminal, 4096)
            except OSError:
                break
            if not more:
                break
            seen += more
        return seen.decode(errors="replace")

    def run(self, *arguments, **environment) -> str:
        process, terminal = self.start(*arguments, **environment)
        text = self.read(terminal)
        assert process.wait(timeout=60) == 0, text
        os.close(terminal)
        return text

    def test_the_best_is_highlighted_and_progress_is_shown(self, data):
        text = self.run(data, "--rules", "sgd,adagrad", "--lr", "0.1", *SMALL, TERM="xterm-256color")
        assert "\x1b[1;32m" in text
        assert "epochs" in text

    def test_no_color_has_no_colours(self, data):
        text = self.run(data, "--rules", "sgd,adagrad", "--lr", "0.1", *SMALL, TERM="xterm-256color", NO_COLOR="1")
        assert "held-out loss" in text
        assert not re.search(r"\x1b\[[\d;]*3\d", text)

    def test_ctrl_c_keeps_what_is_finished(self, data, tmp_path):
        # The search of adagrad's rate takes seven times as long as all of sgd.
        long = ["--epochs", "2000", "--seeds", "1", "--out", "kept", "--lr", "sgd=0.1"]
        process, terminal = self.start(data, "--rules", "sgd,adagrad", *long, TERM="xterm-256color")
        self.read(terminal, until=b"adagrad")
        process.send_signal(signal.SIGINT)
        text = self.read(terminal)
        assert process.wait(timeout=60) == 130
        os.close(terminal)
        assert "Interrupted: adagrad did not finish." in text
        results = json.loads((tmp_path / "kept/results.json").read_text(encoding="utf-8"))
        assert [row["rule"] for row in results["table"]] == ["sgd"]
        assert results["interrupted"] is True
        assert "adagrad did not finish" in (tmp_path / "kept/report.html").read_text(encoding="utf-8")
