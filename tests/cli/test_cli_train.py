"""surefoot train, predict, inspect, convert: their output, as text and as JSON."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import mean_poisson_deviance, mean_squared_error

from surefoot.cli import output, run
from surefoot.cli.reading import telling
from surefoot.lab.figures import flaws
from surefoot.native import cache, kernel


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A training and a test part in the present folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    for name, rows in (("train.svm", 500), ("test.svm", 100)):
        lines = []
        for _ in range(rows):
            chosen = np.sort(rng.choice(np.arange(1, 31), 4, replace=False))
            lines.append(f"{1 if chosen.sum() > 62 else -1} " + " ".join(f"{j}:1" for j in chosen))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def ran(capsys, *arguments, status: int = 0) -> tuple[str, str]:
    assert run([str(argument) for argument in arguments]) == status
    return capsys.readouterr()


def test_train_prints_json_for_programs(files, capsys):
    command = ["train", "train.svm", "--model", "m", "--test", "test.svm", "--json"]
    ran(capsys, *command)  # compiles what this machine has not compiled yet, and says so
    out, err = ran(capsys, *command)
    facts = json.loads(out)
    assert facts["examples"] == 500
    assert facts["features"] == 30
    assert facts["classes"] == [-1, 1]
    assert 0 < facts["test_loss"] < facts["progressive_loss"] < np.log(2)
    assert facts["test_accuracy"] > 0.7
    assert facts["learning_rate"] == max(facts["rates"], key=lambda rate: rate["weight"])["lr"]
    assert facts["seconds"] > 0
    assert "examples" in err.splitlines()[0]


def test_train_prints_a_few_lines_for_people(files, capsys):
    out, err = ran(capsys, "train", "train.svm", "--model", "m", "--test", "test.svm", "--lr", 0.1)
    for name in ("examples", "features", "progressive log loss", "test log loss", "learning rate", "model"):
        assert re.search(rf"^{name} ", out, re.MULTILINE)
    assert re.search(r"^ +500 +0\.\d+ +0\.\d+ +[\d,]+$", err, re.MULTILINE)
    out, err = ran(capsys, "train", "train.svm", "--model", "m", "--quiet")
    assert (out, err) == ("", "")


def test_predictions_are_one_per_line(files, capsys):
    ran(capsys, "train", "train.svm", "--model", "m", "-q")
    labels, _ = ran(capsys, "predict", "m", "test.svm")
    chances, _ = ran(capsys, "predict", "m", "test.svm", "--probabilities")
    scores, _ = ran(capsys, "predict", "m", "test.svm", "--scores")
    labels, chances, scores = (np.array(text.split(), float) for text in (labels, chances, scores))
    assert len(labels) == 100
    np.testing.assert_array_equal(labels, np.where(scores > 0, 1, -1))
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-scores)), rtol=1e-5)
    ran(capsys, "predict", "m", "test.svm", "--out", "p/out.txt")
    np.testing.assert_array_equal(np.loadtxt("p/out.txt"), labels)


def test_the_test_loss_is_that_of_the_predictions(files, capsys):
    facts = json.loads(ran(capsys, "train", "train.svm", "--model", "m", "--test", "test.svm", "--json")[0])
    scores = np.array(ran(capsys, "predict", "m", "test.svm", "--scores")[0].split(), float)
    y = np.array([float(line.split()[0]) for line in (files / "test.svm").read_text().splitlines()])
    assert facts["test_loss"] == pytest.approx(np.log1p(np.exp(-y * scores)).mean(), rel=1e-5)


def test_a_model_is_inspected(files, capsys):
    ran(capsys, "train", "train.svm", "--model", "m", "-q")
    out, _ = ran(capsys, "inspect", "m", "--top", 3, "--figure", "f.png")
    assert re.search(r"^feature +weight +examples +rate$", out, re.MULTILINE)
    assert "settings" in out
    assert (files / "f.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(ran(capsys, "inspect", "m", "--top", 3, "--json")[0])
    assert len(facts["largest"]) == 3
    assert facts["largest"][0]["count"] > 0
    assert facts["training"]["settings"]["optimizer"] == "adagrad"


@pytest.mark.parametrize("classes", [1, 3])
def test_labels_fit_into_the_figures_of_a_model(classes, files, capsys):
    from surefoot.lab.model_figures import weights_and_rates
    from surefoot.learn.inspection import largest
    from surefoot.learn.model import Model

    if classes == 3:
        (files / "train.svm").write_text("".join(f"{k} {k}:1 {k + 3}:0.5\n" for k in (1, 2, 3) * 40))
    ran(capsys, "train", "train.svm", "--model", "m", "-q", *(["--classes", "1-3"] if classes == 3 else []))
    model = Model.load("m")
    assert flaws(weights_and_rates(model, largest(model, 20))) == []


def test_a_cache_replaces_the_files(files, capsys):
    out, _ = ran(capsys, "convert", "train.svm", "--out", "blocks")
    assert "500 examples, 2,000 entries" in out
    facts = json.loads(ran(capsys, "convert", "train.svm", "--out", "blocks", "--json")[0])
    assert facts["examples"] == 500
    for name in ("train.svm", "blocks"):
        ran(capsys, "train", name, "--model", f"{name}.model", "-q")
    predicted = [ran(capsys, "predict", f"{name}.model", "blocks", "--scores")[0] for name in ("train.svm", "blocks")]
    assert predicted[0] == predicted[1]


def test_a_report_shows_what_was_learned(files, capsys):
    with (files / "train.svm").open("a") as file:
        file.write("one 1:2\n")
    command = ["train", "train.svm", "--model", "m", "--test", "test.svm", "--on-error", "skip"]
    out, _ = ran(capsys, *command, "--report", "pages/report.html")
    assert "pages/report.html" in out
    page = (files / "pages" / "report.html").read_text(encoding="utf-8")
    for title in ("Progressive loss", "ROC curve", "Calibration", "Effective learning rates", "Largest weights"):
        assert title in page
    assert page.count("ines skipped") == page.count("Lines skipped: label is not a number: 1.") == 1
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    for name in set(re.findall(r'id="([^"]+)"', page)):
        assert page.count(f'id="{name}"') == 1, name


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "none.svm", "--model", "m"], "none.svm: there is no such file"),
        (["train", "train.svm"], "Missing option '--model'"),
        (["train", "train.svm", "--model", "."], "is a directory"),
        (["train", "train.svm", "--model", "train.svm/m"], "cannot be written"),
        (
            ["train", "train.svm", "--model", "m", "--lr", "fast"],
            "'fast' is neither a number nor a schedule: constant:RATE",
        ),
        (
            ["train", "train.svm", "--model", "m", "--loss", "squarred"],
            "there is no loss 'squarred'; did you mean 'squared'?",
        ),
        (["train", "train.svm", "--model", "m", "--classes", "a,,b"], "--classes takes labels"),
        (["train", "train.svm", "--model", "m", "--every", "5"], "--checkpoint DIR"),
        (["train", "train.svm", "--model", "m", "--resume"], "--checkpoint DIR"),
        (
            ["train", "train.svm", "--model", "m", "--loss-parameter", "2"],
            "found the parameter 2, but this loss does not have one",
        ),
        (["train", "train.svm", "--model", "m", "--set", "epsilon=1"], "there is no hyperparameter 'epsilon'"),
        (["train", "train.svm", "--model", "m", "--set", "lr=1"], "--set lr=1: give lr as --lr"),
        (["train", "train.svm", "--model", "m", "--target", "y"], "target: an option of tsv, csv, parquet"),
        (["train", "train.svm", "--model", "m", "--on-error", "ignore"], "on_error: found 'ignore'"),
        (["train", "-", "--model", "m", "--passes", "2"], "standard input can be read only once"),
        (["predict", "train.svm", "train.svm"], "train.svm: not a Surefoot model"),
        (["inspect", "none"], "none: there is no such file"),
        (["convert", "none.svm", "--out", "c"], "none.svm: there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_reported_in_one_sentence(arguments, words, files, capsys):
    out, err = ran(capsys, *arguments, status=2)
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
    assert not list(files.glob("*.part"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "train.svm", "--model", "train.svm"],
        ["train", "t*.svm", "--model", "./link"],
        ["train", "train.svm", "--test", "test.svm", "--model", "test.svm"],
        ["train", "train.svm", "--model", "m", "--report", "train.svm"],
        ["convert", "train.svm", "--out", "train.svm"],
        ["predict", "test.svm", "train.svm", "--out", "test.svm"],
        ["predict", "m", "train.svm", "--out", "train.svm"],
    ],
    ids=" ".join,
)
def test_input_files_are_not_overwritten(arguments, files, capsys):
    (files / "link").symlink_to("train.svm")
    before = [(files / name).read_bytes() for name in ("train.svm", "test.svm")]
    _, err = ran(capsys, *arguments, status=2)
    assert f"{arguments[-1].removeprefix('./')}: refusing to overwrite an input file" in err
    assert [(files / name).read_bytes() for name in ("train.svm", "test.svm")] == before
    assert not (files / "m").exists()


@pytest.mark.skipif(os.name != "posix", reason="has links")
@pytest.mark.parametrize("option", ["--model", "--report"])
def test_a_link_to_itself_is_reported_before_training(option, files, capsys):
    (files / "loop").symlink_to("loop")
    places = {"--model": "m", "--report": "r.html"} | {option: "loop"}
    out, err = ran(capsys, "train", "train.svm", *(part for pair in places.items() for part in pair), status=2)
    assert (out, err.count("\n")) == ("", 1)
    assert "loop: cannot be written: Too many levels of symbolic links" in err


def test_hinge_loss_has_no_probabilities(files, capsys):
    ran(capsys, "train", "train.svm", "--model", "m", "--loss", "hinge", "-q")
    _, err = ran(capsys, "predict", "m", "test.svm", "-p", status=2)
    assert "hinge loss does not predict probabilities" in err


def test_divergence_is_a_failure_with_its_reason(files, capsys):
    rng = np.random.default_rng(0)
    for number in range(6):
        rows = rng.normal(size=(500, 5))[:, : 1 if number < 3 else 5]
        lines = [f"{row.sum():.3f} " + " ".join(f"{j}:{x:.3f}" for j, x in enumerate(row, 1)) for row in rows]
        (files / f"{number}.svm").write_text("\n".join(lines) + "\n")
    sgd = ["--loss", "squared", "--optimizer", "sgd", "--lr", 0.6, "-q"]
    _, err = ran(capsys, "train", "[0-5].svm", "--model", "m", *sgd, status=1)
    assert "smaller learning rate; m holds the last good model, after 1,500 examples" in err
    assert (files / "m").exists()
    _, err = ran(capsys, "train", "[3-5].svm", "--model", "none", *sgd, status=1)
    assert "no model was written" in err
    assert not (files / "none").exists()


def test_divergence_of_auto_blames_the_examples(files, capsys):
    lines = [line.replace(" ", " | ", 1) for line in (files / "train.svm").read_text().splitlines()] * 400
    lines[150_000] = lines[150_000].replace(" ", " 1e38 ", 1)  # a weight
    (files / "wild.vw").write_text("\n".join(lines) + "\n")
    _, err = ran(capsys, "train", "wild.vw", "--model", "m", "--loss", "squared", "-q", status=1)
    assert "check for labels, weights or values of extreme size; no model was written" in err


def test_a_model_is_saved_before_it_is_tested(files, capsys):
    (files / "typo.svm").write_text((files / "test.svm").read_text() + "1 1:x\n")
    _, err = ran(capsys, "train", "train.svm", "--model", "kept", "--test", "typo.svm", "-q", status=2)
    assert "typo.svm" in err
    ran(capsys, "predict", "kept", "test.svm")
    _, err = ran(capsys, "train", "train.svm", "--model", "none", "--test", "missing.svm", status=2)
    assert err == "error: missing.svm: there is no such file; check the name and the folder\n"


def test_single_pass_inputs_are_not_read_twice(files, capsys):
    os.mkfifo(files / "pipe")
    _, err = ran(capsys, "train", "pipe", "--format", "svmlight", "--model", "m", "--passes", 2, status=2)
    assert "passes: pipe can be read only once" in err
    _, err = ran(capsys, "train", "-", "--test", "-", "--model", "m", status=2)
    assert "test: standard input can be read only once" in err


def test_model_and_report_are_different_files(files, capsys):
    _, err = ran(capsys, "train", "train.svm", "--model", "m", "--report", "./m", status=2)
    assert err == "error: m: given as --model and as --report; write them to different files\n"
    assert not (files / "m").exists()


def test_a_model_does_not_take_the_checkpoints_place(files, capsys):
    place = "kept/checkpoint.safetensors"
    _, err = ran(capsys, "train", "train.svm", "--model", place, "--checkpoint", "kept", status=2)
    assert f"{place}: refusing to overwrite an input file" in err


@pytest.mark.parametrize("every", ["nans", "infs", "x", "1.5"])
def test_the_checkpoint_interval_is_a_number(every, files, capsys):
    _, err = ran(capsys, "train", "train.svm", "--model", "m", "--checkpoint", "kept", "--every", every, status=2)
    assert f"--every takes a number of examples, or seconds such as 30s; got '{every}'" in err


@pytest.mark.skipif(os.name != "posix", reason="closes streams in the shell's way")
def test_streams_that_are_closed(files):
    def surefoot(command):
        done = subprocess.run(
            ["sh", "-c", f'exec "{sys.executable}" -m surefoot {command}'], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert surefoot("rules >&-") == (0, "")
    assert surefoot("rules nonsense 2>&-") == (2, "")
    status, err = surefoot("train - --model m <&-")
    assert (status, err) == (2, "error: standard input: is closed, expected something to read\n")


def test_labels_are_predicted_digit_by_digit(files, capsys):
    labels = "16777216", "16777217", "0.1"
    (files / "c.svm").write_text("".join(f"{label} {k}:1\n" for k, label in enumerate(labels, 1)) * 20)
    ran(capsys, "train", "c.svm", "--model", "m", "--classes", ",".join(labels), "-q")
    out, _ = ran(capsys, "predict", "m", "c.svm")
    assert out.split() == [*labels] * 20
    _, err = ran(capsys, "train", "c.svm", "--model", "m", "--classes", "16777216,16777217", status=2)
    assert "c.svm:3:1: found label 0.1, expected 16777216 or 16777217" in err


def test_a_cache_of_other_columns_is_rejected(files, capsys):
    for name, columns in (("one", "a,c,y"), ("two", "b,d,y")):
        (files / f"{name}.csv").write_text(f"{columns}\n1,x,1\n2,z,0\n3,x,1\n4,z,0\n")
        ran(capsys, "convert", f"{name}.csv", "--target", "y", "--out", f"{name}.cache", "-q")
    ran(capsys, "train", "one.csv", "--target", "y", "--model", "m", "-q")
    expected, _ = ran(capsys, "predict", "m", "one.csv", "--scores")
    assert ran(capsys, "predict", "m", "one.cache", "--scores")[0] == expected
    _, err = ran(capsys, "predict", "m", "two.cache", status=2)
    assert "two.cache: a cache of the columns numeric b; categorical d, but the model was trained with" in err


def test_a_bar_shows_the_progress(files, capsys, monkeypatch):
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, err = ran(capsys, "train", "train.svm", "--model", "m")
    assert "500 examples" in err
    assert "loss 0." in err


def test_a_closed_pipe_is_not_a_failure():
    """As in `surefoot rules adagrad | head -1`: exit code 141, as for any closed pipe, and no message."""
    from surefoot.cli import PIPE_CLOSED

    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "surefoot", "rules", "adagrad"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


def test_losses_are_shown_in_their_metric(tmp_path, monkeypatch, capsys):
    """Twice the half square that is minimized and its root, and the deviance, which is 0 at best."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    metrics = {"squared": mean_squared_error, "poisson": mean_poisson_deviance}
    tables = {"squared": 3.0 * x + 0.1 * rng.normal(size=400), "poisson": rng.poisson(np.exp(0.5 * x))}
    for loss, y in tables.items():
        (tmp_path / loss).write_text("".join(f"{t:.6f} 1:{v:.6f}\n" for t, v in zip(y, x, strict=True)))
        train = ["train", loss, "--loss", loss, "--model", "m", "--test", loss, "--lr", 0.1]
        facts = json.loads(ran(capsys, *train, "--json", "-q", "--report", f"{loss}.html")[0])
        p = np.array(ran(capsys, "predict", "m", loss)[0].split(), float)
        expected = metrics[loss](y, p)
        assert facts["test_loss"] == pytest.approx(expected, rel=1e-4)
        text = ran(capsys, *train)[0]
        if loss == "squared":
            assert facts["test_rmse"] == pytest.approx(facts["test_loss"] ** 0.5)
            assert facts["progressive_rmse"] == pytest.approx(facts["progressive_loss"] ** 0.5)
            assert f"test MSE         {facts['test_loss']:.4f} (RMSE {facts['test_rmse']:.4f})" in text
            assert "RMSE" in (tmp_path / "squared.html").read_text(encoding="utf-8")
        else:
            assert f"test mean Poisson deviance         {facts['test_loss']:.4f}" in text
            assert "mean Poisson deviance" in (tmp_path / "poisson.html").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("default:kernels cannot be cached")
@pytest.mark.parametrize("writable", [True, False])
def test_kernels_come_from_the_cache_where_there_is_one(writable, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path / ("folder" if writable else "file")]))
    monkeypatch.setattr(cache, "_warned", set())
    with telling():
        kernel(halve)(np.ones(3))
    notes = capsys.readouterr().err
    assert ("which this machine has to do once" in notes) == writable
    assert ("from now on they come from the cache" in notes) == writable
    assert ("kernels cannot be cached" in notes) != writable
    assert len(re.findall(r"^Compil(?:ing kernels|ed kernels in \d+ s)", notes, re.MULTILINE)) == 2


def halve(numbers):
    for k in range(numbers.size):
        numbers[k] *= 0.5
    return numbers.size
