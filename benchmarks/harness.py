"""What the benchmarks share: contenders timed in turn, ratios with their spread, and the bars they are held to."""

import contextlib
import gc
import importlib
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)

SHORTEST = 0.01
"""Seconds that one reading takes at least: shorter calls are repeated within it."""

SINGLE_CALLS = 5
"""Of which the shortest says how many fill a reading: one call may have been interrupted."""

WARM_CALLS, WARM_SECONDS = 32, 0.1
"""Calls, or seconds, before anything is timed: memory that was moved to huge pages is slow in the first few calls."""

PAUSE = 0.003
"""Seconds before every reading, in which the thread pool of the contender before goes to sleep."""


@dataclass(frozen=True)
class Times:
    """Seconds that a call took, one number for every round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    def __str__(self) -> str:
        return f"{duration(self.median)} (best {duration(self.best)})"


@dataclass(frozen=True)
class Figure:
    """What was measured: the median over rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        what: was measured.
        ours, peer: the two sides, as a person reads them; where something is missing, `peer` says what.
        figure: their ratio, or what else is held to the bar; None where something is missing.
        unit: of the figure: "×", "s" or "%".
        bar: what the figure must reach, or stay below with `at_most`; None where it is shown for information.
    """

    what: str
    ours: str
    peer: str
    figure: Figure | None = None
    unit: str = "×"
    bar: float | None = None
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """ "pass" or "short" of the bar, "missing" without a figure, empty without a bar."""
        if self.figure is None:
            return "missing"
        if self.bar is None:
            return ""
        reached = self.figure.median <= self.bar if self.at_most else self.figure.median >= self.bar
        return "pass" if reached else "short"


def installed(module: str) -> Any:
    """A module that may be missing: None then."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def race(
    contenders: Mapping[Name, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Name, Times]:
    """Times the contenders in turn, round after round, each round beginning with another one.

    Compilation and first touches of memory happen before, in calls that are not counted; garbage is collected between
    readings only.
    """
    names = list(contenders)
    calls = {name: enough_calls(contenders[name]) for name in names}
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    with no_garbage_collection():
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                gc.collect(0)
                time.sleep(PAUSE)
                seconds[name].append(reading(contenders[name], calls[name], clock))
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def enough_calls(call: Callable[[], object]) -> int:
    """How many calls fill a reading, found by warming up."""
    until = time.perf_counter() + WARM_SECONDS
    for _ in range(WARM_CALLS):
        call()
        if time.perf_counter() > until:
            break
    return max(1, round(SHORTEST / min(reading(call, 1) for _ in range(SINGLE_CALLS))))


def reading(call: Callable[[], object], calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per call."""
    begin = clock()
    for _ in range(calls):
        call()
    return (clock() - begin) / calls


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def times_as_fast(ours: Times, peer: Times, work: float = 1.0) -> Figure:
    """How many times as fast as the peer, round by round; `work` is what our call does for each unit of the peer's."""
    return Figure.of([work * b / a for a, b in zip(ours.seconds, peer.seconds, strict=True)])


def duration(seconds: float) -> str:
    """Seconds as people read them.

    >>> duration(0.0123), duration(3.2e-5)
    ('12.3 ms', '32 µs')
    """
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(2_097_152), size(640)
    ('2.1 MB', '640 B')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.2g} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"
