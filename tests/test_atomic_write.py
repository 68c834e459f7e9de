"""Files that are written whole or not at all."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from surefoot import atomic_write as module
from surefoot import locks
from surefoot.atomic_write import PART, atomic_write, check, place_of

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
def test_a_link_to_itself_is_rejected_and_stays(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    for use in (check, write_bytes):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            use(folder / "one")
    assert all(place.is_symlink() for place in folder.iterdir())


def write_bytes(path) -> None:
    with atomic_write(path) as file:
        file.write(b"new")


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


# Access


@POSIX
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o644, 0o660, 0o604, 0o755, 0o000])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_file_that_is_replaced_keeps_its_mode(path, mode, umask, sync):
    path.chmod(mode)
    before = os.umask(umask)
    try:
        with atomic_write(path, "w", sync=sync) as file:
            file.write("new")
            # Not even for a moment does anyone else see what a private file will hold.
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    path.chmod(0o600)
    assert path.read_text() == "new"


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027, 0o000])
def test_the_umask_decides_about_new_files(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@POSIX
def test_a_private_file_behind_a_link_stays_private(path):
    path.chmod(0o600)
    path.with_name("link").symlink_to(path)
    with atomic_write(path.with_name("link"), "w") as file:
        file.write("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only the administrator may give files away")
def test_owner_and_group_are_kept(path):
    os.chown(path, 12, 34)
    with atomic_write(path) as file:
        file.write(b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


@POSIX
@pytest.mark.parametrize("mode, expected", [(0o660, 0o600), (0o664, 0o644), (0o640, 0o600), (0o606, 0o666)])
def test_a_group_that_cannot_be_kept_gets_no_access(path, mode, expected, monkeypatch):
    """What a group of that number may do, others must not get by way of the group of the process."""

    def not_permitted(*_):
        raise PermissionError

    before = path.stat()
    path.chmod(mode)
    monkeypatch.setattr(module.os, "fchown", not_permitted)
    status = os.stat_result([mode, *before[1:5], before.st_gid + 1, *before[6:]])
    monkeypatch.setattr(module, "status_of", lambda _: status)
    with atomic_write(path) as file:
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == expected


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="access lists as on Linux")
def test_the_access_list_is_kept(path, monkeypatch):
    kept = {}
    monkeypatch.setattr(module.os, "getxattr", lambda place, name: b"bob may read")
    monkeypatch.setattr(module.os, "setxattr", lambda file, name, value: kept.update({name: value}))
    with atomic_write(path) as file:
        file.write(b"new")
    assert kept == {"system.posix_acl_access": b"bob may read"}


# What is being written


@POSIX
def test_what_is_being_written_cannot_be_redirected(path, tmp_path_factory, monkeypatch):
    """Even where its name is known: a link that was planted there is neither followed nor becomes the result."""
    victim = tmp_path_factory.mktemp("elsewhere") / "victim"
    victim.write_text("old")
    names = iter([b"\0" * 8, b"\1" * 8])
    monkeypatch.setattr(module.os, "urandom", lambda _: next(names))
    planted = path.with_name(f"file.{'00' * 8}.surefoot.part")
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError), atomic_write(path) as file:
        file.write(b"new")
    assert (victim.read_text(), path.read_text()) == ("old", "old")
    with atomic_write(path, "w") as file:
        file.write("new")
    assert (victim.read_text(), path.read_text()) == ("old", "new")
    assert not path.is_symlink()


def test_names_of_what_is_being_written_differ_and_are_short(tmp_path):
    long = tmp_path / ("\N{SNOWMAN}" * 80)
    found = set()
    for _ in range(3):
        with atomic_write(long) as file:
            (part,) = (entry.name for entry in tmp_path.iterdir() if entry != long)
            assert PART.fullmatch(part)
            found.add(part)
            file.write(b"new")
    assert len(found) == 3


KILLED = """
import os, signal, sys
from surefoot.atomic_write import atomic_write
files = [atomic_write(path) for path in sys.argv[1:]]
for file in files:
    file.__enter__().write(b"half")
print("written", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def writing(*paths):
    """Another process that writes to these files until it is killed."""
    command = [sys.executable, "-c", KILLED, *map(str, paths)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "written\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


@POSIX
def test_leftovers_of_killed_processes_are_removed_and_nothing_else(path):
    others = [path.with_name(name) for name in ("file.part", "a.0.surefoot.part", f"{'0' * 16}.part")]
    for other in others:
        other.write_text("of another program")
    with writing(path, path.with_name("second")) as process:
        begun = {entry for entry in path.parent.iterdir() if PART.fullmatch(entry.name)}
        assert len(begun) == 2
        check(path)  # of a process that is alive, nothing is removed
        assert begun <= {*path.parent.iterdir()}
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        with atomic_write(path, "w") as file:
            file.write("new")
    assert sorted(path.parent.iterdir()) == sorted([path, *others])
    assert path.read_text() == "new"


@POSIX
def test_only_own_regular_files_are_leftovers(path, tmp_path_factory):
    victim = tmp_path_factory.mktemp("elsewhere") / "victim"
    victim.write_text("old")
    names = [path.with_name(f"file.{number:016x}.surefoot.part") for number in range(3)]
    names[0].symlink_to(victim)
    os.mkfifo(names[1])
    names[2].mkdir()
    check(path)
    assert victim.read_text() == "old"
    assert all(os.path.lexists(name) for name in names)


@POSIX
def test_a_file_system_without_locks_keeps_leftovers(path, monkeypatch):
    def unsupported(_):
        raise OSError(38, "Function not implemented")

    left = path.with_name(f"file.{0:016x}.surefoot.part")
    left.write_text("half")
    monkeypatch.setattr(locks, "acquire", unsupported)
    with atomic_write(path, "w") as file:
        file.write("new")
    assert left.exists()
    assert path.read_text() == "new"


@POSIX
def test_what_is_taken_for_a_leftover_at_its_creation_is_written_again(path, monkeypatch):
    """Between creating and locking it, another process may have locked or removed it."""
    ways, acquire = iter(["locked", "removed"]), locks.acquire

    def disturbed(descriptor):
        (part,) = (entry for entry in path.parent.iterdir() if PART.fullmatch(entry.name))
        part.unlink()
        return acquire(descriptor) if next(ways, "") == "removed" else False

    def once(descriptor):
        return disturbed(descriptor) if len(taken) < 2 and not taken.append(descriptor) else acquire(descriptor)

    taken = []
    monkeypatch.setattr(locks, "acquire", once)
    with atomic_write(path, "w") as file:
        file.write("new")
    assert len(taken) == 2
    assert path.read_text() == "new"
    assert alone(path)
