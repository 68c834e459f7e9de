"""A block cache that was changed on purpose is rejected in one sentence: kernels do not check its arrays.

Each change is one that the archive's own checksums do not notice: the file is written again with the change in it.
"""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from support.sampling import up_to

from surefoot import cli
from surefoot.data import DataError, cache
from surefoot.data.packing import DTYPES, OPTIONAL, PER_ROW, REQUIRED, packed, unpacked
from surefoot.data.reading import ReadOptions

LINES = {
    "svm": "".join(f"{k % 2 * 2 - 1} qid:{k} 1:1 {k % 7 + 2}:0.5 {k % 11 + 10}:1\n" for k in range(1, 201)),
    "vw": "".join(f"{k % 2 * 2 - 1} 2 0.5 |f a{k % 7} b{k % 11}:2\n" for k in range(1, 201)),
    "ffm": "".join(f"{k % 2} 0:1:1 1:{k % 7 + 2}:0.5 3:{k % 7 + 2}:1\n" for k in range(1, 201)),
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """A cache of each kind of file, by the ending of its name."""
    folder = tmp_path_factory.mktemp("caches")
    for ending, text in LINES.items():
        (folder / f"data.{ending}").write_text(text)
        reading = ReadOptions(bits=20 if ending == "vw" else None)
        stream = reading.open(folder / f"data.{ending}")
        list(cache.write(stream, folder / f"{ending}.cache", reading.resolved(stream).record()))
    return folder


def rewritten(source, target, change, member="block0"):
    """Writes a cache again, in which the arrays, or the text, of a member are what `change` makes of them."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == member and name.endswith(".json"):
                content = json.dumps(change(json.loads(content))).encode()
            elif name == member:
                arrays = {key: array.copy() for key, array in load(content).items()}
                change(arrays)
                content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
            copy.writestr(name, content)


def entry(array: str, place: int, value, dtype=None):
    """A change of one number, after the array was converted to a type."""

    def change(arrays):
        arrays[array] = arrays[array].astype(dtype or arrays[array].dtype)
        arrays[array][place] = value

    return change


def as_type(array: str, dtype):
    def change(arrays):
        arrays[array] = arrays[array].astype(dtype)

    return change


def lengths_that_cancel(arrays):
    arrays["lengths"] = arrays["lengths"].astype(np.int64)
    arrays["lengths"][:2] += (-(10**9), 10**9)


def lengths_whose_sum_overflows(arrays):
    arrays["lengths"] = arrays["lengths"].astype(np.int64)
    arrays["lengths"][:3] += (2**62, 2**62, -(2**63))


def without(array: str):
    def change(arrays):
        del arrays[array]

    return change


def with_another(arrays):
    arrays["more"] = np.zeros(3)


def stacked(array: str):
    def change(arrays):
        arrays[array] = np.stack([arrays[array]] * 2, 1)

    return change


def shorter(array: str):
    def change(arrays):
        arrays[array] = arrays[array][:-1]

    return change


CHANGES = {
    "svm": {
        "an index of 2^40": entry("indices", 0, 2**40, np.int64),
        "an index beyond the last of its row": entry("indices", 0, 3000, np.int64),
        "an index beyond int64": entry("indices", 3, 2**63 + 2**40, np.uint64),
        "an index that is NaN": entry("indices", 3, np.nan, np.float64),
        "an index below 0": entry("indices", 0, -1, np.int64),
        "an index of 2^63": entry("indices", 2, 2**63, np.uint64),
        "an index twice": entry("indices", 1, 1),
        "lengths that cancel": lengths_that_cancel,
        "lengths whose sum overflows": lengths_whose_sum_overflows,
        "a length beyond the block": entry("lengths", 199, 60_000),
        "labels in two dimensions": stacked("labels"),
        "indices in two dimensions": stacked("indices"),
        "a label that is infinite": entry("labels", 0, np.inf),
        "labels that are whole numbers": as_type("labels", np.int64),
        "values that are whole numbers": as_type("values", np.int64),
        "values in half precision": as_type("values", np.float16),
        "a value that is NaN": entry("values", 0, np.nan),
        "a value beyond float32": entry("values", 0, 1e39, np.float64),
        "a group below -1": entry("groups", 0, -2),
        "no labels": without("labels"),
        "no lengths": without("lengths"),
        "an array of another name": with_another,
        "fewer values": shorter("values"),
        "fewer groups": shorter("groups"),
    },
    "vw": {
        "a weight below 0": entry("weights", 0, -1),
        "a weight that is NaN": entry("weights", 0, np.nan),
        "an initial prediction that is infinite": entry("bases", 0, np.inf),
        "an index beyond 2^bits": entry("indices", 1, 1 << 20),
    },
    "ffm": {
        "a field below 0": entry("fields", 0, -1, np.int64),
        "a field beyond 20 bits": entry("fields", 2, 1 << 20),
        "fields that do not rise": entry("fields", 2, 1),
        "fields that are fractions": as_type("fields", np.float64),
    },
}


@pytest.mark.parametrize("ending, change", [(ending, change) for ending in CHANGES for change in CHANGES[ending]])
def test_changed_arrays_are_rejected(ending, change, caches, tmp_path):
    rewritten(caches / f"{ending}.cache", tmp_path / "x.cache", CHANGES[ending][change])
    with pytest.raises(DataError, match=r"x\.cache: damaged \(.*\); convert the files again"):
        list(ReadOptions().open(tmp_path / "x.cache"))


@pytest.mark.parametrize(
    "change",
    [
        entry("slots", 0, 1 << 20),
        entry("ends", 0, -1),
        entry("sizes", 0, 10**6),
        entry("places", 0, 1 << 20),
        as_type("slots", np.float64),
        without("known"),
        shorter("known"),
    ],
)
def test_changed_names_are_rejected(change, caches, tmp_path):
    rewritten(caches / "vw.cache", tmp_path / "x.cache", change, "names")
    with pytest.raises(DataError, match=r"x\.cache: damaged"):
        _ = ReadOptions().open(tmp_path / "x.cache").names


@pytest.mark.parametrize(
    "member, change",
    [
        ("surefoot-blocks-3.json", lambda head: {}),
        ("surefoot-blocks-3.json", lambda head: {"reading": [1]}),
        ("surefoot-blocks-3.json", lambda head: {"reading": head["reading"] | {"bits": "many"}}),
        ("surefoot-blocks-3.json", lambda head: {"reading": head["reading"] | {"bits": 64}}),
        ("surefoot-blocks-3.json", lambda head: {"reading": head["reading"] | {"numeric": [1]}}),
        ("surefoot-blocks-3.json", lambda head: {"reading": head["reading"] | {"header": "yes"}}),
        ("counts.json", lambda counts: counts | {"rows": 7}),
        ("counts.json", lambda counts: {}),
        ("counts.json", lambda counts: counts | {"words": "ham"}),
        ("counts.json", lambda counts: counts | {"words": [1]}),
        ("counts.json", lambda counts: counts | {"words": ["\x1b[2J"]}),
    ],
)
def test_changed_records_are_rejected(member, change, caches, tmp_path):
    rewritten(caches / "vw.cache", tmp_path / "x.cache", change, member)
    with pytest.raises(DataError, match=r"x\.cache: damaged"):
        list(ReadOptions().open(tmp_path / "x.cache"))


@pytest.mark.parametrize("left_out", ["block0", "counts.json", "surefoot-blocks-3.json"])
def test_missing_members_are_rejected(left_out, caches, tmp_path):
    with (
        zipfile.ZipFile(caches / "vw.cache") as archive,
        zipfile.ZipFile(tmp_path / "x.cache", "w") as copy,
    ):
        for name in archive.namelist():
            if name != left_out:
                copy.writestr(name, archive.read(name))
    with pytest.raises(DataError):
        list(ReadOptions(format="auto").open(tmp_path / "x.cache"))


@pytest.mark.parametrize("member", ["names", "block0"])
def test_members_are_not_decompressed(member, caches, tmp_path):
    """A member of a gigabyte that takes a megabyte in the file is rejected before it is read into memory."""
    with (
        zipfile.ZipFile(caches / "vw.cache") as archive,
        zipfile.ZipFile(tmp_path / "x.cache", "w") as copy,
    ):
        for name in archive.namelist():
            how = zipfile.ZIP_DEFLATED if name == member else zipfile.ZIP_STORED
            copy.writestr(name, archive.read(name), how)
    with pytest.raises(DataError, match="a member is compressed"):
        ReadOptions().open(tmp_path / "x.cache")


def test_a_cache_of_another_version_is_named(caches, tmp_path):
    with (
        zipfile.ZipFile(caches / "vw.cache") as archive,
        zipfile.ZipFile(tmp_path / "x.cache", "w") as copy,
    ):
        for name in archive.namelist():
            copy.writestr(name.replace("blocks-3", "blocks-2"), archive.read(name))
    with pytest.raises(DataError, match="a block cache of another version of Surefoot; convert the files again"):
        ReadOptions().open(tmp_path / "x.cache")


def test_the_command_line_writes_nothing(caches, tmp_path, capsys):
    rewritten(caches / "svm.cache", tmp_path / "x.cache", CHANGES["svm"]["an index beyond the last of its row"])
    model = tmp_path / "m.safetensors"
    assert cli.run(["train", str(tmp_path / "x.cache"), "-m", str(model), "-q"]) == 2
    assert "damaged (a row whose indices do not rise)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.cache"]


@given(st.data())
@settings(max_examples=up_to(200), deadline=None)
def test_arbitrary_arrays_are_a_block_or_rejected(data):
    """Whatever the arrays hold: what comes through is a block whose every row could have been read."""
    size = st.integers(0, 6)
    rows, entries = data.draw(size), data.draw(size)
    arrays = {}
    for name in [*REQUIRED, *data.draw(st.lists(st.sampled_from([*OPTIONAL, "values", "weights"]), unique=True))]:
        dtype = data.draw(st.sampled_from(DTYPES[name]))
        length = rows if name in PER_ROW else entries
        length = max(0, length + data.draw(st.sampled_from([0] * 20 + [1, -1])))
        numbers = st.integers(0, 8 if np.dtype(dtype).kind == "u" or name == "weights" else 2)
        arrays[name] = np.array(data.draw(st.lists(numbers, min_size=length, max_size=length)), dtype)
    if data.draw(st.booleans()) and entries:
        arrays["lengths"] = np.bincount(np.arange(entries) % max(rows, 1), minlength=rows).astype(np.int64)
        arrays["indices"] = np.arange(entries) // 2 if "fields" in arrays else np.arange(entries)
    try:
        block = unpacked(arrays, features=8)
    except ValueError:
        return
    assert block.indptr[0] == 0
    assert block.indptr[-1] == len(block.indices) == len(block.values)
    for begin, end in zip(block.indptr, block.indptr[1:], strict=False):
        places = list(block.indices[begin:end].tolist())
        if block.fields is not None:
            places = list(zip(places, block.fields[begin:end].tolist(), strict=True))
        assert places == sorted(set(places))
    assert ((block.indices >= 0) & (block.indices < 8)).all()
    again = unpacked(packed(block), features=8)
    for name, array in vars(block).items():
        np.testing.assert_array_equal(getattr(again, name), array)


ODD = [-1, -(2**63), 2**31, 2**40, 2**63 - 1, float("nan"), float("inf"), 1e300, -0.5]


@given(st.data())
@settings(max_examples=up_to(300), deadline=None)
def test_caches_that_say_anything_are_read_or_rejected_in_one_sentence(caches, data):
    """Other types, sizes, numbers or bytes in any member, with checksums that are right."""
    ending = data.draw(st.sampled_from(sorted(LINES)))
    source, target = caches / f"{ending}.cache", caches / "any.cache"
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        chosen = data.draw(st.sampled_from(archive.namelist()))
        for name in archive.namelist():
            content = archive.read(name)
            if name == chosen and (name.endswith(".json") or data.draw(st.booleans(), "bytes")):
                content = other_bytes(data.draw, content)
            elif name == chosen:
                content = other_arrays(data.draw, load(content))
            copy.writestr(name, content)
    try:
        stream = ReadOptions().open(target)
        blocks, names = list(stream), stream.names
    except DataError as error:
        said = str(error)
    else:
        said = "read"
        for block in blocks:
            assert block.indptr[-1] == len(block.indices)
            assert (block.indices >= 0).all()
            assert unpacked(packed(block)).indices.tobytes() == block.indices.tobytes()
        assert names is None or all(0 <= slot < 1 << names.bits for slot in names)
    assert said.count("\n") == 0 < len(said)


def other_bytes(draw, content: bytes) -> bytes:
    """The content with a few bytes changed, cut or added."""
    place = draw(st.integers(0, len(content)))
    return content[:place] + draw(st.binary(max_size=4)) + content[place + draw(st.integers(0, 4)) :]


def other_arrays(draw, arrays) -> bytes:
    """The arrays with another one, another type or size, or an odd number in one of them."""
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays[name].astype(
        draw(st.sampled_from([arrays[name].dtype, np.int64, np.uint64, np.float64, np.float32]))
    )
    if draw(st.booleans(), "number") and array.size:
        with np.errstate(all="ignore"):
            array[draw(st.integers(0, array.size - 1))] = np.array(draw(st.sampled_from(ODD))).astype(array.dtype)
    size = draw(st.sampled_from([None, None, 0, 1, array.size - 1, array.size * 2]))
    arrays[name] = array if size is None else np.resize(array, size)
    return save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
