"""Lines of Vowpal Wabbit's text: [LABEL [IMPORTANCE [BASE]]] ['TAG]|NAMESPACE[:WEIGHT] NAME[:VALUE] … |…"""

import numpy as np

from surefoot.data.stream.kernels.hashing import end_of_name, forget, hashed, is_new, note
from surefoot.data.stream.kernels.layout import (
    ARENA,
    BASED,
    DONE,
    ENTRIES,
    ENTRIES_FULL,
    FAULTS,
    FAULTS_FULL,
    LARGEST_FLOAT32,
    LINES,
    NAMES,
    NAMES_FULL,
    POSITION,
    ROWS,
    ROWS_FULL,
    WEIGHTED,
)
from surefoot.data.stream.kernels.numbers import GOOD, NOT_FINITE, is_digit, number
from surefoot.data.stream.kernels.rows import distribute, has_control, is_blank, line_end, record, sum_equal
from surefoot.data.stream.kernels.words import byte, word
from surefoot.native.codegen import jitted

LABEL, LABEL_RANGE, WEIGHT, BASE, EXTRA, TOUCHING, BAR, SPACE, NAME, VALUE, VALUE_RANGE, BINARY = range(1, 13)
"""What can be wrong with a line, in the order in which it is looked for."""

CARET = np.int64(94)
NEW_LINE, QUOTE, COLON, PIPE, UNDERSCORE = 10, 39, 58, 124, 95
LOWER_CASE, THREE = np.uint64(0x2020202020202020), np.uint64(0xFFFFFF)
NAN, INF, INFINITY = (np.uint64(int.from_bytes(name, "little")) for name in (b"nan", b"inf", b"infinity"))
"""Words that are numbers."""


@jitted
def is_end(c):
    """Whether a token ends before this byte."""
    return c == NEW_LINE or c == PIPE or is_blank(c)


@jitted
def skip_blanks(text, i):
    while is_blank(byte(text, i)):
        i += 1
    return i


@jitted
def end_of_word(text, i):
    """Where the word at text[i] ends that a feature has for its value; i itself where there is none.

    It begins with a letter, so that what is meant as a number is not read as one, and is not nan, inf or infinity.
    """
    first = byte(text, i)
    if not (97 <= first | 32 <= 122 or first == UNDERSCORE or first >= 128):
        return i
    end = end_of_name(text, i)
    v = word(text, i) | LOWER_CASE
    is_number = (end - i == 3 and (v & THREE == NAN or v & THREE == INF)) or (end - i == 8 and v == INFINITY)
    return i if is_number or not is_end(byte(text, end)) else end


@jitted
def head(text, i, single, scratch):
    """What precedes the first bar: where it is, label, weight, base, how many of them there are, and what is wrong."""
    label, weight, base, count = np.nan, 1.0, 0.0, 0
    while True:
        i = skip_blanks(text, i)
        if byte(text, i) == PIPE:
            return i, label, weight, base, count, 0
        if byte(text, i) == NEW_LINE:
            return i, label, weight, base, count, BAR
        start, end = i, i
        while not is_end(byte(text, end)):
            if byte(text, end) < 32:
                return end, label, weight, base, count, BINARY
            end += 1
        if byte(text, i) == QUOTE:
            i = skip_blanks(text, end)
            return i, label, weight, base, count, 0 if byte(text, i) == PIPE else BAR
        i, value, kind = number(text, start, single or count > 0, scratch)
        good = kind == GOOD and i == end
        if byte(text, end) == PIPE:
            return (
                (start, label, weight, base, count, TOUCHING)
                if good and count == 0
                else (end, label, weight, base, count, 0)
            )
        if count == 3:
            return start, label, weight, base, count, EXTRA
        if not good and count == 0:
            return start, label, weight, base, count, LABEL_RANGE if kind == NOT_FINITE else LABEL
        if not good or (count == 1 and value < 0.0):
            return start, label, weight, base, count, WEIGHT if count == 1 else BASE
        if abs(value) > LARGEST_FLOAT32:
            return start, label, weight, base, count, LABEL_RANGE
        if count == 0:
            label = value
        elif count == 1:
            weight = value
        else:
            base = value
        count += 1


@jitted
def lines(
    text, end, settings, state, labels, weights, bases, indptr, indices, values, known, recent, found, arena, faults,
    ordinals, scratch, counts,
):  # fmt: skip
    """Reads lines until text[end - 1], or until an array is full.

    Args:
        text: bytes; text[end - 1] is the end of a line.
        settings: bits of an index, whether hashes decide signs, the seed.
        state: see `rows`.
        labels, weights, bases: one for each row; the label is NaN where the line has none.
        indptr, indices, values: the rows in CSR form.
        known: see `hashing.merge`; of no size where names are not wanted.
        recent, found, arena: see `hashing.note`.
        faults: see `rows.record`.
        ordinals: the names of features that have none, numbers from 0 in their namespace, 8 bytes each.
        scratch: see `numbers`.
        counts: see `rows.distribute`.
    """
    i, k, row = state[POSITION], state[ENTRIES], state[ROWS]
    bits, signed, seed = settings
    mask = (1 << bits) - 1
    single, single_label = values.itemsize == 4, labels.itemsize == 4
    noted, used = state[NAMES], state[ARENA]
    while i < end:
        begin, first, first_noted, first_used, full = i, k, noted, used, DONE
        i = skip_blanks(text, i)
        if byte(text, i) == NEW_LINE:
            i += 1
            state[LINES] += 1
            continue
        if row == labels.size:
            full = ROWS_FULL
        i, label, weight, base, count, code = head(text, i, single_label, scratch)
        while code == 0 and full == DONE and byte(text, i) == PIPE:
            space = i + 1, end_of_name(text, i + 1)
            seed_of_space, scale, i = hashed(text, space[0], space[1], np.uint64(seed)), 1.0, space[1]
            naming, unnamed = False, 0
            while True:
                # A namespace's weight and a feature's value are read alike; the namespace comes first.
                start = i if naming else space[0]
                stop = end_of_name(text, start)
                value, i, source = 1.0, stop, text
                if byte(text, stop) == COLON and is_digit(byte(text, stop + 1)) and byte(text, stop + 2) == 32:
                    value, i = np.float64(byte(text, stop + 1) - 48), stop + 2
                elif naming and byte(text, stop) == COLON and stop > start and end_of_word(text, stop + 1) > stop + 1:
                    i = stop = end_of_word(text, stop + 1)
                elif byte(text, stop) == COLON:
                    i, value, kind = number(text, stop + 1, single and naming and scale == 1.0, scratch)
                    if kind != GOOD or not is_end(byte(text, i)):
                        i, code = stop + 1, VALUE_RANGE if naming and kind == NOT_FINITE else VALUE if naming else SPACE
                        break
                elif not is_end(byte(text, stop)):
                    i, code = start, NAME
                    break
                if naming:
                    if stop == start:
                        if 8 * unnamed == ordinals.size - 8:
                            i, code = start, NAME
                            break
                        source, start = ordinals, 8 * unnamed
                        stop = end_of_name(ordinals, start)
                        unnamed += 1
                    value *= scale
                    if not abs(value) <= LARGEST_FLOAT32:
                        i, code = stop + 1, VALUE_RANGE
                        break
                    h = hashed(source, start, stop, seed_of_space)
                    slot = np.int64(h) & mask
                    if k == indices.size:
                        full = ENTRIES_FULL
                        break
                    indices[k], values[k] = slot, -value if signed and h >> np.uint64(63) else value
                    k += 1
                    if known.size and is_new(h, mask, known, recent):
                        noted, used = note(
                            h, recent, found, noted, arena, used, text, space, CARET, source, start, stop
                        )
                        if noted < 0:
                            noted, full = len(found), NAMES_FULL
                            break
                else:
                    scale, naming = value, True
                i = skip_blanks(text, i)
                if byte(text, i) == NEW_LINE or byte(text, i) == PIPE:
                    break
        if code == 0 and full == DONE and k > first:
            if 2 * k - first > indices.size:
                full = ENTRIES_FULL
            else:
                distribute(indices, values, first, k, bits, counts)
                k, finite = sum_equal(indices, values, first, k, state)
                if not finite:
                    i, code = begin, VALUE_RANGE
        if code != 0 and full == DONE:
            if state[FAULTS] == len(faults):
                full = FAULTS_FULL
            else:
                record(faults, state, BINARY if has_control(text, begin) else code, begin, i)
        if code != 0 or full != DONE:
            forget(recent, found, first_noted, noted)
            k, noted, used = first, first_noted, first_used
        if full != DONE:
            state[POSITION], state[ENTRIES], state[ROWS], state[NAMES], state[ARENA] = begin, k, row, noted, used
            return full
        if code == 0:
            labels[row], weights[row], bases[row] = label, weight, base
            state[WEIGHTED] |= count > 1
            state[BASED] |= count > 2
            row += 1
            indptr[row] = k
        i = line_end(text, i) + 1
        state[LINES] += 1
    state[POSITION], state[ENTRIES], state[ROWS], state[NAMES], state[ARENA] = i, k, row, noted, used
    return DONE
