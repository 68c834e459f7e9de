"""One dense step of many parameters in one call of a kernel, which finds them by their addresses."""

import functools
from typing import NamedTuple

import numpy as np

from surefoot import threads
from surefoot.engines.cpu.specialising import Kind, engine_fingerprint, specialise
from surefoot.engines.step import ARITHMETIC, Step, rounding_key
from surefoot.native import Kernel

CHUNK = 1 << 17
"""Coordinates of a parameter that one thread steps before it looks for more work."""


class Storage(NamedTuple):
    """The types in which a parameter (and its gradient) and its memory are stored."""

    x: str
    slots: tuple[str, ...]


class Many:
    """Steps of the same parameters, whose coordinates lie close together; each coordinate has its own rate.

    Args:
        step: the settings; granularity "coordinate", without clip_norm.
        storage: how all of them are stored.
        sizes: (k,), int64: how many coordinates each has.
    """

    def __init__(self, step: Step, storage: Storage, sizes: np.ndarray):
        self.kind = Kind(
            ARITHMETIC[storage.x],
            adjusts=step.adjusts,
            decays=step.decays,
            shrinks=step.shrinks,
            propagate=step.nonfinite == "propagate",
        )
        self.step, self.kernel = step, specialise("many", step.rule, self.kind)
        self.like = [sample(name) for name in (storage.x, *storage.slots)]
        widths = np.array([self.like[0].itemsize, *(array.itemsize for array in self.like)])
        # Large parameters are cut into chunks, so that threads share them.
        chunks = np.maximum(1, -(-sizes // CHUNK))
        self.owner = None if sizes.max() <= CHUNK else np.repeat(np.arange(len(sizes)), chunks)
        first = np.repeat(np.cumsum(chunks) - chunks, chunks)
        self.places = CHUNK * (np.arange(len(first)) - first)
        self.offsets = self.places[:, None] * widths
        self.sizes = np.minimum(CHUNK, np.repeat(sizes, chunks) - self.places)
        self.total = int(sizes.sum())

    def run(self, addresses: np.ndarray, t: int) -> np.ndarray:
        """Takes step t.

        Args:
            addresses: (k, 2 + slots), int64: where each parameter, its gradient and its slots begin.
            t: the number of the step.

        Returns:
            (k,), int64: how many coordinates of each were left as they were.
        """
        step, (x, *slots), f = self.step, self.like, np.dtype(self.kind.dtype).type
        numbers = tuple(map(f, step.coefficients(t))), () if self.kind.plain else tuple(map(f, step.around(t)))
        key = np.uint32(rounding_key(step.stochastic_rounding, t))
        if self.owner is not None:
            addresses = addresses[self.owner] + self.offsets
        skipped = np.zeros(len(self.sizes), np.int64)
        edges = threads.edges(self.total, len(self.sizes), step.threads)
        arguments = addresses, self.sizes, self.places, x, tuple(slots), skipped, *numbers, key, edges
        threads.run(self.kernel, len(edges) - 1, *arguments, threads=step.threads)
        return skipped if self.owner is None else np.bincount(self.owner, skipped).astype(np.int64)


def read(addresses: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The numbers that lie at these addresses, each stored as `like` is, an array of one row."""
    values = np.empty(len(addresses), like.dtype)
    at_addresses("read")(addresses, like, values)
    return values


def write(addresses: np.ndarray, like: np.ndarray, values: np.ndarray) -> None:
    """Writes a number to each of these addresses."""
    at_addresses("write")(addresses, like, values)


@functools.cache
def at_addresses(name: str) -> Kernel:
    """A function of `memory`."""

    def compiled(arguments):
        from surefoot.engines.cpu import memory
        from surefoot.native.emitting import emit, jitted

        return emit(jitted(getattr(memory, name)), arguments)

    return Kernel(f"{name}__{engine_fingerprint()}", compiled)


def sample(name: str) -> np.ndarray:
    """An array that tells a kernel the type of what lies at an address."""
    return np.empty((1, 0), {"bfloat16": np.uint16, "float16": np.int16}.get(name, name))
