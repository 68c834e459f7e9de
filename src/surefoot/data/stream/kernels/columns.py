"""Rows of a table whose columns are arrays: the same ids, names and faults as `table` gives for their text."""

import numpy as np

from surefoot.data.stream.kernels.hashing import LONGEST, hashed, is_known, note, place_among_recent
from surefoot.data.stream.kernels.layout import (
    ABSENT,
    ARENA,
    CATEGORICAL,
    CONTROL,
    DONE,
    ENTRIES,
    ENTRIES_FULL,
    FAULTS,
    FAULTS_FULL,
    FIELD_BITS,
    LARGEST_FLOAT32,
    LINES,
    MOST_BUCKETS,
    NAMES,
    NAMES_FULL,
    NUMERIC,
    POSITION,
    ROWS,
    ROWS_FULL,
    SEEN,
    SUMMED,
    TARGET,
    UNSEEN,
    WEIGHT,
    WEIGHTED,
)
from surefoot.data.stream.kernels.numbers import GOOD, NOT_FINITE
from surefoot.data.stream.kernels.rows import INSERTION, is_blank, record
from surefoot.data.stream.kernels.table import (
    BINARY,
    EQUALS,
    IMPORTANCE,
    IMPORTANCE_RANGE,
    LABEL,
    VALUE,
    VALUE_RANGE,
    stands_for_none,
    whole,
)
from surefoot.data.stream.kernels.words import byte, word
from surefoot.native.codegen import jitted

NEW_LINE = 10
_SPACES, _HIGH_BITS = np.uint64(0x2020202020202020), np.uint64(0x8080808080808080)


@jitted
def is_control_in(text, begin, end):
    """Whether text[begin:end] has a control character other than blanks and line ends."""
    for i in range(begin, end, 8):
        v = word(text, i)
        if end - i < 8:
            v |= ~np.uint64(0) << np.uint64(8 * (end - i))
        # A byte below 32 has its high bit set in the difference, and not in itself.
        if (v - _SPACES) & ~v & _HIGH_BITS:
            for place in range(i, min(i + 8, end)):
                c = byte(text, place)
                if c < 32 and c != NEW_LINE and not is_blank(c):
                    return True
    return False


@jitted
def describe(text, cuts, first, last, longest, space, missing, mask, known, hashes, kinds):
    """For strings first … last − 1 of a column: their hashes as values of it, and what they are.

    Args:
        text, cuts: the strings, one after the other, and where each begins; 8 bytes follow the last one.
        longest: bytes of a value that stands for none, at most.
        space, missing: see `table.lines`, for this column.
        mask, known: see `hashing.merge`; of no size where names are not wanted.
        hashes, kinds: where the results go.
    """
    for k in range(first, last):
        begin, end, kind = cuts[k], cuts[k + 1], UNSEEN
        h = hashed(text, begin, end, space)
        if end - begin <= longest and stands_for_none(h, missing):
            kind = ABSENT
        if is_control_in(text, begin, end):
            kind = CONTROL
        hashes[k], kinds[k] = h, kind
    # By itself, so that a processor waits for several places of the table at once.
    for k in range(first, last):
        is_old = known.size == 0 or is_known(hashes[k], mask, known)
        if is_old and kinds[k] == UNSEEN:
            kinds[k] = SEEN


@jitted
def parse(text, cuts, space, missing, single, scratch, values, hows):
    """The numbers that strings are, each in a line, and whether they are any; NaN for those that stand for none."""
    for k in range(values.size):
        begin, end = cuts[k], cuts[k + 1] - 1
        values[k], hows[k] = whole(text, begin, end, single, scratch)
        if hows[k] != GOOD and stands_for_none(hashed(text, begin, end, space), missing):
            values[k], hows[k] = np.nan, GOOD


@jitted
def gather(
    begin, end, settings, kinds, order, at, places, columns, hows, codes, own, hashes, strings, keys, indices, gathered,
    odd, news,
):  # fmt: skip
    """Gathers the entries of rows begin … end − 1, a column after the other, so that its strings stay in the cache.

    Args:
        order: for each column, what decides the order of entries with the same index: its number, or its field.
        at: for each column, its place among a row's entries; -1 for the target and the weight.
        keys, indices, gathered: for each row and entry, the upper bits of the index with `order` below them, all of the
            index, and the value.
        odd: for each row, CONTROL where it has something that cannot be used, and UNSEEN where it may have a new name.
        news: for each row, the first and the last column that may have a new name.

    The others are those of `lines`.
    """
    bits, signed = settings
    mask, lower = np.uint64((1 << bits) - 1), np.uint64(max(bits + FIELD_BITS - 64, 0))
    odd[: end - begin] = 0
    news[: end - begin, 0] = kinds.size
    for column in range(kinds.size):
        kind, place, none = kinds[column], places[column], own[column]
        low, entry = np.uint64(order[column]), at[column]
        for row in range(end - begin):
            if kind == CATEGORICAL:
                string, value = none + 1 + np.int64(codes[place, begin + row]), 1.0
                if strings[string] == ABSENT:
                    string = none
            else:
                value, how = columns[place, begin + row], hows[place, begin + row]
                string = none + 1
                odd[row] |= (how != GOOD) | (abs(value) > LARGEST_FLOAT32)
                if kind == WEIGHT:
                    odd[row] |= not value >= 0.0
                elif kind == NUMERIC and np.isnan(value):
                    string, value = none, 1.0
            if entry >= 0:
                odd[row] |= strings[string] & (CONTROL | UNSEEN)
                if strings[string] == UNSEEN:
                    news[row, 0], news[row, 1] = min(news[row, 0], column), column
                h = hashes[string]
                indices[row, entry] = h & mask
                keys[row, entry] = (h & mask) >> lower << np.uint64(FIELD_BITS) | low
                gathered[row, entry] = -value if signed and h >> np.uint64(63) else value


@jitted
def sort(keys, size, bits, ordered, counts):
    """Sorts keys, no two of which are equal, into `ordered`.

    Where their indices are spread evenly below 2^bits, they are put into buckets by the upper bits, and then inserted,
    which is never far; otherwise D. L. Shell's method ("A high-speed sorting procedure", 1959) brings them near first.
    """
    wide = 4
    while 1 << wide < size and wide < bits and 1 << wide < MOST_BUCKETS:
        wide += 1
    shift = np.uint64(min(bits + FIELD_BITS, 64) - min(wide, bits))
    places = counts[: 1 << wide]
    places[:] = 0
    for k in range(size):
        places[np.int64(keys[k] >> shift)] += 1
    total, most = np.int64(0), np.int64(0)
    for bucket in range(places.size):
        count = places[bucket]
        places[bucket] = total
        total += count
        most = max(most, count)
    for k in range(size):
        bucket = np.int64(keys[k] >> shift)
        ordered[places[bucket]] = keys[k]
        places[bucket] += 1
    gap = 1 if most <= INSERTION else max(size // 2, 1)
    while gap > 0:
        for k in range(gap, size):
            key, place = ordered[k], k
            while place >= gap and ordered[place - gap] > key:
                ordered[place] = ordered[place - gap]
                place -= gap
            ordered[place] = key
        gap //= 2


@jitted
def sort_by_lower_bits(ordered, size, own, entry_of):
    """Puts keys in order whose indices differ in bits that keys do not have; it hardly ever happens."""
    low = np.uint64((1 << FIELD_BITS) - 1)
    for n in range(1, size):
        key, place = ordered[n], n
        index = own[entry_of[np.int64(key & low)]]
        while place > 0 and own[entry_of[np.int64(ordered[place - 1] & low)]] > index:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = key


@jitted
def write(ordered, size, own, gathered, entry_of, kept, k, indices, values, fields):
    """Writes a row of sorted keys, those of the same index summed as `sum_equal` does.

    Returns where it ends, and whether all sums are finite.
    """
    previous, total, low, finite = np.int64(-1), 0.0, np.uint64((1 << FIELD_BITS) - 1), True
    for n in range(size):
        order = np.int64(ordered[n] & low)
        index = np.int64(own[entry_of[order]])
        values[k] = gathered[entry_of[order]]
        value = np.float64(values[k])
        if index == previous and not kept:
            total += value
            values[k - 1] = total
            finite &= abs(values[k - 1]) <= LARGEST_FLOAT32
        else:
            if kept:
                fields[k] = order
            indices[k], previous, total = index, index, value
            k += 1
    return k, finite


@jitted
def note_names(
    i, begin, end, kinds, bounds, places, columns, codes, own, text, cuts, hashes, strings, state, recent, found, arena
):  # fmt: skip
    """Notes the new names of a row in columns begin … end − 1, in their order; whether there was room. See `lines`."""
    noted, used = state[NAMES], state[ARENA]
    if noted + end - begin > len(found) or used + (end - begin) * (2 * LONGEST + 1) > arena.size:
        return False
    for column in range(begin, end):
        kind, string = kinds[column], own[column]
        if kind == CATEGORICAL:
            string += 1 + np.int64(codes[places[column], i])
            if strings[string] == ABSENT:
                string = own[column]
        elif kind != NUMERIC:
            continue
        elif not np.isnan(columns[places[column], i]):
            string += 1
        if strings[string] != UNSEEN:
            continue
        strings[string], h = SEEN, hashes[string]
        if recent[place_among_recent(h, recent)] == h:
            continue
        is_name = kind == NUMERIC and string > own[column]
        space = bounds[column], bounds[column] if is_name else bounds[column + 1]
        noted, used = note(
            h, recent, found, noted, arena, used, text, space, EQUALS, text, cuts[string], cuts[string + 1]
        )  # fmt: skip
    state[NAMES], state[ARENA] = noted, used
    return True


@jitted
def fault_of(i, kinds, places, columns, hows, codes, own, strings):
    """What is wrong with a row, 0 for nothing, and in which column: the first one."""
    for column in range(kinds.size):
        kind, place = kinds[column], places[column]
        if kind == CATEGORICAL:
            if strings[own[column] + 1 + np.int64(codes[place, i])] == CONTROL:
                return BINARY, column
            continue
        value, how = columns[place, i], np.int64(hows[place, i])
        if how == GOOD and abs(value) > LARGEST_FLOAT32:
            how = NOT_FINITE
        if how != GOOD:
            code = LABEL if kind == TARGET else IMPORTANCE if kind == WEIGHT else VALUE
            return code + (how == NOT_FINITE), column
        if kind == WEIGHT and not value >= 0.0:
            return IMPORTANCE if np.isnan(value) else IMPORTANCE_RANGE, column
    return 0, kinds.size


@jitted
def lines(
    size, settings, kinds, bounds, order, at, entry_of, keys, whole_indices, gathered, odd, news, ordered, places,
    columns, hows, codes, own, text, cuts, hashes, strings, state, labels, weights, indptr, indices, values, fields,
    known, recent, found, arena, faults, counts,
):  # fmt: skip
    """Makes rows of columns until the last, or until an array is full.

    Args:
        size: rows.
        settings: bits of an index, whether hashes decide signs.
        kinds, bounds: see `table.lines`; no column is dropped, and the text begins with the columns' names.
        order, at, entry_of: see `gather`; which entry has an order.
        keys, whole_indices, gathered, odd, news, ordered: room for some rows, and for the entries of one.
        places: for each column, its row in `columns` and `hows`, or in `codes` where it is categorical.
        columns: numbers, NaN where there is none, and `hows`, whether they are any.
        codes: the string of each value, counted within its column; -1 where there is none.
        own: for each column, its own string, which says that there is no value. The next ones are its values, or the
            name of a numeric column.
        text, cuts, hashes, strings: see `describe`; the latter are its kinds, and are changed.
        state, labels, weights, indptr, indices, values, fields, known, recent, found, arena, counts: see `table.lines`.
        faults: see `rows.record`, with the column in place of the begin of the line, and the row as position.
    """
    entries, kept = keys.shape[1], fields.size > 0
    target, weight = -1, -1
    for column in range(kinds.size):
        if kinds[column] == TARGET:
            target = places[column]
        elif kinds[column] == WEIGHT:
            weight = places[column]
            state[WEIGHTED] = 1
    while state[POSITION] < size:
        begin, end = state[POSITION], min(state[POSITION] + odd.size, size)
        gather(
            begin, end, settings, kinds, order, at, places, columns, hows, codes, own, hashes, strings, keys,
            whole_indices, gathered, odd, news,
        )  # fmt: skip
        for i in range(begin, end):
            k, row, looks, code, column = state[ENTRIES], state[ROWS], np.int64(odd[i - begin]), 0, kinds.size
            if looks & CONTROL:
                code, column = fault_of(i, kinds, places, columns, hows, codes, own, strings)
            elif row == labels.size:
                return ROWS_FULL
            elif k + entries > indices.size:
                return ENTRIES_FULL
            else:
                sort(keys[i - begin], entries, settings[0], ordered, counts)
                mine = whole_indices[i - begin]
                if settings[0] + FIELD_BITS > 64:
                    sort_by_lower_bits(ordered, entries, mine, entry_of)
                last, finite = write(
                    ordered, entries, mine, gathered[i - begin], entry_of, kept, k, indices, values, fields
                )
                if not finite:
                    code = VALUE_RANGE
                elif looks & UNSEEN:
                    since, until = news[i - begin, 0], news[i - begin, 1] + 1
                    if not note_names(
                        i, since, until, kinds, bounds, places, columns, codes, own, text, cuts, hashes, strings, state,
                        recent, found, arena,
                    ):  # fmt: skip
                        return NAMES_FULL
            if code != 0:
                if state[FAULTS] == len(faults):
                    return FAULTS_FULL
                record(faults, state, code, column, i)
            else:
                labels[row] = columns[target, i] if target >= 0 else np.nan
                weights[row] = columns[weight, i] if weight >= 0 else 1.0
                indptr[row + 1] = last
                state[ENTRIES], state[ROWS] = last, row + 1
                state[SUMMED] += entries - (last - k)
            state[POSITION] = i + 1
            state[LINES] += 1
    return DONE
