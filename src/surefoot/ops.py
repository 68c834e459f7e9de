"""The operations that rules and losses may use, for numbers, NumPy arrays and JAX's.

`bind` makes the copy of a function in which `ops` means something else: for NumPy ARRAY_OPS, for Numba
engines.cpu.numba_ops, for Triton engines.gpu.triton_ops, for torch and JAX those of engines.namespaces.
"""

import builtins
import functools
import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np

NAMES = ("sqrt", "where", "abs", "maximum", "minimum", "exp", "log", "power")


def power(base, k):
    """base to the whole number k ≥ 1 by repeated squaring: the same roundings, so the same bits, in every engine."""
    result = base
    k = int(k) - 1  # a literal, which bind gives the dtype of the arithmetic, is a float
    while k > 0:
        if k & 1:
            result = result * base
        base = base * base
        k >>= 1
    return result


ARRAY_OPS = types.SimpleNamespace(
    sqrt=np.sqrt,
    where=np.where,
    abs=np.abs,
    maximum=np.maximum,
    minimum=np.minimum,
    exp=np.exp,
    log=np.log,
    power=power,
)
"""`ops` for NumPy arrays alone. `power` is ours in every engine, for equal bits."""


def library(*numbers) -> Any:
    """What has the functions for such numbers: NumPy for its own, jax.numpy for JAX's; None for Python's.

    Raises:
        TypeError: for other arrays, which math would read as numbers, and wait for on a device.
    """
    found = None
    for x in numbers:
        if isinstance(x, (np.ndarray, np.generic)):
            found = np
        elif hasattr(x, "__array_namespace__"):
            return x.__array_namespace__()
        elif hasattr(x, "__array__"):
            raise TypeError(f"surefoot.ops got a {type(x).__name__}; expected numbers, or arrays of NumPy or JAX")
    return found


def elementwise(scalar: Callable) -> Callable:
    """The function of Python's numbers, by the library of the arrays where it is called with arrays."""

    @functools.wraps(scalar)
    def either(*numbers):
        of = library(*numbers)
        return scalar(*numbers) if of is None else getattr(of, scalar.__name__)(*numbers)

    return either


def decomposition(name: str) -> Callable:
    """A function of `linalg` for stacks of matrices; NaN from NumPy, too, where they cannot be decomposed."""

    def decomposed(matrix, **options):
        of = library(matrix)
        try:
            return getattr(of.linalg, name)(matrix, **options)
        except np.linalg.LinAlgError:
            return tuple(part + np.nan for part in getattr(np.linalg, name)(np.zeros_like(matrix), **options))

    return decomposed


eigh = decomposition("eigh")
"""(eigenvalues, eigenvectors) of symmetric matrices, for rules of whole arrays."""
svd = decomposition("svd")
"""(U, singular values, Vᵀ) of matrices, for rules of whole arrays."""


def lookup(table: np.ndarray, k):
    """table[k], or its last entry where k is beyond; for coefficients, as engines have no tables.

    >>> lookup(np.array([1.0, 0.5]), np.array([0, 1, 7]))
    array([1. , 0.5, 0.5])
    """
    of = library(k) or np
    return of.take(of.asarray(table), k, mode="clip")


sqrt = elementwise(math.sqrt)
exp = elementwise(math.exp)
log = elementwise(math.log)
abs = elementwise(abs)


@elementwise
def where(condition, a, b):
    return a if condition else b


@elementwise
def maximum(a, b):
    return a if a > b or a != a else b


@elementwise
def minimum(a, b):
    return a if a < b or a != a else b


def bind(function, namespace, dtype=None):
    """A copy of `function` that finds `ops` in `namespace` and whose number literals have the type `dtype`.

    Typed literals keep float32 arithmetic in float32: where(g > 0, 1.0, 0.0) would be float64 to NumPy and to Numba.
    """
    code = function.__code__
    if dtype is not None:
        code = code.replace(co_consts=tuple(dtype(c) if type(c) in (int, float) else c for c in code.co_consts))
    names = {"ops": namespace, "__builtins__": builtins}  # torch asks the function that calls it for both
    bound = types.FunctionType(code, names, function.__name__, function.__defaults__)
    bound.__module__, bound.__qualname__ = function.__module__, function.__qualname__
    return bound
