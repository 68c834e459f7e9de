"""Storage in 16 bits, rounding at random, sums, and values that are not finite."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.numerics import TOLERANCE, assert_close, assert_identical

from surefoot.engines import NonFiniteError, Step, from_bfloat16, to_bfloat16
from surefoot.engines.arrays import total
from surefoot.engines.cpu import codecs
from surefoot.engines.numerics import BLOCK
from surefoot.engines.reference import store

HALVES = np.arange(1 << 16, dtype=np.uint16)
seeds = st.integers(0, 2**32 - 1)


def patterns():
    """float32 of every exponent and sign, with mantissas at and around every tie; and random ones."""
    high = np.arange(1 << 16, dtype=np.uint32) << 16
    low = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xEFFF, 0xF000, 0xFFFF], np.uint32)
    chosen = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    return np.concatenate([(high[:, None] | low).ravel(), chosen]).view(np.float32)


def torchs_bfloat16():
    """(decode, encode) of torch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def decode(bits):
        return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16).float().numpy()

    def encode(values):
        return torch.from_numpy(values.copy()).bfloat16().view(torch.int16).numpy().view(np.uint16)

    return decode, encode


def same_numbers(found, expected):
    """NaN for NaN, with any payload; all other bits equal."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    assert_identical(found[~nan], expected[~nan])


def float16(bits):
    return np.asarray(bits).view(np.uint16).view(np.float16)


@numba.njit
def decode_bfloat16(bits, out):
    for i in range(bits.size):
        out[i] = codecs.bfloat16_to_float(bits[i])


@numba.njit
def encode_bfloat16(values, out):
    for i in range(values.size):
        out[i] = codecs.float_to_bfloat16(values[i], np.uint32(0), 0)


@numba.njit
def decode_float16(bits, out):
    for i in range(bits.size):
        out[i] = codecs.float16_to_float(bits[i])


@numba.njit
def encode_float16(values, out):
    for i in range(values.size):
        out[i] = codecs.float_to_float16(values[i])


def compiled(function, values, dtype):
    out = np.empty(values.shape, dtype)
    function(values, out)
    return out


def test_every_bfloat16():
    decode, _ = torchs_bfloat16()
    for found in (from_bfloat16(HALVES), compiled(decode_bfloat16, HALVES, np.float32)):
        same_numbers(found, decode(HALVES))


def test_to_bfloat16():
    decode, encode = torchs_bfloat16()
    values = patterns()
    for found in (to_bfloat16(values), compiled(encode_bfloat16, values, np.uint16)):
        same_numbers(decode(found), decode(encode(values)))
        assert np.isnan(decode(found)).any()


def test_every_float16():
    same_numbers(
        compiled(decode_float16, HALVES.view(np.int16), np.float32), HALVES.view(np.float16).astype(np.float32)
    )


def test_to_float16():
    values = patterns()
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    same_numbers(float16(compiled(encode_float16, values, np.int16)), expected)


# Rounding at random


def rounded(target: float, seed: int, steps: int = 1, size: int = 1 << 18, engine: str = "cpu"):
    """bfloat16 parameters at 1, stepped once to `target`, which lies between two neighbours."""
    x, g = np.full(size, to_bfloat16(1.0)), np.full(size, to_bfloat16(1.0))
    step = Step("sgd", engine=engine, lr=1.0 - target, stochastic_rounding=seed)
    state = step.init(x)
    for _ in range(steps):
        step.dense(x, g, state)
    return from_bfloat16(x)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.83])
def test_stochastic_rounding_is_unbiased(share):
    """Below 1 neighbours are 2⁻⁸ apart. The mean of the roundings is the number itself."""
    gap = 2.0**-8
    values = rounded(1 - share * gap, seed=3)
    assert set(np.unique(values)) == {1.0, 1.0 - gap}
    assert abs((1 - values.mean(dtype=np.float64)) / gap - share) < TOLERANCE["rounding"]["atol"]


def test_stochastic_rounding_differs_between_steps_and_seeds():
    gap = 2.0**-8
    one, other = rounded(1 - gap / 2, seed=0), rounded(1 - gap / 2, seed=1)
    assert abs((one == other).mean() - 0.5) < TOLERANCE["rounding"]["atol"]
    # Two steps: half of those that went down in the first go down in the second. 0 ½ ½ 1 → shares ¼, ½, ¼.
    twice = (1 - rounded(1 - gap / 2, seed=0, steps=2)) / gap
    for count, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert abs((twice == count).mean() - share) < TOLERANCE["rounding"]["atol"]


def test_stochastic_rounding_has_no_spatial_pattern():
    """Neighbours, and coordinates a power of two apart, agree half of the time."""
    down = rounded(1 - 2.0**-9, seed=5) < 1
    for distance in (1, 2, 3, 64, 4096, 65536):
        assert abs((down[distance:] == down[:-distance]).mean() - 0.5) < 2 * TOLERANCE["rounding"]["atol"]


@settings(max_examples=40)
@given(seed=seeds, rounding=st.integers(0, 2**40), scale=st.integers(-30, 30))
def test_stochastic_rounding_goes_to_a_neighbour(seed, rounding, scale):
    """The result is one of the two neighbours, and the number itself where that can be stored."""
    rng = np.random.default_rng(seed)
    target = (rng.normal(size=64) * 2.0**scale).astype(np.float32)
    exact = rng.random(64) < 0.2
    target[exact] = from_bfloat16(to_bfloat16(target[exact]))
    x = np.zeros(64, np.uint16)
    found = from_bfloat16(store(target, x, np.arange(64, dtype=np.uint64), rounding % (2**32 - 1) + 1))
    toward_zero = from_bfloat16((target.view(np.uint32) >> 16).astype(np.uint16))
    away = from_bfloat16(((target.view(np.uint32) >> 16) + 1).astype(np.uint16))
    assert ((found == toward_zero) | (found == away)).all()
    assert_identical(found[exact], target[exact])


@settings(max_examples=25)
@given(seed=seeds, granularity=st.sampled_from(["coordinate", "row"]))
def test_stochastic_rounding_is_reproducible(seed, granularity):
    results = []
    for engine in ("reference", "cpu", "cpu"):
        rng = np.random.default_rng(seed)
        x = to_bfloat16(rng.normal(size=(5, 33)).astype(np.float32))
        step = Step("adagrad", engine=engine, granularity=granularity, stochastic_rounding=seed)
        state = step.init(x)
        for _ in range(3):
            step.dense(x, to_bfloat16(rng.normal(size=x.shape).astype(np.float32)), state)
        results.append(x)
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


# Sums


@settings(max_examples=60)
@given(size=st.one_of(st.integers(0, 40), st.integers(BLOCK - 9, BLOCK + 9), st.just(3 * BLOCK + 5)), seed=seeds)
def test_sums_are_those_of_exact_arithmetic(size, seed):
    rng = np.random.default_rng(seed)
    values = rng.random(size) * 10.0 ** rng.uniform(-8, 8, size)
    assert_close(total(values), math.fsum(values), "float64")
    assert_close(total(values.astype(np.float32)), math.fsum(values.astype(np.float32).tolist()), "float64")


@settings(max_examples=30)
@given(shape=st.sampled_from([(1,), (7, 3), (2, BLOCK // 2 + 1), (5000,)]), seed=seeds, sparse=st.booleans())
def test_the_norm_that_is_clipped_is_the_norm(shape, seed, sparse):
    """A gradient longer than clip_norm has that length after clipping; a shorter one keeps its own."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=shape)
    length = math.sqrt(math.fsum((g.ravel() ** 2).tolist()))
    for bound, expected in ((length / 3, length / 3), (length * 1.01, length)):
        step, x = Step("sgd", lr=1.0, clip_norm=bound), np.zeros(shape)
        state = step.init(x)
        if sparse:
            step.rows(x, np.arange(shape[0]), g, state)
        else:
            step.dense(x, g, state)
        assert_close(math.sqrt(math.fsum((x.ravel() ** 2).tolist())), expected, "float64")


# Values that are not finite

ODD = [np.nan, np.inf, -np.inf, 1e200, -1e160]


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adagrad", "ftrl", "rmsprop", "adam", "nadam", "yogi"])
@settings(max_examples=25)
@given(seed=seeds, share=st.floats(0.05, 1.0), granularity=st.sampled_from(["coordinate", "row", "tensor"]))
def test_nonfinite_gradients_do_not_enter_the_memory(rule, seed, share, granularity):
    """They are counted exactly; everything else is as if those coordinates had not been there."""
    rng = np.random.default_rng(seed)
    shape = (4, 5)
    if rule in ("sgd", "momentum"):
        granularity = "coordinate"
    step = Step(rule, engine="reference", granularity=granularity, nonfinite="skip")
    x = np.zeros(shape) if rule == "ftrl" else rng.normal(size=shape)
    y = x.copy()
    state, clean_state = step.init(x), step.init(y)
    count = 0
    for _ in range(3):
        g, bad = rng.normal(size=shape), rng.random(shape) < share
        spoilt = np.where(bad, rng.choice(ODD, shape), g)
        before, memory = x.copy(), {name: slot.copy() for name, slot in state.slots.items()}
        step.dense(x, spoilt, state)
        count += np.count_nonzero(bad)
        assert state.skipped == count
        assert_identical(x[bad], before[bad])
        for name, slot in state.slots.items():
            assert np.isfinite(slot).all()
            if slot.shape == shape:
                assert_identical(slot[bad], memory[name][bad], name)
        # The same with zeros instead agrees elsewhere, if the two began alike.
        y[...], clean_state.slots, clean_state.t = before, memory, state.t - 1
        step.dense(y, np.where(bad, 0.0, g), clean_state)
        assert_identical(x[~bad], y[~bad])
        for name, slot in state.slots.items():
            inside = ~bad if slot.shape == shape else ...
            assert_identical(slot[inside], clean_state.slots[name][inside], name)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@settings(max_examples=25)
@given(seed=seeds)
def test_duplicates_are_summed_before_they_are_checked(engine, seed):
    """∞ − ∞ and a sum that overflows skip one coordinate each, whatever the number of duplicates."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 4, 12)
    values = np.where(
        rng.random((12, 3)) < 0.2, rng.choice([np.inf, -np.inf, np.nan], (12, 3)), rng.normal(size=(12, 3))
    )
    summed = np.zeros((4, 3))
    with np.errstate(invalid="ignore"):
        np.add.at(summed, ids, values)
    step, x = Step("adagrad", engine=engine), np.ones((4, 3))
    state = step.init(x)
    bad = np.count_nonzero(~np.isfinite(summed))
    if bad:
        with pytest.raises(NonFiniteError, match=f"{bad} of 12 coordinates"):
            step.rows(x, ids, values, state)
    else:
        step.rows(x, ids, values, state)
    assert state.skipped == bad
    assert np.isfinite(x).all()
