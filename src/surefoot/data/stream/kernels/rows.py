"""What parsers of lines share: where they are, what they count, and rows in order."""

import numpy as np

from surefoot.data.stream.kernels.compiling import inner
from surefoot.data.stream.kernels.words import byte

DONE, ROWS_FULL, ENTRIES_FULL, FAULTS_FULL = range(4)
"""Why a kernel returns; it goes on where it stopped when the array has been enlarged."""

POSITION, LINES, ROWS, ENTRIES, FAULTS, SORTED, SUMMED, LARGEST, WEIGHTED, GROUPED = range(10)
"""Places in a kernel's state: where it is, how many it has read and found, the largest index, and what occurred."""
STATE = 10

INSERTION = 32
"""Up to so many entries out of order are inserted one by one."""


@inner
def is_blank(c):
    """A space, a tab, a carriage return, or one of the two other blanks that Python's `split` knows."""
    return c == 32 or c == 9 or c == 13 or c == 11 or c == 12


@inner
def is_over(c):
    """Whether a token ends before this byte: a blank, a comment or the end of the line."""
    return c == 32 or c == 10 or c == 9 or c == 35 or c == 13 or c == 11 or c == 12


@inner
def line_end(text, i):
    """Where the line ends."""
    while byte(text, i) != 10:
        i += 1
    return i


@inner
def is_binary(text, i):
    """Whether the line from i on, without its comment, has a byte that is no text of numbers: NUL, or past ASCII."""
    while byte(text, i) != 10 and byte(text, i) != 35:
        if byte(text, i) == 0 or byte(text, i) >= 128:
            return True
        i += 1
    return False


@inner
def insert(indices, values, begin, end):
    """Sorts entries by index, equal ones in order of occurrence: by insertion."""
    for k in range(begin + 1, end):
        index, value, place = indices[k], values[k], k
        while place > begin and indices[place - 1] > index:
            indices[place], values[place] = indices[place - 1], values[place - 1]
            place -= 1
        indices[place], values[place] = index, value


@inner
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


@inner
def canonical(indices, values, begin, end):
    """Sorts a row by index and sums what has the same index, in order of occurrence, in float64; returns its new end.

    There must be as many free places after it.
    """
    if end - begin <= INSERTION:
        insert(indices, values, begin, end)
    else:
        merge(indices, values, begin, end)
    last, total = begin, np.float64(values[begin])
    for k in range(begin + 1, end):
        if indices[k] == indices[last]:
            total += np.float64(values[k])
        else:
            values[last] = total
            last += 1
            indices[last], total = indices[k], np.float64(values[k])
    values[last] = total
    return last + 1


@inner
def record(faults, state, code, begin, position):
    """Notes what is wrong where: the kind, the number of the line in the piece (from 0), its begin, the position."""
    n = state[FAULTS]
    faults[n, 0], faults[n, 1], faults[n, 2], faults[n, 3] = code, state[LINES], begin, position
    state[FAULTS] = n + 1
