"""What parsers of lines share: where they are, what they count, and rows in order."""

import numpy as np

from surefoot.data.stream.kernels.layout import FAULTS, FIELD_BITS, LARGEST_FLOAT32, LINES, MOST_BUCKETS, SUMMED
from surefoot.data.stream.kernels.words import byte
from surefoot.native.codegen import jitted

INSERTION = 32
"""Up to this number of entries out of order are inserted one by one."""


@jitted
def is_blank(c):
    """A space, a tab, a carriage return, or one of the two other blanks that Python's `split` knows."""
    return c == 32 or c == 9 or c == 13 or c == 11 or c == 12


@jitted
def is_over(c):
    """Whether a token ends before this byte: a blank, a comment or the end of the line."""
    return c == 32 or c == 10 or c == 9 or c == 35 or c == 13 or c == 11 or c == 12


@jitted
def line_end(text, i):
    """Where the line ends."""
    while byte(text, i) != 10:
        i += 1
    return i


@jitted
def is_binary(text, i):
    """Whether the line from i on, without its comment, has a byte that numbers do not have: NUL, or beyond ASCII."""
    while byte(text, i) != 10 and byte(text, i) != 35:
        if byte(text, i) == 0 or byte(text, i) >= 128:
            return True
        i += 1
    return False


@jitted
def has_control(text, i):
    """Whether the line from i on has a control character, such as NUL, that no text has."""
    while byte(text, i) != 10:
        if byte(text, i) < 32 and not is_blank(byte(text, i)):
            return True
        i += 1
    return False


@jitted
def insert(indices, values, begin, end):
    """Sorts entries by index, equal ones in order of occurrence: by insertion."""
    for k in range(begin + 1, end):
        index, value, place = indices[k], values[k], k
        while place > begin and indices[place - 1] > index:
            indices[place], values[place] = indices[place - 1], values[place - 1]
            place -= 1
        indices[place], values[place] = index, value


@jitted
def merge(indices, values, begin, end):
    """Sorts entries by index, equal ones in order of occurrence: runs of entries by insertion, then merged in pairs.

    The same number of places after `end` are overwritten.
    """
    size, run = end - begin, INSERTION
    for start in range(begin, end, run):
        insert(indices, values, start, min(start + run, end))
    while run < size:
        for start in range(begin, end, 2 * run):
            a, middle, stop = start, min(start + run, end), min(start + 2 * run, end)
            b = middle
            for k in range(start + size, stop + size):
                if a < middle and (b == stop or indices[a] <= indices[b]):
                    indices[k], values[k] = indices[a], values[a]
                    a += 1
                else:
                    indices[k], values[k] = indices[b], values[b]
                    b += 1
        for k in range(begin, end):
            indices[k], values[k] = indices[k + size], values[k + size]
        run *= 2


@jitted
def distribute(indices, values, begin, end, bits, counts):
    """Sorts entries whose indices are spread evenly below 2^bits; otherwise like `merge`.

    They are put into buckets by their upper bits, then each is inserted, which is never far.
    """
    size, wide = end - begin, 4
    while 1 << wide < size and wide < bits and 1 << wide < MOST_BUCKETS:
        wide += 1
    shift = bits - min(wide, bits)
    places = counts[: 1 << wide]
    places[:] = 0
    for k in range(begin, end):
        places[indices[k] >> shift] += 1
    total, most = end, np.int64(0)
    for bucket in range(places.size):
        count = places[bucket]
        places[bucket] = total
        total += count
        most = max(most, count)
    if most > INSERTION:
        merge(indices, values, begin, end)
        return
    for k in range(begin, end):
        place = places[indices[k] >> shift]
        places[indices[k] >> shift] = place + 1
        indices[place], values[place] = indices[k], values[k]
    for k in range(begin, end):
        index, value, place = indices[k + size], values[k + size], k
        while place > begin and indices[place - 1] > index:
            indices[place], values[place] = indices[place - 1], values[place - 1]
            place -= 1
        indices[place], values[place] = index, value


@jitted
def sum_equal(indices, values, begin, end, state):
    """Sums sorted entries of the same index, in order of occurrence, in float64, and counts those that are gone.

    Returns the new end of the row, and whether all sums are finite as float32.
    """
    last, total, finite = begin, np.float64(values[begin]), True
    for k in range(begin + 1, end):
        if indices[k] == indices[last]:
            total += np.float64(values[k])
            values[last] = total
            finite &= abs(values[last]) <= LARGEST_FLOAT32
        else:
            last += 1
            indices[last], values[last], total = indices[k], values[k], np.float64(values[k])
    state[SUMMED] += end - last - 1
    return last + 1, finite


@jitted
def split(indices, fields, begin, end):
    """Moves the field of each entry, by which the row was sorted too, out of its index."""
    for k in range(begin, end):
        fields[k] = indices[k] & ((1 << FIELD_BITS) - 1)
        indices[k] >>= FIELD_BITS


@jitted
def record(faults, state, code, begin, position):
    """Notes what is wrong where: the kind, the number of the line in the piece (from 0), its begin, the position."""
    n = state[FAULTS]
    faults[n, 0], faults[n, 1], faults[n, 2], faults[n, 3] = code, state[LINES], begin, position
    state[FAULTS] = n + 1
