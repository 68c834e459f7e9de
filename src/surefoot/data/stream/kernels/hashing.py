"""Names of features become indices below 2^bits, and a bounded table remembers which index has a name, or several.

A hash has 64 bits: the lowest are the index, up to 63, and the highest is the sign. The hash multiplies eight bytes at
a time and folds the 128 bits of the product into 64, as wyhash does (Wang Yi, 2019); how well it spreads names is
tested against chance.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from surefoot.data.stream.kernels.layout import PROBES
from surefoot.data.stream.kernels.words import trailing_zeros, word
from surefoot.native.codegen import jitted

LONGEST = 100
"""Bytes of a name, and of its namespace, that are noted; both are hashed as a whole."""

_FIRST, _SECOND, _THIRD = (np.uint64(bits) for bits in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))
"""Odd constants without a pattern: 2^64 over the golden ratio, and two that are customary for hashes."""
_WITHOUT_SIGN = np.uint64((1 << 63) - 1)
_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_COLONS, _BARS, _FIRST_VISIBLE = _ONES * np.uint64(58), _ONES * np.uint64(124), _ONES * np.uint64(33)


@intrinsic
def folded(typing_context, a, b):
    """The upper and the lower half of the 128-bit product, combined by exclusive or."""

    def codegen(context, builder, signature, arguments):
        wide = cgutils.ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        upper = builder.trunc(builder.lshr(product, wide(64)), cgutils.ir.IntType(64))
        return builder.xor(upper, builder.trunc(product, cgutils.ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), codegen


@jitted
def hashed(text, begin, end, seed):
    """The hash of text[begin:end]; eight bytes after it are read, and do not count."""
    h = seed ^ (np.uint64(end - begin) * _FIRST)
    while end - begin > 8:
        h = folded(h ^ word(text, begin), _SECOND)
        begin += 8
    if end > begin:
        h ^= word(text, begin) & (~np.uint64(0) >> np.uint64(8 * (8 - (end - begin))))
    return folded(folded(h, _SECOND) ^ _FIRST, _THIRD)


@jitted
def byte_stops(text, i, below, stop):
    """The first place from i on whose byte is less than `below`, or is `stop`."""
    least, wanted = _ONES * np.uint64(below), _ONES * np.uint64(stop)
    while True:
        v = word(text, i)
        other = v ^ wanted
        # The lowest bit that is set is right in both; a borrow only reaches bytes behind it.
        found = (((v - least) & ~v) | ((other - _ONES) & ~other)) & _HIGHS
        if found:
            return i + np.int64(trailing_zeros(found) >> np.uint64(3))
        i += 8


@jitted
def end_of_name(text, i):
    """Where the name at text[i] ends: before a blank, a control character, a colon or a bar."""
    while True:
        v = word(text, i)
        colon, bar = v ^ _COLONS, v ^ _BARS
        found = (((v - _FIRST_VISIBLE) & ~v) | ((colon - _ONES) & ~colon) | ((bar - _ONES) & ~bar)) & _HIGHS
        if found:
            return i + np.int64(trailing_zeros(found) >> np.uint64(3))
        i += 8


@jitted
def fingerprint(h):
    """63 bits, never 0: what tells two names of the same index apart."""
    return max(h & _WITHOUT_SIGN, np.uint64(1))


@jitted
def place_among_recent(h, recent):
    return np.int64(h >> np.uint64(8)) & (recent.size - 1)


@jitted
def cell_of(h, mask, known):
    """The cell of a hash's index, or an empty one where the table does not have it; -1 where there is no room.

    An index below the table's size has a cell of its own; others are looked for with linear probing (Knuth, 6.4).
    """
    cell, wanted = np.int64(h) & (known.size - 1), np.uint64(mask)
    for _ in range(PROBES):
        there = known[cell] >> np.uint64(1)
        if there == np.uint64(0) or (there ^ fingerprint(h)) & wanted == np.uint64(0):
            return cell
        cell = (cell + 1) & (known.size - 1)
    return np.int64(-1)


@jitted
def is_known(h, mask, known):
    """Whether this name is in the table, or its index has more than one name, or there is no room for it."""
    cell = cell_of(h, mask, known)
    return cell < 0 or known[cell] >> np.uint64(1) == fingerprint(h) or known[cell] & np.uint64(1) != np.uint64(0)


@jitted
def is_new(h, mask, known, recent):
    """Whether this name is neither in the table nor noted lately, and its index has one name at most."""
    place = place_among_recent(h, recent)
    if recent[place] == h:
        return False
    if is_known(h, mask, known):
        recent[place] = h
        return False
    return True


@jitted
def note(h, recent, found, count, arena, used, spaces, space, between, text, begin, end):
    """Notes a name that the table may lack: the namespace spaces[space[0]:space[1]], a byte, text[begin:end].

    Returns the number of noted names and of their bytes; -1 and the bytes where there is no room.
    """
    if count == len(found) or used + 2 * LONGEST + 1 > arena.size:
        return np.int64(-1), used
    recent[place_among_recent(h, recent)] = h
    if space[1] > space[0]:
        for k in range(space[0], min(space[1], space[0] + LONGEST)):
            arena[used] = spaces[k]
            used += 1
        arena[used] = between
        used += 1
    for k in range(begin, min(end, begin + LONGEST)):
        arena[used] = text[k]
        used += 1
    found[count, 0], found[count, 1] = np.int64(h), used
    return count + 1, used


@jitted
def forget(recent, found, first, count):
    """Undoes notes from `first` on."""
    for k in range(first, count):
        recent[place_among_recent(np.uint64(found[k, 0]), recent)] = np.uint64(0)


@jitted
def merge(found, arena, mask, known, slots, ends, signs, names, sizes, most):
    """Adds names that a table lacks, in order; beyond the limits, they are only counted.

    Args:
        found, arena: see `note`.
        mask: which bits of a hash are the index.
        known: for each index its fingerprint, shifted by one, and whether it has more than one name; 0 for none. See
            `cell_of`.
        slots, ends, signs, names: the index, end in `names`, and sign of each name.
        sizes: how many names there are, their bytes, indices with more than one name, names there was no room for.
        most: names and bytes.
    """
    n, used = sizes[0], sizes[1]
    begin = 0
    for k in range(len(found)):
        h, end = np.uint64(found[k, 0]), found[k, 1]
        cell = cell_of(h, mask, known)
        if cell < 0:
            sizes[3] += 1
        elif known[cell] == np.uint64(0):
            known[cell] = fingerprint(h) << np.uint64(1)
            if n < most[0] and used + end - begin <= most[1]:
                for place in range(begin, end):
                    names[used] = arena[place]
                    used += 1
                slots[n], ends[n], signs[n] = np.int64(h) & mask, used, -1 if h >> np.uint64(63) else 1
                n += 1
            else:
                sizes[3] += 1
        elif known[cell] >> np.uint64(1) != fingerprint(h) and known[cell] & np.uint64(1) == np.uint64(0):
            known[cell] |= np.uint64(1)
            sizes[2] += 1
        begin = end
    sizes[0], sizes[1] = n, used


@jitted
def of(text, middle, end, seed):
    """The hash of a name text[middle:end] in the namespace text[:middle]."""
    return hashed(text, middle, end, hashed(text, 0, middle, np.uint64(seed)))
