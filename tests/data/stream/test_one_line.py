"""A line that is read alone is what it is in a file."""

import io
import random
import threading

import numpy as np
import pytest
from support.numerics import assert_identical

from surefoot.data import DataError
from surefoot.data.stream import Hashing, joined, read
from surefoot.data.stream.one_line import LONGEST, OneLine
from surefoot.data.stream.svmlight import Libffm, Svmlight
from surefoot.data.stream.vw import Vw

READERS = {
    "svmlight": Svmlight(),
    "vw": Vw(Hashing()),
    "libffm": Libffm(keep_fields=False),
}
LINES = {
    "svmlight": ["1 7:0.5 9:2", "-1", "0 9:1 7:0.5 9:3  # x", "1 qid:3 2:1", "1 cost:0.5 2:1\r", "\t1 2:1e-3"],
    "vw": ["1 |a b c:2 |d b", "| b", "-1 2 |a:3 b b", "0 'tag|a é:0.1", "1 2 0.5 |a b"],
    "libffm": ["1 1:7:0.5 2:7:2", "0 3:9:1 1:2:1"],
}
WRONG = {
    "svmlight": ["", "# x", "x 1:1", "1 a:1", "1 2:x", "1 2:1e40", "1 2:1\n0 3:1", "1 2:\x00"],
    "vw": ["", "x | a", "1 a", "| a:x", "| :3", "1 2 3 4 | a", "| a\n| b"],
    "libffm": ["", "1 1:1", "1 1:2:x"],
}


def from_file(format: str, line: str):
    """The only example of a file with this line; None if there is none, or more."""
    try:
        block = joined(list(read(io.BytesIO(line.encode() + b"\n"), READERS[format], dtype="float64")))
    except (DataError, ValueError):
        return None
    return block if len(block) == 1 and block.bases is None else None


def assert_same(found, block):
    assert_identical(found.indices, block.indices)
    assert_identical(found.values, block.values)
    assert repr(found.label) == repr(block.labels.item(0))  # NaN where there is none
    assert_identical(np.array([found.weight], np.float32), block.weights)


@pytest.mark.parametrize("format", READERS)
def test_the_bits_of_a_file(format):
    """In any order of lines, usable or not: nothing stays of the one before."""
    one_line = OneLine(READERS[format])
    lines = [*LINES[format], *WRONG[format]] * 3
    random.Random(0).shuffle(lines)
    for line in lines:
        found, block = one_line.read(line.encode()), from_file(format, line)
        assert (found is None) == (block is None), line
        if block is not None:
            assert_same(found, block)


def test_a_line_that_there_is_no_room_for():
    one_line, entries = OneLine(Svmlight()), (LONGEST - 2) // 4
    line = "1 " + " ".join(f"{k % 9}:1" for k in range(entries))
    assert len(line) <= LONGEST
    assert_same(one_line.read(line.encode()), from_file("svmlight", line))
    assert one_line.read(line.encode() + b" " * LONGEST) is None


def test_each_thread_has_arrays_of_its_own():
    one_line = OneLine(Svmlight())
    own = one_line.read(b"1 3:0.5")
    other = threading.Thread(target=lambda: one_line.read(b"0 4:7"))
    other.start()
    other.join()
    assert (own.indices.tolist(), own.values.tolist()) == ([3], [0.5])
