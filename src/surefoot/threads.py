"""Threads for kernels, which release the interpreter's lock: torch's own where torch is loaded, else a pool of ours."""

import ctypes
import functools
import itertools
import os
import pathlib
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

SMALLEST = 1 << 18
"""Elements below which one thread is faster than two."""
PIECES = 16
"""Pieces of work for each thread, at most: threads that go through memory side by side are faster than far apart."""

LATE = 0.001
"""Seconds for which a team may keep the thread waiting that is done, besides an eighth of all its time."""
APART = 1.0
"""Seconds for which torch's threads are left alone when a team was late."""

_limit: int | None = None
_pool: tuple[int, int, ThreadPoolExecutor] | None = None
_process = os.getpid()
_crowded_until = 0.0

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.py_object)


def set_threads(count: int | None) -> None:
    """Limits how many threads a step uses.

    Args:
        count: None for SUREFOOT_NUM_THREADS where that is set, else as many as torch uses where it is loaded, else all
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
    named = os.environ.get("SUREFOOT_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    if torch := loaded_torch():
        return torch.get_num_threads()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pieces(elements: int, units: int, threads: int | None, each: int = PIECES) -> list[tuple[int, int]]:
    """Cuts `units` of work into consecutive ranges, up to `each` a thread; a single range where the work is small."""
    if elements < SMALLEST:
        return [(0, units)]
    count = get_threads() if threads is None else threads
    count = min(each * count, 2 * elements // SMALLEST, units) if count > 1 else 1
    return list(itertools.pairwise(units * k // count for k in range(count + 1)))


def run(tasks: Sequence[Callable[[], int]], threads: int | None = None) -> int:
    """Runs the tasks, in this thread and others; returns the sum of what they return.

    Each thread takes the next task when it is done with one: a thread that the system keeps waiting holds up few.
    """
    count = get_threads() if threads is None else threads
    workers = min(count, len(tasks))
    if workers <= 1:
        return sum(task() for task in tasks)
    queue = deque(tasks)
    torch, alone = loaded_torch(), time.perf_counter() >= _crowded_until
    # A team of another size would be made anew, for us and then for torch.
    if torch and alone and count == torch.get_num_threads() and (parallel := openmp()):
        return drain_in_team(parallel, queue, count)
    others = [pool(workers - 1).submit(drain, queue) for _ in range(workers - 1)]
    total = drain(queue)
    return total + sum(other.result() for other in others if not other.cancel())


def drain(queue: deque[Callable[[], int]]) -> int:
    total = 0
    while queue:
        try:
            task = queue.popleft()
        except IndexError:  # another thread took the last one
            break
        total += task()
    return total


# Our own threads


def pool(workers: int) -> ThreadPoolExecutor:
    """The pool, made anew after a fork (threads do not survive it) or when more workers are asked for."""
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < workers:
        _pool = (os.getpid(), workers, ThreadPoolExecutor(workers, thread_name_prefix="surefoot"))
    return _pool[2]


# torch's threads. They belong to OpenMP, and after each of torch's operations they look out for the next one for about
# a millisecond, without sleeping: threads of ours would have to wait until they give up their core. But where another
# program wants a core too, a team is late: it ends when each of its threads has had its turn, with work or without.


def loaded_torch() -> Any:
    """torch, once it is imported whole."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


@functools.cache
def openmp() -> Callable | None:
    """`GOMP_parallel` of the OpenMP library that torch has loaded: it calls a function in every thread of its team."""
    # OpenMP does not survive a fork.
    if os.getpid() != _process or not hasattr(os, "RTLD_NOLOAD"):
        return None
    libraries = pathlib.Path(loaded_torch().__file__).parent.glob("lib/lib*omp*")
    for library in [*map(str, libraries), "libgomp.so.1"]:
        try:
            parallel = ctypes.CDLL(library, os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes = [FUNCTION, ctypes.py_object, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return parallel
    return None


class Team:
    """Tasks, and what came of them in each thread: a number or an exception."""

    def __init__(self, queue: deque[Callable[[], int]]):
        self.queue = queue
        self.results: dict[int, int | BaseException] = {}
        self.done: dict[int, float] = {}


def drain_in_team(parallel: Callable, queue: deque[Callable[[], int]], workers: int) -> int:
    global _crowded_until
    team, begin = Team(queue), time.perf_counter()
    parallel(drain_here, team, workers, 0)
    end = time.perf_counter()
    if end - team.done.get(get_ident(), end) > LATE + (end - begin) / 8:
        _crowded_until = end + APART
    # Where this thread's own result is missing, an interrupt came just before its first task.
    results = {get_ident(): KeyboardInterrupt()} | team.results
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
    return sum(results.values())  # pyright: ignore[reportArgumentType, reportCallIssue]


@FUNCTION
def drain_here(team: Team) -> None:
    """What each thread of a team does. An exception must not leave it: there is nobody to catch it."""
    try:
        team.results[get_ident()] = drain(team.queue)
    except BaseException as error:
        team.results[get_ident()] = error
    team.done[get_ident()] = time.perf_counter()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=openmp.cache_clear)
