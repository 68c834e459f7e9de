"""The comparator itself: what it must not let pass."""

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical, assert_same_memory

from surefoot.engines import Step


@pytest.mark.parametrize("compare", [assert_identical, lambda a, b: assert_close(a, b, "float64")])
@pytest.mark.parametrize("found, expected", [(np.nan, np.nan), (np.nan, 1.0), (1.0, np.nan)])
def test_nan_equals_no_value(compare, found, expected):
    with pytest.raises(AssertionError, match="holds 1 NaN, which equals nothing"):
        compare(np.array([0.0, found]), np.array([0.0, expected]))


@pytest.mark.parametrize(
    "found, expected, message",
    [
        (
            np.float32([1, 2]),
            np.float32([1, np.nextafter(np.float32(2), np.float32(3))]),
            r"1 of 2 differ, the first at \(1,\)",
        ),
        (np.float64([0.0]), np.float64([-0.0]), "1 of 1 differ"),
        (np.float64([1.0]), np.float32([1.0]), "type float64, expected float32"),
        (np.zeros((2, 1)), np.zeros(2), r"shape \(2, 1\), expected \(2,\)"),
        (np.uint16([1]), np.uint16([2]), "1 of 1 differ"),
    ],
)
def test_differences_are_detected(found, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_identical(found, expected)


def test_equal_numbers_are_equal():
    values = np.array([[0.0, -0.0, np.inf, 1e-320]])
    assert_identical(values[:, ::-1], values[:, ::-1].copy())
    assert_identical(np.zeros(0), np.zeros(0))
    assert_close([1.0 + 1e-13], [1.0], "float64")


def test_tolerances_are_not_exceeded():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close([1.0 + 1e-9], [1.0], "float64")


@pytest.mark.parametrize("change", ["slots", "t", "skipped", "weight", "average"])
def test_memory_that_differs_is_detected(change):
    step = Step("adagrad", engine="reference", average=True)
    states = [step.init(np.ones(3)) for _ in range(2)]
    assert_same_memory(*states)
    if change == "slots":
        states[1].slots["total"][2] += 1e-300
    elif change == "average":
        states[1].average = None
    else:
        setattr(states[1], change, getattr(states[1], change) + 1)
    with pytest.raises(AssertionError):
        assert_same_memory(*states)
