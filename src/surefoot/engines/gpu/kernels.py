"""One generic driver per layout; `compiling.specialize` makes the copy of a driver for a rule. `row_kernels` has those
for rows of a sparse gradient.

Names in capitals are filled in by `compiling`: F, the type of the arithmetic; PROGRAM, what a step does to a
coordinate, written out from the rule and its modifiers, and EXPRESSION, what is summed of the gradient; X and SLOTS,
the types in which parameters and memory are stored (uint16 holds bfloat16); SHARES, which slots hold one number for
several coordinates; and sizes of tiles.

A row of `table` describes one of many tensors by addresses; a row of `numbers` is (t, coefficients, the modifiers'
numbers), in float64.
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
        squares += terms_of(x, g, i, mask, numbers, scale)
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


def terms(table, owners, numbers, stride, parts, scale):
    """The sum of EXPRESSION over a block of a gradient, or over a few rows of it, into parts."""
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
            total += tl.reduce(terms_of(x, g, b + i, b + i < end, numbers, scale), 0, add)
    else:
        begin, end = (block - tl.load(row)) * BLOCK, tl.load(row + 1)
        i += begin
        if begin + BLOCK <= end:
            total = tl.reduce(terms_of(x, g, i, None, numbers, scale), 0, add)
        else:
            total = tl.reduce(terms_of(x, g, i, i < end, numbers, scale), 0, add)
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
    new = PROGRAM(raw, before, memory, (), mean, coefficients(numbers), modifiers(numbers))
    moved, square = new[0], new[1]
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


def terms_of(x, g, i, mask, numbers, scale):
    raw = unscaled(decode(tl.load(g + i, mask)), scale)
    value = raw
    if ADJUSTS:
        value = decode(tl.load(x + i, mask))
    return finite_terms(raw, value, mask, numbers)


def finite_terms(raw, x, mask, numbers):
    """What is summed of the gradient, float64: by default its square as the rule sees it; 0 where it is not finite."""
    value = EXPRESSION(raw, x, (), (), raw, (), modifiers(numbers))
    ok = finite(raw) & finite(value)
    if mask is not None:
        ok = ok & mask
    return tl.where(ok, value, 0.0).to(tl.float64)


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


# What acts


def coefficients(numbers):
    """The rule's coefficients."""
    c = ()
    for n in tl.static_range(COUNT):
        c = c + (tl.load(numbers + 1 + n).to(F),)
    return c


def modifiers(numbers):
    """The modifiers' numbers."""
    m = ()
    for n in tl.static_range(MODIFIERS):
        m = m + (tl.load(numbers + 1 + COUNT + n).to(F),)
    return m
