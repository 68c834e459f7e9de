"""libffm's text: what is read is what a slow reader in plain Python reads, with fields and without."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import slow_readers

from surefoot.data import DataError
from surefoot.data.stream import Libffm, Svmlight, joined, read

entries = st.tuples(st.integers(0, 20), st.integers(0, 50), st.sampled_from(["1", "0.25", "-3e2"]))
lines = st.builds(
    lambda label, row: " ".join([label, *(f"{field}:{index}:{value}" for field, index, value in row)]),
    st.sampled_from(["0", "1", "-1"]),
    st.lists(entries, max_size=60),
)


def examples(content: bytes, format="libffm"):
    return joined(list(read(io.BytesIO(content), format)))


@given(st.lists(lines, min_size=1))
def test_reads_what_plain_python_reads(content):
    text = "\n".join(content).encode()
    assert slow_readers.rows_of(examples(text)) == slow_readers.rows(text, "libffm")[0]


@given(st.lists(lines, min_size=1))
def test_without_fields_it_is_svmlight(content):
    text = "\n".join(content)
    plain = "\n".join(
        " ".join(entry.partition(":")[2] if place else entry for place, entry in enumerate(line.split()))
        for line in text.split("\n")
    )
    found, expected = examples(text.encode(), Libffm(keep_fields=False)), examples(plain.encode(), "svmlight")
    assert found.fields is None
    assert slow_readers.rows_of(found) == slow_readers.rows_of(expected)


def test_an_index_in_several_fields():
    found = examples(b"1 3:7:1 2:7:2 3:7:4 1:5:1\n")
    assert (found.indices.tolist(), found.fields.tolist(), found.values.tolist()) == ([5, 7, 7], [1, 2, 3], [1, 2, 5])


def test_indices_modulo_a_power_of_two():
    assert examples(b"1 1:1030:1 1:3:1 1:6:2", Libffm(bits=10)).values.tolist() == [1, 3]
    found = examples(b"1 1030:1 3:1 6:2 123456789012345678:1", Svmlight(bits=10))
    assert (found.indices.tolist(), found.values.tolist()) == ([3, 6, 123456789012345678 % 1024], [1, 3, 1])
    with pytest.raises(ValueError, match="bits: found 64, expected 1 to 63"):
        Libffm(bits=64)


def test_weights_after_labels_on_request():
    found = examples(b"1:0.25 2:3:4\n-1 1:1:1\n", Libffm(label_weights=True))
    assert (found.labels.tolist(), found.weights.tolist(), found.fields.tolist()) == ([1, -1], [0.25, 1], [2, 1])


@pytest.mark.parametrize(
    "line, column, said",
    [
        (b"1 5:3", 3, "found '5:3', expected FIELD:INDEX:VALUE with a whole number up to 1048575 as field"),
        (b"1 a:5:3", 3, "found 'a:5:3', expected FIELD:INDEX:VALUE"),
        (b"1 1048576:5:3", 3, "found '1048576:5:3', expected FIELD:INDEX:VALUE"),
        (b"1 1:8796093022208:3", 3, "found '1:8796093022208:3', expected FIELD:INDEX:VALUE with a whole number from"),
        (b"1 1:2:3 4:5:x", 13, "found feature 5 with value 'x', expected a number"),
        (b"1 1:2:3:4", 7, "found feature 2 with value '3:4', expected a number"),
        (b"0:1:1 2:3:4", 1, "found '0:1:1' in place of the label, expected a number, in libffm lines LABEL FIELD"),
        (b"1:2 2:3:4", 1, "found '1:2' in place of the label"),
        (b"x 1:2:3", 1, "found label 'x', expected a number, in libffm lines LABEL FIELD:INDEX:VALUE"),
    ],
)
def test_faults_name_the_place_the_value_and_what_was_expected(line, column, said):
    with pytest.raises(DataError) as refusal:
        examples(b"1 1:1:1\n" + line + b"\n")
    assert str(refusal.value).startswith(f"an open file:2:{column}: {said}")
