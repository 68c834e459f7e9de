"""Model files and checkpoints that say anything at all, with a right checksum: used, or rejected in one sentence."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sampling import up_to

from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.learn import storage
from surefoot.learn.inspection import described, summary
from surefoot.learn.learner import DivergedError
from surefoot.learn.model import Model
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Interrupted, Training
from surefoot.records.files import RecordError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8]


def places_in(value, place=()):
    """Where in a JSON document something can be put."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*place, key)
        yield from places_in(item, (*place, key))


def changed(draw, arrays, facts) -> None:
    """Puts something else in the place of an array, of some of its numbers, or of a fact."""
    if draw(st.booleans(), "facts"):
        *parents, last = draw(st.sampled_from([*places_in(facts)]), "place")
        owner = facts
        for key in parents:
            owner = owner[key]
        if draw(st.booleans(), "removed"):
            del owner[last]
        else:
            owner[last] = draw(JSON, "value")
        return
    name = draw(st.sampled_from(sorted(arrays)), "array")
    way = draw(st.sampled_from(["gone", "number", "dtype", "shape", "shorter", "any", "more"]), "way")
    array = arrays.pop(name)
    if way == "number" and array.size:
        array = array.copy()
        limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
        odd = st.sampled_from([limits.min, limits.max, 0, 1, limits.max // 2]) if limits else st.floats(width=32)
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(odd, "number")
    elif way == "dtype":
        with np.errstate(invalid="ignore"):  # numbers that the type does not have
            array = array.astype(draw(st.sampled_from(DTYPES)))
    elif way == "shape":
        array = array.reshape(draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (1, 1, -1)])))
    elif way == "shorter":
        array = array[: draw(st.integers(0, len(array)))] if array.ndim else array
    elif way == "any":
        shape = draw(st.lists(st.integers(0, 9), max_size=3))
        array = np.full(shape, draw(st.integers(0, 99)), draw(st.sampled_from(DTYPES)))
    if way != "gone":
        arrays[name if way != "more" else name + draw(st.sampled_from([".rows", ".values", ".shape", "x"]))] = array


BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F4": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8, "X": 4,
}  # fmt: skip
"""Types of safetensors files, and one that there is not."""


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
@pytest.mark.parametrize("dtype", BYTES)
def test_an_array_of_any_type_is_read_or_rejected_in_one_sentence(dtype, kind, tmp_path):
    """Of those that the library knows, and ours or not."""
    entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * BYTES[dtype]]}
    metadata = {"surefoot": f"{kind} {storage.VERSION}", "facts": "{}", "checksum": "0"}
    head = json.dumps({"__metadata__": metadata, "a": entry}).encode()
    (tmp_path / "f").write_bytes(len(head).to_bytes(8, "little") + head + bytes(2 * BYTES[dtype]))
    with pytest.raises(storage.FileError, match=r"f: (not a Surefoot|checksum mismatch|is not as it was)[^\n]+$"):
        storage.read(tmp_path / "f", kind)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_file_that_begins_with_anything_is_rejected_in_one_sentence(tmp_path_factory, start, size):
    path = tmp_path_factory.getbasetemp() / "f"
    for head in (start, len(start).to_bytes(8, "little") + start, size.to_bytes(8, "little") + start):
        path.write_bytes(head)
        with pytest.raises(storage.FileError, match=r"f: (not a|is another|is a|was)[^\n]*$"):
            storage.read(path, "model")


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    """A model and a checkpoint of a training on names, which have all that files may have."""
    folder = tmp_path_factory.mktemp("files")
    for k in range(2):
        (folder / f"{k}.vw").write_text("1 |f a b:2\n-1 |f c\n" * 20)
    files = tuple(str(folder / f"{k}.vw") for k in range(2))
    plan: dict = {"files": files, "every": 1, "checkpoint": str(folder), "reading": ReadOptions(bits=10)}
    plan |= {"method": Method(lr=0.1, engine="reference"), "passes": 2, "resume": True}

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Training(Plan(**plan), progress=stop).run()
    Training(Plan(**plan | {"checkpoint": None, "resume": False})).run().model.save(folder / "m")
    return folder, plan, storage.read(folder / "m", "model"), storage.read(folder / CHECKPOINT, "checkpoint")


@given(st.data())
@settings(max_examples=up_to(300))
def test_a_model_that_says_anything_is_used_or_rejected_in_one_sentence(from_files, data):
    folder, _, (arrays, facts), _ = from_files
    arrays, facts = dict(arrays), copy.deepcopy(facts)
    for _ in range(data.draw(st.integers(1, 2))):
        changed(data.draw, arrays, facts)
    storage.write(folder / "other", "model", arrays, facts)
    try:
        model = Model.load(folder / "other")
    except (storage.FileError, RecordError) as error:
        said = str(error)
    else:
        said = "used"
        use(model, folder / "0.vw")
    assert said.count("\n") == 0 < len(said)


def use(model: Model, file) -> None:
    """All that commands do with a model."""
    for block in ReadOptions(bits=10).open(file):
        assert model.scores(block).shape == (len(block), model.targets.outputs)
    assert all(len(pair) == 2 for pair in described(summary(model)))
    assert all(model.names[feature] is not None for feature in model.names)


@given(st.data())
@settings(max_examples=up_to(150))
def test_a_checkpoint_that_says_anything_is_used_or_rejected_in_one_sentence(from_files, data):
    """One that has what belongs there, and other numbers, cannot be told from one that was written so."""
    folder, plan, _, (arrays, facts) = from_files
    arrays, facts = dict(arrays), copy.deepcopy(facts)
    for _ in range(data.draw(st.integers(1, 2))):
        changed(data.draw, arrays, facts)
    storage.write(folder / CHECKPOINT, "checkpoint", arrays, facts)
    try:
        outcome = Training(Plan(**plan)).run()
    except (storage.FileError, RecordError, DataError, DivergedError) as error:
        said = str(error)
    else:
        said = "used"
        assert np.isfinite(outcome.model.weights).all()
    assert said.count("\n") == 0 < len(said)
