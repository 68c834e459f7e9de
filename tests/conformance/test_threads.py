"""How many threads a step uses makes no difference to its bits. Arrays are large enough that threads are used."""

import subprocess
import sys
import time
from threading import Barrier, get_ident
from types import SimpleNamespace

import numpy as np
import pytest
from support.numerics import assert_identical, assert_same_memory
from support.table import CONCRETE, both, dense_run, parameters, rows_run

from surefoot import threads
from surefoot.native import kernel

SIZE = threads.SMALLEST + 4099
POOL = threads.pool
SETTINGS = {
    "coordinate": {},
    "row": {"granularity": "row"},
    "tensor": {"granularity": "tensor"},
    "around": {"clip_norm": 1.0, "l1": 1e-3, "weight_decay": 0.1, "lazy": "touched"},
    "tensor, around": {"granularity": "tensor", "clip_norm": 1.0, "l1": 1e-3, "weight_decay": 0.1, "lazy": "touched"},
}
settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def compare(parts_of_steps, x, run, **settings):
    """One, two and three threads, and the reference."""
    results = {}
    for count in (1, 2, 3):
        parts_of_steps.clear()
        results[count] = both(CONCRETE["adagrad"], x, run, threads=count, **settings)
        assert (max(parts_of_steps) > 1) == (count > 1)
    for count in (2, 3):
        assert_identical(results[count][0], results[1][0], f"{count} threads")
        assert_same_memory(results[count][1], results[1][1], f"{count} threads")


@settings
@pytest.mark.parametrize("shape", [(SIZE,), (SIZE // 61, 61)], ids=["vector", "table"])
def test_dense(parts_of_steps, shape, settings):
    if shape[1:] == () and settings.get("granularity") == "row":
        shape = (3, SIZE // 3)  # a row is longer than a block, and rows are fewer than threads or equal
    rng = np.random.default_rng(0)
    g = rng.standard_normal(shape, np.float32)
    compare(parts_of_steps, parameters(shape, "float32"), dense_run([g, g]), **settings)


@settings
def test_rows(parts_of_steps, settings):
    rng = np.random.default_rng(1)
    shape, width = (3000, 96), 96
    ids = np.minimum(rng.zipf(1.3, SIZE // width + 1) - 1, shape[0] - 1)
    values = rng.standard_normal((len(ids), width), np.float32)
    assert len(np.unique(ids)) < len(ids) / 2
    compare(parts_of_steps, parameters(shape, "float32"), rows_run([(ids, values)]), **settings)


def test_a_single_row_with_all_the_ids():
    """Then there is no work to share among threads."""
    ids, values = np.zeros(SIZE // 64, np.int64), np.full((SIZE // 64, 64), 0.5, np.float32)
    results = [
        both(CONCRETE["adagrad"], np.ones((2, 64), np.float32), rows_run([(ids, values)]), threads=k) for k in (1, 3)
    ]
    assert_identical(results[1][0], results[0][0])


def test_stochastic_rounding_depends_on_the_position_and_not_on_the_thread(parts_of_steps):
    rng = np.random.default_rng(2)
    x = (rng.standard_normal(SIZE, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    compare(parts_of_steps, x, dense_run([x[::-1].copy()]), stochastic_rounding=11)


def test_the_limit_is_the_default_of_steps(parts_of_steps):
    g = np.ones(SIZE, np.float32)
    threads.set_threads(2)
    try:
        both(CONCRETE["adagrad"], g, dense_run([g]))
        assert max(parts_of_steps) > 1
        parts_of_steps.clear()
        threads.set_threads(1)
        both(CONCRETE["adagrad"], g, dense_run([g]))
        assert max(parts_of_steps) == 1
    finally:
        threads.set_threads(None)


def test_the_limit_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SUREFOOT_NUM_THREADS", "3")
    monkeypatch.setattr(threads, "limit_of_environment", threads.limit_of_environment.__wrapped__)
    assert threads.get_threads() == 3
    with pytest.raises(ValueError, match="at least 1, got 0"):
        threads.set_threads(0)


def test_small_steps_use_one_thread(parts_of_steps):
    g = np.ones(1000, np.float32)
    both(CONCRETE["adagrad"], g, dense_run([g]), threads=4)
    assert max(parts_of_steps) == 1


@pytest.fixture
def own_threads(monkeypatch):
    monkeypatch.setattr(threads, "openmp", lambda: None)


@pytest.fixture
def torchs_threads(monkeypatch):
    torch = pytest.importorskip("torch")
    if threads.openmp() is None:
        pytest.skip("this torch does not use an OpenMP library that can be called")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "pool", None)
    monkeypatch.setattr(threads, "LATE", float("inf"))
    monkeypatch.setattr(threads, "_crowded_until", 0.0)
    monkeypatch.setattr(threads, "_was_late", False)


def test_parts_run_in_parallel(own_threads):
    barrier = Barrier(2)

    def meet(part):
        if part < 2:
            barrier.wait(timeout=60)
        return part

    assert threads.run(meet, 4, threads=2) == 6


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exceptions_of_parts_are_raised(own_threads, error):
    here, barrier = get_ident(), Barrier(2)

    def failing(fails_here, part):
        barrier.wait(timeout=60)
        if (get_ident() == here) == fails_here:
            raise error("no")
        return 1

    for fails_here in (True, False):
        with pytest.raises(error, match="no"):
            threads.run(failing, 2, fails_here, threads=2)
    assert threads.run(lambda part: 1, 5, threads=2) == 5


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_threads_stop_after_an_exception(own_threads, error):
    """The caller may then free the memory."""
    here, barrier, begun, ended = get_ident(), Barrier(2), [], []

    def failing_here(part):
        if part < 2:
            barrier.wait(timeout=60)
        if get_ident() == here:
            raise error("no")
        begun.append(part)
        time.sleep(0.05)
        ended.append(part)
        return 1

    with pytest.raises(error, match="no"):
        threads.run(failing_here, 1000, threads=2)
    count = len(begun)
    assert count == len(ended) < 999
    time.sleep(0.2)
    assert len(begun) == count


@pytest.mark.parametrize("kind", ["own_threads", "torchs_threads"])
def test_every_part_is_done_once(request, kind):
    request.getfixturevalue(kind)
    for parts in (1, 2, 3, 1000):
        done = np.zeros(parts, np.int64)
        assert threads.run(COUNT, parts, done, threads=2) == parts * (parts - 1) // 2
        assert (done == 1).all()


def count(done, part):
    done[part] += 1
    return part


COUNT = kernel(count)


def test_a_late_team_is_not_used_for_a_while(torchs_threads, monkeypatch):
    """It is late if one of its threads was idle long before the other finished, twice in a row."""
    monkeypatch.setattr(threads, "pool", POOL)
    monkeypatch.setattr(threads, "LATE", 0.001)
    clock = SimpleNamespace(now=100.0, teams=0, late=0.0)

    class Slow:
        def __call__(self, part):
            return 1

        def among(self, team, *arguments):
            clock.teams += 1
            team.begun, team.done, team.ended = 7.0, 7.001, 7.001 + clock.late
            return team.parts

    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    punctual, late = 0.0005, 0.01
    for lateness, passes, teams in (
        (late, 0, 1),
        (punctual, 0, 2),
        (late, 0, 3),
        (late, 0, 4),  # the second in a row
        (punctual, 0.5, 4),
        (late, 0.6, 5),  # tried again, and still late
        (punctual, 0.5, 5),
        (punctual, 0.6, 6),
        (punctual, 0, 7),
    ):
        clock.late, clock.now = lateness, clock.now + passes
        assert threads.run(Slow(), 3, threads=2) == 3
        assert clock.teams == teams


def test_openmp_is_not_used_after_a_fork(monkeypatch):
    monkeypatch.setattr(threads, "_process", -1)
    threads.openmp.cache_clear()
    assert threads.openmp() is None
    threads.openmp.cache_clear()


AFTER_A_FORK = """
import os, signal, torch
torch.set_num_threads(2)
ones = torch.ones(1 << 21)
ones + ones  # torch's threads start, and the child will not have them
child = os.fork()
if child == 0:
    signal.alarm(60)
    import numpy as np
    from surefoot.engines import cpu
    sums = cpu.merge(np.arange(20000) % 100, np.ones((20000, 64), np.float32), 100)[1]
    os._exit(0 if (sums == 200).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a process was forked")
def test_openmp_is_not_used_when_imported_after_a_fork():
    pytest.importorskip("torch")
    subprocess.run([sys.executable, "-W", "ignore", "-c", AFTER_A_FORK], check=True, timeout=120)


def test_torchs_threads_are_as_many_as_set(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert threads.get_threads() == 7


def test_the_pool_releases_its_arguments(monkeypatch):
    """Its threads hold on to their last call until the next one."""
    given = []

    class Recording:
        def __init__(self, workers):
            self.pool = POOL(workers)

        def submit(self, function, *arguments):
            given.append(arguments)
            return self.pool.submit(function, *arguments)

    monkeypatch.setattr(threads, "pool", Recording)
    monkeypatch.setattr(threads, "loaded_torch", lambda: None)
    assert threads.run(lambda array, part: int(array[part]), 3, np.arange(3), threads=3) == 3
    assert len(given) == 2
    assert not any(array for _, array, _ in given)
