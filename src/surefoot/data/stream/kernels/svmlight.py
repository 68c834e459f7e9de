"""Lines of svmlight and of libffm: LABEL[:WEIGHT] [qid:GROUP] [cost:WEIGHT] [FIELD:]INDEX:VALUE … # comment."""

import numpy as np

from surefoot.data.stream.kernels.layout import (
    DONE,
    ENTRIES,
    ENTRIES_FULL,
    FAULTS,
    FAULTS_FULL,
    FIELD_BITS,
    GROUPED,
    LARGEST_FLOAT32,
    LINES,
    POSITION,
    ROWS,
    ROWS_FULL,
    SORTED,
    WEIGHTED,
)
from surefoot.data.stream.kernels.numbers import GOOD, NOT_FINITE, number
from surefoot.data.stream.kernels.rows import (
    INSERTION,
    insert,
    is_binary,
    is_blank,
    is_over,
    line_end,
    merge,
    record,
    split,
    sum_equal,
)
from surefoot.data.stream.kernels.words import byte, digits
from surefoot.native.codegen import jitted

(
    LABEL, LABEL_RANGE, WEIGHT, WEIGHT_RANGE, GROUP, INDEX, INDEX_RANGE, VALUE, VALUE_RANGE, ORDER, BINARY, FIELD,
    UNLABELED,
) = range(1, 14)  # fmt: skip
"""What can be wrong with a line; the ranges are for numbers that are not finite, too large or negative."""

_QID = np.frombuffer(b"qid:", np.uint8)
_COST = np.frombuffer(b"cost:", np.uint8)


@jitted
def starts_with(text, i, word):
    """Whether the word stands at text[i]; a line end is in none."""
    for k in range(word.size):
        if byte(text, i + k) != word[k]:
            return False
    return True


@jitted
def whole_number(text, i):
    """The digits at text[i], after an optional plus sign: where they end, and their number; -1 beyond an int64.

    Without a digit, the end is where it began.
    """
    begin = i
    if byte(text, i) == 43:
        i += 1
    first = i
    while byte(text, i) == 48 and 48 <= byte(text, i + 1) <= 57:
        i += 1
    start, w = i, np.int64(0)
    while 48 <= byte(text, i) <= 57:
        w = w * 10 + (byte(text, i) - 48)
        i += 1
    # What 19 digits make is below 2^64, so that it is negative where it is not below 2^63.
    return begin if i == first else i, w if i - start <= 19 and w >= 0 else np.int64(-1)


@jitted
def weight_at(text, start, scratch):
    """The weight at text[start]: where it ends, its value, and what is wrong with it, 0 for nothing."""
    i, weight, kind = number(text, start, True, scratch)
    if kind == NOT_FINITE or (kind == GOOD and is_over(byte(text, i)) and weight < 0.0):
        return start, weight, WEIGHT_RANGE
    if kind != GOOD or not is_over(byte(text, i)):
        return start, weight, WEIGHT
    return i, weight, 0


@jitted
def alike(text, i, width, previous, largest, indices, values):
    """Reads entries like the one before them: an index of `width` digits, larger than `previous`, one digit, a space.

    Returns where the next entry begins, the last index, and how many there were. Where an entry begins does not depend
    on what the one before it was found to be, so a processor reads several at once.
    """
    for k in range(indices.size):
        count, w = digits(text, i)
        value = byte(text, i + width + 1) - 48
        other = (count != width) | (byte(text, i + width) != 58) | (byte(text, i + width + 2) != 32)
        if other | (value < 0) | (value > 9) | (w <= previous) | (w > largest):
            return i, previous, k
        indices[k], values[k], previous = w, value, w
        i += width + 3
    return i, previous, indices.size


@jitted
def lines(text, end, settings, state, labels, weights, groups, indptr, indices, values, fields, faults, scratch):
    """Reads lines until text[end - 1], or until an array is full.

    Args:
        text: bytes; text[end - 1] is the end of a line.
        settings: whether indices that do not rise from left to right are a fault (otherwise they are sorted and
            summed), the largest index there may be, which of its bits are kept, whether fields precede indices, whether
            a weight may follow the label.
        state: see `rows`.
        labels, weights, groups: one for each row; the group is -1 where the line has none.
        indptr, indices, values, fields: the rows in CSR form; no room for fields where they are to be forgotten.
        faults: see `rows.record`.
        scratch: see `numbers`.
    """
    i, k, row = state[POSITION], state[ENTRIES], state[ROWS]
    single, single_label = values.itemsize == 4, labels.itemsize == 4
    rising, largest, mask, fielded, weighted = settings
    kept = fields.size > 0
    most = largest if mask < 0 else min(largest, mask)
    while i < end:
        begin, code, first = i, 0, k
        while is_blank(byte(text, i)):
            i += 1
        if byte(text, i) == 10 or byte(text, i) == 35:
            i = line_end(text, i) + 1
            state[LINES] += 1
            continue
        if row == labels.size:
            state[POSITION], state[ENTRIES], state[ROWS] = begin, first, row
            return ROWS_FULL
        weight, group, previous, rises = 1.0, np.int64(-1), np.int64(-1), True
        start = i
        i, label, kind = number(text, i, single_label, scratch)
        if kind == GOOD and byte(text, i) == 58 and weighted:
            start = i + 1
            i, weight, code = weight_at(text, start, scratch)
            state[WEIGHTED] = 1
        elif kind == GOOD and byte(text, i) == 58:
            i, code = start, UNLABELED
        elif kind != GOOD or not is_over(byte(text, i)):
            i, code = start, LABEL_RANGE if kind == NOT_FINITE else LABEL
        if code == 0 and abs(label) > LARGEST_FLOAT32:
            i, code = start, LABEL_RANGE
        while code == 0:
            while byte(text, i) <= 32 and is_blank(byte(text, i)):
                i += 1
            start = i
            count, w = digits(text, i)
            i += count
            if count == 0 or byte(text, i) != 58:
                i = start
                if byte(text, i) == 10 or byte(text, i) == 35:
                    break
                if previous == -1 and starts_with(text, i, _QID):
                    i, group = whole_number(text, i + 4)
                    if i == start + 4 or not is_over(byte(text, i)) or group < 0:
                        i, code = start + 4, GROUP
                    state[GROUPED] = 1
                    continue
                if previous == -1 and starts_with(text, i, _COST):
                    i, weight, code = weight_at(text, i + 5, scratch)
                    state[WEIGHTED] = 1
                    continue
                i, w = whole_number(text, i)
                if i == start or byte(text, i) != 58:
                    i, code = start, FIELD if fielded else INDEX
                    break
                if w < 0:
                    i, code = start, FIELD if fielded else INDEX_RANGE
                    break
            field = np.int64(0)
            if fielded:
                field, second = w, i + 1
                i, w = whole_number(text, second)
                if i == second or byte(text, i) != 58 or field >> FIELD_BITS != 0:
                    i, code = start, FIELD
                    break
            if w < 0 or w > largest:
                i, code = start, INDEX_RANGE
                break
            w &= mask
            if kept:
                w = w << FIELD_BITS | field
            entry, start = start, i + 1
            value = np.float64(byte(text, start) - 48)
            digit = byte(text, start + 1) == 32 and 0.0 <= value <= 9.0
            if digit:
                i = start + 2
            else:
                i, value, kind = number(text, start, single, scratch)
                if kind != GOOD or not is_over(byte(text, i)):
                    i, code = start, VALUE_RANGE if kind == NOT_FINITE else VALUE
                    break
                if abs(value) > LARGEST_FLOAT32:
                    i, code = start, VALUE_RANGE
                    break
            if k == indices.size:
                state[POSITION], state[ENTRIES], state[ROWS] = begin, first, row
                return ENTRIES_FULL
            indices[k], values[k] = w, value
            k += 1
            if w <= previous:
                rises = False
                if rising:
                    i, code = entry, ORDER
                    break
            else:
                previous = w
                width = start - 1 - entry
                if digit and width <= 8 and not kept:
                    i, previous, more = alike(text, i, width, w, most, indices[k:], values[k:])
                    k += more
        if code == 0 and not rises:
            if 2 * k - first > indices.size:
                state[POSITION], state[ENTRIES], state[ROWS] = begin, first, row
                return ENTRIES_FULL
            if k - first <= INSERTION:
                insert(indices, values, first, k)
            else:
                merge(indices, values, first, k)
            k, finite = sum_equal(indices, values, first, k, state)
            state[SORTED] += 1
            if not finite:
                i, code = begin, VALUE_RANGE
        if code != 0:
            if state[FAULTS] == len(faults):
                state[POSITION], state[ENTRIES], state[ROWS] = begin, first, row
                return FAULTS_FULL
            record(faults, state, BINARY if is_binary(text, begin) else code, begin, i)
            k = first
        else:
            labels[row], weights[row], groups[row] = label, weight, group
            row += 1
            indptr[row] = k
            if kept:
                split(indices, fields, first, k)
        i = line_end(text, i) + 1
        state[LINES] += 1
    state[POSITION], state[ENTRIES], state[ROWS] = i, k, row
    return DONE
