"""A pool of threads for kernels, which release the interpreter's lock."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

SMALLEST = 1 << 18
"""Elements below which one thread is faster than two."""
PIECES = 16
"""Pieces of work for each thread, at most: threads that go through memory side by side are faster than far apart."""

_limit: int | None = None
_pool: tuple[int, int, ThreadPoolExecutor] | None = None


def set_threads(count: int | None) -> None:
    """Limits how many threads a step uses; None for all processors, or SUREFOOT_NUM_THREADS where that is set.

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
    if len(tasks) == 1:
        return tasks[0]()
    workers = min(get_threads() if threads is None else threads, len(tasks))
    queue = deque(tasks)
    others = [pool(workers - 1).submit(drain, queue) for _ in range(workers - 1)]
    return drain(queue) + sum(other.result() for other in others)


def drain(queue: deque[Callable[[], int]]) -> int:
    total = 0
    while queue:
        try:
            task = queue.popleft()
        except IndexError:  # another thread took the last one
            break
        total += task()
    return total


def pool(workers: int) -> ThreadPoolExecutor:
    """The pool, made anew after a fork (threads do not survive it) or when more workers are asked for."""
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < workers:
        _pool = (os.getpid(), workers, ThreadPoolExecutor(workers, thread_name_prefix="surefoot"))
    return _pool[2]
