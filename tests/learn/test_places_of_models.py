"""Where a model is to be written is tried before the training, and a model that cannot be written there is not lost."""

import os
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot import cli
from surefoot.learn import storage
from surefoot.learn.model import Model
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training

POSIX = pytest.mark.skipif(os.name != "posix", reason="devices, permissions and pipes as on Unix")
FULL = Path("/dev/full")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.vw"
    path.write_text("".join(f"{k % 2 * 2 - 1} |f a:{k % 7} b{k % 5}\n" for k in range(60)))
    return str(path)


@pytest.fixture
def never(monkeypatch):
    """Fails where anything is learned."""
    monkeypatch.setattr(Training, "_run", lambda *_: pytest.fail("learned before the place was tried"))


def full(_):
    raise storage.FileError("m: cannot be written: No space left on device")


@pytest.mark.parametrize("place", ["folder", "a file as a folder", "part of a missing disk"])
@POSIX
def test_a_place_that_cannot_be_is_rejected_before_anything_is_learned(place, file, never, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    paths = {"folder": tmp_path / "folder", "a file as a folder": f"{file}/m", "part of a missing disk": "/proc/none/m"}
    assert cli.run(["train", file, "-m", str(paths[place]), "-q"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(("error: ", "surefoot"))
    assert str(paths[place]) in said.replace("\n", "") or place == "folder"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_without_permission_is_rejected_before_anything_is_learned(file, never, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert cli.run(["train", file, "-m", str(tmp_path / "closed" / "m"), "-q"]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_device_that_cannot_be_written_to_is_rejected_before_anything_is_learned(monkeypatch):
    storage.check_place(os.devnull)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(storage.FileError, match=rf"^{os.devnull}: cannot be written: Permission denied"):
        storage.check_place(os.devnull)


@POSIX
def test_a_pipe_has_the_whole_model(file, tmp_path):
    """Trying it does not end what reads it."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    try:
        assert cli.run(["train", file, "-m", str(tmp_path / "pipe"), "-q", "--lr", "0.1"]) == 0
        (tmp_path / "m").write_bytes(reader.communicate(timeout=60)[0])
    finally:
        reader.kill()
    assert Model.load(tmp_path / "m").facts.examples == 60


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("every", [1, 1_000_000])
def test_what_was_learned_is_in_the_checkpoint(every, passes, file, tmp_path):
    """And becomes the model of the same bytes, once there is room, without learning again."""
    plan = Plan(
        (file,), passes=passes, method=Method(lr=0.1), every=every, checkpoint=str(tmp_path / "kept"), resume=True
    )
    with pytest.raises(storage.FileError, match=r"No space left on device; \S*kept\S* holds what was learned") as error:
        Training(plan).run(keep=full)
    assert f"from {60 * passes} examples; repeat the command with --resume" in str(error.value)
    progress = []
    Training(replace(plan, checkpoint=None, resume=False)).run(keep=lambda model: model.save(tmp_path / "through"))
    Training(plan, progress.append).run(keep=lambda model: model.save(tmp_path / "resumed"))
    assert progress == []
    assert (tmp_path / "through").read_bytes() == (tmp_path / "resumed").read_bytes()
    assert not (tmp_path / "kept" / CHECKPOINT).exists()


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
def test_a_full_device_leaves_the_model_elsewhere(checkpoints, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    more = ["--checkpoint", str(tmp_path / "kept"), "--lr", "0.1"] if checkpoints else ["--lr", "0.1"]
    assert cli.run(["train", file, "-m", str(FULL), "-q", *more]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: /dev/full: cannot be written: No space left on device; ")
    if checkpoints:
        assert cli.run(["train", file, "-m", str(tmp_path / "m"), "-q", *more, "--resume"]) == 0
    found = tmp_path / "m" if checkpoints else next(tmp_path.glob("surefoot-*.safetensors"))
    assert str(found) in said or checkpoints
    assert Model.load(found).facts.examples == 60
    if os.name == "posix" and not checkpoints:
        assert found.stat().st_mode & 0o077 == 0


def test_the_temporary_folder_is_the_last_resort(file, tmp_path, monkeypatch):
    """And where that is full, too, the message says so, and nothing is left."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    tried = []

    def save(path):
        tried.append(path)
        if path.parent.name == "here":
            full(path)
        path.write_text("a model")

    found = storage.write_elsewhere(save)
    assert found is not None
    assert (found.parent.name, found.read_text()) == ("temporary", "a model")
    assert storage.write_elsewhere(full) is None
    assert [path for path in tmp_path.rglob("surefoot-*") if path != found] == []
    assert len(tried) == 2


def test_an_older_model_is_still_there(file, tmp_path, monkeypatch):
    """When the disk is full while the model is written."""
    resource = pytest.importorskip("resource")
    (tmp_path / "m").write_bytes(b"older")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def keep(model):
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, before[1]))
        model.save(tmp_path / "m")

    words = r"File too large; the previous file is intact; it could not be written elsewhere either$"
    try:
        with pytest.raises(storage.FileError, match=words):
            Training(Plan((file,), method=Method(lr=0.1))).run(keep)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "m").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vw", "m"]
