"""The libraries of arrays that the eager engine runs on: how tests make arrays of them and read them back."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from surefoot import ops
from surefoot.engines.eager import Namespace


def merge(ids, values):
    named, place = np.unique(ids, return_inverse=True)
    totals = np.zeros((len(named), *values.shape[1:]), values.dtype)
    np.add.at(totals, place, values)
    return named, totals


def put(table, ids, rows):
    table = table.copy()
    table[ids] = rows
    return table


NUMPY = Namespace(
    ops=ops.ARRAY_OPS,
    isfinite=np.isfinite,
    decode=lambda stored: stored,
    cast=lambda values, like: np.asarray(values, like.dtype),
    number=lambda number, like: like.dtype.type(number),
    total=lambda values, axis: np.sum(values, axis, dtype=np.float64),
    largest=lambda values, axis: np.max(values, axis, initial=-np.inf),
    merge=merge,
    put=put,
)
"""A third library, of which the engine's files know nothing."""


@dataclass(frozen=True)
class Library:
    """A library: its namespace, the array of one of NumPy, and what has to be set for float64."""

    namespace: Callable[[], Namespace]
    array: Callable[[np.ndarray], Any]
    float64: Callable[[], Any] = contextlib.nullcontext


def torchs() -> Namespace:
    pytest.importorskip("torch", reason="torch is not installed")
    return importlib.import_module("surefoot.engines.namespaces.torch").TORCH


def jaxs() -> Namespace:
    pytest.importorskip("jax", reason="JAX is not installed")
    return importlib.import_module("surefoot.engines.namespaces.jax").JAX


def float64():
    """JAX with float64, for as long as this is entered."""
    jax = importlib.import_module("jax")
    return jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()


LIBRARIES = {
    "numpy": Library(lambda: NUMPY, lambda x: x),
    "torch": Library(torchs, lambda x: importlib.import_module("torch").from_numpy(x.copy())),
    "jax": Library(
        jaxs,
        lambda x: importlib.import_module("jax.numpy").asarray(x),
        float64,
    ),
}

SHAPES = {"one number": (), "none": (0,), "one": (1,), "no rows": (0, 3), "no columns": (3, 0), "table": (7, 5)}
"""Parameters that are awkward, and a table."""


def tree(make: Callable[[tuple[int, ...]], Any]) -> dict[str, Any]:
    """An array of each shape."""
    return {name: make(shape) for name, shape in SHAPES.items()}
