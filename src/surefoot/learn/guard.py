"""A lock that a learner has: others predict while it learns, each time by the model between two examples."""

from __future__ import annotations

import threading
from typing import Any


class Guard:
    """A lock, and what predicts under it; copies and pickles of what has one have one of their own.

    >>> import copy
    >>> guard = Guard()
    >>> with guard.lock:
    ...     copy.deepcopy(guard).lock is guard.lock
    False
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.scorer: Any = None  # a scoring.Scorer
        self.stepper: Any = None  # an online.Stepper

    def __reduce__(self) -> tuple:
        return Guard, ()
