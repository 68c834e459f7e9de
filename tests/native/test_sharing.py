"""Functions that several kernels are made of: compiled once, and only if they are the same."""

import numba
import numpy as np
import pytest
from support.numerics import assert_identical

from surefoot.native import Kernel, codegen
from surefoot.native.sharing import shared

# ruff: noqa: F821


def scaled(x):
    return x * FACTOR


def double(x):
    return SCALED(x) + SCALED(x)


def once(numbers, part):
    numbers[part] = SCALED(numbers[part])
    return part


def twice(numbers, part):
    numbers[part] = DOUBLE(numbers[part])
    return part


def jitted(function, **names):
    """A function with globals of its own, as each kernel has."""
    return codegen.jitted(type(function)(function.__code__, names, function.__name__))


def helper_of(kernel, name):
    return shared(kernel).py_func.__globals__[name]


def kernels(first: object, second: object):
    """Two kernels whose helpers multiply by these factors."""
    return (
        jitted(once, SCALED=jitted(scaled, FACTOR=first)),
        jitted(twice, DOUBLE=jitted(double, SCALED=jitted(scaled, FACTOR=second))),
    )


def helpers(first: object, second: object):
    one, two = kernels(first, second)
    return helper_of(one, "SCALED"), helper_of(helper_of(two, "DOUBLE"), "SCALED")


def test_the_same_code_with_the_same_globals_is_one_function():
    assert helpers(3.5, 3.5)[0] is helpers(3.5, 3.5)[1]
    assert jitted(scaled, FACTOR=2) is not shared(jitted(scaled, FACTOR=2))
    assert shared(jitted(scaled, FACTOR=2, other=1)) is shared(jitted(scaled, FACTOR=2, other=5))


@pytest.mark.parametrize(
    "first, second", [(0.0, -0.0), (1, 1.0), (True, 1), (np.float32(2), np.float64(2)), (np.int32(2), np.int64(2))]
)
def test_what_differs_in_a_sign_or_a_type_is_not(first, second):
    one, two = helpers(first, second)
    assert one is not two


def test_functions_of_other_options_are_not_the_same():
    inlined = numba.njit(jitted(scaled, FACTOR=2.5).py_func, **codegen.OPTIONS | codegen.INLINE)
    assert shared(inlined) is not shared(jitted(scaled, FACTOR=2.5))


def test_functions_with_variables_or_defaults_from_elsewhere_are_unchanged():
    factor = 2.0

    def of_outside(x):
        return x * factor

    def with_default(x, factor=2.0):
        return x * factor

    for function in map(codegen.jitted, (of_outside, with_default)):
        assert shared(function) is function


def test_a_users_own_functions_are_unchanged():
    own = numba.njit(scaled)
    assert shared(own) is own
    assert helper_of(jitted(once, SCALED=own), "SCALED") is own


def test_kernels_that_share_a_function_do_what_they_do_alone():
    found = np.array([1.5, 2.5])
    for kernel, factor in zip(kernels(3.0, 3.0), (3.0, 6.0), strict=True):
        numbers = found.copy()
        call = Kernel(kernel.__name__, lambda arguments, k=kernel: codegen.emit(k, arguments, "kernel", False), False)
        assert call(numbers, 1) == 1
        assert_identical(numbers, np.array([1.5, 2.5 * factor]))
    (one,) = helper_of(kernels(3.0, 3.0)[0], "SCALED").signatures
    assert len(one) == 1
