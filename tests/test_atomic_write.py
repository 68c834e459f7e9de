"""Files that are written whole or not at all."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from surefoot.atomic_write import atomic_write, check, place_of

WRITE = """
import sys
from surefoot.atomic_write import atomic_write
with atomic_write(sys.argv[1], "w") as file:
    file.write("new")
"""

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


def write(path, **how) -> subprocess.CompletedProcess:
    """Writes "new" in another process."""
    return subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True, timeout=60, **how)


@pytest.fixture
def path(tmp_path) -> Path:
    """A file in a folder of its own."""
    (tmp_path / "file").write_text("old")
    return tmp_path / "file"


def alone(path: Path) -> bool:
    return [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, GeneratorExit])
def test_an_interrupted_write_leaves_the_older_file_and_nothing_else(path, error, sync):
    with pytest.raises(error), atomic_write(path, sync=sync) as file:  # noqa: PT012
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old"
    assert alone(path)


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_when_it_is_complete(path, sync):
    with atomic_write(path, "w", sync=sync) as file:
        file.write("η")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "η"
    assert alone(path)


def test_concurrent_writes_of_processes_are_complete(path):
    with atomic_write(path, "w") as file:
        file.write("first")
        file.flush()
        write(path)
        assert path.read_text() == "new"
        file.write(" and last")
    assert path.read_text() == "first and last"
    assert alone(path)


def test_concurrent_writes_of_threads_are_complete(path):
    meeting, texts = threading.Barrier(8, timeout=60), {f"{number}" * 10_000 for number in range(8)}

    def write_text(text: str) -> None:
        with atomic_write(path, "w") as file:
            file.write(text[1:])
            meeting.wait()
            file.write(text[:1])

    threads = [threading.Thread(target=write_text, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert alone(path)


@POSIX
def test_a_full_disk_leaves_the_older_file_and_nothing_else(path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), atomic_write(path) as file:
            file.write(b"too much")
        with pytest.raises(OSError, match="File too large"):
            check(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert alone(path)


def test_a_check_changes_nothing(path):
    check(path)
    check(path.with_name("other"))
    assert path.read_text() == "old"
    assert alone(path)
    for wrong in (path / "below a file", path.parent / "no folder" / "file"):
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            check(wrong)


@POSIX
def test_links_are_followed(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    (folder / "one").symlink_to(os.path.relpath(path, folder))
    (folder / "two").symlink_to("one")
    (folder / "fresh").symlink_to("made")
    for link in ("two", "fresh"):
        with atomic_write(folder / link, "w") as file:
            file.write("new")
        assert (folder / link).is_symlink()
    assert path.read_text() == "new"
    assert alone(path)
    assert {place.name: place.is_symlink() for place in folder.iterdir()} == {
        "one": True, "two": True, "fresh": True, "made": False,
    }  # fmt: skip


@POSIX
def test_pipes_are_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    check(pipe)
    with atomic_write(pipe, "w", sync=True) as file:
        file.write("new")
    reader.join(60)
    assert read == ["new"]
    assert pipe.is_fifo()
    assert alone(pipe)


@pytest.mark.skipif(not Path("/dev/fd/1").exists(), reason="standard output as a file")
def test_standard_output_is_written_to(path, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "out"
    link.symlink_to("/dev/fd/1")
    assert write("/dev/fd/1", stdout=subprocess.PIPE).stdout == b"new"
    with path.open("w") as file:
        write(link, stdout=file)
        assert os.path.samestat(path.stat(), os.fstat(file.fileno()))
    assert path.read_text() == "new"
    assert alone(path)
    assert link.is_symlink()
    # Not written to: an error here would replace them.
    assert place_of(Path("/dev/stdout")) is None
    assert place_of(Path("/dev/null")) is None
