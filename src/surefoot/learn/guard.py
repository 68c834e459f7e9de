"""A lock that a learner has: others predict while it learns, each time by the model between two examples."""

from __future__ import annotations

import threading


class Guard:
    """A lock; copies and pickles of what has one have one of their own.

    >>> import copy
    >>> guard = Guard()
    >>> with guard.lock:
    ...     copy.deepcopy(guard).lock is guard.lock
    False
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple:
        return Guard, ()
