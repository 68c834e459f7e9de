"""`ops` for Triton: the names of `surefoot.ops`, rounded as IEEE 754 says. (Its own `sqrt` and `/` are approximate.)"""

import triton.language as tl


def sqrt(x):
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


def divide(a, b):
    """What `/` means in a rule."""
    if a.dtype == tl.float64 or b.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


def negative(x):
    """What `-` means in a rule before a number. (Triton's is 0 − x, which makes 0 of 0, where −0 is meant.)"""
    return x * -1.0


def where(condition, a, b):
    return tl.where(condition, a, b)


def abs(x):
    return tl.abs(x)


def maximum(a, b):
    return tl.where((a > b) | (a != a), a, b)


def minimum(a, b):
    return tl.where((a < b) | (a != a), a, b)


def exp(x):
    return tl.exp(x)


def log(x):
    return tl.log(x)


def power(base, k):
    """base to the whole number k ≥ 1, a scalar, by repeated squaring."""
    result = base
    k = tl.cast(k, tl.int64) - 1  # a literal is a float
    while k > 0:
        result = tl.where(k % 2 == 1, result * base, result)
        base = base * base
        k = k // 2
    return result
