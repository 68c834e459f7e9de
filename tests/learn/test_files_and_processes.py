"""Trainings and the files they share: locks, leftovers, pipes, files that change, files of the same bytes."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from surefoot import cli, locks
from surefoot.data import DataError, cache
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import DataWarning
from surefoot.learn import storage
from surefoot.learn.model import Model
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and links as on Unix")
LINES = [f"{k % 2 * 2 - 1} {k % 7 + 1}:1 {k % 5 + 9}:{k % 3 + 1}\n" for k in range(60)]
HOW = {"method": Method(lr=0.1), "every": 1}


class Crash(Exception):
    """Ends a training as if its process had ended."""


def crash(_):
    raise Crash


@pytest.fixture
def files(tmp_path):
    """Three files, so that a crash after the first chunk leaves something to do."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.svm").write_text("".join(LINES[number * 20 : number * 20 + 20]))
    return tuple(str(path) for path in sorted(folder.iterdir()))


@pytest.fixture
def kept(files, tmp_path):
    """A folder with the checkpoint of a training that crashed."""
    with pytest.raises(Crash):
        Training(Plan(files, checkpoint=str(tmp_path / "kept"), **HOW), crash).run()
    return tmp_path / "kept"


def bytes_of(model: Model, path: Path) -> bytes:
    model.save(path)
    return path.read_bytes()


# Locks


def test_two_trainings_do_not_share_a_folder(files, tmp_path):
    """The second one is told which process holds it, and the first one's progress is not touched."""
    plan = Plan(files, checkpoint=str(tmp_path / "kept"), resume=True, **HOW)
    said, notes = [], []

    def another(_):
        with pytest.raises(storage.FileError) as error:
            Training(plan).run()
        said.append(str(error.value))

    through = Training(plan, another, notes.append).run(keep=lambda model: None)
    host = f"process {os.getpid()} on "
    assert all(text.startswith(f"{tmp_path / 'kept'}: is in use by another training, {host}") for text in said)
    assert len(said) == 3
    assert [*(tmp_path / "kept").iterdir()] == []
    assert through.facts.examples == 60


@pytest.mark.parametrize("end", [signal.SIGTERM, getattr(signal, "SIGKILL", None)])
@POSIX
def test_a_lock_ends_with_its_process(files, tmp_path, end):
    model = tmp_path / "m"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "surefoot", "train", files[0], pipe, "-m", model, "-q", "--format=svmlight"]
    command += ["--checkpoint", tmp_path / "kept", "--every=1", "--lr=0.1", "--resume"]
    process = subprocess.Popen([*map(str, command)])
    writer = os.open(pipe, os.O_WRONLY)  # returns when the process has come so far
    try:
        second = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        assert f"is in use by another training, process {process.pid} on " in second.stderr
        process.send_signal(end)
        process.wait(60)
    finally:
        process.kill()
        os.close(writer)
    pipe.unlink()
    pipe.write_text("".join(LINES))
    subprocess.run([*map(str, command)], check=True, timeout=60)
    assert model.exists()
    assert [*(tmp_path / "kept").iterdir()] == []


def test_a_lock_is_released_after_errors(kept, files):
    for _ in range(2):
        with pytest.raises(Crash):
            Training(Plan(files, checkpoint=str(kept), resume=True, **HOW), crash).run()
        assert sorted(path.name for path in kept.iterdir()) == [CHECKPOINT]


def test_a_file_system_without_locks_is_noted(files, tmp_path, monkeypatch):
    def unsupported(_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks, "acquire", unsupported)
    notes = []
    Training(Plan(files, checkpoint=str(tmp_path), **HOW), note=notes.append).run()
    assert notes == [
        f"{tmp_path} cannot be locked (Function not implemented): do not start another training with this folder."
    ]


def test_leftovers_beside_models_and_checkpoints_are_removed(files, tmp_path):
    (tmp_path / "kept").mkdir()
    left = [folder / f"m.{0:016x}.surefoot.part" for folder in (tmp_path, tmp_path / "kept")]
    for path in left:
        path.write_bytes(b"half")
    arguments = ["train", *files, "-m", tmp_path / "m", "--checkpoint", tmp_path / "kept", "-q", "--lr", 0.1]
    assert cli.run([*map(str, arguments)]) == 0
    assert not any(path.exists() for path in left)


# Resuming


@POSIX
def test_files_are_compared_by_what_they_are(kept, files, tmp_path, monkeypatch):
    """Other spellings, links, copies, moved files: the same training; each goes on from the same checkpoint."""
    before = (kept / CHECKPOINT).read_bytes()
    through = Training(Plan(files, **HOW)).run().model
    folder = Path(files[0]).parent
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    ways = [
        ("0.svm", "./1.svm", "../data/2.svm"),
        ("*.svm",),
        (f"{tmp_path}/link/0.svm", f"{tmp_path}/link/[12].svm"),
        (f"file-{0}", f"file-{1}", f"file-{2}"),
    ]
    for number in range(3):
        os.link(files[number], f"file-{number}")
    for way in ways:
        (kept / CHECKPOINT).write_bytes(before)
        resumed = Training(Plan(way, checkpoint=str(kept), resume=True, **HOW)).run().model
        assert resumed.weights.tobytes() == through.weights.tobytes()
    for wrong in [("0.svm", "1.svm"), ("1.svm", "0.svm", "2.svm"), ("0.svm", "1.svm", "1.svm")]:
        (kept / CHECKPOINT).write_bytes(before)
        with pytest.raises(DataError, match=r"was made with files .*2\.svm, found |had \d+ bytes when"):
            Training(Plan(wrong, checkpoint=str(kept), resume=True, **HOW)).run()


REWRITTEN = {
    "other weights": lambda lines: [line.replace(" 1 |", " 3 |") for line in lines],
    "another order": lambda lines: [lines[1], lines[0], *lines[2:]],
    "another name": lambda lines: [lines[0].replace("b0", "b9"), *lines[1:]],
}


@pytest.mark.parametrize("passes, stopped", [(1, 2), (3, 3), (3, 5)])
@pytest.mark.parametrize("how", REWRITTEN)
def test_a_file_that_was_rewritten_is_not_resumed(how, passes, stopped, tmp_path, capsys):
    """Of the same size, whether it is noticed at the checkpoint's place or, in a later pass, at its end."""
    files = [tmp_path / f"{number}.vw" for number in range(2)]
    for file in files:
        file.write_text("".join(f"{k % 2 * 2 - 1} 1 |f a:{k % 7} b{k % 5}\n" for k in range(20)))
    plan = Plan(tuple(map(str, files)), passes=passes, checkpoint=str(tmp_path / "kept"), resume=True, **HOW)
    calls = []
    with pytest.raises(Crash):
        Training(plan, lambda now: crash(now) if calls.append(now) or len(calls) == stopped else None).run()
    os.utime(files[1], ns=(0, 0))
    changed = files[0]
    text = "".join(REWRITTEN[how](changed.read_text().splitlines(keepends=True)))
    changed.write_text(text)
    arguments = ["train", *files, "-m", tmp_path / "m", "--checkpoint", plan.checkpoint, "--resume", "--every", "1"]
    assert cli.run([*map(str, arguments), "--lr", "0.1", "--passes", str(passes), "-q"]) == 2
    said = capsys.readouterr().err
    assert f"{plan.place} ({changed}, {files[1]} were written since): the files do not hold the examples" in said
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "of another kind", "of another version"])
def test_a_damaged_checkpoint_may_be_removed(kept, files, damage, monkeypatch):
    path = kept / CHECKPOINT
    content = path.read_bytes()
    if damage == "of another version":
        monkeypatch.setattr(storage, "VERSION", storage.VERSION + 1)
    else:
        other = {"truncated": content[:-5], "changed": content[:-1] + b"\1", "empty": b"", "of another kind": b"x" * 99}
        path.write_bytes(other[damage])
    plan = Plan(files, checkpoint=str(kept), resume=True, **HOW)
    with pytest.raises(storage.FileError, match=r"remove it to train from the beginning$") as error:
        Training(plan).run()
    assert str(error.value).startswith(f"{path}: ")
    path.unlink()
    assert Training(plan).run().facts.examples == 60


# The same bytes


@pytest.mark.parametrize(
    "how",
    [{"method": Method(lr=0.1)}, {}, {"passes": 2, "method": Method(lr=0.1)}, {"on_error": "skip", "classes": (-1, 1)}],
    ids=["fixed", "auto", "passes", "skip"],
)
def test_the_same_training_writes_the_same_bytes(files, tmp_path, how, monkeypatch):
    """Also when it was resumed, and with another number of threads."""
    if "on_error" in how:
        Path(files[1]).write_text("7 1:1\n1 x\n" + Path(files[1]).read_text() + "x 1:1\n")
    expected = bytes_of(Training(Plan(files, **how)).run().model, tmp_path / "a")
    assert bytes_of(Training(Plan(files, **how)).run().model, tmp_path / "b") == expected
    plan = Plan(files, checkpoint=str(tmp_path / "kept"), resume=True, every=1, **how)
    for _ in range(2):
        with pytest.raises(Crash):
            Training(plan, crash).run()
    assert bytes_of(Training(plan).run().model, tmp_path / "c") == expected
    monkeypatch.setattr("surefoot.data.stream.stream.get_threads", lambda: 1)
    assert bytes_of(Training(Plan(files, **how)).run().model, tmp_path / "d") == expected


def test_the_same_examples_write_the_same_cache(files, tmp_path, monkeypatch):
    """At any time."""
    found = set()
    for year, name in ((2001, "a"), (2026, "b")):
        monkeypatch.setattr("zipfile.time.localtime", lambda *_, year=year: (year, 2, 3, 4, 5, 6, 0, 0, 0))
        stream = ReadOptions().open(files)
        list(cache.write(stream, tmp_path / name, ReadOptions().resolved(stream).record()))
        found.add((tmp_path / name).read_bytes())
    assert len(found) == 1


# One label


@pytest.mark.parametrize(
    "label, classes", [("1", (-1, 1)), ("+1", (-1, 1)), ("-1", (-1, 1)), ("0", (0, 1)), ("5", (0, 5)), ("-2", (-2, 0))]
)
@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_a_file_of_one_label_is_learned_with_a_note(label, classes, lr, tmp_path):
    (tmp_path / "one.svm").write_text(f"{label} 1:1 2:2\n{label} 2:1\n" * 20)
    notes = []
    model = Training(Plan((str(tmp_path / "one.svm"),), method=Method(lr=lr)), note=notes.append).run().model
    assert model.targets.classes == classes
    assert notes[-1].startswith(f"All examples have the label {int(label)}, which the model predicts; the other label ")
    assert "--classes" in notes[-1]
    for block in ReadOptions().open(tmp_path / "one.svm"):
        assert {*model.predict(block)} == {float(label)}
    model.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").targets.classes == classes


def test_a_number_alone_is_a_regression_target(tmp_path):
    (tmp_path / "one.svm").write_text("1.5 1:1\n" * 20)
    model = Training(Plan((str(tmp_path / "one.svm"),), method=Method(lr=0.1))).run().model
    assert model.targets.loss.name == "squared"


@pytest.mark.parametrize("first, later", [("1", "2"), ("5", "7"), ("0", "2"), ("-1", "0")])
def test_a_second_label_that_was_not_to_be_expected_asks_for_classes(first, later, tmp_path):
    files = tmp_path / "a.svm", tmp_path / "b.svm"
    for path, label in zip(files, (first, later), strict=True):
        path.write_text(f"{label} 1:1\n" * 20)
    with pytest.raises(
        DataError, match=rf"b\.svm:1:1: found label {later}, expected .*; list all labels with --classes"
    ):
        Training(Plan(tuple(map(str, files)), **HOW)).run()


def test_one_label_is_remembered_by_checkpoints(tmp_path):
    files = []
    for number, label in enumerate([1, 1, 0]):
        files.append(str(tmp_path / f"{number}.svm"))
        Path(files[-1]).write_text(f"{label} {number}:1\n" * 20)
    plan = Plan(tuple(files), checkpoint=str(tmp_path / "kept"), resume=True, **HOW)
    with pytest.raises(Crash):
        Training(plan, crash).run()
    notes = []
    assert Training(plan, note=notes.append).run().model.targets.classes == (0, 1)
    assert not any("All examples" in note for note in notes)


# Pipes


def fed(path: Path, text: str) -> subprocess.Popen:
    """Another process that writes to a pipe, which waits for its reader."""
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    return subprocess.Popen([sys.executable, "-c", code, str(path), text])


TEXTS = {
    "svmlight": "".join(LINES),
    "vw": "".join(f"{k % 2 * 2 - 1} |f a{k % 7} b\n" for k in range(60)),
    "csv": "y,a,b\n" + "".join(f"{k % 2},{k % 7},x{k % 3}\n" for k in range(60)),
}


WAYS = [(format, "", place) for format in TEXTS for place in ("pipe", "/dev/stdin", "/dev/fd")]
WAYS += [("vw", "", "-"), ("svmlight", "named", "pipe"), ("csv", "named", "/dev/stdin")]


@pytest.mark.sampled(3)
@POSIX
@pytest.mark.parametrize("format, given, place", WAYS)
def test_pipes_are_read_like_files(format, given, place, tmp_path):
    text, table = TEXTS[format], ["--target", "y"] if format == "csv" else []
    (tmp_path / "file").write_text(text)
    named = ["--format", format] if given == "named" else []
    command = [sys.executable, "-m", "surefoot", "train", *table, *named, "--lr", "0.1", "-q", "-m"]
    assert cli.run([*command[3:], str(tmp_path / "whole"), str(tmp_path / "file")]) == 0
    writer, how = None, {"input": text, "text": True}
    if place == "pipe":
        os.mkfifo(tmp_path / "pipe")
        place, how = tmp_path / "pipe", {}
        writer = fed(place, text)
    elif place == "/dev/fd":  # as a shell's <(…)
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        place, how = f"/dev/fd/{read}", {"pass_fds": [read]}
    subprocess.run([*command, tmp_path / "piped", place], check=True, timeout=60, **how)
    if writer is not None:
        assert writer.wait(60) == 0
    whole, piped = (Model.load(tmp_path / name) for name in ("whole", "piped"))
    assert whole.weights.tobytes() == piped.weights.tobytes()
    assert whole.reading == piped.reading


@POSIX
def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = fed(tmp_path / "pipe", "1 1:1\n" * 9)
    stream = ReadOptions().open(tmp_path / "pipe")
    assert sum(map(len, stream)) == 9
    assert writer.wait(60) == 0
    for again in (stream, ReadOptions(format="svmlight").open(tmp_path / "pipe")):
        again._passes = 1
        with pytest.raises(DataError, match="pipe: can be read only once"):
            list(again)


@POSIX
@pytest.mark.parametrize("command", [["inspect"], ["predict", "data"]])
def test_a_pipe_is_not_a_model(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("model")
    Path("data").write_text("1 1:1\n")
    assert cli.run([command[0], "model", *command[1:]]) == 2
    assert capsys.readouterr().err == "error: model: is a pipe or device, expected a file; save it to one first\n"


# Files that change


@pytest.mark.parametrize("name", ["a.svm", "a.svm.gz", "a.csv", "a.parquet"])
def test_a_file_that_grows_while_it_is_read_is_noted(name, tmp_path):
    path, reading = tmp_path / name, ReadOptions(target="y" if name.endswith(("csv", "parquet")) else None)
    if name.endswith("gz"):
        import gzip

        path.write_bytes(gzip.compress(b"1 1:1\n" * 99))
    elif name.endswith("parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"y": [0, 1], "x": [1, 2]}), path)
    else:
        path.write_text("1 1:1\n" * 99 if name.endswith("svm") else "y,x\n" + "1,2\n" * 99)
    stream, before = reading.open(path), path.stat().st_size

    def growing():
        for block in stream:
            with path.open("ab") as file:
                file.write(b"more")
            yield len(block)

    expected = rf"{name}: grew from {before:,} to {before + 4:,} bytes while it was read; what was added may be missing"
    with pytest.warns(DataWarning, match=expected) as warned:
        assert sum(growing()) > 0
    assert len(warned) == 1
    if not name.endswith("svm"):
        return
    path.write_text("1 1:1\n" * 99 + "-1 2:1\n")  # what was noted is not noted again
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = reading.open(path)
        assert [sum(map(len, stream)) for _ in range(2)] == [100, 100]


def test_the_command_line_shows_the_note(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.svm"
    path.write_text("".join(LINES))
    size = path.stat().st_size
    learn = Training._learn

    def slow(self, examples):
        with path.open("a") as file:
            file.write(LINES[0])
        learn(self, examples)

    monkeypatch.setattr(Training, "_learn", slow)
    assert cli.run(["train", str(path), "-m", str(tmp_path / "m"), "--lr", "0.1", "-q"]) == 0
    assert f"a.svm: grew from {size:,} to {size + len(LINES[0]):,} bytes" in capsys.readouterr().err
