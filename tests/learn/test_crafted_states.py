"""States, checkpoints and model files that were edited: one sentence says what is wrong, and nothing else happens.

Kernels do not check bounds, so what does not fit must not reach them.
"""

import copy
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from surefoot import cli, losses
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block
from surefoot.engines.examples import Examples
from surefoot.learn import model as module
from surefoot.learn import storage
from surefoot.learn.inspection import summary
from surefoot.learn.learner import Learner
from surefoot.learn.model import Model
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method, Settings
from surefoot.learn.targets import Targets
from surefoot.learn.training import Interrupted, Training
from surefoot.losses.recalled import recorded

SETTINGS = Settings(lr=0.1, average=True, engine="reference")


def learner(settings: Settings = SETTINGS) -> Learner:
    rng = np.random.default_rng(0)
    indices = np.concatenate([np.sort(rng.choice(6, 2, replace=False)) for _ in range(20)])
    rows = Examples(
        np.arange(0, 41, 2), indices, rng.normal(size=40), rng.integers(0, 2, 20).astype(float), np.ones(20)
    )
    learner = Learner(settings)
    learner.learn(rows)
    return learner


def state(settings: Settings = SETTINGS):
    arrays, numbers = copy.deepcopy(learner(settings).state())
    return arrays, json.loads(json.dumps(numbers))


ARRAYS = sorted(state()[0])
CHANGES = {
    "is missing": lambda array: None,
    "has another type": lambda array: np.zeros(array.shape, np.float16),
    "has one row less": lambda array: array[:-1],
    "has one row more": lambda array: np.concatenate([array, array[:1]]),
    "is flat": lambda array: array.ravel() if array.ndim > 1 else array[:, None],
    "is a number": lambda array: np.array(3.0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_does_not_fit_is_rejected(name, change):
    arrays, numbers = state()
    before = arrays.pop(name)
    changed = CHANGES[change](before)
    if changed is not None and (changed.shape, changed.dtype) == (before.shape, before.dtype):
        pytest.skip("there are no rows")
    if changed is not None:
        arrays[name] = changed
    with pytest.raises(ValueError, match=r"^[\w.]+: found .*, expected [^\n]*$"):
        Learner.from_state(SETTINGS, arrays, numbers)


@pytest.mark.parametrize("wrong", [-1, 21, 1 << 62, -(1 << 63)])
def test_steps_that_were_not_taken_are_rejected(wrong):
    settings = replace(SETTINGS, l2=0.01)  # features wait
    arrays, numbers = state(settings)
    arrays["bank.last"][3] = wrong
    with pytest.raises(ValueError, match=r"last: found steps .*, expected 0 … 20"):
        Learner.from_state(settings, arrays, numbers)


def fits(place: tuple[str, ...], wrong) -> bool:
    """Whether it may be anything of its kind: a number, or a list."""
    allowed = {
        "history": [[]],
        "weight": [1e300, 1 << 70],
        "heaviness": [1e300, 1 << 70],
        "bank.total": [1e300, 1 << 70],
        "mixture.total": [-1, 1 << 70],
        "mixture.largest": [1e300, 1 << 70],
    }
    return any(wrong == one and type(wrong) is type(one) for one in allowed.get(".".join(place), []))


PLACES = [(), ("bank",), ("mixture",)]
FACTS = [(*place, name) for place in PLACES for name in (state()[1] if not place else state()[1][place[0]])]


@pytest.mark.parametrize("wrong", ["missing", None, "text", -1, [], {}, 1e300, 1 << 70])
@pytest.mark.parametrize("place", FACTS, ids=".".join)
def test_a_number_that_does_not_fit_is_rejected(place, wrong):
    arrays, numbers = state()
    *parents, name = place
    owner = numbers
    for parent in parents:
        owner = owner[parent]
    if wrong == "missing":
        del owner[name]
    else:
        owner[name] = wrong
    if fits(place, wrong):
        Learner.from_state(SETTINGS, arrays, numbers)
        return
    with pytest.raises(ValueError, match=r"^[^\n]*$"):
        Learner.from_state(SETTINGS, arrays, numbers)


# Files


def edited(path, change) -> None:
    """Writes a file again with a change of its arrays and facts, and the checksum that they have then."""
    kind = "model" if path.name == "m" else "checkpoint"
    arrays, facts = storage.read(path, kind)
    change(arrays, facts)
    storage.write(path, kind, arrays, facts)


EDITS = {
    "an array of another shape": lambda arrays, facts: arrays.update(
        {"bank.cells": arrays["bank.cells"][:, 1:].copy()}
    ),
    "no array": lambda arrays, facts: arrays.pop("mixture.shares"),
    "no cursor": lambda arrays, facts: facts.pop("cursor"),
    "another cursor": lambda arrays, facts: facts.update(cursor=3),
    "a window of three": lambda arrays, facts: facts.update(window=[1, 2, 3, 4]),
    "no targets": lambda arrays, facts: facts.update(targets={}),
    "no files": lambda arrays, facts: facts.update(files=None),
    "files that are numbers": lambda arrays, facts: facts.update(files=[3]),
    "a file without a size": lambda arrays, facts: facts["files"][0].pop("size"),
    "a size in words": lambda arrays, facts: facts["files"][0].update(size="large"),
    "a place of one number": lambda arrays, facts: facts["files"][0].update(place=[1]),
    "a path that is a number": lambda arrays, facts: facts["files"][0].update(path=1),
    "no learner": lambda arrays, facts: facts.update(learner={}),
    "something else": lambda arrays, facts: facts.update(more=1),
    "skipped lines": lambda arrays, facts: facts.update(skipped=3),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_checkpoint_is_rejected(tmp_path, edit):
    (tmp_path / "rows.svm").write_text("1 1:0.5 2:1\n-1 2:2 3:1\n" * 20)
    plan: dict = {"files": (str(tmp_path / "rows.svm"),), "checkpoint": str(tmp_path), "every": 10, "passes": 4}
    plan |= {"method": Method(lr=0.1, engine="reference")}

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Training(Plan(**plan), progress=stop).run()
    edited(tmp_path / CHECKPOINT, EDITS[edit])
    with pytest.raises(storage.FileError, match=r"checkpoint\.safetensors: is not as it was written \([^\n]*$"):
        Training(Plan(**plan, resume=True)).run()


def long(arrays, name="weights"):
    """The same numbers as the rows that are not zero."""
    table = arrays.pop(name)
    arrays |= {f"{name}.values": table, f"{name}.rows": np.arange(len(table)), f"{name}.shape": np.array(table.shape)}
    return arrays


def named(arrays, features=(4, 1), ends=(1, 3), text=None):
    """Names of two features."""
    arrays["names.features"], arrays["names.ends"] = np.array(features), np.array(ends)
    arrays["names.text"] = np.frombuffer(b"abc", np.uint8) if text is None else text


def own_loss(**changes):
    """The description of a user-defined loss, with changes."""

    @losses.loss(value=lambda p, y: 0.5 * (p - y) ** 2, target="class", convex=True)
    def mine(prediction, y):
        return prediction - y

    return recorded(mine) | changes


OPTIONS = ReadOptions().record()
MODELS = {
    "no weights": lambda arrays, facts: arrays.pop("weights"),
    "no biases": lambda arrays, facts: arrays.pop("biases"),
    "biases of three outputs": lambda arrays, facts: arrays.update({"biases": np.zeros((1, 3))}),
    "three biases": lambda arrays, facts: arrays.update({"biases": np.zeros((3, 1))}),
    "whole numbers": lambda arrays, facts: arrays.update({"weights": np.zeros((6, 1), np.int64)}),
    "a huge table": lambda arrays, facts: long(arrays).update({"weights.shape": np.array([1 << 60, 1])}),
    "a table wider than its values": lambda arrays, facts: long(arrays).update({"weights.shape": np.array([6, 9])}),
    "many columns": lambda arrays, facts: arrays.update(
        {"weights.rows": arrays["stats.features"][:0], "weights.shape": np.array([6, 1 << 40])}
        | {"weights.values": arrays.pop("weights")[:0].repeat(1 << 10, axis=1)}
    ),
    "a huge bias": lambda arrays, facts: long(arrays, "biases").update({"biases.shape": np.array([1 << 40, 1])}),
    "a shape of three numbers": lambda arrays, facts: long(arrays).update({"weights.shape": np.array([6, 1, 1])}),
    "a negative table": lambda arrays, facts: long(arrays).update({"weights.shape": np.array([-1, 1])}),
    "a row beyond": lambda arrays, facts: long(arrays)["weights.rows"].__setitem__(0, 6),
    "a negative row": lambda arrays, facts: long(arrays)["weights.rows"].__setitem__(0, -1),
    "fewer ids": lambda arrays, facts: arrays.update({"features.ids": np.arange(5)}),
    "fewer statistics": lambda arrays, facts: arrays.update({"stats.counts": np.zeros(3)}),
    "weights that are NaN": lambda arrays, facts: arrays["weights"].fill(np.nan),
    "weights that are infinite": lambda arrays, facts: long(arrays)["weights.values"].fill(-np.inf),
    "an infinite bias": lambda arrays, facts: arrays["biases"].fill(np.inf),
    "a row twice": lambda arrays, facts: long(arrays)["weights.rows"].fill(3),
    "rows that fall": lambda arrays, facts: long(arrays).update({"weights.rows": np.arange(6)[::-1].copy()}),
    "flat values": lambda arrays, facts: long(arrays).update({"weights.values": np.zeros(6)}),
    "ids that fall": lambda arrays, facts: arrays.update({"features.ids": np.arange(6)[::-1].copy()}),
    "negative ids": lambda arrays, facts: arrays.update({"features.ids": np.arange(6) - 1}),
    "ids that are not whole": lambda arrays, facts: arrays.update({"features.ids": np.arange(6.0)}),
    "negative features": lambda arrays, facts: arrays.update({"stats.features": arrays["stats.features"] - 1}),
    "the same feature": lambda arrays, facts: arrays["stats.features"].fill(2),
    "features without a weight": lambda arrays, facts: arrays.update({"stats.features": arrays["stats.features"] + 1}),
    "features without an id": lambda arrays, facts: arrays.update({"features.ids": np.arange(6) + 1}),
    "counts that are NaN": lambda arrays, facts: arrays.update({"stats.counts": np.full(6, np.nan)}),
    "rates of two outputs": lambda arrays, facts: arrays.update({"stats.rates": np.ones((6, 2))}),
    "names that end elsewhere": lambda arrays, facts: named(arrays, ends=[1, 5]),
    "names that end before they begin": lambda arrays, facts: named(arrays, ends=[4, 3]),
    "names before the text": lambda arrays, facts: named(arrays, ends=[-1, 3]),
    "a name without an end": lambda arrays, facts: named(arrays, ends=[3]),
    "two names of a feature": lambda arrays, facts: named(arrays, features=[4, 4]),
    "names of a negative feature": lambda arrays, facts: named(arrays, features=[4, -4]),
    "names that are not text": lambda arrays, facts: named(arrays, text=np.zeros(3)),
    "classes that are NaN": lambda arrays, facts: facts.update(classes=[float("nan"), 1.0]),
    "classes that are infinite": lambda arrays, facts: facts.update(classes=[0.0, float("inf")]),
    "classes that fall": lambda arrays, facts: facts.update(classes=[1.0, -1.0]),
    "classes that are the same": lambda arrays, facts: facts.update(classes=[1.0, 1.0]),
    "a class in words": lambda arrays, facts: facts.update(classes=["a", 1.0]),
    "words that are the same": lambda arrays, facts: facts.update(classes=["a", "a"]),
    "a class that commands a terminal": lambda arrays, facts: facts.update(classes=["a", "\x1b[2J"]),
    "no classes": lambda arrays, facts: facts.update(classes=None),
    "classes of numbers": lambda arrays, facts: facts.update(loss="squared"),
    "a center that is NaN": lambda arrays, facts: facts.update(center=float("nan")),
    "99 bits": lambda arrays, facts: facts.update(reading=OPTIONS | {"format": "vw", "bits": 99}),
    "fewer bits than ids": lambda arrays, facts: facts.update(reading=OPTIONS | {"format": "vw", "bits": 2}),
    "two delimiters": lambda arrays, facts: facts.update(reading=OPTIONS | {"format": "csv", "delimiter": "ab"}),
    "a column of two kinds": lambda arrays, facts: facts.update(
        reading=OPTIONS | {"format": "csv", "numeric": ["x"], "categorical": ["x"]}
    ),
    "a loss that is a number": lambda arrays, facts: facts.update(loss=own_loss(described=3)),
    "a loss of another target": lambda arrays, facts: facts.update(loss=own_loss(target="words")),
    "a loss without functions": lambda arrays, facts: facts.update(loss=own_loss(functions=["steal"])),
    "no loss": lambda arrays, facts: facts.pop("loss"),
    "a spread in words": lambda arrays, facts: facts.update(spread="wide"),
    "facts that are a list": lambda arrays, facts: facts.update(facts=[1]),
    "a format that is a number": lambda arrays, facts: facts.update(reading=OPTIONS | {"format": 1}),
}


@pytest.mark.parametrize("edit", MODELS)
def test_an_edited_model_is_rejected(tmp_path, edit):
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    edited(tmp_path / "m", MODELS[edit])
    with pytest.raises(storage.FileError, match=r"m: is not as it was written \([^\n]*\); copy it again"):
        Model.load(tmp_path / "m")


@pytest.mark.parametrize("size", [1 << 28, 1 << 31, 1 << 40, 10**18])
def test_memory_is_in_proportion_to_a_model_file(tmp_path, size):
    """Whatever size a file of two kilobytes claims, loading it, its summary and its predictions take little."""
    before = Model.of(learner(), Targets("logistic", (-1.0, 1.0)))
    before.save(tmp_path / "m")
    edited(tmp_path / "m", lambda arrays, facts: long(arrays).update({"weights.shape": np.array([size, 1])}))
    rows = Block(np.array([0, 3]), np.array([1, 5, size - 1]), np.ones(3), np.ones(1), np.ones(1, np.float32))
    tracemalloc.start()
    try:
        model = Model.load(tmp_path / "m")
        score, found = model.scores(rows), summary(model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5e6
    assert found.features == size
    assert score == before.scores(rows)
    model.save(tmp_path / "again")
    assert (tmp_path / "again").stat().st_size < 3000
    assert Model.load(tmp_path / "again").scores(rows) == score


def test_a_model_of_few_features_among_many_predicts_alike(tmp_path, monkeypatch):
    """With a table of rows and with a search."""
    weights = np.zeros((5000, 1), np.float32)
    weights[[7, 40, 4999]] = [[1.0], [-2.0], [3.0]]
    numbers = {"bias": np.zeros((1, 1, 1)), "weight": weights[:, None]}
    before = Model(numbers, Targets("squared"))
    before.save(tmp_path / "m")
    ids = np.array([0, 7, 8, 40, 4998, 4999, 5000, 10**17])
    rows = Block(np.arange(9), ids, np.ones(8), np.ones(8), np.ones(8, np.float32))
    for lookup in (1 << 22, 100):
        monkeypatch.setattr(module, "LOOKUP", lookup)
        monkeypatch.setattr(module, "SHARE", 1)
        model = Model.load(tmp_path / "m")
        assert (model._lookup is None) == (lookup == 100)
        assert len(model.numbers["weight"]) == 3
        assert model.weights.tobytes() == weights.tobytes()
        assert model.scores(rows).ravel().tolist() == before.scores(rows).ravel().tolist()
        assert model.scores(rows).ravel().tolist() == [0.0, 1.0, 0.0, -2.0, 0.0, 3.0, 0.0, 0.0]


def test_a_model_of_an_unknown_loss_is_rejected_by_name(tmp_path):
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    edited(tmp_path / "m", lambda arrays, facts: facts.update(loss="foo"))
    with pytest.raises(storage.FileError, match=r"m: there is no loss 'foo'; [^\n]*$"):
        Model.load(tmp_path / "m")


def test_names_and_user_defined_losses_that_fit_are_loaded(tmp_path):
    """What the edits above begin from."""
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    edited(tmp_path / "m", lambda arrays, facts: (named(arrays), facts.update(loss=own_loss())))
    loaded = Model.load(tmp_path / "m")
    assert (dict(loaded.names), loaded.targets.loss.name) == ({4: "a", 1: "bc"}, "mine")


@pytest.mark.parametrize("edit", ["classes that are NaN", "negative features", "weights that are NaN", "99 bits"])
@pytest.mark.parametrize("command", ["predict", "inspect"])
def test_commands_report_an_edited_model_in_one_sentence(tmp_path, capsys, edit, command):
    (tmp_path / "rows.svm").write_text("1 1:0.5 2:1\n")
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    edited(tmp_path / "m", MODELS[edit])
    files = [str(tmp_path / "rows.svm")] if command == "predict" else []
    assert cli.run([command, str(tmp_path / "m"), *files]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {tmp_path / 'm'}: is not as it was written (")
    assert err.count("\n") == 1


def test_a_model_of_an_unknown_format_is_named(tmp_path, capsys):
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    options = OPTIONS | {"format": "evil.py:x"}
    edited(tmp_path / "m", lambda arrays, facts: facts.update(reading=options))
    assert cli.run(["predict", str(tmp_path / "m"), str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'm'}: format: found 'evil.py:x', expected one of")


@pytest.mark.parametrize("option", ReadOptions().record())
def test_a_model_without_an_option_of_its_files_is_rejected(tmp_path, capsys, option):
    """Its rows would be read as others."""
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    rest = {name: value for name, value in ReadOptions().record().items() if name != option}
    edited(tmp_path / "m", lambda arrays, facts: facts.update(reading=rest))
    assert cli.run(["predict", str(tmp_path / "m"), str(tmp_path / "m")]) == 2
    assert f"({option}: found none, expected all options)" in capsys.readouterr().err


def test_control_characters_of_a_model_do_not_reach_the_terminal(tmp_path, capsys):
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    edited(tmp_path / "m", lambda arrays, facts: named(arrays, text=np.frombuffer(b"\x1b\x07\r", np.uint8)))
    assert cli.run(["inspect", str(tmp_path / "m")]) == 0
    out = capsys.readouterr().out
    assert r"\x1b" in out
    assert not {"\x1b", "\x07", "\r"} & {*out}


FACTS = {
    "no files": lambda facts: facts.pop("files"),
    "files that are numbers": lambda facts: facts.update(files=[1]),
    "no settings": lambda facts: facts.update(settings={}),
    "another setting": lambda facts: facts["settings"].update(more=1),
    "examples in words": lambda facts: facts.update(examples="many"),
    "a rate of three": lambda facts: facts.update(learning_rate=[1, 2, 3]),
    "rates that are numbers": lambda facts: facts.update(rates=[0.1]),
    "half an entry of the history": lambda facts: facts.update(history=[[1]]),
    "skipped lines": lambda facts: facts.update(skipped=3),
    "names of something else": lambda facts: facts.update(names={"kept": 1, "lost": 2}),
}


@pytest.mark.parametrize("edit", FACTS)
def test_edited_facts_are_rejected(tmp_path, edit):
    (tmp_path / "rows.svm").write_text("1 1:0.5 2:1\n-1 2:2 3:1\n" * 20)
    method = Method(lr=0.1, engine="reference")
    model = Training(Plan((str(tmp_path / "rows.svm"),), method=method)).run().model
    model.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").facts == model.facts
    edited(tmp_path / "m", lambda arrays, description: FACTS[edit](description["facts"]))
    with pytest.raises(storage.FileError, match=r"m: is not as it was written \([^\n]*\); copy it again"):
        Model.load(tmp_path / "m")


def test_facts_that_nest_without_end_are_rejected(tmp_path, monkeypatch):
    Model.of(learner(), Targets("logistic", (-1.0, 1.0))).save(tmp_path / "m")
    arrays, _ = storage.read(tmp_path / "m", "model")
    monkeypatch.setattr(storage.json, "dumps", dumps := json.dumps)
    nested = "[" * 200_000 + "]" * 200_000
    monkeypatch.setattr(
        storage.json, "dumps", lambda value, **how: nested if value == {"nested": True} else dumps(value)
    )
    storage.write(tmp_path / "m", "model", arrays, {"nested": True})
    with pytest.raises(storage.FileError, match="is not as it was written"):
        Model.load(tmp_path / "m")


@pytest.mark.parametrize("wrong", [-1, -(1 << 63)])
def test_negative_ids_are_rejected(wrong):
    rows = Examples(np.array([0, 1]), np.array([wrong]), np.ones(1), np.ones(1), np.ones(1))
    for engine in ("cpu", "reference"):
        with pytest.raises(ValueError, match=f"found feature {wrong}, expected ids of at least 0"):
            Learner(Settings(lr=0.1, engine=engine)).learn(rows)


@pytest.mark.parametrize("wrong", [1 << 45, (1 << 63) - 2])
def test_ids_that_no_table_has_room_for_are_rejected(wrong):
    rows = Examples(np.array([0, 1]), np.array([wrong]), np.ones(1), np.ones(1), np.ones(1))
    for engine in ("cpu", "reference"):
        with pytest.raises(ValueError, match=f"found feature {wrong}, whose table would take .* of memory; "):
            Learner(Settings(lr=0.1, engine=engine)).learn(rows)
