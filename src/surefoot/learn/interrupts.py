"""Ctrl-C that waits for the end of a section that must not be interrupted."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.1
"""Seconds after which an interrupt is raised again, in case it was lost."""


@contextmanager
def deferred_interrupts() -> Iterator[Any]:
    """Yields a context at whose end a Ctrl-C within it is raised.

    Outside of that context, but within this one, Ctrl-C raises KeyboardInterrupt as usual.
    """
    deferred = Deferral()
    if threading.current_thread() is not threading.main_thread():
        yield deferred
        return
    before = signal.signal(signal.SIGINT, deferred.interrupt)
    try:
        yield deferred
    finally:
        deferred.end()
        signal.signal(signal.SIGINT, before)


class Deferral:
    """Holds an interrupt back until the end of a context."""

    def __init__(self) -> None:
        self.inside = self.waiting = False
        self.again: threading.Timer | None = None

    def interrupt(self, *_: Any) -> None:
        self.waiting = True
        if not self.inside:
            # Python drops an exception that is raised in a finalizer; raise it again in that case.
            self.again = threading.Timer(AGAIN, interrupt_main_thread)
            self.again.start()
            raise KeyboardInterrupt

    def end(self) -> None:
        """Stops raising interrupts."""
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
    """Interrupts the main thread as Ctrl-C does, even in a blocking call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
