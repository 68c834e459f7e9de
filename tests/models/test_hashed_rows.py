"""Rows by hashing, and arrays that grow in place: what a dict and NumPy say, and models that do not depend on them."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.numerics import assert_identical
from support.row_maps import ByOccurrence

from surefoot.data.reading import ReadOptions
from surefoot.engines import growing
from surefoot.engines.feature_table import Identity
from surefoot.engines.growing import Growing
from surefoot.engines.hashed_rows import FIRST, HashedRows
from surefoot.learn import training
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.targets import Targets
from surefoot.learn.training import Training

LARGEST = 2**63 - 1
IDS = st.one_of(st.integers(0, 40), st.integers(0, LARGEST), st.integers(0, 1 << 20).map(lambda k: k << 40))


@given(calls=st.lists(st.lists(IDS, max_size=30), max_size=6), others=st.lists(IDS, max_size=10))
def test_ids_get_the_rows_that_a_dict_gives_them(calls, others):
    rows, expected = HashedRows(), ByOccurrence()
    for ids in (np.array(call, np.int64) for call in calls):
        assert rows.rows(ids).tolist() == expected.rows(ids).tolist()
    asked = np.array([*others, *(k for call in calls for k in call)], np.int64)
    for found in (rows, pickle.loads(pickle.dumps(rows))):
        assert found.known(asked).tolist() == expected.known(asked).tolist()
        assert found.ids(0, len(found)).tolist() == expected.ids(0, len(expected)).tolist()


@pytest.mark.parametrize("step", [1, 1 << 32, 1 << 40])
def test_the_table_grows_whatever_the_bits_of_ids(step):
    ids, rows = np.arange(5 * FIRST) * step, HashedRows()
    for part in np.array_split(ids, 7):
        rows.rows(part)
    assert_identical(rows.rows(ids[::-1]), np.arange(len(ids))[::-1])
    assert rows.known(ids + 1)[0] == (1 if step == 1 else -1)


def test_negative_ids_are_rejected():
    with pytest.raises(ValueError, match="found feature -3, expected ids of at least 0"):
        HashedRows().rows(np.array([2, -3]))


@pytest.mark.parametrize("reserves", [True, False])
@given(sizes=st.lists(st.integers(0, 300), max_size=12))
def test_arrays_grow_with_zeros_and_keep_their_numbers(reserves, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "LARGE", 256)
        patch.setattr(growing.system, "memory", lambda: 4096)
        if not reserves:
            patch.setattr(growing, "addresses", lambda size: None)
        found, expected = Growing(np.dtype(np.int64)), np.zeros(0, np.int64)
        for k, size in enumerate(sizes, start=1):
            found.resize(size)
            expected = np.concatenate([expected[:size], np.zeros(max(size - len(expected), 0), np.int64)])
            assert_identical(found.array, expected)
            found.array[:] = expected[:] = k
        assert_identical(pickle.loads(pickle.dumps(found)).array, expected)


def test_large_arrays_stay_where_they_are_as_they_grow():
    found = Growing(np.dtype(np.uint8))
    found.resize(1)
    found.resize(growing.LARGE)
    if growing.addresses(growing.LARGE) is not None:
        before = found.array.ctypes.data
        found.resize(4 * growing.LARGE)
        assert found.array.ctypes.data == before


def svmlight(path, rows):
    path.write_text("".join(f"{y} {' '.join(f'{k}:{v}' for k, v in row.items())}\n" for y, row in rows))


def vowpal_wabbit(path, rows):
    path.write_text("".join(f"{2 * y - 1} | {' '.join(f'w{k}:{v}' for k, v in row.items())}\n" for y, row in rows))


def table(rows):
    columns = [[f"w{k}" for k in row] for _, row in rows]
    return (
        {"y": [y for y, _ in rows]}
        | {f"c{c}": [names[c % len(names)] for names in columns] for c in range(5)}
        | {"number": [next(iter(row.values())) for _, row in rows]}
    )


def csv(path, rows):
    columns = table(rows)
    lines = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, line)) for line in lines)]) + "\n")


def parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.table(table(rows)), path)


@pytest.mark.parametrize("most", [12, 3000, 10**6])
@pytest.mark.parametrize("write", [svmlight, vowpal_wabbit, csv, parquet], ids=lambda write: write.__name__)
def test_a_model_file_does_not_depend_on_where_rows_are(write, most, tmp_path, monkeypatch):
    rng = np.random.default_rng(most)
    rows = [
        (int(rng.integers(2)), {k: round(rng.random(), 3) for k in rng.integers(0, most, 8).tolist()})
        for _ in range(300)
    ]
    path = tmp_path / "rows"
    write(path, rows)
    reading = {
        svmlight: ReadOptions("svmlight"),
        vowpal_wabbit: ReadOptions("vw", bits=20),
        csv: ReadOptions("csv", bits=20, target="y"),
        parquet: ReadOptions("parquet", bits=20, target="y"),
    }[write]
    files = []
    for row_map in (HashedRows, Identity):
        monkeypatch.setattr(training, "HashedRows", row_map)
        file = tmp_path / f"{row_map.__name__}.safetensors"
        Training(Plan((str(path),), passes=2, reading=reading)).run().model.save(file)
        files.append(file.read_bytes())
    assert files[0] == files[1]


def test_ids_of_63_bits_are_learned_and_predicted(tmp_path):
    ids = [3, 2**31, 2**63 - 1]
    path, file = tmp_path / "wide.svm", tmp_path / "wide.safetensors"
    path.write_text("".join(f"{k % 2} {ids[k % 2]}:1 {ids[2]}:1\n" for k in range(60)))
    model = Training(Plan((str(path),))).run().model
    model.save(file)
    again = type(model).load(file)
    assert again.ids is not None
    assert again.ids.tolist() == ids
    assert again.rows(np.array([*ids, 4])).tolist() == [0, 1, 2, -1]
    assert again.numbers["weight"][0, 0, 0] < 0 < again.numbers["weight"][1, 0, 0]


@pytest.mark.parametrize("kind", [HashedRows, Identity], ids=lambda kind: kind.__name__)
def test_a_finder_has_the_known_rows_of_the_first_ids(kind):
    row_map = kind()
    row_map.rows(np.arange(0, 60, 3))
    indptr, ids, rows = np.zeros(2, np.int64), np.zeros(8, np.int64), np.full(8, -7)
    find = row_map.finder(indptr, ids, rows)
    for wanted in ([], [3, 9], [57, 1 << 40, 0], [6]):
        indptr[1] = len(wanted)
        ids[: len(wanted)] = wanted
        known = row_map.known(np.array(wanted, np.int64))
        assert find() == min(0, *known, 0)
        assert_identical(rows[: len(wanted)], known)


def test_few_ids_have_the_rows_that_many_have():
    """Few are looked up by bisection, many in a table or by their hash."""
    ids = np.sort(np.random.default_rng(0).choice(1 << 40, 3000, replace=False))
    found = Model({"weight": np.zeros((3000, 1, 1)), "bias": np.zeros((1, 1, 1))}, Targets("squared"), ids=ids)
    asked = np.concatenate([ids, ids + 1, [0, -1, LARGEST]])
    each = np.concatenate([found.rows(asked[k : k + 1]) for k in range(len(asked))])
    assert_identical(each, found.rows(asked))
    assert (each[:3000] == np.arange(3000)).all()
