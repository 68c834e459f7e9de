"""A Numba whose code generator has other names: kernels are then its own functions, and everything works."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from support.numerics import assert_identical

from surefoot import threads
from surefoot.native import Kernel, NoTeam, Team, cache, codegen, kernel


@pytest.fixture
def other_numba(tmp_path, monkeypatch):
    """The undocumented names are not what they are expected to be; nothing was warned of yet."""

    def emit(function, arguments):
        raise AttributeError("'Library' object has no attribute 'object_code'")

    monkeypatch.setattr(codegen, "internals", SimpleNamespace(emit=emit))
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    with pytest.warns(RuntimeWarning) as caught:
        yield
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1
    assert "no attribute 'object_code'): kernels take longer to compile" in messages[0]


def total(numbers, factor, part):
    """Adds up a part's number, again and again; returns an integer."""
    if numbers[part] < 0:
        raise ValueError("found a negative number")
    for k in range(int(numbers[part])):
        numbers[part] += k * factor
    return part


@pytest.mark.usefixtures("other_numba")
def test_arguments_of_other_types_have_their_own_code():
    """They are not converted to those that there is code for."""
    call = kernel(total)
    for dtype in (np.float64, np.float32, np.int64):
        for factor in (2, 0.5, 2):
            expected, found = np.array([3, 4], dtype), np.array([3, 4], dtype)
            total(expected, factor, 1)
            assert call(found, factor, 1) == 1
            assert_identical(found, expected)


@pytest.mark.usefixtures("other_numba")
def test_exceptions():
    with pytest.raises(ValueError, match="found a negative number"):
        kernel(total)(np.array([-1.0]), 1, 0)


@pytest.mark.usefixtures("other_numba")
def test_a_pool_of_threads_in_place_of_a_team(monkeypatch):
    call, numbers = kernel(total), np.array([5.0, 3.0, 0.0, 2.0, 7.0])
    with pytest.raises(NoTeam):
        call.among(Team(), numbers, 1, 0)
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "openmp", lambda: (1, 1))  # addresses at which there are no functions
    assert threads.run(call, 5, numbers, 1, threads=2) == 0 + 1 + 2 + 3 + 4
    assert numbers.tolist() == [15.0, 6.0, 0.0, 3.0, 28.0]


@pytest.mark.usefixtures("other_numba")
def test_numba_caches_it(tmp_path):
    kernel(total)(np.array([1.0]), 1, 0)
    assert list(tmp_path.rglob("*total__*.nbc"))


@pytest.mark.usefixtures("other_numba")
def test_a_kernel_that_is_not_kept_is_not_cached(tmp_path):
    call = Kernel("total", lambda arguments: codegen.emit(codegen.jitted(total), arguments, "total", False), False)
    call(np.array([1.0]), 1, 0)
    assert not list(tmp_path.rglob("*.nbc"))


def test_numba_does_not_cache_where_others_may_write(tmp_path, monkeypatch):
    monkeypatch.setattr(codegen, "internals", None)
    monkeypatch.setattr(codegen, "difference", ImportError("no"), raising=False)
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.warns(RuntimeWarning) as caught:
        kernel(total)(np.array([1.0]), 1, 0)
    assert ["kernels cannot be cached" in str(warning.message) for warning in caught] == [False, True]
    assert not list(tmp_path.rglob("*.nbc"))


def test_an_error_of_the_kernel_itself(monkeypatch):
    """It is raised as it is, and Numba is not blamed."""
    from numba.core.errors import NumbaError

    def missing(numbers):
        return numbers.no_such_attribute

    internals = codegen.internals
    with pytest.raises(NumbaError, match="no_such_attribute"):
        kernel(missing)(np.zeros(1))
    assert codegen.internals is internals


EVERYTHING = """
import sys, warnings
import numba.core.codegen

if sys.argv[1] == "other":
    numba.core.codegen.LibraryOfLater = numba.core.codegen.JITCodeLibrary
    del numba.core.codegen.JITCodeLibrary

import numpy as np
import torch
from surefoot.data.stream import joined, read
from surefoot.learn import LinearClassifier
from surefoot.optim import Adagrad

torch.set_num_threads(2)
torch.manual_seed(0)
found = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    dense, table = torch.nn.Parameter(torch.randn(600_000)), torch.nn.Parameter(torch.randn(9000, 64))
    optimizer = Adagrad([dense, table], lr=0.1)
    for step in range(2):
        dense.grad = torch.randn(600_000)
        ids = torch.randint(9000, (1, 20_000))
        table.grad = torch.sparse_coo_tensor(ids, torch.randn(20_000, 64), table.shape, check_invariants=True)
        optimizer.step()
    found["dense"], found["table"] = dense.detach().numpy(), table.detach().numpy()
    X = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    model = LinearClassifier(lr=0.1, random_state=0).fit(X, X[:, 0] > X[:, 1])
    found["weights"], found["classes"] = model.coef_, model.predict(X)
    with open(sys.argv[2] + ".svmlight", "w") as file:
        file.writelines(f"{k % 2} 1:0.25 {2 + k % 9}:1e-3 # comment\\n" for k in range(1000))
    block = joined(list(read(sys.argv[2] + ".svmlight")))
    for name in ("labels", "indptr", "indices", "values"):
        found[name] = getattr(block, name)
messages = [str(warning.message) for warning in caught if "numba" in str(warning.message)]
assert len(messages) == (sys.argv[1] == "other"), messages
assert not messages or "JITCodeLibrary" in messages[0]
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow
def test_optimizers_estimators_and_readers(tmp_path):
    """With the same bits, and one warning in a process."""
    pytest.importorskip("torch")
    results = {}
    for which in ("other", "this"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        if which == "other":
            environment["NUMBA_CACHE_DIR"] = str(tmp_path)
        place = tmp_path / f"{which}.npz"
        subprocess.run([sys.executable, "-c", EVERYTHING, which, place], env=environment, check=True)
        results[which] = np.load(place)
    assert set(results["other"]) == set(results["this"]) > {"dense", "table", "weights", "labels"}
    for name in results["this"]:
        assert_identical(results["other"][name], results["this"][name], name)
