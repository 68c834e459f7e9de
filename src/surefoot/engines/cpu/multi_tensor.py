"""One step of many parameters in one call of a kernel, which finds them by their addresses."""

import bisect
import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from surefoot import threads
from surefoot.engines.cpu.arguments import WaitingTables, Workspace
from surefoot.engines.cpu.kind import Kind, kind_of, numbers_of_steps, wide, workspaces
from surefoot.engines.cpu.layout import COUNTS
from surefoot.engines.cpu.specialize import engine_fingerprint, specialize
from surefoot.engines.numerics import BLOCK
from surefoot.engines.settings import Settings
from surefoot.native import Kernel

CHUNK = 1 << 17
"""Coordinates of a parameter that one thread steps before it looks for more work."""
EFFORT = 16
"""Coordinates that are stepped in the time in which one id is sorted."""


class Storage(NamedTuple):
    """The types in which a parameter (and its gradient) and its memory are stored."""

    x: str
    slots: tuple[str, ...]


class MultiTensor:
    """Steps of the same parameters, whose coordinates lie close together; each coordinate has its own rate.

    Args:
        steps: the settings of each, which differ at most in the learning rate; granularity "coordinate", without
            statistics.
        storage: how all of them are stored.
        sizes: (k,), int64: how many coordinates each has.
    """

    def __init__(self, steps: Sequence[Settings], storage: Storage, sizes: np.ndarray):
        self.settings, self.of = distinct(steps)
        self.kind = kind_of(steps[0], storage.x)
        self.threads, self.kernel = steps[0].threads, specialize("many", self.kind)
        self.like = [sample(name) for name in (storage.x, *storage.slots)]
        widths = np.array([self.like[0].itemsize, *(array.itemsize for array in self.like)])
        # Large parameters are cut into chunks, so that threads share them.
        chunks = np.maximum(1, -(-sizes // CHUNK))
        self.owner = None if sizes.max() <= CHUNK else np.repeat(np.arange(len(sizes)), chunks)
        self.of = self.of if self.owner is None else self.of[self.owner]
        first = np.repeat(np.cumsum(chunks) - chunks, chunks)
        self.places = CHUNK * (np.arange(len(first)) - first)
        self.offsets = self.places[:, None] * widths
        self.sizes = np.minimum(CHUNK, np.repeat(sizes, chunks) - self.places)
        self.total = int(sizes.sum())

    def run(self, addresses: np.ndarray, steps: np.ndarray) -> np.ndarray | None:
        """Takes a step.

        Args:
            addresses: (k, 2 + slots), int64: where each parameter, its gradient and its slots begin.
            steps: (k,): the number of each parameter's step; 0 where it takes none.

        Returns:
            (k,), int64: how many coordinates of each were skipped; None where none was.
        """
        (x, *slots), sizes = self.like, self.sizes
        if self.owner is not None:
            addresses, steps = addresses[self.owner] + self.offsets, steps[self.owner]
        if not (taken := steps > 0).all():
            sizes = sizes * taken
        skipped = np.zeros(len(self.sizes), np.int64)
        edges = threads.edges(self.total, len(self.sizes), self.threads)
        arguments = (
            addresses,
            sizes,
            self.places,
            x,
            tuple(slots),
            skipped,
            *numbers_of_steps(self.kind, self.settings, self.of, steps),
            np.empty(0, self.kind.dtype),
            edges,
        )
        if not threads.run(self.kernel, len(edges) - 1, *arguments, threads=self.threads):
            return None
        return skipped if self.owner is None else np.bincount(self.owner, skipped).astype(np.int64)


def distinct(steps: Sequence[Settings]) -> tuple[list[Settings], np.ndarray]:
    """The different ones of these settings, and which of them each one is, int64."""
    numbers: dict[Settings, int] = {}
    of = np.array([numbers.setdefault(step, len(numbers)) for step in steps])
    return list(numbers), of


class Sorted(NamedTuple):
    """The ids of the sparse gradients of tables, in the order of their rows.

    Attributes:
        found: (k, 2), int64: for each table, how many ids its gradient names, and where its part of `order` begins.
        order: what `sort_ids` gives, of one table behind the other.
    """

    found: np.ndarray
    order: np.ndarray


class MultiTable:
    """Steps of the same parameters along sparse gradients; coordinates or rows have their own rates.

    Args:
        steps: the settings of each, which differ at most in the learning rate; local.
        storage: how all of them are stored.
        shapes: (k, 2), int64: how many rows each has, and how many coordinates a row.
    """

    def __init__(self, steps: Sequence[Settings], storage: Storage, shapes: np.ndarray):
        (self.settings, self.of), step = distinct(steps), steps[0]
        self.kind, self.threads, self.shapes = kind_of(step, storage.x, step.catches_up), step.threads, shapes
        self.kernel = specialize("tables", self.kind)
        self.like = sample(storage.x)
        self.slots_like = tuple(
            sample(name)[0] if shares else sample(name) for name, shares in zip(storage.slots, step.shares, strict=True)
        )
        self.heights, self.widest = shapes[:, 0].copy(), int(shapes[:, 1].max())

    def sort(self, ids_at: list[int], counts: list[int]) -> Sorted | None:
        """Sorts the ids of all tables; None where one is out of range.

        Args:
            ids_at: where the ids of each begin, int64.
            counts: how many there are.
        """
        return sorted_tables(ids_at, counts, self.heights, self.kind.dtype, self.threads)

    def run(
        self, addresses: np.ndarray, gradient: Sorted, steps: np.ndarray, waiting: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Takes a step.

        Args:
            addresses: (k, 2 + slots), int64: where each parameter, its gradient's values and its slots begin.
            gradient: from sort.
            steps: (k,): the number of each parameter's step; 0 where it takes none.
            waiting: (k, 4), int64, where rows catch up: see `WaitingTables`.

        Returns:
            (k,), int64: how many coordinates of each were skipped; None where none was.
        """
        (found, order), dtype = gradient, self.kind.dtype
        edges = threads.edges(len(order) * self.widest, len(order), self.threads, each=threads.FEW)
        parts = len(edges) - 1
        skipped = np.zeros((parts, len(found)), np.int64)
        numbers, which = numbers_of_steps(self.kind, self.settings, self.of, steps)
        work = Workspace(workspaces(parts, self.widest, dtype), workspaces(parts, BLOCK, dtype))
        empty = np.empty(0, dtype)
        arguments = addresses, self.shapes, found, self.like, self.slots_like, order, numbers, which, work
        waits = empty if waiting is None else self._waiting(waiting, steps, parts)
        total = threads.run(self.kernel, parts, *arguments, waits, empty, skipped, edges, threads=self.threads)
        return skipped.sum(0) if total else None

    def _waiting(self, places: np.ndarray, steps: np.ndarray, parts: int) -> WaitingTables:
        room = wide(parts, self.widest, self.like, self.slots_like)
        likes = np.empty(0, np.int64), np.empty((1, 0), np.int64), np.empty((1, 0), self.kind.dtype)
        return WaitingTables(places, steps, *likes, *room)


def sorted_tables(
    ids_at: list[int], counts: list[int], heights: np.ndarray, dtype: str, limit: int | None = None
) -> Sorted | None:
    """Sorts the ids of several tables; None where one is out of range.

    Args:
        ids_at: where the ids of each begin, int64.
        counts: how many there are.
        heights: (k,), int64: how many rows each table has.
        dtype: that of steps, as in their kernels.
        limit: the number of threads, if it is limited.
    """
    ends = list(itertools.accumulate(counts))
    size = ends[-1]
    found = np.array([(count, end - count) for count, end in zip(counts, ends, strict=True)])
    order = np.empty((2, size), np.uint64)
    cuts = threads.edges(EFFORT * size, size, limit, each=threads.FEW)[1:-1] if len(ends) > 1 else ()
    edges = np.array(sorted({0, *(bisect.bisect(ends, cut) for cut in cuts), len(ends)}))
    work = np.empty((len(edges) - 1, *COUNTS), np.uint64)
    arguments = np.array(ids_at), heights, found, np.empty(0, np.int64), *order, work, edges
    kernel = specialize("sort_tables", Kind(dtype))
    return None if threads.run(kernel, len(work), *arguments, threads=limit) else Sorted(found, order[0])


def read(addresses: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The numbers that lie at these addresses, each stored as `like` (one row) is."""
    values = np.empty(len(addresses), like.dtype)
    at_addresses("read")(addresses, like, values)
    return values


def count(addresses: np.ndarray, like: np.ndarray) -> None:
    """Adds one to each of the numbers that lie at these addresses."""
    at_addresses("count")(addresses, like)


@functools.cache
def at_addresses(name: str) -> Kernel:
    """A function of `addresses`."""
    name_of_kernel = f"{name}__{engine_fingerprint()}"

    def compiled(arguments):
        from surefoot.engines.cpu import addresses
        from surefoot.native.codegen import emit, jitted

        return emit(jitted(getattr(addresses, name)), arguments, name_of_kernel)

    return Kernel(name_of_kernel, compiled)


def sample(name: str) -> np.ndarray:
    """An array that tells a kernel the type of what lies at an address."""
    return np.empty((1, 0), {"bfloat16": np.uint16, "float16": np.int16}.get(name, name))
