"""The numbers that engines compute with: how they are stored, rounded and added up."""

import numpy as np

ARITHMETIC = {"float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32"}
"""The type in which each storage type is computed. bfloat16 arrays are uint16 to NumPy."""

STORAGE = {np.dtype("uint16" if name == "bfloat16" else name): name for name in ARITHMETIC}

BLOCK = 4096
"""Values that are added up before the sum is taken to the total; see `reference.total`."""
RUNNING_SUMS = 32
"""Sums in a block, each of every 32nd value."""


def storage_of(x: np.ndarray, name: str = "parameters") -> str:
    """The storage type of parameters: float64, float32, float16, or bfloat16 for uint16."""
    try:
        return STORAGE[x.dtype]
    except KeyError:
        expected = ", ".join(ARITHMETIC)
        raise ValueError(f"{name}: type {x.dtype} is not supported; expected {expected} (as uint16)") from None


def to_bfloat16(values) -> np.ndarray:
    """float32 to the nearest bfloat16, ties to even, as uint16.

    >>> to_bfloat16(np.float32([1.0, 1.00390625])).tolist()
    [16256, 16256]
    """
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), (bits >> np.uint32(16)) | np.uint32(0x40), rounded).astype(np.uint16)


def from_bfloat16(bits) -> np.ndarray:
    """bfloat16, as uint16, to float32: exact.

    >>> float(from_bfloat16(np.uint16(16256)))
    1.0
    """
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def decode(x: np.ndarray) -> np.ndarray:
    """The values of an array in the type they are computed in."""
    if x.dtype.char in "fd":
        return x
    if x.dtype == np.uint16:
        return from_bfloat16(x)
    return x.astype(ARITHMETIC[x.dtype.name], copy=False)


def encode(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Computed values in the storage type of `like`, rounded to nearest."""
    with np.errstate(over="ignore"):
        return to_bfloat16(values) if like.dtype == np.uint16 else values.astype(like.dtype, copy=False)


def rounding_key(seed: int | None, t: int) -> int:
    """A 32-bit number, never 0, that makes the random bits of step t; 0 where nothing is rounded at random."""
    if seed is None:
        return 0
    mixed = (seed * 0x9E3779B97F4A7C15 + t * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) & 0xFFFFFFFF) or 1
