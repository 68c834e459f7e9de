"""Decimal text becomes the nearest float64 or float32; `float()` and whole-number arithmetic are the oracles."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.sampling import up_to
from support.slow_readers import nearest_float32

from surefoot.data.stream.kernels import compiled, numbers
from surefoot.data.stream.kernels.layout import PADDING, SCRATCH

digits = st.text("0123456789", max_size=30)
decimals = st.builds("{}{}{}".format, digits, st.sampled_from(["", "."]), digits).filter(lambda text: text.strip("."))
exponents = st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(["e", "E+", "e-"]), st.integers(0, 420)))
texts = st.builds("{}{}{}".format, st.sampled_from(["", "-", "+"]), decimals, exponents)


def parse(content: np.ndarray, single: bool) -> tuple[float, float, int]:
    """Where the number at the beginning ends, its value, and whether it is one."""
    found = np.empty(2)
    kind = compiled("numbers", "parse")(content, single, np.empty(SCRATCH, np.uint64), found)
    return *found.tolist(), kind


def parsed(text: str, single: bool) -> float:
    """What the kernel makes of a number that is all of the text; infinity where it says that it is too large."""
    content = np.frombuffer(text.encode() + b"\n" * (PADDING + 1), np.uint8)
    end, value, kind = parse(content, single)
    if kind == numbers.NOT_FINITE:
        return -np.inf if text.startswith("-") else np.inf
    assert (kind, end) == (numbers.GOOD, len(text))
    return value


def same(found: float, expected: float) -> bool:
    return found == expected and np.signbit(found) == np.signbit(expected)


def written_out(value: Fraction) -> str:
    with localcontext(prec=1500):
        return format(Decimal(value.numerator) / Decimal(value.denominator), "f")


@settings(max_examples=up_to(2000))
@given(texts)
@example("0.1e1")
@example("-0")
@example("1e400")
@example("1e-400")
@example("3.4028235677973366e38")
@example("3.4028235677973365e38")
@example("9007199254740993")
@example("1" + "0" * 500 + "e-500")
@example("0." + "0" * 500 + "1e500")
@example("123456789" * 100)
def test_nearest(text):
    assert same(parsed(text, single=False), float(text))
    assert same(parsed(text, single=True), nearest_float32(text))


@settings(max_examples=up_to(500))
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["r", ".17g", ".15g", ".7g", ".3f", "e"]))
def test_files_that_python_writes(value, how):
    text = repr(value) if how == "r" else format(value, how)
    assert same(parsed(text, single=False), float(text))


@settings(max_examples=up_to(500))
@given(st.integers(0, 2**31 - 2**23 - 2), st.sampled_from(["", "0", "00000000000000000001"]), st.booleans())
def test_halfway_between_two_float32(bits, behind, below):
    low, high = (Fraction(float(np.uint32(b).view(np.float32))) for b in (bits, bits + 1))
    text = written_out((low + high) / 2)
    text = text[:-1] if below and "." in text else text + ("" if "." in text else ".") + behind
    assert same(parsed(text, single=True), nearest_float32(text))


@settings(max_examples=up_to(500))
@given(st.integers(0, 2**63 - 2**52 - 2), st.sampled_from(["", "0", "0" * 60 + "1"]), st.booleans())
@example(0, "", False)
@example(0, "1", False)
@example(1, "", True)
@example(2**52 - 1, "1", False)
def test_halfway_between_two_float64(bits, behind, below):
    """Up to 768 digits that decide."""
    low, high = (Fraction(float(np.uint64(b).view(np.float64))) for b in (bits, bits + 1))
    text = written_out((low + high) / 2)
    text = text[:-1] if below and "." in text else text + ("" if "." in text else ".") + behind
    assert same(parsed(text, single=False), float(text))


@pytest.mark.parametrize("text", ["", ".", "-", "+", "e5", "1e", "1e+", "--1", "x", "_1", "-.", ".e1"])
def test_malformed_numbers(text):
    content = np.frombuffer(text.encode() + b"\n" * (PADDING + 1), np.uint8)
    assert parse(content, False)[2] == numbers.MALFORMED


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "inf", "-Infinity", "+INF", "1e309", "-1e99999999999999999999"])
def test_nonfinite_numbers(text):
    content = np.frombuffer(text.encode() + b"\n" * (PADDING + 1), np.uint8)
    assert parse(content, False)[2] == numbers.NOT_FINITE


@pytest.mark.parametrize("text, end", [("1_000", 1), ("1.5.2", 3), ("0x10", 1), ("7:1", 1), ("1e5e6", 3), ("2 3", 1)])
def test_where_a_number_ends(text, end):
    content = np.frombuffer(text.encode() + b"\n" * (PADDING + 1), np.uint8)
    assert parse(content, False)[0] == end
