"""Lines of svmlight: LABEL[:WEIGHT] [qid:GROUP] [cost:WEIGHT] INDEX:VALUE … # comment."""

import numpy as np

from surefoot.data.stream.kernels.compiling import inner, kernel
from surefoot.data.stream.kernels.numbers import GOOD, NOT_FINITE, number
from surefoot.data.stream.kernels.rows import (
    DONE,
    ENTRIES,
    ENTRIES_FULL,
    FAULTS,
    FAULTS_FULL,
    GROUPED,
    LARGEST,
    LINES,
    POSITION,
    ROWS,
    ROWS_FULL,
    SORTED,
    SUMMED,
    WEIGHTED,
    canonical,
    is_binary,
    is_blank,
    is_over,
    line_end,
    record,
)
from surefoot.data.stream.kernels.words import byte, digits

(LABEL, LABEL_RANGE, WEIGHT, WEIGHT_RANGE, GROUP, INDEX, INDEX_RANGE, VALUE, VALUE_RANGE, ORDER, BINARY) = range(1, 12)
"""What can be wrong with a line; the ranges are for numbers that are not finite, too large or negative."""

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_QID = np.frombuffer(b"qid:", np.uint8)
_COST = np.frombuffer(b"cost:", np.uint8)


@inner
def starts_with(text, i, word):
    """Whether the word stands at text[i]; a line end is in none."""
    for k in range(word.size):
        if byte(text, i + k) != word[k]:
            return False
    return True


@inner
def whole_number(text, i):
    """The digits at text[i], after an optional plus sign: where they end, and their number; -1 past 18 digits."""
    if byte(text, i) == 43:
        i += 1
    while byte(text, i) == 48 and 48 <= byte(text, i + 1) <= 57:
        i += 1
    start, w = i, np.int64(0)
    while 48 <= byte(text, i) <= 57:
        w = w * 10 + (byte(text, i) - 48)
        i += 1
    return i, w if i - start <= 18 else -1


@kernel
def lines(text, end, rising, largest, state, labels, weights, groups, indptr, indices, values, faults, scratch):
    """Reads lines until text[end - 1], or until an array is full.

    Args:
        text: bytes; text[end - 1] is the end of a line.
        rising: indices that do not rise from left to right are a fault; otherwise they are sorted and summed.
        largest: the largest index there may be.
        state: see `rows`.
        labels, weights, groups: one for each row; the group is -1 where the line has none.
        indptr, indices, values: the rows in CSR form.
        faults: see `rows.record`.
        scratch: see `numbers`.
    """
    i, k, row = state[POSITION], state[ENTRIES], state[ROWS]
    single, single_label = values.itemsize == 4, labels.itemsize == 4
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
        if kind == GOOD and byte(text, i) == 58:
            start = i + 1
            i, weight, kind = number(text, start, True, scratch)
            if kind != GOOD or not is_over(byte(text, i)):
                i, code = start, WEIGHT_RANGE if kind == NOT_FINITE else WEIGHT
            elif weight < 0.0:
                i, code = start, WEIGHT_RANGE
            state[WEIGHTED] = 1
        elif kind != GOOD or not is_over(byte(text, i)):
            i, code = start, LABEL_RANGE if kind == NOT_FINITE else LABEL
        if code == 0 and abs(label) > LARGEST_FLOAT32:
            i, code = start, LABEL_RANGE
        while code == 0:
            i += byte(text, i) == 32
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
                    i, weight, kind = number(text, i + 5, True, scratch)
                    if kind != GOOD or weight < 0.0 or not is_over(byte(text, i)):
                        i, code = start + 5, WEIGHT if kind == 1 else WEIGHT_RANGE
                    state[WEIGHTED] = 1
                    continue
                i, w = whole_number(text, i)
                if i == start or byte(text, i) != 58:
                    i, code = start, INDEX
                    break
                if w < 0:
                    i, code = start, INDEX_RANGE
                    break
            if w > largest:
                i, code = start, INDEX_RANGE
                break
            entry, start = start, i + 1
            i, value, kind = number(text, start, single, scratch)
            if kind != GOOD or not is_over(byte(text, i)):
                i, code = start, VALUE_RANGE if kind == NOT_FINITE else VALUE
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
        if code == 0 and not rises:
            if 2 * k - first > indices.size:
                state[POSITION], state[ENTRIES], state[ROWS] = begin, first, row
                return ENTRIES_FULL
            last = canonical(indices, values, first, k)
            state[SORTED] += 1
            state[SUMMED] += k - last
            k = last
            for place in range(first, k):
                if not np.isfinite(values[place]):
                    i, code = begin, VALUE_RANGE
                    break
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
            if k > first:
                state[LARGEST] = max(state[LARGEST], previous)
        i = line_end(text, i) + 1
        state[LINES] += 1
    state[POSITION], state[ENTRIES], state[ROWS] = i, k, row
    return DONE
