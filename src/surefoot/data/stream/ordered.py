"""Work on a sequence in several threads, with results in the order of the sequence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AWAKE = 0.5
"""Seconds after which a wait is looked up from: a signal that comes just before it would not end it."""
AHEAD = 2
"""Results for each thread that may wait for their turn: a consumer that pauses for a moment holds up no thread."""


def in_order(items: Iterator[Item], work: Callable[[Item], Result], threads: int) -> Generator[Result, None, None]:
    """The results of `work` for all items, in order; an error of either is raised in its place.

    With more than one thread, all of them take items, one at a time, and work on them side by side, a bounded number
    ahead of the consumer, whose own thread is one of them while the next result is not there yet. The others end with
    the iterator, or when it is closed.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="surefoot-read")
    turn, begun, due = _Turn(items, work), 0, 0
    running: set[Future[None]] = set()
    try:
        while True:
            for future in [future for future in running if future.done()]:
                running.remove(future)
                future.result()
            while not turn.closed and begun - due < AHEAD * threads:
                running.add(pool.submit(turn.take))
                begun += 1
            if due in turn.results:
                result, error = turn.results.pop(due)
                if error is not None:
                    raise error
                yield result  # pyright: ignore[reportReturnType]
                due += 1
            elif not turn.closed and begun - due == AHEAD * threads:
                begun += 1
                turn.take()
            elif running:
                wait(running, AWAKE, FIRST_COMPLETED)
            else:
                return
    finally:
        # Nobody is waited for, and no lock taken: the collector of garbage may come here in any thread.
        turn.closed = True
        pool.shutdown(wait=False, cancel_futures=True)


class _Turn(Generic[Item, Result]):
    """Hands out items under a lock, so that their numbers are their places in the sequence."""

    def __init__(self, items: Iterator[Item], work: Callable[[Item], Result]):
        self.items, self.work = enumerate(items), work
        self.lock = threading.Lock()
        self.results: dict[int, tuple[Result | None, Exception | None]] = {}
        self.failed_at = 0
        self.closed = False

    def take(self) -> None:
        """Works on the next item, if there is one. What is no Exception, such as an interrupt, is raised at once."""
        with self.lock:
            if self.closed:
                return
            try:
                number, item = next(self.items)
            except StopIteration:
                self.closed = True
                return
            except Exception as error:
                self.closed = True
                self.results[self.failed_at] = None, error
                return
            self.failed_at = number + 1
        try:
            self.results[number] = self.work(item), None
        except Exception as error:
            self.results[number] = None, error
