"""Names hash to 64 bits unless bits are given: the same index in every format, and a table of names that finds them."""

import io
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from surefoot.data import DataError, packing
from surefoot.data.stream import Hashing, Names, Table, hashing, joined, read, read_rows
from surefoot.data.stream.hashing import MOST_BITS, MOST_BITS_OF_A_FIELD
from surefoot.data.stream.vw import Vw

ROWS = [{"sky": f"s{k % 7}", "wind": 0.5 + k, "city": f"c{k}"} for k in range(40)]
CSV = "sky,wind,city\n" + "".join(f"{row['sky']},{row['wind']},{row['city']}\n" for row in ROWS)
VW = "".join(f"|sky {row['sky']} | wind:{row['wind']} |city {row['city']}\n" for row in ROWS)


def parquet(path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return joined(list(read(path, Table(), dtype=np.float64)))


@pytest.mark.parametrize("form", ["csv", "parquet", "rows", "vw"])
def test_every_format_gives_the_index_of_the_name(form, tmp_path):
    block = {
        "csv": lambda: joined(list(read(io.BytesIO(CSV.encode()), "csv", dtype=np.float64))),
        "parquet": lambda: parquet(tmp_path / "rows.parquet"),
        "rows": lambda: read_rows(ROWS),
        "vw": lambda: joined(list(read(io.BytesIO(VW.encode()), "vw", dtype=np.float64))),
    }[form]()
    index = Hashing().index
    for k, row in enumerate(ROWS):
        expected = {index(row["sky"], "sky"): 1.0, index("wind"): row["wind"], index(row["city"], "city"): 1.0}
        part = slice(block.indptr[k], block.indptr[k + 1])
        found = dict(zip(block.indices[part].tolist(), block.values[part].tolist(), strict=True))
        assert found == expected
        assert (np.diff(block.indices[part]) > 0).all()
    assert block.indices.max() >= 1 << 60


@pytest.mark.parametrize("turned", [False, True])
def test_indices_that_share_their_upper_bits_are_in_order(turned):
    """Columns are sorted by 44 bits of the index first: two pairs of these names, found by search, share them."""
    names = [f"a{k}" for k in (4711444, 215776, 1895640, 3824153, *range(50))]
    names = names[::-1] if turned else names
    indices = sorted(map(Hashing().index, names))
    assert sum(one >> 19 == other >> 19 for one, other in pairwise(indices)) == 2
    assert read_rows([dict.fromkeys(names, 1.0)]).indices.tolist() == indices


@pytest.mark.parametrize("cells, most", [(1 << 10, 1000), (1 << 10, 100), (64, 1000)])
def test_a_table_of_names_finds_them_by_probing(cells, most, monkeypatch):
    monkeypatch.setattr(hashing, "CELLS", cells)
    names = Names(MOST_BITS, most=most)
    words = [f"w{k}" for k in range(600)]
    text = "".join(f"1 | {word} {words[k // 2]}\n" for k, word in enumerate(words))
    list(read(io.BytesIO(text.encode()), "vw", names=names))
    kept = min(most, cells, len(words))
    assert [names[index] for index in names] == words[:kept]
    assert (names.collisions, len(names)) == (0, kept)
    assert names.left_out >= min(cells, len(words)) - kept
    assert not any(names.is_shared(index) for index in names)
    again = packing.unpacked_names(packing.packed_names(names), MOST_BITS)
    for name, array in names.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name], err_msg=name)


def test_names_that_share_an_index_of_few_bits_are_shared():
    words = [f"w{k}" for k in range(100)]
    stream = read(io.BytesIO(f"1 | {' '.join(words)}\n".encode()), Vw(Hashing(bits=6)))
    list(stream)
    found = Counter(Hashing(bits=6).index(word) for word in words)
    assert {index for index in range(64) if stream.names.is_shared(index)} == {k for k in found if found[k] > 1}
    assert stream.names.collisions == sum(count > 1 for count in found.values())


def test_with_fields_indices_have_43_bits():
    table = Table(target="y", fields=True)
    assert table.hashing.bits == MOST_BITS_OF_A_FIELD
    block = read_rows([{"a": "u", "b": "v", "y": 1}], table)
    index = Hashing(bits=MOST_BITS_OF_A_FIELD).index
    assert sorted(block.indices.tolist()) == sorted([index("u", "a"), index("v", "b")])
    with pytest.raises(ValueError, match="bits: found 50, expected at most 43 for entries with fields"):
        Table(fields=True, hashing=Hashing(bits=50))


def test_indices_of_svmlight_go_up_to_an_int64():
    most = 2**63 - 1
    block = joined(list(read(io.BytesIO(f"1 qid:{most} 3:1 {most - 1}:2 {most}:3\n".encode()), "svmlight")))
    assert block.indices.tolist() == [3, most - 1, most]
    assert block.groups is not None
    assert block.groups.tolist() == [most]
    for beyond in (most + 1, 10**19 - 1, 10**19, 2**64 + 5, 10**30):
        with pytest.raises(DataError, match=f"found '{beyond}:1', .* from 0 to {most} as index"):
            list(read(io.BytesIO(f"1 3:1 {beyond}:1\n".encode()), "svmlight"))
        with pytest.raises(DataError, match=f"found qid '{beyond}', expected a whole number from 0 to {most}"):
            list(read(io.BytesIO(f"1 qid:{beyond} 3:1\n".encode()), "svmlight"))
