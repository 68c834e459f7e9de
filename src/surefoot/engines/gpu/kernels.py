"""One generic driver per layout; `compiling.specialise` makes the copy of a driver for a rule.

Names in capitals are filled in there: F, the type of the arithmetic; RULE, the rule's function; X and SLOTS, the types
in which parameters and memory are stored (uint16 holds bfloat16); SHARES, which slots hold one number for several
coordinates; GRADIENT, START and PROXIMAL, what is done around the rule; and sizes of tiles.

A row of `table` describes one of many tensors by addresses; a row of `numbers` is (t, coefficients, around), float64.
"""

import triton.language as tl

# ruff: noqa: F821


# Drivers


def dense(table, owners, numbers, stride, means, shared, counts, scale, found):
    """Steps a block of one of many tensors. A tensor whose coordinates share a rate has its mean square in `means`,
    and its common slots, as they were before any block was stepped, in `shared`."""
    block = tl.program_id(0).to(tl.int64)
    owner = tl.load(owners + block).to(tl.int64)
    row = table + owner * COLUMNS
    first, size = tl.load(row), stepped(tl.load(row + 1), found)
    x, g = pointer(tl.load(row + 4), X), pointer(tl.load(row + 5), X)
    slots = ()
    for s in tl.static_range(len(SLOTS)):
        slots = slots + (pointer(tl.load(row + 6 + s), SLOTS[s]),)
    numbers, counts = numbers + owner * stride, counts + tl.load(row + 3)
    mean = mean_of(means, owner)
    begin = (block - first) * BLOCK
    i = begin + tl.arange(0, BLOCK)
    shared += owner * len(SLOTS)
    if begin + BLOCK <= size:
        step_tile(x, g, slots, shared, i, None, i, begin == 0, mean, numbers, counts, scale)
    else:
        step_tile(x, g, slots, shared, i, i < size, i, (begin == 0) & (size > 0), mean, numbers, counts, scale)


def dense_by_row(table, owners, numbers, stride, means, shared, counts, scale, found):
    """Steps a few rows of one of many tensors, each row with a rate of its own."""
    block = tl.program_id(0).to(tl.int64)
    owner = tl.load(owners + block).to(tl.int64)
    row = table + owner * COLUMNS
    first, rows, width = tl.load(row), stepped(tl.load(row + 1), found), tl.load(row + 2)
    if ALIGNED:
        width = tl.multiple_of(width, 16)
    x, g = pointer(tl.load(row + 4), X), pointer(tl.load(row + 5), X)
    numbers, counts = numbers + owner * stride, counts + tl.load(row + 3)
    r = ((block - first) * ROWS + tl.arange(0, ROWS))[:, None]
    here = r < rows
    j = tl.arange(0, WIDTH)[None, :]
    squares = tl.full((ROWS, WIDTH), 0.0, tl.float64)
    for begin in range(0, width, WIDTH):
        i = r * width + (begin + j)
        mask = here & (begin + j < width)
        squares += squares_of(x, g, i, mask, numbers, scale)
    mean = (tl.expand_dims(tl.reduce(squares, 1, add), 1) / width.to(tl.float64)).to(F)
    slots = ()
    memory = ()
    for s in tl.static_range(len(SLOTS)):
        slots = slots + (pointer(tl.load(row + 6 + s), SLOTS[s]),)
        memory = memory + (decode(tl.load(slots[s] + r, here)) if SHARES[s] else mean,)
    tl.debug_barrier()  # every thread has read what its row shares before one of them writes it
    for begin in range(0, width, WIDTH):
        i = r * width + (begin + j)
        mask = here & (begin + j < width)
        before = ()
        for s in tl.static_range(len(SLOTS)):
            before = before + (memory[s] if SHARES[s] else decode(tl.load(slots[s] + i, mask)),)
        raw = unscaled(decode(tl.load(g + i, mask)), scale)
        value = decode(tl.load(x + i, mask))
        leads = here & (begin == 0)
        step_values(x, slots, value, raw, before, i, mask, r, leads, mean, numbers, counts)


def squares(table, owners, numbers, stride, parts, scale):
    """The sum of squares of a block's gradient, or of a few rows of it, as the rule sees it (or as it is, where ADJUSTS
    is off), into parts."""
    block = tl.program_id(0).to(tl.int64)
    owner = tl.load(owners + block).to(tl.int64)
    row = table + owner * COLUMNS
    x, g = pointer(tl.load(row + 4), X), pointer(tl.load(row + 5), X)
    numbers += owner * stride
    i = tl.arange(0, BLOCK)
    if BY_ROW:
        width = tl.load(row + 2)
        begin = (block - tl.load(row)) * ROWS
        end = tl.minimum(begin + ROWS, tl.load(row + 1)) * width
        total = tl.full((), 0.0, tl.float64)
        for b in range(begin * width, end, BLOCK):
            total += tl.reduce(squares_of(x, g, b + i, b + i < end, numbers, scale), 0, add)
    else:
        begin, end = (block - tl.load(row)) * BLOCK, tl.load(row + 1)
        i += begin
        if begin + BLOCK <= end:
            total = tl.reduce(squares_of(x, g, i, None, numbers, scale), 0, add)
        else:
            total = tl.reduce(squares_of(x, g, i, i < end, numbers, scale), 0, add)
    tl.store(parts + block, total)


def common(table, shared):
    """Copies the slots that a tensor's coordinates share, before one of its blocks writes them."""
    owner = tl.program_id(0).to(tl.int64)
    for s in tl.static_range(len(SLOTS)):
        if SHARES[s]:
            value = decode(tl.load(pointer(tl.load(table + owner * COLUMNS + 6 + s), SLOTS[s])))
            tl.store(shared + owner * len(SLOTS) + s, value.to(tl.float64))


def sums(parts, first, last, result):
    """The sum of parts first … last − 1 of each tensor."""
    owner = tl.program_id(0)
    begin, end = tl.load(first + owner), tl.load(last + owner)
    k = tl.arange(0, BLOCK)
    total = tl.full((BLOCK,), 0.0, tl.float64)
    for b in range(begin, end, BLOCK):
        total += tl.load(parts + b + k, b + k < end, 0.0)
    tl.store(result + owner, tl.reduce(total, 0, add))


def rows(
    x,
    ids,
    order,
    count,
    values,
    slots,
    height,
    width,
    numbers,
    last,
    history,
    stretches,
    mean,
    shared,
    counts,
    place,
    outside,
    sums,
    scale,
    found,
):
    """Steps the row that the k-th id names, if it is the first of its kind: equal ids, side by side, are summed."""
    k = tl.program_id(0).to(tl.int64)
    row = tl.load(ids + k).to(tl.int64)
    before = tl.load(ids + k - 1, k > 0, -1).to(tl.int64)
    inside = (row >= 0) & (row < height)
    if not inside:
        tl.atomic_add(counts + outside, 1, tl.program_id(1) == 0, sem="relaxed")
    if (row != before) & inside & (stepped(1, found) > 0):
        j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
        mask = j < width
        i = row * width + j
        total = sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale)
        memory = load_row(slots, shared, row, i, mask)
        value = decode(tl.load(x + i, mask))
        if CATCHES_UP:
            now, seen = tl.load(numbers).to(tl.int64), tl.load(last + row)
            value, memory = idle_row(x, slots, value, memory, seen, now - 1, history, stretches)
        if CATCHES_UP or BY_ROW:
            tl.debug_barrier()  # every thread has read what the row shares before one of them writes it
        if CATCHES_UP:
            tl.store(last + row, now)
        common = mean_of(mean, 0)
        if BY_ROW:
            common = (tl.reduce(finite_squares(total, value, mask, numbers), 0, add) / width).to(F)
        step_values(x, slots, value, total, memory, i, mask, row, BY_ROW or k == 0, common, numbers, counts + place)


def rows_squares(x, ids, order, count, values, height, width, numbers, parts, sums, scale):
    """The sum of squares of each merged row's gradient, into parts; 0 where an id is not the first of its kind."""
    k = tl.program_id(0).to(tl.int64)
    row = tl.load(ids + k).to(tl.int64)
    before = tl.load(ids + k - 1, k > 0, -1).to(tl.int64)
    result = tl.full((), 0.0, tl.float64)
    if (row != before) & (row >= 0) & (row < height):
        for begin in range(0, width, WIDTH):
            j = begin + tl.arange(0, WIDTH)
            mask = j < width
            total = sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale)
            value = decode(tl.load(x + row * width + j, mask))
            result += tl.reduce(finite_squares(total, value, mask, numbers), 0, add)
    tl.store(parts + k, result)


def settle(x, slots, width, now, last, history, stretches, shared):
    """Lets a row catch up with the steps before `now`."""
    row = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, WIDTH)
    mask = j < width
    i = row * width + j
    memory = load_row(slots, shared, row, i, mask)
    value = decode(tl.load(x + i, mask))
    value, memory = idle_row(x, slots, value, memory, tl.load(last + row), now - 1, history, stretches)
    tl.debug_barrier()  # every thread has read what the row shares before one of them writes it
    tl.store(x + i, encode(value, x, None, None), mask)
    for s in tl.static_range(len(SLOTS)):
        if not SHARES[s]:
            tl.store(slots[s] + i, encode(memory[s], slots[s], None, None), mask)
        elif BY_ROW:
            tl.store(slots[s] + row, encode(memory[s], slots[s], None, None))
    tl.store(last + row, now - 1)


# A tile of coordinates


def step_tile(x, g, slots, shared, i, mask, r, leads, mean, numbers, counts, scale):
    """Steps the coordinates i; what they share is in `shared`, and is written, where r says, if this tile leads."""
    memory = ()
    for s in tl.static_range(len(SLOTS)):
        memory = memory + (tl.load(shared + s).to(F) if SHARES[s] else decode(tl.load(slots[s] + i, mask)),)
    raw = unscaled(decode(tl.load(g + i, mask)), scale)
    step_values(x, slots, decode(tl.load(x + i, mask)), raw, memory, i, mask, r, leads, mean, numbers, counts)


def step_values(x, slots, before, raw, memory, i, mask, r, leads, mean, numbers, counts):
    """Writes what one step makes of the values `before` and their memory, unless something about them is not finite."""
    c = ()
    for n in tl.static_range(COUNT):
        c = c + (tl.load(numbers + 1 + n).to(F),)
    g, start = GRADIENT(raw, before, numbers), START(before, numbers)
    square = g * g
    g2 = square
    if SHARED:
        g2 = mean
    new = RULE(start, g, g2, *memory, *c)
    origin = start
    if FROM_ORIGIN:
        origin = tl.full((), 0.0, F)
    moved = PROXIMAL(ADVANCE(origin, new[0], new[1]), new[0], numbers)
    stored = encode(moved, x, numbers, i)
    ok = finite(raw) & finite(square) & finite(decode(stored))
    for s in tl.static_range(len(SLOTS)):
        # What is shared, in the tile's shape: squares that are not finite are not ok anyway.
        after = new[2 + s] + 0.0 * square if SHARES[s] else decode(encode(new[2 + s], slots[s], None, None))
        ok = ok & finite(after)
    if PROPAGATE:
        ok = ok | (ok == 0)
    tl.store(x + i, tl.where(ok, stored, encode(before, x, None, None)), mask)
    for s in tl.static_range(len(SLOTS)):
        after = encode(new[2 + s], slots[s], None, None)
        if not SHARES[s]:
            tl.store(slots[s] + i, tl.where(ok, after, encode(memory[s], slots[s], None, None)), mask)
        else:
            fine = finite(decode(after))
            if PROPAGATE:
                fine = fine | (fine == 0)
            kept = tl.where(fine, after, encode(memory[s], slots[s], None, None))
            if BY_ROW:
                tl.store(slots[s] + r, kept, leads)
            else:
                tl.store(slots[s], kept, leads)
    if not PROPAGATE:
        bad = ok == 0
        if mask is not None:
            bad = bad & mask
        count = tl.reduce(bad.to(tl.int32), None, add)
        tl.atomic_add(counts, count.to(tl.int64), count > 0, sem="relaxed")


def squares_of(x, g, i, mask, numbers, scale):
    raw = unscaled(decode(tl.load(g + i, mask)), scale)
    value = raw
    if ADJUSTS:
        value = decode(tl.load(x + i, mask))
    return finite_squares(raw, value, mask, numbers)


def finite_squares(raw, x, mask, numbers):
    """The squares of the gradient as the rule sees it, float64; 0 where it is not finite."""
    g = GRADIENT(raw, x, numbers)
    square = g * g
    ok = finite(raw) & finite(square)
    if mask is not None:
        ok = ok & mask
    return tl.where(ok, square, 0.0).to(tl.float64)


def add(a, b):
    return a + b


def finite(value):
    return tl.abs(value) < float("inf")


def stepped(size, found):
    """How much there is to step: nothing, where GradScaler found a gradient that is not finite."""
    if AMP:
        size = tl.where(tl.load(found) == 0.0, size, 0)
    return size


def unscaled(raw, scale):
    if AMP:
        raw = DIVIDE(raw, tl.load(scale).to(F))
    return raw


def mean_of(means, owner):
    return tl.load(means + owner).to(F) if SHARED and not BY_ROW else tl.full((), 0.0, F)


# Memory


def pointer(address, TYPE: tl.constexpr):
    place = address.to(tl.pointer_type(TYPE))
    if ALIGNED:
        place = tl.multiple_of(place, 16)
    return place


def load_row(slots, shared, row, i, mask):
    memory = ()
    for s in tl.static_range(len(SLOTS)):
        if not SHARES[s]:
            memory = memory + (decode(tl.load(slots[s] + i, mask)),)
        elif BY_ROW:
            memory = memory + (decode(tl.load(slots[s] + row)),)
        else:
            memory = memory + (tl.load(shared + s).to(F),)
    return memory


def decode(stored):
    """A number as stored, in the type it is computed in."""
    if stored.dtype == tl.uint16:
        return (stored.to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        return stored.to(F)


def encode(value, place, numbers, i):
    """A computed number as it is stored at `place`; bfloat16 parameters may be rounded at random, by their number i."""
    if place.dtype.element_ty == tl.uint16:
        bits = value.to(tl.uint32, bitcast=True)
        up = 0x7FFF + ((bits >> 16) & 1)
        is_finite = (bits & 0x7F800000) != 0x7F800000
        if RANDOM and (numbers is not None):
            up = tl.where(is_finite, noise(i, numbers) & 0xFFFF, up)
        nan = (bits & 0x7FFFFFFF) > 0x7F800000
        return tl.where(nan, (bits >> 16) | 0x40, (bits + up) >> 16).to(tl.uint16)
    else:
        return value.to(place.dtype.element_ty)


def noise(place, numbers):
    """32 random bits for every place: an integer hash with good avalanche (the constants are Wellons's, 2018)."""
    h = place.to(tl.uint32) ^ rounding_key(tl.load(numbers).to(tl.int64).to(tl.uint64))
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)


def rounding_key(t):
    """`numerics.rounding_key`, for a t that may be known to the device alone."""
    mixed = t * 0xD1B54A32D192ED03 + SEED
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9
    key = (mixed ^ (mixed >> 31)).to(tl.uint32)
    return tl.where(key == 0, 1, key).to(tl.uint32)


# Rows of a sparse gradient


def long_runs(ids, order, count, values, width, sums, scale):
    """Sums, in order of occurrence, each run of equal ids that holds two multiples of RUN or more, into the row of
    `sums` that the first of them numbers. A frequent row would keep a program of `rows` busy long after all others are
    done: here its columns are shared among programs, each of which has IN_RUN loads under way."""
    m = tl.program_id(0).to(tl.int64)
    k = m * RUN
    row = tl.load(ids + k)
    is_first = tl.load(ids + k - RUN, k > 0, -1) != row
    if (row >= 0) & is_first & (tl.load(ids + k + RUN, k + RUN < count, -1) == row):
        near = k - tl.arange(0, RUN)
        begin = k + 1 - tl.reduce((tl.load(ids + near, near >= 0, -1) == row).to(tl.int64), 0, add)
        low, end = k + RUN, count.to(tl.int64)
        while end - low > 1:
            middle = (low + end) // 2
            same = tl.load(ids + middle) == row
            low = tl.where(same, middle, low)
            end = tl.where(same, end, middle)
        j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
        mask = j < width
        total = unscaled(decode(tl.load(values + tl.load(order + begin) * width + j, mask)), scale)
        for start in range(begin + 1, end, IN_RUN):
            total = add_in_order(total, values, order, start, end - start, width, j, mask, IN_RUN, scale)
        tl.store(sums + m * width + j, total, mask)


def sum_of_row(values, ids, order, k, count, row, width, j, mask, sums, scale):
    """The sum of a row's gradients in order of occurrence, from position k on: from `long_runs`, or made here."""
    m = (k + RUN - 1) // RUN
    if tl.load(ids + (m + 1) * RUN, (m + 1) * RUN < count, -1).to(tl.int64) == row:
        total = tl.load(sums + m * width + j, mask)
    else:
        total = unscaled(decode(tl.load(values + tl.load(order + k) * width + j, mask)), scale)
        k += 1
        more = tl.load(ids + k, k < count, -1).to(tl.int64) == row
        while more:
            size = 0
            for n in tl.static_range(AHEAD):
                size += (tl.load(ids + k + n, k + n < count, -1).to(tl.int64) == row).to(tl.int32)
            total = add_in_order(total, values, order, k, size, width, j, mask, AHEAD, scale)
            k += AHEAD
            more = size == AHEAD
    return total


def add_in_order(total, values, order, k, size, width, j, mask, AT_ONCE: tl.constexpr, scale):
    """The total plus the gradients at positions k … k + size − 1, of which AT_ONCE at most: all are loaded before the
    first is added."""
    places = ()
    for n in tl.static_range(AT_ONCE):
        places = places + (tl.load(order + k + n, n < size, 0),)
    loaded = ()
    for n in tl.static_range(AT_ONCE):
        loaded = loaded + (tl.load(values + places[n] * width + j, mask & (n < size)),)
    for n in tl.static_range(AT_ONCE):
        total = tl.where(n < size, total + unscaled(decode(loaded[n]), scale), total)
    return total


def idle_row(x, slots, value, before, last, until, history, stretches):
    """What zero-gradient steps last + 1 … until make of a row and its memory, rounded as they are stored; a row of
    `history` is (first step, coefficients, around) of a stretch in which they did not change."""
    memory = before
    low = stretches * 0
    high = stretches
    while high - low > 1:
        middle = (low + high) // 2
        begins = tl.load(history + middle * HISTORY).to(tl.int64) <= last + 1
        low = tl.where(begins, middle, low)
        high = tl.where(begins, high, middle)
    for s in range(low, stretches):
        stretch = history + s * HISTORY
        first = tl.load(stretch).to(tl.int64)
        end = tl.load(stretch + HISTORY, s + 1 < stretches, 0.0).to(tl.int64) - 1
        end = tl.where(s + 1 < stretches, tl.minimum(end, until), until)
        k = end - tl.maximum(first - 1, last)
        if k > 0:
            value, memory = IDLE_STRETCH(value, k, memory, stretch)
    after = ()
    for n in tl.static_range(len(SLOTS)):
        common = SHARES[n] and not BY_ROW
        after = after + (before[n] if common else decode(encode(memory[n], slots[n], None, None)),)
    return decode(encode(value, x, None, None)), after


def idle_from_origin(x, k, memory, numbers):
    new = call_rule(x, memory, numbers)
    return ADVANCE(tl.full((), 0.0, F), new[0], new[1]), memory


def idle_steady(x, k, memory, numbers):
    rate = call_rule(x, memory, numbers)[0].to(tl.float64)
    a = around(numbers)
    keep, l1, l2 = a[3].to(tl.float64), a[4].to(tl.float64), a[5].to(tl.float64)
    return AROUND_IDLE(x.to(tl.float64), k, rate, keep, l1, l2).to(F), memory


def idle_by_rule(x, k, memory, numbers):
    c = ()
    for n in tl.static_range(COUNT):
        c = c + (tl.load(numbers + 1 + n).to(F),)
    new = RULE_IDLE(x, k, *memory, *c)
    after = ()
    for s in tl.static_range(len(SLOTS)):
        after = after + (new[1 + s],)
    return new[0], after


def call_rule(x, memory, numbers):
    c = ()
    for n in tl.static_range(COUNT):
        c = c + (tl.load(numbers + 1 + n).to(F),)
    zero = tl.full((), 0.0, F)
    return RULE(x, zero, zero, *memory, *c)


# What is done around the rule: `plain_…` where that is nothing


def around(numbers):
    a = ()
    for n in tl.static_range(6):
        a = a + (tl.load(numbers + 1 + COUNT + n).to(F),)
    return a


def plain_gradient(raw, x, numbers):
    return raw


def full_gradient(raw, x, numbers):
    a = around(numbers)
    return AROUND_GRADIENT(raw, x, a[0], a[1], a[2])


def plain_start(x, numbers):
    return x


def full_start(x, numbers):
    return around(numbers)[3] * x


def plain_proximal(x, rate, numbers):
    return x


def full_proximal(x, rate, numbers):
    a = around(numbers)
    return AROUND_PROXIMAL(x, rate, a[4], a[5])
