"""Kernels are loaded only from where no other user can have written them, else compiled again with a reason."""

import os
import stat

import numpy as np
import pytest

from surefoot.native import cache, compilation, kernel

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid"), reason="on Windows, owners and modes do not tell who writes"
)


def triple(numbers):
    for k in range(numbers.size):
        numbers[k] *= 3.0
    return numbers.size


def compiles() -> bool:
    """Triples numbers as a new process would, and says whether that took compiling."""
    begun, table = [], np.arange(3.0)
    with compilation(lambda: begun.append(True), lambda seconds: None):
        assert kernel(triple)(table) == 3
    assert table.tolist() == [0.0, 3.0, 6.0]
    return bool(begun)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The only file of a cache, and nothing was warned of yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "_warned", set())
    assert compiles()
    assert not compiles()
    (file,) = tmp_path.rglob("*.kernel")
    return file


def of_another_user(status):
    return os.stat_result((*status[:4], os.geteuid() + 1000, *status[5:]))


def other_owner_of_the_file(file, monkeypatch):
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda descriptor: of_another_user(fstat(descriptor)))
    return f"{file}: it belongs to another user"


def other_owner_of_the_folder(file, monkeypatch):
    of = os.stat

    def found(path, **options):
        status = of(path, **options)
        return of_another_user(status) if path == file.parent else status

    monkeypatch.setattr(os, "stat", found)
    return f"{file.parent}: it belongs to another user"


def group_may_write_to_the_folder(file, monkeypatch):
    file.parent.chmod(0o775)
    return f"{file.parent}: other users may write to it"


def all_may_write_to_the_folder(file, monkeypatch):
    file.parent.chmod(0o1777)
    return f"{file.parent}: other users may write to it"


def group_may_write_to_the_file(file, monkeypatch):
    file.chmod(0o664)
    return f"{file}: other users may write to it"


def link(file, monkeypatch):
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)
    return f"{file}: it is a symbolic link"


RISKS = [
    other_owner_of_the_file,
    other_owner_of_the_folder,
    group_may_write_to_the_folder,
    all_may_write_to_the_folder,
    group_may_write_to_the_file,
    link,
]


@pytest.mark.parametrize("risky", RISKS, ids=[risk.__name__ for risk in RISKS])
def test_code_that_another_user_may_have_written_is_not_loaded(file, monkeypatch, risky):
    """Although it is as it was written."""
    reason = risky(file, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        assert compiles()
    assert [str(w.message).startswith(reason) for w in caught].count(True) == 1
    assert str(caught[0].message).endswith("so that kernels there are not loaded but compiled again")


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077], ids=oct)
def test_the_cache_is_trusted_under_any_umask(tmp_path, monkeypatch, mask):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    before = os.umask(mask)
    try:
        assert compiles()
        assert not compiles()
    finally:
        os.umask(before)
    (file,) = tmp_path.rglob("*.kernel")
    for place in (file, file.parent):
        assert not stat.S_IMODE(place.stat().st_mode) & 0o022


def test_a_link_is_replaced_and_not_followed(file):
    victim = file.with_name("victim")
    victim.write_bytes(b"mine")
    file.unlink()
    file.symlink_to(victim)
    with pytest.warns(RuntimeWarning, match="symbolic link"):
        assert compiles()
    assert not file.is_symlink()
    assert victim.read_bytes() == b"mine"
    assert not compiles()


def test_code_of_the_administrator_is_loaded(file, monkeypatch):
    """Kernels that were compiled when a container was built, or beside a package that all users share."""
    fstat, of, user = os.fstat, os.stat, os.geteuid() + 1000

    def of_root(status):
        return os.stat_result((*status[:4], 0, *status[5:]))

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "fstat", lambda descriptor: of_root(fstat(descriptor)))
    monkeypatch.setattr(os, "stat", lambda path, **options: of_root(of(path, **options)))
    assert not compiles()


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """The message names the folder, the reason and the variable that chooses another one; once."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(cache, "_warned", set())
    with pytest.warns(RuntimeWarning) as caught:
        assert [compiles(), compiles()] == [True, True]
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"kernels cannot be cached ({tmp_path / 'file' / 'surefoot'}: not a directory)")
    assert "set NUMBA_CACHE_DIR to a folder that only you can write to" in message


def test_without_permission_to_write(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # which the administrator always has
    with pytest.warns(RuntimeWarning, match=r"surefoot: permission denied\)"):
        assert compiles()


def test_the_next_folder_is_used_where_others_may_write_to_the_first(tmp_path, monkeypatch):
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(cache, "folders", lambda: iter((shared, own)))
    assert compiles()
    assert not compiles()
    assert not list(shared.iterdir())
    assert list(own.glob("*.kernel"))
