"""Locks that end with the process that holds them."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from surefoot import locks

HOLD = """
import sys
from pathlib import Path
from surefoot import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def holding(path) -> subprocess.Popen:
    """Another process that holds a lock until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"held"
    return process


def test_a_lock_names_its_process_and_is_removed(path):
    for _ in range(2):
        with locks.held(path), pytest.raises(locks.HeldError, match=f"^process {os.getpid()} on ."), locks.held(path):
            pass
        assert not path.exists()


def test_a_lock_ends_with_an_error(path):
    with pytest.raises(KeyError), locks.held(path):
        raise KeyError
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals as on Unix")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_lock_of_another_process_ends_with_it(path, end):
    process = holding(path)
    with pytest.raises(locks.HeldError, match=f"process {process.pid} on "), locks.held(path):
        pass
    if end is not None:
        process.send_signal(end)
    process.communicate(timeout=60)
    assert path.exists() == (end is not None)
    with locks.held(path), pytest.raises(locks.HeldError, match=f"process {os.getpid()} on "), locks.held(path):
        pass
    assert not path.exists()


def test_what_a_lock_file_says_is_not_believed(path):
    """Numbers of processes are used again, and files are copied: whether it is locked counts."""
    path.write_text(f"process {os.getppid()} on {'x' * 10_000}\x1b[31m")
    with locks.held(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert not path.exists()


def test_one_of_many_threads_holds_a_lock(path):
    inside, together, failed = [], [], threading.Event()

    def enter():
        while not failed.is_set() and len(together) < 200:
            try:
                with locks.held(path):
                    inside.append(1)
                    together.append(len(inside))
                    inside.pop()
            except locks.HeldError:
                pass
            except BaseException:
                failed.set()
                raise

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed.is_set()
    assert {*together} == {1}


@pytest.mark.skipif(os.name != "posix", reason="links as on Unix")
def test_a_link_is_not_followed(path):
    path.symlink_to(path.with_name("victim"))
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), locks.held(path):
        pass
    assert not path.with_name("victim").exists()
