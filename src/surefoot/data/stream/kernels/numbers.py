"""Decimal text to the nearest float64 or float32, ties to even: `float()`, and for float32 no second rounding.

Three ways, by how hard the number is:

1. w · 10^q with w ≤ 2⁵³ and |q| ≤ 22 is one division or product of exact float64 (W. D. Clinger, "How to read floating
   point numbers accurately", 1990).
2. Up to 18 digits: a 128-bit product with a rounded power of five decides (D. Lemire, "Number parsing at a gigabyte per
   second", 2021; that it always does: N. Mushtak and D. Lemire, "Fast number parsing without fallback", 2023).
3. More digits: if the first 18 leave two candidates, all digits are compared with the point halfway in whole numbers.
"""

import numpy as np

from surefoot.data.stream.kernels.layout import LIMBS
from surefoot.data.stream.kernels.words import byte, digits
from surefoot.native.codegen import jitted

GOOD, MALFORMED, NOT_FINITE = 0, 1, 2

MOST_DIGITS = 18
"""Significant digits that fit an int64, with room for one more."""
ALL_DIGITS = 800
"""A float64 or the point halfway between two has at most 768 significant digits; later ones only break a tie."""
EXPONENT_LIMIT = 100_000

_TENS = np.array([10**q for q in range(9)])
_EXACT = np.array([10.0**q for q in range(23)])
_SMALLEST, _LARGEST = -342, 308


def _powers_of_five() -> np.ndarray:
    """The leading 128 bits of 5^q for every q that a float64 may need, truncated; rounded up for negative q."""
    table = np.empty((_LARGEST - _SMALLEST + 1, 2), np.uint64)
    for q in range(_SMALLEST, _LARGEST + 1):
        if q >= 0:
            power = 5**q
            bits = power.bit_length()
            leading = power << 128 - bits if bits <= 128 else power >> bits - 128
        else:
            power = 5**-q
            leading = (1 << power.bit_length() + 127) // power + 1
        table[q - _SMALLEST] = leading >> 64, leading & (1 << 64) - 1
    return table


_FIVES = _powers_of_five()


@jitted
def is_digit(c):
    return 48 <= c <= 57


@jitted
def high_product(a, b):
    """The upper and lower 64 bits of a product of two uint64."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = a >> half, a & low, b >> half, b & low
    lower = a0 * b0
    middle = a1 * b0 + (lower >> half)
    other = a0 * b1 + (middle & low)
    return a1 * b1 + (middle >> half) + (other >> half), (other << half) | (lower & low)


@jitted
def nearest(w, q, single):
    """The float64 nearest to w · 10^q (with `single` the float32), for 0 ≤ w < 10^18 + 1; infinity past the largest."""
    if single:
        mantissa_bits, bias, infinite, even_from, even_to = 23, 127, 0xFF, -17, 10
    else:
        mantissa_bits, bias, infinite, even_from, even_to = 52, 1023, 0x7FF, -4, 23
    if w == 0 or q < _SMALLEST:
        return 0.0
    if q > _LARGEST:
        return np.inf
    zeros, v = 0, np.uint64(w)
    for step in (32, 16, 8, 4, 2, 1):
        if v >> np.uint64(64 - step) == np.uint64(0):
            v <<= np.uint64(step)
            zeros += step
    high, low = high_product(v, _FIVES[q - _SMALLEST, 0])
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(mantissa_bits + 3)
    if high & mask == mask:
        more, _ = high_product(v, _FIVES[q - _SMALLEST, 1])
        low += more
        if low < more:
            high += np.uint64(1)
    upper = np.int64(high >> np.uint64(63))
    shift = upper + 64 - mantissa_bits - 3
    m = high >> np.uint64(shift)
    exponent = ((217706 * q) >> 16) + 63 + upper - zeros + bias
    if exponent <= 0:
        if 1 - exponent >= 64:
            return 0.0
        m >>= np.uint64(1 - exponent)
        m = (m + (m & np.uint64(1))) >> np.uint64(1)
        return times_power(np.float64(m), 1 - bias - mantissa_bits)
    tie = low <= np.uint64(1) and even_from <= q <= even_to and m & np.uint64(3) == np.uint64(1)
    if tie and m << np.uint64(shift) == high:
        m &= ~np.uint64(1)
    m = (m + (m & np.uint64(1))) >> np.uint64(1)
    if m >= np.uint64(2) << np.uint64(mantissa_bits):
        m >>= np.uint64(1)
        exponent += 1
    if exponent >= infinite:
        return np.inf
    return times_power(np.float64(m), exponent - bias - mantissa_bits)


@jitted
def times_power(value, exponent):
    """value · 2^exponent, where that is a float64 without rounding, for exponents that two halves of are normal."""
    half = exponent >> 1
    return value * power_of_two(half) * power_of_two(exponent - half)


@jitted
def power_of_two(exponent):
    return np.int64((exponent + 1023) << 52).view(np.float64)


@jitted
def multiply(big, size, factor):
    """Multiplies a number of `size` limbs by one below 2³², in place; returns its new size."""
    carry = np.uint64(0)
    for k in range(size):
        carry += big[k] * np.uint64(factor)
        big[k] = carry & np.uint64(0xFFFFFFFF)
        carry >>= np.uint64(32)
    if carry:
        big[size] = carry
        size += 1
    return size


@jitted
def scale(big, size, factor, times, step, power):
    """Multiplies by factor^times, `step` at a time: power = factor^step."""
    for _ in range(times // step):
        size = multiply(big, size, power)
    for _ in range(times % step):
        size = multiply(big, size, factor)
    return size


@jitted
def compare_with_halfway(text, start, stop, q, lower, single, scratch):
    """The sign of a decimal minus the point halfway between `lower` and the next float, and the bits of `lower`.

    The decimal: all digits of text[start:stop] as a whole number, times 10^q.
    """
    bits = np.float64(lower).view(np.int64)
    m, e = bits & 0xFFFFFFFFFFFFF, (bits >> 52) - 1075
    if e > -1075:
        m |= 1 << 52
    else:
        e = np.int64(-1074)
    if single:
        # The lower 29 bits of a float32 are 0; so are more where it is subnormal, or 0.
        more = max(29, -149 - e)
        m, e = m >> min(more, 62), e + more
    scratch[:] = 0
    left, right = scratch[0], scratch[1]
    n, seen = 1, 0
    for i in range(start, stop):
        if not is_digit(byte(text, i)):
            continue
        if seen >= ALL_DIGITS:
            q += 1
            if byte(text, i) != 48:
                left[0] |= np.uint64(1)  # the number ends in 0 here: see below
            continue
        n = multiply(left, n, 10)
        left[0] += np.uint64(byte(text, i) - 48)  # never more than a limb: the product is even, and 9 more may carry
        k = 0
        while left[k] > np.uint64(0xFFFFFFFF):
            left[k] &= np.uint64(0xFFFFFFFF)
            k += 1
            left[k] += np.uint64(1)
            n = max(n, k + 1)
        seen += left[0] != 0 or n > 1
        if seen == ALL_DIGITS:
            n = multiply(left, n, 10)
            q -= 1
    right[0], right[1] = np.uint64(2 * m + 1) & np.uint64(0xFFFFFFFF), np.uint64(2 * m + 1) >> np.uint64(32)
    size = 2
    if q >= 0:
        n = scale(left, n, 10, q, 9, 1_000_000_000)
    else:
        size = scale(right, size, 10, -q, 9, 1_000_000_000)
    if e >= 1:
        size = scale(right, size, 2, e - 1, 31, 1 << 31)
    else:
        n = scale(left, n, 2, 1 - e, 31, 1 << 31)
    for k in range(LIMBS - 1, -1, -1):
        if left[k] != right[k]:
            return (1 if left[k] > right[k] else -1), m, e
    return 0, m, e


@jitted
def word_at(text, i):
    """Whether nan, inf or infinity is written there, in any case."""
    if byte(text, i) == 10 or byte(text, i + 1) == 10:
        return False
    a, b, c = byte(text, i) | 32, byte(text, i + 1) | 32, byte(text, i + 2) | 32
    return (a == 110 and b == 97 and c == 110) or (a == 105 and b == 110 and c == 102)


@jitted
def any_number(text, i, single, scratch):
    """As `number`, for numbers of any length and with exponents."""
    start = i
    negative = byte(text, i) == 45
    if byte(text, i) == 45 or byte(text, i) == 43:
        i += 1
    first, w, q, kept, seen = i, np.int64(0), 0, 0, 0
    point, dropped = False, False
    while is_digit(byte(text, i)) or (byte(text, i) == 46 and not point):
        if byte(text, i) == 46:
            point = True
        else:
            seen += 1
            if kept < MOST_DIGITS:
                w = w * 10 + (byte(text, i) - 48)
                kept += w != 0
                q -= point
            else:
                dropped |= byte(text, i) != 48
                q += not point
        i += 1
    last = i
    if seen == 0:
        return start, 0.0, NOT_FINITE if word_at(text, i) else MALFORMED
    if byte(text, i) | 32 == 101:
        i += 1
        below = byte(text, i) == 45
        if byte(text, i) == 45 or byte(text, i) == 43:
            i += 1
        if not is_digit(byte(text, i)):
            return start, 0.0, MALFORMED
        exponent = 0
        while is_digit(byte(text, i)):
            exponent = min(exponent * 10 + (byte(text, i) - 48), EXPONENT_LIMIT * 10_000)
            i += 1
        q += -exponent if below else exponent
    value = nearest(w, q, single)
    if dropped and value != nearest(w + 1, q, single):
        value = long_number(text, first, last, w, q, single, scratch)
    if value == np.inf:
        return start, 0.0, NOT_FINITE
    return i, -value if negative else value, GOOD


@jitted
def long_number(text, first, last, w, q, single, scratch):
    """Which of two candidates, for w and for w + 1, is nearest to a number of more than 18 digits."""
    lower, upper = nearest(w, q, single), nearest(w + 1, q, single)
    # The exponent of the last digit of the text: q belongs to the 18th significant one.
    kept, leading, behind = 0, True, 0
    for i in range(first, last):
        if is_digit(byte(text, i)):
            leading &= byte(text, i) == 48
            if not leading:
                kept += 1
                behind += kept > MOST_DIGITS
    sign, m, _ = compare_with_halfway(text, first, last, q - behind, lower, single, scratch)
    return upper if sign > 0 or (sign == 0 and m % 2 == 1) else lower


@jitted
def number(text, i, single, scratch):
    """The number that begins at text[i]: where it ends, its value (as float64) and whether it is one.

    With `single`, the value is a float32. What follows the number is the caller's to check.
    """
    start = i
    negative = byte(text, i) == 45
    i += negative
    count, w = digits(text, i)
    i += count
    q = 0
    if count < 8 and byte(text, i) == 46:
        q, behind = digits(text, i + 1)
        i += 1 + q
        w = w * _TENS[q] + behind
        count += q
    c = byte(text, i)
    if count == 0 or is_digit(c) or c == 46 or c | 32 == 101:
        return any_number(text, start, single, scratch)
    value = np.float64(w) / _EXACT[q]
    if single:
        rounded = np.float64(np.float32(value))
        rest = value - rounded
        # Halfway between two float32 (so that twice the rest leads to the other), the float64 itself may be rounded.
        if rest != 0.0 and np.float64(np.float32(rounded + 2 * rest)) == rounded + 2 * rest:
            return any_number(text, start, single, scratch)
        value = rounded
    return i, -value if negative else value, GOOD


@jitted
def parse(text, single, scratch, found):
    """The number at the beginning of a text, as `number`: where it ends and its value go to `found`."""
    found[0], found[1], kind = number(text, 0, single, scratch)
    return kind
