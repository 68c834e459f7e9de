"""Lines of a table: values between delimiters, quoted or not."""

import numpy as np

from surefoot.data.stream.kernels.hashing import byte_stops, forget, hashed, is_new, note
from surefoot.data.stream.kernels.layout import (
    ARENA,
    CATEGORICAL,
    CLASS,
    DONE,
    DROPPED,
    ENTRIES,
    ENTRIES_FULL,
    FAULTS,
    FAULTS_FULL,
    FIELD_BITS,
    LARGEST_FLOAT32,
    LINES,
    NAMES,
    NAMES_FULL,
    NUMERIC,
    POSITION,
    ROWS,
    ROWS_FULL,
    TARGET,
    UNQUOTED_FULL,
    WEIGHT,
    WEIGHTED,
)
from surefoot.data.stream.kernels.numbers import GOOD, MALFORMED, NOT_FINITE, number
from surefoot.data.stream.kernels.rows import distribute, has_control, is_blank, line_end, record, split, sum_equal
from surefoot.data.stream.kernels.words import byte
from surefoot.native.codegen import jitted

COLUMNS, QUOTE, LABEL, LABEL_RANGE, IMPORTANCE, IMPORTANCE_RANGE, VALUE, VALUE_RANGE, BINARY = range(1, 10)
"""What can be wrong with a line; the ranges, for numbers not finite or negative, follow what they belong to."""

EQUALS = np.int64(61)
NEW_LINE, QUOTATION = 10, 34


@jitted
def describe(schema, bounds, seed, spaces, missing):
    """Fills in `spaces` and `missing` as `lines` wants them; what is missing follows the columns in `schema`."""
    for column in range(len(spaces)):
        begin, end = bounds[column], bounds[column + 1]
        spaces[column, 0] = hashed(schema, begin, end, hashed(schema, 0, 0, np.uint64(seed)))
        spaces[column, 1] = hashed(schema, begin, end, np.uint64(seed))
        for which in range(missing.shape[1]):
            first = bounds[len(spaces) + 1 + which]
            missing[column, which] = hashed(schema, first, bounds[len(spaces) + 2 + which], spaces[column, 1])


@jitted
def skip_blanks(text, i, delimiter):
    while is_blank(byte(text, i)) and byte(text, i) != delimiter:
        i += 1
    return i


@jitted
def quoted(text, i, delimiter, unquoted):
    """The value after a quote at text[i - 1]: where it ends, what follows it, whether it holds doubled quotes, a code.

    With doubled quotes, the value is written to `unquoted`; the code is -1 where that has no room.
    """
    start, doubled = i, False
    while byte(text, i) != NEW_LINE:
        if byte(text, i) == QUOTATION:
            if byte(text, i + 1) != QUOTATION:
                break
            doubled = True
            i += 1
        elif byte(text, i) < 32 and not is_blank(byte(text, i)):
            return start, i, doubled, BINARY
        i += 1
    end = i
    if byte(text, i) == NEW_LINE:
        return start, start - 1, doubled, QUOTE
    i = skip_blanks(text, i + 1, delimiter)
    if byte(text, i) != delimiter and byte(text, i) != NEW_LINE:
        return end, i, doubled, QUOTE
    if not doubled:
        return end, i, doubled, 0
    if end - start + 8 > unquoted.size:
        return end, i, doubled, -1
    size, k = 0, start
    while k < end:
        unquoted[size] = text[k]
        size += 1
        k += 2 if byte(text, k) == QUOTATION else 1
    unquoted[size : size + 8] = NEW_LINE
    return size, i, doubled, 0


@jitted
def plain(text, i, delimiter):
    """The value at text[i]: where it ends, without blanks after it, and what follows it."""
    start, stop = i, byte_stops(text, i, 32, delimiter)
    while is_blank(byte(text, stop)) and byte(text, stop) != delimiter:
        stop = byte_stops(text, stop + 1, 32, delimiter)
    end = stop
    while end > start and is_blank(byte(text, end - 1)):
        end -= 1
    return end, stop


@jitted
def whole(text, start, stop, single, scratch):
    """The number that is all of text[start:stop], and whether it is one."""
    if stop == start:
        return np.nan, MALFORMED
    end, value, how = number(text, start, single, scratch)
    return value, MALFORMED if how == GOOD and end != stop else how


@jitted
def stands_for_none(h, missing):
    """Whether a value with this hash says that there is none."""
    nothing = False
    for which in range(missing.size):
        nothing |= h == missing[which]
    return nothing


@jitted
def class_label(text, start, stop):
    """The label of a class that has a word for its name: 52 bits of the word's hash, which float64 holds exactly."""
    return np.float64(np.int64(hashed(text, start, stop, np.uint64(0)) >> np.uint64(12)))


@jitted
def class_labels(text, cuts, space, missing, longest, found):
    """The labels of strings, each in a line; NaN for those that stand for none."""
    for k in range(found.size):
        begin, end = cuts[k], cuts[k + 1] - 1
        nothing = end - begin <= longest and stands_for_none(hashed(text, begin, end, space), missing)
        found[k] = np.nan if nothing else class_label(text, begin, end)


@jitted
def lines(
    text, end, settings, kinds, numbers, spaces, missing, schema, bounds, state, labels, weights, indptr, indices,
    values, fields, known, recent, found, arena, unquoted, words, faults, scratch, counts,
):  # fmt: skip
    """Reads lines until text[end - 1], or until an array is full.

    Args:
        text: bytes; text[end - 1] is the end of a line.
        settings: bits of an index, whether hashes decide signs, the seed, the delimiter, whether values may be quoted,
            bytes of a value that stands for a missing one at most.
        kinds: what each column is.
        numbers: for each column, which field it is.
        spaces: for each column, the hash of its name as a feature and as a namespace of values.
        missing: for each column, the hashes of values that stand for a missing one; the last stands for all of them.
        schema: the names of all columns, and last the name of the missing value.
        bounds: where each of these begins in `schema`, and where the last one ends.
        state: see `rows`.
        labels, weights: one for each row; the label is NaN where the line has none.
        indptr, indices, values, fields: the rows in CSR form; no room for fields where they are not wanted. With them,
            entries that share an index are summed only where they share the field, too.
        known: see `hashing.merge`; of no size where names are not wanted.
        recent, found, arena: see `hashing.note`.
        unquoted: see `quoted`.
        words: for each row, where the word begins that its label stands for.
        faults: see `rows.record`.
        scratch: see `numbers`.
        counts: see `rows.distribute`.
    """
    i, k, row = state[POSITION], state[ENTRIES], state[ROWS]
    bits, signed, _, delimiter, quotes, longest = settings
    mask, last = (1 << bits) - 1, missing.shape[1] - 1
    single, single_label, kept = values.itemsize == 4, labels.itemsize == 4, fields.size > 0
    noted, used = state[NAMES], state[ARENA]
    while i < end:
        begin, first, first_noted, first_used, full, code = i, k, noted, used, DONE, 0
        if byte(text, skip_blanks(text, i, delimiter)) == NEW_LINE:
            i = line_end(text, i) + 1
            state[LINES] += 1
            continue
        if row == labels.size:
            full = ROWS_FULL
        label, weight, word_at, column = np.nan, 1.0, begin, 0
        while full == DONE:
            i = skip_blanks(text, i, delimiter)
            start, source, before = i, text, i
            if quotes and byte(text, i) == QUOTATION:
                start = i + 1
                stop, after, doubled, code = quoted(text, start, delimiter, unquoted)
                if code < 0:
                    code, full = 0, UNQUOTED_FULL
                    break
                if code > 0:
                    i = after
                    break
                if doubled:
                    start, source = 0, unquoted
            else:
                stop, after = plain(text, i, delimiter)
                if byte(text, after) != delimiter and byte(text, after) != NEW_LINE:
                    i, code = after, BINARY
                    break
            if column == kinds.size:
                code = COLUMNS
                break
            kind, h, value, nothing = kinds[column], spaces[column, 0], 1.0, False
            if kind == CATEGORICAL:
                h = hashed(source, start, stop, spaces[column, 1])
                nothing = stop - start <= longest and stands_for_none(h, missing[column])
            elif kind == CLASS:
                nothing = stop - start <= longest and stands_for_none(
                    hashed(source, start, stop, spaces[column, 1]), missing[column]
                )
                label, word_at = np.nan if nothing else class_label(source, start, stop), before
            elif kind != DROPPED:
                value, how = whole(source, start, stop, single_label if kind == TARGET else single, scratch)
                nothing = how != GOOD and stands_for_none(
                    hashed(source, start, stop, spaces[column, 1]), missing[column]
                )
                if how == GOOD and abs(value) > LARGEST_FLOAT32:
                    how = NOT_FINITE
                if how != GOOD and not nothing:
                    code = LABEL if kind == TARGET else IMPORTANCE if kind == WEIGHT else VALUE
                    code += how == NOT_FINITE
                    break
            if kind == TARGET:
                label = np.nan if nothing else value
            elif kind == WEIGHT:
                weight = value
                state[WEIGHTED] = 1
                if nothing or value < 0.0:
                    code = IMPORTANCE if nothing else IMPORTANCE_RANGE
                    break
            elif kind != DROPPED and kind != CLASS:
                space = bounds[column], bounds[column + 1]
                if nothing:
                    h, value, source = missing[column, last], 1.0, schema
                    start, stop = bounds[kinds.size], bounds[kinds.size + 1]
                elif kind == NUMERIC:
                    source, start, stop, space = schema, space[0], space[1], (space[0], space[0])
                slot = np.int64(h) & mask
                if k == indices.size:
                    full = ENTRIES_FULL
                    break
                indices[k] = slot << FIELD_BITS | numbers[column] if kept else slot
                values[k] = -value if signed and h >> np.uint64(63) else value
                k += 1
                if known.size and is_new(h, mask, known, recent):
                    noted, used = note(h, recent, found, noted, arena, used, schema, space, EQUALS, source, start, stop)
                    if noted < 0:
                        noted, full = len(found), NAMES_FULL
                        break
            column += 1
            i = after
            if byte(text, i) == NEW_LINE:
                break
            i += 1
        if code == 0 and full == DONE and column != kinds.size:
            code = COLUMNS
        if code == 0 and full == DONE and k > first:
            if 2 * k - first > indices.size:
                full = ENTRIES_FULL
            else:
                distribute(indices, values, first, k, bits + FIELD_BITS if kept else bits, counts)
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
            labels[row], weights[row], words[row] = label, weight, word_at
            row += 1
            indptr[row] = k
            if kept:
                split(indices, fields, first, k)
        i = line_end(text, i) + 1
        state[LINES] += 1
    state[POSITION], state[ENTRIES], state[ROWS], state[NAMES], state[ARENA] = i, k, row, noted, used
    return DONE
