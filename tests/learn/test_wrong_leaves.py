"""Every leaf of a model file and of a checkpoint, replaced by every kind of wrong value, with a right checksum.

The file is then used with the same result as before, or is rejected in one sentence that names it and the field. What
may be any number or text of its kind cannot be told from what was written, and is listed below.
"""

import copy
import json
import os
import tracemalloc

import numpy as np
import pytest

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

GONE = object()
WRONG = {
    "missing": GONE,
    "null": None,
    "true": True,
    "text": "text",
    "no text": "",
    "negative": -1,
    "zero": 0,
    "one": 1,
    "a half": 0.5,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "-infinite": float("-inf"),
    "1e300": 1e300,
    "2**40": 1 << 40,
    "2**70": 1 << 70,
    "[]": [],
    "{}": {},
    "[1]": [1],
    "[[]]": [[]],
    "nested": {"a": {"b": [1]}},
}
DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8]
ANYTHING = {
    # What was learned: any finite numbers.
    "weights", "biases", "centers", "bank.cells", "bank.shared", "bank.common", "bank.means", "bank.upto", "total",
    "losses", "gaps", "eta", "shares", "largest", "weight", "since", "least", "heaviness", "center", "spread", "window",
    "before", "past",
    "skipped", "started", "sharing", "settled", "parameter",
    # Which features there are, how often they occurred, and what they are called.
    "ids", "features", "names", "stats", "zeros", "last",
    # What is said of the training, or decides only what `learn_one` does from then on.
    "facts", "history", "first_pass", "first_loss", "seconds", "lost", "reading", "classes",
    # Without it a model predicts, and does not learn on.
    "memory",
}  # fmt: skip
"""Fields that may be any number, text or list of their kind."""
LARGEST_PEAK = 1e8
"""Bytes, whatever a file of some kilobytes claims."""


def changed_arrays(array):
    """An array with other types, shapes and numbers."""
    for dtype in DTYPES:
        with np.errstate(all="ignore"):
            yield f"as {np.dtype(dtype)}", array.astype(dtype)
    yield "without rows", array[:0]
    yield "flat and empty", array.reshape(-1)[:0]
    yield "a row less", array[:-1]
    yield "a row more", np.concatenate([array, np.zeros_like(array[:1]), array[:1]])
    yield "flat", array.ravel() if array.ndim > 1 else array[:, None]
    yield "one dimension more", array[None]
    yield "reversed", array[::-1]
    if array.ndim > 1:
        yield "a column less", array[:, 1:]
    limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
    odd = [np.nan, np.inf, -np.inf, -1.0, 0.0, 0.5, limits.max] if array.dtype.kind == "f" else [limits.min, limits.max]
    for number in [*odd, 0, 1]:
        for place in (0, -1) if array.size else ():
            other = array.copy()
            other.reshape(-1)[place] = number
            yield f"{number} at {place}", other


def places_in(value, place=()):
    """Where in a JSON document something can be put."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*place, key)
        yield from places_in(item, (*place, key))


def changes(arrays, facts):
    """(where, how, arrays, facts) for every leaf and wrong value."""
    for name, array in sorted(arrays.items()):
        rest = {other: own for other, own in arrays.items() if other != name}
        yield name, "missing", rest, facts
        for how, other in changed_arrays(array):
            if (other.dtype, other.shape, other.tobytes()) != (array.dtype, array.shape, array.tobytes()):
                yield name, how, rest | {name: np.ascontiguousarray(other).reshape(other.shape)}, facts
    for place in places_in(facts):
        for how, value in WRONG.items():
            other = copy.deepcopy(facts)
            owner = other
            for key in place[:-1]:
                owner = owner[key]
            if value is GONE:
                del owner[place[-1]]
            else:
                owner[place[-1]] = copy.deepcopy(value)
            yield ".".join(map(str, place)), how, arrays, other


KINDS = {
    "names": (
        "vw",
        [f"{k % 2 * 2 - 1} |f a b:{k % 5} {'cde'[k % 3]}\n" for k in range(40)],
        {"reading": ReadOptions(bits=10)},
        {"lr": 0.1},
        "|f a b:2",
    ),
    "table": (
        "csv",
        [f"{k % 3},{k % 7 + 0.5 if k % 6 else ''},{'uvw'[k % 3]}\n" for k in range(40)],
        {"reading": ReadOptions(target="y"), "loss": "softmax", "classes": (0.0, 1.0, 2.0)},
        {"lr": 0.1, "l2": 0.01},
        {"a": 1.5, "b": "u"},
    ),
    "numbers": (
        "svm",
        [f"{k % 4 - 1.5} 1:{k % 7 + 1} 4:{k % 3 + 1}\n" for k in range(40)],
        {"loss": "huber", "parameter": 0.7},
        {"lr": 0.1, "average": True, "l1": 0.01},
        {1: 2.0, 4: 1.0},
    ),
    "rates": (
        "svm",
        [f"{k % 4} 1:{k % 7 + 1} 4:{k % 3 + 1}\n" for k in range(40)],
        {"loss": "quantile"},
        {"lr": "auto", "optimizer": "ftrl"},
        {1: 2.0, 4: 1.0},
    ),
    "common rates": (
        "svm",
        [f"{k % 4} 1:{k % 7 + 1} 4:{k % 3 + 1}\n" for k in range(40)],
        {"loss": "squared"},
        {"lr": 0.1, "granularity": "tensor", "batch_size": 7},
        {1: 2.0, 4: 1.0},
    ),
}
"""File name's ending, lines, further entries of the plan, the method, and an example: together they have all fields."""


@pytest.fixture
def begun(request, tmp_path, monkeypatch):
    """A plan whose checkpoint is after the first of two files, the contents of it and of the model, and an example."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    ending, lines, plan, method, x = KINDS[request.param]
    for number in range(2):
        head = "y,a,b\n" if ending == "csv" else ""
        (tmp_path / f"{number}.{ending}").write_text(head + "".join(lines[number * 20 : number * 20 + 20]))
    given = {"files": tuple(str(tmp_path / f"{number}.{ending}") for number in range(2)), **plan}
    given |= {"passes": 2, "method": Method(engine="reference", **method)}
    Training(Plan(**given, save_resume=True)).run().model.save(tmp_path / "model")
    given |= {"every": 1, "checkpoint": str(tmp_path), "resume": True}

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Training(Plan(**given), progress=stop).run()
    return given, x


def outcome_of(use, path):
    """What came of using a file: ("used", result), or ("rejected", sentence); other errors are faults."""
    tracemalloc.start()
    try:
        found = "used", use()
    except (storage.FileError, RecordError, DataError) as error:
        found = "rejected", str(error)
    except (DivergedError, RuntimeWarning):
        found = "diverged", ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LARGEST_PEAK
    return found


def is_fault(where, how, before, found, path, files) -> str:
    """What is wrong about an outcome; "" for nothing."""
    fields = where.replace("memory.", "").split(".")
    if found[0] == "diverged":  # by numbers that are too large to learn on with, but of the right kind
        return "" if {*fields} & {"cells", "shared", "center", "heaviness"} else "diverged"
    if found[0] == "used":
        any_number = any(field in where for field in ANYTHING)
        return "" if found[1] == before[1] or any_number else "another result"
    said = found[1].replace("-", "_")
    named = [field for field in fields if not field.isdigit()]
    if "\n" in said or not any(name.replace("-", "_") in said for name in (str(path), *files)):
        return f"not one sentence that names a file: {found[1]}"
    if DISAGREE in said or how in PARTS_OF or fields[0] in AGREE:
        return ""
    if not any(name in said for name in named):
        return f"does not name the field: {found[1]}"
    return ""


DISAGREE = "(memory: found another "
"""Where the state is another one than that of the model's numbers: which of both was changed is not known."""
PARTS_OF = {"null", "missing", "{}", "nested", "[]", "[1]", "[[]]", "without rows", "flat and empty", "a row less"}
"""What takes something away, which may be named in its place."""
AGREE = {
    "missing",
    "cursor",
    "changes",
    "learner",
    "examples",
    "features",
    "weight",
    "facts",
    "bank",
    "targets",
    "files",
}
"""Fields that have to agree with others, which may be named in their place."""


def faults_of(kind, begun, path, use, every, first) -> list[str]:
    """All that is wrong, of every such change from the first on."""
    given, _ = begun
    contents, found = storage.read(path, kind), []
    before = outcome_of(use, path)
    if before[0] != "used":
        return [f"as written: {before[1]}"]
    for number, (where, how, arrays, facts) in enumerate(changes(*contents)):
        if number % every == first:
            storage.write(path, kind, arrays, facts)
            try:
                fault = is_fault(where, how, before, outcome_of(use, path), path, given["files"])
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
            found += [f"{where} {how}: {fault}"] * bool(fault)
    return found


def used(path, begun):
    """All that commands and users do with a model."""
    given, x = begun
    model = Model.load(path)
    scores = [
        model.scores(block).tobytes()
        for block in given.get("reading", ReadOptions()).open(given["files"], trained=True)
    ]
    shown = json.dumps(described(summary(model))), json.dumps(summary(model).record(), default=str)
    try:
        labels = [model.names[feature] for feature in model.names], model.predict_one(x)
    except ValueError as error:
        if model.reading is not None:
            raise
        return scores, shown, str(error)  # of a model that did not come from files, features have numbers
    try:
        model.learn_one(x, model.targets.classes[-1] if model.targets.classes else 0.0)
    except ValueError as error:
        if not str(error).startswith("this model has weights only"):
            raise
    return scores, shown, labels, model.predict_one(x)


PARTS = [pytest.param(12, 5, marks=pytest.mark.slow), (40, 7)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("every, first", PARTS, ids=["many", "some"])
@pytest.mark.parametrize("begun", KINDS, indirect=True)
def test_a_wrong_leaf_of_a_model_changes_nothing_or_is_named(begun, tmp_path, every, first):
    path = tmp_path / "model"
    assert "\n".join(faults_of("model", begun, path, lambda: used(path, begun), every, first)) == ""


@pytest.mark.sampled(2)
@pytest.mark.parametrize("every, first", PARTS, ids=["many", "some"])
@pytest.mark.parametrize("begun", KINDS, indirect=True)
def test_a_wrong_leaf_of_a_checkpoint_changes_nothing_or_is_named(begun, tmp_path, every, first):
    def resumed():
        Training(Plan(**begun[0])).run().model.save(tmp_path / "again")
        return (tmp_path / "again").read_bytes()

    assert "\n".join(faults_of("checkpoint", begun, tmp_path / CHECKPOINT, resumed, every, first)) == ""
