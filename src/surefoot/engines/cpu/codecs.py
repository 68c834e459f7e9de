"""Storage types: how kernels read and write numbers.

Arrays of uint16 hold bfloat16 and arrays of int16 hold float16; all else is what it says.
"""

import numpy as np
from numba import types
from numba.extending import overload, register_jitable


def decode(array, stored):
    """A number as stored in `array`, in the type it is computed in."""


def encode(array, value, key, place):
    """A computed number as it is stored in `array`; with a key, bfloat16 is rounded at random, by `place`."""


@overload(decode, inline="always")
def _decode(array, stored):
    if array.dtype == types.uint16:
        return lambda array, stored: bfloat16_to_float(stored)
    if array.dtype == types.int16:
        return lambda array, stored: float16_to_float(stored)
    return lambda array, stored: stored


@overload(encode, inline="always")
def _encode(array, value, key, place):
    if array.dtype == types.uint16:
        return lambda array, value, key, place: float_to_bfloat16(value, key, place)
    if array.dtype == types.int16:
        return lambda array, value, key, place: float_to_float16(value)
    dtype = array.dtype
    return lambda array, value, key, place: dtype(value)


@register_jitable
def bfloat16_to_float(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@register_jitable
def float_to_bfloat16(value, key, place):
    bits = np.float32(value).view(np.uint32)
    nearest = np.uint32(np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1)))
    random = np.uint32(noise(place, key) & np.uint32(0xFFFF))
    finite = np.uint32(bits & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
    up = random if key != np.uint32(0) and finite else nearest
    rounded = np.uint32(np.uint32(bits + up) >> np.uint32(16))
    nan = np.uint32(np.uint32(bits >> np.uint32(16)) | np.uint32(0x40))
    return np.uint16(nan if np.uint32(bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else rounded)


@register_jitable
def noise(place, key):
    """32 random bits for every place: an integer hash with good avalanche (the constants are Wellons's, 2018)."""
    h = np.uint32(np.uint32(place) ^ key)
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(h ^ np.uint32(h >> np.uint32(16)))


@register_jitable
def float16_to_float(stored):
    bits = np.uint32(np.uint32(stored) & np.uint32(0xFFFF))
    magnitude = np.uint32(np.uint32(bits & np.uint32(0x7FFF)) << np.uint32(13))
    # 2^112 moves the exponent from float16's bias to float32's, and is exact for subnormal numbers too.
    scaled = np.float32(magnitude.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
    special = np.uint32(magnitude | np.uint32(0x7F800000))
    size = special if np.uint32(bits & np.uint32(0x7C00)) == np.uint32(0x7C00) else scaled
    return np.uint32(size | np.uint32(np.uint32(bits & np.uint32(0x8000)) << np.uint32(16))).view(np.float32)


@register_jitable
def float_to_float16(value):
    bits = np.float32(value).view(np.uint32)
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
    normal = np.uint32(np.uint32(size + np.uint32(0xFFF) + odd - np.uint32(0x38000000)) >> np.uint32(13))
    # Adding ½ lines a number below 2^-14 up with float16's subnormal grid, rounded to nearest.
    small = np.uint32(np.float32(size.view(np.float32) + np.float32(0.5)).view(np.uint32) - np.uint32(0x3F000000))
    half = small if size < np.uint32(0x38800000) else normal
    half = np.uint32(0x7C00) if size >= np.uint32(0x477FF000) else half
    half = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else half
    return np.int16(np.uint16(np.uint32(half | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000)))))
