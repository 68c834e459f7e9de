"""One dense step of many parameters in one call of a kernel, which finds them by their addresses."""

import functools
from typing import NamedTuple

import numpy as np

from surefoot.engines import threads
from surefoot.engines.cpu.compiling import Kind, specialise
from surefoot.engines.step import ARITHMETIC, Step, rounding_key

CHUNK = 1 << 17
"""Coordinates of a parameter that one thread steps before it looks for more work."""


class Storage(NamedTuple):
    """The types in which a parameter (and its gradient) and its memory are stored."""

    x: str
    slots: tuple[str, ...]


def many(step: Step, storage: Storage, addresses: np.ndarray, sizes: np.ndarray, t: int) -> np.ndarray:
    """Steps parameters whose coordinates lie close together and in one order; each coordinate has its own rate.

    Args:
        step: the settings; granularity "coordinate", without clip_norm.
        storage: how all of them are stored.
        addresses: (k, 2 + slots), int64: where each parameter, its gradient and its slots begin.
        sizes: (k,), int64: how many coordinates each has.
        t: the number of the step.

    Returns:
        (k,), int64: how many coordinates of each were left as they were.
    """
    kind = Kind(
        ARITHMETIC[storage.x],
        adjusts=step.adjusts,
        decays=step.decays,
        shrinks=step.shrinks,
        propagate=step.nonfinite == "propagate",
    )
    f = np.dtype(kind.dtype).type
    coefficients = tuple(map(f, step.coefficients(t)))
    around = () if kind.plain else tuple(map(f, step.around(t)))
    like = [sample(name) for name in (storage.x, *storage.slots)]
    owner, places, addresses, sizes = cut(addresses, sizes, [like[0].itemsize, *(a.itemsize for a in like)])
    skipped = np.zeros(len(sizes), np.int64)
    key = np.uint32(rounding_key(step.stochastic_rounding, t))
    kernel = specialise("many", step.rule, kind)

    def task(first, last):
        return kernel(
            addresses, sizes, places, like[0], tuple(like[1:]), skipped, first, last, coefficients, around, key
        )

    total = int(sizes.sum())
    edges = [e for _, e in threads.pieces(total, len(sizes), step.threads)]
    threads.run([functools.partial(task, b, e) for b, e in zip([0, *edges[:-1]], edges, strict=True)], step.threads)
    return skipped if owner is None else np.bincount(owner, skipped).astype(np.int64)


def sample(name: str) -> np.ndarray:
    """An array that tells a kernel the type of what lies at an address."""
    return np.empty((1, 0), {"bfloat16": np.uint16, "float16": np.int16}.get(name, name))


def cut(addresses: np.ndarray, sizes: np.ndarray, widths: list[int]):
    """Parameters cut into chunks: whose each is (None if none was cut), where in it it begins, addresses and sizes."""
    if sizes.max() <= CHUNK:
        return None, np.zeros_like(sizes), addresses, sizes
    count = np.maximum(1, -(-sizes // CHUNK))
    owner = np.repeat(np.arange(len(sizes)), count)
    places = CHUNK * (np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count))
    return owner, places, addresses[owner] + places[:, None] * widths, np.minimum(CHUNK, sizes[owner] - places)
