"""Ctrl-C that waits until what must not be interrupted is done."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.1
"""Seconds until an interrupt that was lost comes again."""


@contextmanager
def deferred_interrupts() -> Iterator[Any]:
    """Gives a context within which Ctrl-C waits for its end.

    Outside of that context, but within this one, it raises KeyboardInterrupt as ever.
    """
    calm = Calm()
    if threading.current_thread() is not threading.main_thread():
        yield calm
        return
    before = signal.signal(signal.SIGINT, calm.interrupt)
    try:
        yield calm
    finally:
        calm.end()
        signal.signal(signal.SIGINT, before)


class Calm:
    """Keeps an interrupt until the end of a context."""

    def __init__(self) -> None:
        self.inside = self.waiting = False
        self.again: threading.Timer | None = None

    def interrupt(self, *_: Any) -> None:
        self.waiting = True
        if not self.inside:
            # Python drops what is raised where it happens to clear something away: then this comes again.
            self.again = threading.Timer(AGAIN, interrupt_main_thread)
            self.again.start()
            raise KeyboardInterrupt

    def end(self) -> None:
        """From now on, nothing is raised."""
        self.inside = True
        if self.again is not None:
            self.again.cancel()
            self.again.join()

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, *_: object) -> None:
        self.inside = False
        if self.waiting:
            raise KeyboardInterrupt


def interrupt_main_thread() -> None:
    """As Ctrl-C does, also where the main thread waits for something."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
