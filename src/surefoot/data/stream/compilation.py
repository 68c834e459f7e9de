"""Tells when kernels are compiled, which happens once on a machine and takes some seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def compilation(begun: Callable[[], None], ended: Callable[[float], None]) -> Iterator[None]:
    """Within it, calls `begun` before the first kernel is compiled, in whatever thread, and `ended` on leaving.

    Kernels that an earlier process compiled are loaded, which is no compilation; then neither is called.

    Args:
        begun: called at most once.
        ended: called with the seconds that compilation took, if there was any.

    >>> with compilation(lambda: print("compiling kernels, once on this machine"), lambda seconds: None):
    ...     pass
    """
    from numba.core import event

    class Watch(event.Listener):
        depth, since, seconds = 0, 0.0, 0.0

        def on_start(self, event):
            if self.depth == 0:
                self.since = time.perf_counter()
                if self.seconds == 0:
                    begun()
            self.depth += 1

        def on_end(self, event):
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - self.since

    watch = Watch()
    with event.install_listener("numba:compile", watch):
        yield
    if watch.seconds:
        ended(watch.seconds)
