"""Threads for kernels, which release the interpreter's lock: torch's own where torch is loaded, else a pool of ours."""

import contextlib
import ctypes
import functools
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from surefoot.native import Kernel, NoTeam, Team

SMALLEST = 1 << 18
"""Elements below which one thread is faster than two."""
PARTS = 16
"""Parts of the work for each thread, at most: threads that go through memory side by side are faster than far apart."""

FEW = 4
"""The same for rows that lie anywhere, where threads are never side by side."""

LATE = 0.001
"""Seconds that a team may take after its first thread is done, in addition to an eighth of its whole time."""
APART = 1.0
"""Seconds for which torch's threads are not used after two late teams in a row."""

FORKED = 0x40
"""Linux's flag of a process that was forked and has executed no other program since (PF_FORKNOEXEC)."""

_limit: int | None = None
_pool: tuple[int, int, ThreadPoolExecutor] | None = None
_process = os.getpid()
_crowded_until = 0.0
_was_late = False


def set_threads(count: int | None) -> None:
    """Limits how many threads a step uses.

    Args:
        count: None for SUREFOOT_NUM_THREADS if it is set, else the number that torch uses if it is loaded, else all
            processors.

    Raises:
        ValueError: if count is below 1.

    >>> set_threads(1)
    >>> get_threads()
    1
    >>> set_threads(None)
    """
    global _limit
    if count is not None and count < 1:
        raise ValueError(f"the number of threads must be at least 1, got {count!r}")
    _limit = count


def get_threads() -> int:
    """How many threads a large step uses."""
    if _limit is not None:
        return _limit
    if limit := limit_of_environment():
        return limit
    if torch := loaded_torch():
        return torch.get_num_threads()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def limit_of_environment() -> int:
    """The number in SUREFOOT_NUM_THREADS when it is first requested; 0 without one."""
    named = os.environ.get("SUREFOOT_NUM_THREADS", "")
    return int(named) if named.isdecimal() else 0


def edges(elements: int, units: int, threads: int | None, each: int = PARTS) -> np.ndarray:
    """Where consecutive parts of `units` of work begin and end, up to `each` a thread; one part where there is little.

    >>> edges(10, 7, 2)
    array([0, 7])
    """
    if elements < SMALLEST:
        return np.array([0, units])
    count = get_threads() if threads is None else threads
    count = min(each * count, 2 * elements // SMALLEST, units) if count > 1 else 1
    return np.array([units * k // count for k in range(count + 1)])


def run(kernel: Kernel, parts: int, *arguments: Any, threads: int | None = None) -> int:
    """Calls kernel(*arguments, part) for every part, in this thread and others; returns the sum of what it returns.

    Each thread takes the next part when it is done with one: a thread that the system keeps waiting holds up few.
    """
    count = 1 if parts == 1 else get_threads() if threads is None else threads
    workers = min(count, parts)
    if workers < 2:
        return drain(kernel, arguments, iter(range(parts)))
    torch, alone = loaded_torch(), time.perf_counter() >= _crowded_until
    # A team of another size would be created again, for us and then for torch.
    if torch and alone and count == torch.get_num_threads() and (found := openmp()):
        with contextlib.suppress(NoTeam):
            return run_in_team(Team(*found, count, parts), kernel, arguments)
    rest, others = iter(range(parts)), []
    shared = list(arguments)  # emptied at the end: a thread may hold on to what it was given until it is given more
    try:
        for _ in range(workers - 1):
            others.append(pool(workers - 1).submit(drain, kernel, shared, rest))
        total = drain(kernel, shared, rest)
        return total + sum(other.result() for other in others if not other.cancel())
    finally:
        # After an interrupt no thread may write to memory that the caller is about to release.
        for _ in rest:
            pass
        wait([other for other in others if not other.cancel()])
        shared.clear()


def drain(kernel: Kernel, arguments: Sequence, parts: Iterator[int]) -> int:
    return sum(kernel(*arguments, part) for part in parts)


# Our own threads


def pool(workers: int) -> ThreadPoolExecutor:
    """The pool, created again after a fork (threads do not survive it) or for more workers."""
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < workers:
        _pool = (os.getpid(), workers, ThreadPoolExecutor(workers, thread_name_prefix="surefoot"))
    return _pool[2]


# torch's threads. They belong to OpenMP, and after each of torch's operations they look out for the next one for about
# a millisecond, without sleeping: threads of ours would have to wait until they give up their core. (With two cores, a
# step of 26 tables takes 1.4 ms in torch's team and 1.8 in our pool.) But where another program wants a core too, a
# team is late: it ends when each of its threads has had its turn, with work or without. (Next to one busy process, the
# same step takes 26 ms in a team, and 2.2 ms where late teams are left alone for a while.)


def loaded_torch() -> Any:
    """torch, once it is imported whole."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


@functools.cache
def openmp() -> tuple[int, int] | None:
    """Where two functions of the OpenMP library that torch has loaded are: `GOMP_parallel`, which calls a function in
    every thread of its team, and its clock."""
    # OpenMP does not survive a fork, be it one before this module was imported.
    if os.getpid() != _process or was_forked() or not hasattr(os, "RTLD_NOLOAD"):
        return None
    libraries = pathlib.Path(loaded_torch().__file__).parent.glob("lib/lib*omp*")
    for library in [*map(str, libraries), "libgomp.so.1"]:
        with contextlib.suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(library, os.RTLD_NOLOAD | os.RTLD_NOW)
            return address_of(loaded.GOMP_parallel), address_of(loaded.omp_get_wtime)
    return None


def was_forked() -> bool:
    """Whether this process was forked from another and still runs its program, as far as Linux reports."""
    try:
        flags = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6]
        return bool(int(flags) & FORKED)
    except (OSError, ValueError, IndexError):
        return False


def address_of(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def run_in_team(team: Team, kernel: Kernel, arguments: tuple) -> int:
    global _crowded_until, _was_late
    total = kernel.among(team, *arguments, 0)
    late = team.ended - team.done > LATE + (team.ended - team.begun) / 8
    if late and _was_late:  # once may be by chance
        _crowded_until = time.perf_counter() + APART
    _was_late = late
    return total


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=openmp.cache_clear)
