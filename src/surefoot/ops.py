"""The operations a rule may use, for plain floats; every engine rebinds `ops` to its own namespace of the same names.

`bind` makes the copy of a rule in which `ops` means something else: for NumPy records.functions.ARRAY_OPS, for Numba
engines.cpu.numba_ops, for Triton engines.gpu.triton_ops, for torch engines.torch.TORCH_OPS.
"""

import builtins
import math
import types

NAMES = ("sqrt", "where", "abs", "maximum", "minimum", "exp", "log", "power")

sqrt = math.sqrt
exp = math.exp
log = math.log
abs = abs


def where(condition, a, b):
    return a if condition else b


def maximum(a, b):
    return a if a > b or a != a else b


def minimum(a, b):
    return a if a < b or a != a else b


def power(base, k):
    """base to the whole number k ≥ 1 by repeated squaring: the same roundings, so the same bits, in every engine."""
    result = base
    k -= 1
    while k > 0:
        if k & 1:
            result = result * base
        base = base * base
        k >>= 1
    return result


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
