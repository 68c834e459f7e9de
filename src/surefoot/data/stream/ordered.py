"""Work on a sequence in several threads, with results in the order of the sequence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AWAKE = 0.5
"""Seconds after which a wait is looked up from: a signal that comes just before it would not end it."""
AHEAD = 2
"""Results for each thread that may wait for their turn: a consumer that pauses for a moment holds up no thread."""


def in_order(items: Iterator[Item], work: Callable[[Item], Result], threads: int) -> Generator[Result, None, None]:
    """The results of `work` for all items, in order; an error of either is raised in its place.

    With more than one thread, they take items, one at a time, and work on them side by side, a bounded number ahead of
    the consumer: all of them while it waits, and one less while it is at work itself. They end with the iterator, or
    when it is closed.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="surefoot-read")
    turn = _Turn(items, work, AHEAD * threads)
    running: set[Future] = set()

    def begin(task: Callable[[], object]) -> None:
        future = pool.submit(task)
        running.add(future)
        future.add_done_callback(lambda _: turn.news.set())

    try:
        while True:
            turn.news.clear()
            running -= {future for future in running if future.done()}
            while turn.has_room and len(running) < threads - 1:
                begin(turn.take_many)
            if turn.due in turn.results:
                result, error = turn.results.pop(turn.due)
                if error is not None:
                    raise error
                yield result  # pyright: ignore[reportReturnType]
                turn.due += 1
            elif turn.has_room and len(running) < threads:
                begin(turn.take)
            elif running:
                turn.news.wait(AWAKE)
            else:
                return
    finally:
        # Waits for no thread and takes no lock: the garbage collector may run this in any of them.
        turn.closed = True
        pool.shutdown(wait=False, cancel_futures=True)


class _Turn(Generic[Item, Result]):
    """Hands out items under a lock, so that their numbers are their places in the sequence."""

    def __init__(self, items: Iterator[Item], work: Callable[[Item], Result], room: int):
        self.items, self.work, self.room = items, work, room
        self.lock, self.news = threading.Lock(), threading.Event()
        self.results: dict[int, tuple[Result | None, BaseException | None]] = {}
        self.taken = self.due = 0
        self.closed = False

    @property
    def has_room(self) -> bool:
        """Whether another item may be taken."""
        return not self.closed and self.taken - self.due < self.room

    def take_many(self) -> None:
        """Works on items while there is room for their results."""
        while self.take():
            pass

    def take(self) -> bool:
        """Works on the next item; returns whether there was one."""
        with self.lock:
            if not self.has_room:
                return False
            number = self.taken
            try:
                item = next(self.items)
            except StopIteration:
                self.closed = True
                return False
            except BaseException as error:
                self.closed = True
                self.results[number] = None, error
                return False
            self.taken += 1
        try:
            self.results[number] = self.work(item), None
        except BaseException as error:
            self.results[number] = None, error
        self.news.set()
        return True
