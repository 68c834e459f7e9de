"""Labels that are words: the names of classes, the same in every format of tables, and kept by models."""

import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from surefoot.data import DataError, cache
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Table, read, read_rows
from surefoot.data.stream.class_names import labels_of_words
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.targets import Targets
from surefoot.learn.training import Training
from surefoot.learn.validation import evaluate

HOW = {"method": Method(lr=0.1, hyper={})}
READING = ReadOptions(target="y")
BLANK_AND_QUOTES = ("ham", 'spam, "fried"')


def rows(names=("ham", "spam"), count=200, seed=0) -> list[dict]:
    """Examples whose class x tells, with a little noise."""
    choice = random.Random(seed)
    numbers = [choice.randrange(len(names)) for _ in range(count)]
    return [{"x": round(k + choice.gauss(0, 0.3), 3), "y": names[k]} for k in numbers]


def csv(path: Path, examples: list[dict], word=lambda word: word) -> str:
    path.write_text("x,y\n" + "".join(f"{row['x']},{word(row['y'])}\n" for row in examples))
    return str(path)


def parquet(path: Path, examples: list[dict]) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({name: [row[name] for row in examples] for name in ("x", "y")}), path)
    return str(path)


def trained(*files: str, reading: ReadOptions = READING, notes: list | None = None, **how) -> Model:
    note = None if notes is None else notes.append
    return Training(Plan(files, reading=reading, **(HOW | how)), note=note).run().model


def same(one: Model, other: Model) -> bool:
    return all(np.array_equal(one.numbers[name], other.numbers[name]) for name in one.numbers)


@pytest.mark.parametrize(
    "names", [("ham", "spam"), BLANK_AND_QUOTES, ("setosa", "versicolor", "virginica"), ("1", "b")]
)
def test_words_are_classes_in_their_order(names, tmp_path):
    """The same as the numbers of the classes would be, and the same from quotes, columns, rows and a cache."""
    examples = rows(names)
    quoted = [csv(tmp_path / "q.csv", examples, lambda word: '"' + word.replace('"', '""') + '"')]
    model = trained(*quoted)
    numbers = [row | {"y": names.index(row["y"])} for row in examples]
    other = trained(csv(tmp_path / "n.csv", numbers), classes=tuple(range(len(names))))
    assert model.targets.classes == names
    assert model.targets.loss.name == ("logistic" if len(names) == 2 else "softmax") == other.targets.loss.name
    assert same(model, other)
    columns = trained(parquet(tmp_path / "p.parquet", examples))
    assert columns.targets.classes == names
    assert same(columns, model)
    list(cache.write(stream := READING.open(quoted), tmp_path / "c", READING.resolved(stream).record()))
    again = trained(str(tmp_path / "c"), reading=ReadOptions())
    assert again.targets.classes == names
    assert same(again, model)
    block = read_rows(examples, Table(target="y"))
    assert np.array_equal(model.targets.of(block.labels), [row["y"] for row in numbers])
    assert set(model.predict(block)) == {*names}


def test_a_word_keeps_its_place_where_the_other_was_not_its_counterpart(tmp_path):
    files = [csv(tmp_path / "yes.csv", rows(("yes",))), csv(tmp_path / "maybe.csv", rows(("yes", "maybe")))]
    model = trained(*files)
    assert {*model.targets.classes} == {"yes", "maybe"}
    assert same(model, trained(*files, classes=("maybe", "yes")))


@pytest.mark.parametrize("words", [[], ["ham"], ["spam"]])
def test_caches_have_a_word_for_each_label(words, tmp_path):
    stream = READING.open([csv(tmp_path / "t.csv", rows())])
    list(cache.write(stream, tmp_path / "c", READING.resolved(stream).record()))
    with zipfile.ZipFile(tmp_path / "c") as whole, zipfile.ZipFile(tmp_path / "crafted", "w") as crafted:
        for name in whole.namelist():
            found = whole.read(name)
            if name == cache.LAST:
                found = json.dumps(json.loads(found) | {"words": words})
            crafted.writestr(name, found)
    with pytest.raises(DataError, match=rf"damaged \(words: found {len(words)}, expected one for each label\)"):
        trained(str(tmp_path / "crafted"), reading=ReadOptions())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_truth_values_are_classes(kind, tmp_path):
    examples = rows((False, True))
    path = csv(tmp_path / "t.csv", examples) if kind == "csv" else parquet(tmp_path / "t.parquet", examples)
    model = trained(path)
    assert model.targets.classes == ("False", "True")
    assert same(model, trained(csv(tmp_path / "n.csv", [row | {"y": int(row["y"])} for row in examples])))


def test_models_keep_the_names(tmp_path):
    examples = rows()
    model = trained(csv(tmp_path / "t.csv", examples), save_resume=True)
    model.save(tmp_path / "m")
    found = Model.load(tmp_path / "m")
    assert found.targets.classes == ("ham", "spam")
    assert found.reading == model.reading
    assert {*found.predict_proba_one({"x": 1.0})} == {"ham", "spam"}
    assert found.predict_one({"x": -1.0}) == "ham"
    assert pickle.loads(pickle.dumps(found)).predict_one({"x": -1.0}) == "ham"
    before = found.predict_proba_one({"x": 0.5})["spam"]
    for row in rows(seed=1):
        found.learn_one(row)
    found.learn_one({"x": 0.5}, "spam")
    assert found.predict_proba_one({"x": 0.5})["spam"] != before
    expected = trained(csv(tmp_path / "more.csv", [*examples, *rows(seed=1), {"x": 0.5, "y": "spam"}]))
    assert same(found.current, expected)
    for other in ("eggs", True, None):
        with pytest.raises(ValueError, match=f"y: found {other!r}, expected one of 'ham', 'spam'"):
            found.learn_one({"x": 0.5, "y": other})


def test_they_are_tested_by_name(tmp_path):
    model = trained(csv(tmp_path / "t.csv", rows()))
    test = csv(tmp_path / "test.csv", rows(seed=1))
    found = evaluate(model, model.reading, (test,))
    block = read_rows(rows(seed=1), Table(target="y"))
    right = model.predict(block) == [row["y"] for row in rows(seed=1)]
    assert (found.examples, found.accuracy) == (200, right.mean())
    assert found.accuracy > 0.9
    other = csv(tmp_path / "other.csv", rows(("ham", "eggs")))
    with pytest.raises(DataError, match=r"other\.csv:\d+:1: found label eggs, expected ham or spam$"):
        evaluate(model, model.reading, (other,))
    skipped = evaluate(model, model.reading, (other,), "skip").skipped
    assert skipped["unknown class"] > 50


@pytest.mark.parametrize(
    "first, later, classes",
    [("ham", "spam", ("ham", "spam")), ("yes", "no", ("no", "yes")), ("TRUE", "FALSE", ("FALSE", "TRUE"))],
)
def test_a_second_word_may_come_late(first, later, classes, tmp_path):
    files = [csv(tmp_path / f"{word}.csv", rows((word,))) for word in (first, later)]
    notes = []
    assert trained(*files, notes=notes).targets.classes == classes
    assert not any("All examples" in note for note in notes)
    third = csv(tmp_path / "third.csv", rows(("eggs",)))
    with pytest.raises(DataError, match=r"third\.csv:2:1: found label eggs, expected .* or .*; list all labels with"):
        trained(*files, third)
    alone = trained(files[0], notes=notes)
    assert notes[-1].startswith(f"All examples have the label {first}, which the model predicts; the other label is")
    alone.save(tmp_path / "m")
    assert set(Model.load(tmp_path / "m").targets.classes) == {*alone.targets.classes}


def test_checkpoints_know_words(tmp_path):
    files = [csv(tmp_path / f"{k}.csv", rows((word,), seed=k)) for k, word in enumerate(("ham", "ham", "spam"))]
    expected = trained(*files)

    def crash(progress):
        if progress.examples >= 400:
            raise OSError("stopped")

    plan = Plan(tuple(files), reading=READING, checkpoint=str(tmp_path / "kept"), every=100, resume=True, **HOW)
    with pytest.raises(OSError, match="stopped"):
        Training(plan, crash).run()
    found = Training(plan).run().model
    assert found.targets.classes == ("ham", "spam")
    assert same(found, expected)


@pytest.mark.parametrize(
    "labels, words",
    [
        (["1", "0"], False), (["a", "b"], True), (["1"] * 20 + ["x"], False), (["1", "2", "x"], True),
        (["1,5", "2,5"], False), (["", "ham", "spam"], True), (["1e3", "-2"], False),
    ],
)  # fmt: skip
def test_what_decides(labels, words, tmp_path):
    """Most values; a few odd ones among numbers are faults."""
    (tmp_path / "t.csv").write_text("x;y\n" + "".join(f"1;{label}\n" for label in labels))
    table = Table(target="y", delimiter=";")
    assert (read(tmp_path / "t.csv", table).reader.schema.class_column is not None) is words
    found = [{"x": 1, "y": label} for label in labels]
    parquet(tmp_path / "t.parquet", found)
    assert (read(tmp_path / "t.parquet", Table(target="y")).reader.schema.class_column is not None) is words


@pytest.mark.parametrize(
    "how, message",
    [
        ({"loss": "squared"}, "found the label 'spam', expected numbers for squared loss"),
        ({"classes": ("ham", "eggs")}, "found label spam, expected ham or eggs$"),
        ({"classes": (0, 1), "reading": ReadOptions(target="y", word_labels=False)}, "'spam' in the target's column"),
    ],
)  # fmt: skip
def test_words_where_there_should_be_others(how, message, tmp_path):
    with pytest.raises(DataError, match=message):
        trained(csv(tmp_path / "t.csv", rows()), **how)


def test_a_column_of_too_many_words_is_no_target(tmp_path):
    many = csv(tmp_path / "t.csv", [{"x": 1, "y": f"u{k}"} for k in range(2000)])
    with pytest.raises(DataError, match="found 2,000 different labels, such as u0, u1, expected at most 1,000"):
        trained(many)


def test_no_label_reaches_a_terminal_that_it_could_command(tmp_path):
    with pytest.raises(DataError, match="without control characters"):
        trained(parquet(tmp_path / "t.parquet", rows(("ham", "\x1b[31mspam"))))
    for word in ("\x1b[31mspam", "\udcff"):
        with pytest.raises(ValueError, match="without control characters"):
            Targets("logistic", ("ham", word))


def test_labels_in_another_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes("x,y\n1,früh\n2,spät\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"found the label .*, expected a word in UTF-8 without control characters$"):
        trained(str(tmp_path / "t.csv"))


def test_labels_of_words_are_numbers_that_float64_holds():
    """52 bits of a hash that no seed changes: models of other seeds know them."""
    words = [f"class {k}" for k in range(3000)]
    labels = labels_of_words(words)
    assert len(np.unique(labels)) == len(words)
    assert (labels == np.floor(labels)).all()
    assert 2**50 < labels.max() < 2**52
    block = read_rows([{"y": word, "x": 1} for word in words], Table(target="y"))
    assert np.array_equal(block.labels, labels)


def test_classes_in_json(tmp_path):
    from typer.testing import CliRunner

    from surefoot.cli import app

    path = csv(tmp_path / "t.csv", rows())
    arguments = ["train", path, "--target", "y", "--json", "-q", "-m", str(tmp_path / "m")]
    for more in ([], ["--classes", "spam, ham"]):
        found = json.loads(CliRunner().invoke(app, [*arguments, *more]).stdout)
        assert found["classes"] == ["ham", "spam"]
    lines = CliRunner().invoke(app, ["predict", str(tmp_path / "m"), path]).stdout.splitlines()
    assert {*lines} == {"ham", "spam"}
    inspected = json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path / "m"), "--json"]).stdout)
    assert inspected["classes"] == ["ham", "spam"]
