"""Vowpal Wabbit's text: what is read is what a slow reader in plain Python reads, and features keep their names."""

import io
import math
import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import slow_readers
from support.sampling import up_to

from surefoot.data import DataError
from surefoot.data.stream import Hashing, Names, Vw, joined, read
from surefoot.data.stream.sources import limits

blanks = st.sampled_from([" ", "  ", "\t"])
words = st.text(st.characters(codec="utf-8", exclude_characters=":|", exclude_categories=["C", "Z"]), min_size=1)
names = st.one_of(st.sampled_from(["a", "b", "price", "12", "#", "'"]), words)
numbers = st.one_of(
    st.sampled_from(["0", "1", "-1", "0.5", "1e3", "-2.5E-3", "1.", ".5"]),
    st.floats(-1e9, 1e9, width=32).map(repr),
)
word_values = st.one_of(
    st.sampled_from(["paris", "_", "nan", "INF", "Infinity", "info", "infrared", "2o", "été", ""]), words
)
weights = st.floats(0, 1e9, width=32).map(repr)


@st.composite
def heads(draw):
    """What precedes the first bar."""
    parts = [draw(numbers), draw(weights), draw(numbers)][: draw(st.integers(0, 3))]
    parts += draw(st.sampled_from([[], ["'tag"], ["'"]]))
    return "".join(part + draw(blanks) for part in parts)


@st.composite
def spaces(draw):
    values = st.one_of(st.just(""), numbers.map(":{}".format), word_values.map(":{}".format))
    features = draw(st.lists(st.one_of(st.builds("{}{}".format, names, values), numbers.map(":{}".format))))
    name = draw(st.one_of(st.just(""), st.builds("{}{}".format, names, st.sampled_from(["", ":2", ":-0.5"]))))
    return "|" + draw(blanks).join([name, *features]) + draw(st.sampled_from(["", " "]))


lines = st.builds("{}{}{}".format, heads(), st.lists(spaces(), min_size=1).map("".join), st.sampled_from(["", "\r"]))


def examples(content: bytes, **how):
    return joined(list(read(io.BytesIO(content), how.pop("format", "vw"), names=False, **how)))


def assert_rows_equal(found, expected):
    """NaN, which stands for no label, equals itself here."""
    assert repr(found) == repr(expected)


@settings(max_examples=up_to(80))
@given(st.lists(lines, min_size=1, max_size=5))
def test_reads_what_plain_python_reads(content):
    text = "\n".join(content).encode()
    expected, faults = slow_readers.rows(text, "vw")
    stream = read(io.BytesIO(text), "vw", on_error="skip")
    try:
        found = slow_readers.rows_of(joined(list(stream)))
    except DataError:
        found = []
    assert_rows_equal(found, expected)
    assert stream.policy.counts.total() == faults


def test_parts_of_a_line():
    text = b"1 2 0.5 'tag |rain a b:3 |:2 c\n|x\n-1 0.25\ttag|a:0.5 b:4 c\r\n\n1 | \n"
    found = examples(text)
    rain, none, a = (lambda name, space=space: Hashing().index(name, space) for space in ("rain", "", "a"))
    assert_rows_equal(
        slow_readers.rows_of(found),
        [
            (1.0, 2.0, 0.5, slow_readers.summed([(rain("a"), 1), (rain("b"), 3), (none("c"), 2)])),
            (math.nan, 1.0, 0.0, {}),
            (-1.0, 0.25, 0.0, slow_readers.summed([(a("b"), 2), (a("c"), 0.5)])),
            (1.0, 1.0, 0.0, {}),
        ],
    )
    assert examples(b"1 2 |a\n").bases is None


def test_a_name_is_hashed_with_its_namespace_and_all_its_bytes():
    long = b"x" * 100
    tokens = [b"a", b"aa", b"A", b"a\x7f", b"1", b"01", b"12345678", b"123456789", long, long + b"y"]
    text = b"1 |a " + b" ".join(tokens) + b" |b a |ab |" + b" " + b" ".join(tokens[:3])
    hashing = Hashing(bits=31)
    assert len(set(examples(text, format=Vw(hashing)).indices)) == len(tokens) + 1 + 3
    assert hashing.index("b", "a") != hashing.index("a", "b") != hashing.index("ab") != hashing.index("", "ab")
    assert hashing.index("a") != Hashing(bits=31, seed=1).index("a")


@pytest.mark.parametrize("name", ["{}", "word{}", "a-rather-long-name-{}-of-a-feature", "{}00000000", "x{}=0.5"])
def test_names_are_hashed_uniformly(name):
    """Chi-square of the lowest and the highest bits, and the number of collisions, within 5 deviations."""
    count, bits = 1 << 14, 12
    hashes = np.array([Hashing(bits=31).identity(name.format(k), "space") for k in range(count)], np.uint64)
    for shift in (0, 8, 19, 31, 52):
        cells = np.bincount((hashes >> np.uint64(shift)).astype(np.int64) & (1 << bits) - 1, minlength=1 << bits)
        mean = count / (1 << bits)
        chi_square = ((cells - mean) ** 2 / mean).sum()
        assert abs(chi_square - (1 << bits)) < 5 * math.sqrt(2 << bits)
    for bit in range(64):
        ones = int((hashes >> np.uint64(bit) & np.uint64(1)).sum())
        assert abs(ones - count / 2) < 5 * math.sqrt(count / 4)
    assert len(np.unique(hashes)) == count


def test_signed_hashing():
    text = b"1 " + b"".join(b"|a %d:2 " % k for k in range(1000))
    plain, signed = (examples(text, format=Vw(Hashing(bits=31, signed=signed))) for signed in (False, True))
    np.testing.assert_array_equal(plain.indices, signed.indices)
    np.testing.assert_array_equal(np.abs(signed.values), plain.values)
    assert 400 < (signed.values > 0).sum() < 600
    stream = read(io.BytesIO(b"1 |f one two three four five six:3\n"), Vw(Hashing(signed=True)))
    for block in stream:
        for index, value in zip(block.indices, block.values, strict=True):
            assert np.sign(value) == stream.names.sign(index)
            assert stream.names.sign(index) == Hashing(signed=True).sign(stream.names[index][2:], "f")


@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=30), min_size=1, max_size=40),
    st.sampled_from([1, 5, 9, 20]),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 200),
)
def test_names_and_collisions_do_not_depend_on_splits_and_threads(rows, bits, threads, piece):
    """The first name of each index, and the indices with several, as a dictionary finds them; faulty lines add none."""
    lines = [b"1 |n " + b" ".join(b"w%d" % word for word in row) for row in rows]
    faulty = [line if k % 3 else line + b" never:2o" for k, line in enumerate(lines)]
    hashing, first, every = Hashing(bits=bits), {}, {}
    for row in (row for k, row in enumerate(rows) if k % 3):
        for word in row:
            index = hashing.index(f"w{word}", "n")
            first.setdefault(index, f"n^w{word}")
            every.setdefault(index, set()).add(word)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PIECE", piece)
        stream = read(io.BytesIO(b"1 | \n" + b"\n".join(faulty)), Vw(hashing), on_error="skip", threads=threads)
        list(stream)
    assert {index: stream.names[index] for index in stream.names} == first
    assert list(stream.names) == list(first)
    assert stream.names.collisions == sum(len(words) > 1 for words in every.values())
    assert all(stream.names.is_shared(index) == (len(words) > 1) for index, words in every.items())


def test_names_past_the_limits_are_counted():
    text = b"1 |n " + b" ".join(b"w%d" % k for k in range(10_000))
    for most in ({"most": 100}, {"most_bytes": 450}):
        table = Names(31, **most)
        list(read(io.BytesIO(text), Vw(Hashing(bits=20)), names=(table := Names(20, **most))))
        assert len(table) + table.left_out + table.collisions == 10_000
        assert 50 < len(table) <= 100
        assert all(table[index].startswith("n^w") for index in table)


def test_long_names_are_kept_in_part():
    text = b"1 |" + b"s" * 1000 + b" " + b"n" * 1000
    stream = read(io.BytesIO(text), "vw")
    (index,) = joined(list(stream)).indices
    assert stream.names[index] == "s" * 100 + "^" + "n" * 100
    assert index == Hashing().index("n" * 1000, "s" * 1000)


def test_a_table_of_names_is_extended_stored_and_restored():
    whole = read(io.BytesIO(b"1 |a b c\n1 |a d e b\n"), "vw")
    list(whole)
    first = read(io.BytesIO(b"1 |a b c\n"), "vw")
    list(first)
    restored = Names.of_arrays({name: array.copy() for name, array in first.names.arrays().items()})
    list(read(io.BytesIO(b"1 |a d e b\n"), "vw", names=restored))
    for name, array in whole.names.arrays().items():
        np.testing.assert_array_equal(array, restored.arrays()[name], err_msg=name)
    assert restored.get(Hashing().index("never"), "no name") == "no name"
    assert read(io.BytesIO(b""), "vw", names=False).names is None
    with pytest.raises(ValueError, match=r"found a table of 2\^63 slots, expected 2\^8"):
        read("file", Vw(Hashing(bits=8)), names=restored)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("known", np.zeros(3, np.uint32)),
        ("known", np.zeros(4, np.int64)),
        ("slots", np.array([1 << 20, 0])),
        ("slots", np.array([-1, 0])),
        ("slots", np.array([0])),
        ("ends", np.array([9, 6])),
        ("text", np.zeros(2, np.uint8)),
        ("sizes", np.zeros(3, np.int64)),
    ],
)
def test_a_damaged_table_of_names_is_rejected(name, wrong):
    stream = read(io.BytesIO(b"1 |a b c\n"), Vw(Hashing(bits=20)))
    list(stream)
    with pytest.raises(ValueError, match="table"):
        Names.of_arrays(stream.names.arrays() | {name: wrong})


def test_many_features_in_any_order_are_sorted():
    rng = np.random.default_rng(0)
    for bits, count in ((31, 5), (31, 300), (31, 20_000), (18, 3000), (3, 1000), (1, 50)):
        words = rng.integers(0, 2 * count, count)
        found = examples(b"1 | " + b" ".join(b"%d:0.5" % word for word in words), format=Vw(Hashing(bits=bits)))
        indices = Counter(Hashing(bits=bits).index(str(word)) for word in words.tolist())
        assert found.indices.tolist() == sorted(indices)
        assert found.values.tolist() == [0.5 * indices[index] for index in sorted(indices)]


@pytest.mark.skipif("SUREFOOT_DATA" not in os.environ, reason="SUREFOOT_DATA names no folder of data")
def test_a_real_file():
    path = os.path.join(os.environ["SUREFOOT_DATA"], "rcv1_small.dat")
    stream = read(path, "vw")
    block = joined(list(stream))
    with open(path, "rb") as file:
        tokens = [line.split(b"|f ")[1].split() for line in file]
    assert len(block) == len(tokens) == 1000
    assert len(stream.names) + stream.names.collisions <= len({t.partition(b":")[0] for row in tokens for t in row})
    assert set(block.labels) == {-1, 1}
    assert abs(block.values.sum(dtype=float) - sum(float(t.partition(b":")[2] or 1) for r in tokens for t in r)) < 1e-3


def test_words_as_values_and_features_without_a_name():
    """As numbers are added up, words are not: each is a feature."""
    stream = read(io.BytesIO(b"1 |u city:paris age:20 age:1 city:paris |:2 :0.5 x :3 a:info\n"), "vw")
    block = joined(list(stream))
    found = {stream.names[k]: value for k, value in zip(block.indices.tolist(), block.values.tolist(), strict=True)}
    assert found == {"u^city:paris": 2, "u^age": 21, "0": 1, "1": 6, "x": 2, "a:info": 2}
    two = joined(list(read(io.BytesIO(b"1 |a :1 :2 |b :1\n1 |a 0 1:2 |b 0\n"), "vw")))
    half = two.indptr[1]
    np.testing.assert_array_equal(two.indices[:half], two.indices[half:])
    np.testing.assert_array_equal(two.values[:half], two.values[half:])


@pytest.mark.parametrize("value", ["nan", "INF", "-inf", "Infinity", "2o", "+x", "", ".a", "a:1", "1,5", "#"])
def test_what_is_no_word(value, tmp_path):
    (tmp_path / "t.vw").write_text(f"1 |u city:{value}\n")
    with pytest.raises(DataError, match=r"t\.vw:1:\d+: found feature city with value"):
        list(read(tmp_path / "t.vw", "vw"))
