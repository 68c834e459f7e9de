"""Models from files that learn from, and predict, one example at a time."""

import copy
import pickle
import random

import numpy as np
import pytest
from scipy import sparse

from surefoot.data.reading import ReadOptions
from surefoot.learn import storage
from surefoot.learn.model import Model
from surefoot.learn.one_row import entries_of
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training
from tests.support.numerics import assert_identical

ROWS, FIRST = 60, 40
RANDOM = random.Random(0)
TABLE = [
    {
        "sky": RANDOM.choice(["clear", "dark", "NA"]),
        "wind": RANDOM.choice(["3", "4.5", "", "0"]),
        "gusts": str(RANDOM.random()),
        "y": str(RANDOM.randint(0, 1)),
    }
    for _ in range(ROWS)
]


def as_dict(row: dict) -> dict:
    sky, wind = row["sky"], row["wind"]
    return {"y": int(row["y"]), "gusts": float(row["gusts"]), "wind": float(wind) if wind else None, "sky": sky}


def as_vw(row: dict) -> str:
    wind = f"| wind:{row['wind']}" if row["wind"] else "|wind missing"
    return f"{row['y']} {wind} |sky {'missing' if row['sky'] == 'NA' else row['sky']} | gusts:{row['gusts']}"


def as_svmlight(row: dict) -> str:
    return f"{row['y']} 3:{row['gusts']} {5 + len(row['sky'])}:1 9:{row['wind'] or 7}"


def as_words(row: dict) -> str:
    """Of which some are new in every line."""
    first = TABLE.index(row)
    return f"{row['y']} | {' '.join(f'w{k}' for k in range(first, 2 * first + 2))}"


CSV = [",".join(TABLE[0]), *(",".join(row.values()) for row in TABLE)]
FILES = {
    "csv": (CSV[1:], ReadOptions(target="y"), as_dict),
    "vw": (list(map(as_vw, TABLE)), ReadOptions(), as_vw),
    "words": (list(map(as_words, TABLE)), ReadOptions(format="vw"), as_words),
    "svmlight": (list(map(as_svmlight, TABLE)), ReadOptions(), as_svmlight),
}


def trained(folder, format: str, rows: int, save_resume: bool = True, **settings) -> Model:
    lines, reading, _ = FILES[format]
    file = folder / f"{rows}.{format}"
    file.write_text("\n".join([*(CSV[:1] if format == "csv" else []), *lines[:rows]]) + "\n")
    plan = Plan((str(file),), reading, method=Method(**settings), save_resume=save_resume)
    Training(plan).run().model.save(folder / "m.safetensors")
    return Model.load(folder / "m.safetensors")


def assert_same(found: Model, expected: Model):
    for name, array in expected.memory[0].items():
        assert found.memory[0][name].tobytes() == array.tobytes(), name
    assert found.facts.examples == expected.facts.examples
    assert found.facts.history == expected.facts.history


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("lr", [0.1, pytest.param("auto", marks=pytest.mark.slow)])
def test_the_bits_are_those_of_the_whole_file(tmp_path, format, lr):
    """A dict is what a row of CSV is, and a line what it is in a file."""
    whole, model = (trained(tmp_path, format, rows, lr=lr) for rows in (ROWS, FIRST))
    convert = FILES[format][2]
    loaded = model.numbers["weight"].copy()
    for row in TABLE[FIRST:]:
        model.learn_one(convert(row))
    assert_identical(model.numbers["weight"], loaded)
    assert_same(model.current, whole)
    model.save(tmp_path / "again.safetensors")
    again = Model.load(tmp_path / "again.safetensors")
    assert_same(again, whole)
    for name, numbers in whole.numbers.items():
        assert_identical(again.numbers[name], numbers, name)
    block = again.reading.examples(list(map(as_dict, TABLE)), trained=True) if format == "csv" else None
    for row in TABLE[:9]:
        found, other, third = (each.predict_proba_one(convert(row)) for each in (model, whole, again))
        assert list(found) == [0, 1]
        np.testing.assert_allclose(list(found.values()), list(other.values()), rtol=1e-6)
        assert other == third
        assert again.predict_one(convert(row)) == max(third, key=third.get)
    if block is not None:
        found = [list(again.predict_proba_one(as_dict(row)).values()) for row in TABLE]
        np.testing.assert_allclose(found, again.probabilities(block), rtol=1e-12)
        np.testing.assert_allclose(model.scores(block), again.scores(block), rtol=1e-12)


def test_a_table_and_vowpal_wabbit_name_features_alike(tmp_path):
    model = trained(tmp_path, "csv", ROWS, lr=0.1)
    for row in TABLE[:9]:
        assert model.predict_proba_one(as_vw(row)) == model.predict_proba_one(as_dict(row))


@pytest.mark.parametrize(
    "value",
    ["x,y", 'a "quote"', " blank", "é", "3", 3, True, 2.0, None, float("nan"), "null", np.float32(1), np.str_("a")],
    ids=repr,
)
@pytest.mark.parametrize("column", ["sky", "gusts"])
def test_a_dict_is_what_the_reader_of_tables_makes_of_it(tmp_path, column, value):
    model = trained(tmp_path, "csv", FIRST, lr=0.1)
    row = {"sky": "clear", "gusts": 0.5, "other": "left out"} | {column: value}
    try:
        block = model.reading.examples([row], trained=True)
    except ValueError:
        with pytest.raises(ValueError, match=column):
            model.predict_proba_one(row)
        return
    examples = model._one_by_one.examples
    example = examples(row)
    ids, values = entries_of(example.ids, example.values, examples.most, example.zeros)
    there = block.values != 0
    assert_identical(ids, block.indices[there])
    assert_identical(values, block.values[there])


def test_rows_and_names_of_numbered_features(tmp_path):
    model = trained(tmp_path, "svmlight", FIRST, lr=0.1)
    dense = np.zeros(12)
    dense[3], dense[9] = 0.5, 7.0
    expected = model.predict_proba_one("3:0.5 9:7")
    for x in ({9: 7, 3: 0.5, 11: 1.0, 0: 0}, dense, sparse.csr_matrix(dense), "1 9:7 3:0.5"):
        assert model.predict_proba_one(x) == expected
    model.learn_one(dense, 1)
    assert model.predict_proba_one(dense)[1] > expected[1]


def test_labels(tmp_path):
    model = trained(tmp_path, "svmlight", FIRST, lr=0.1)
    for label in (7, "1", None):
        with pytest.raises(ValueError, match="expected one of 0, 1"):
            model.learn_one({3: 1.0}, label)
    numbers = tmp_path / "numbers.svm"
    numbers.write_text("0.5 3:1\n1.25 4:1\n" * 20)
    plan = Plan((str(numbers),), loss="squared", method=Method(lr=0.1), save_resume=True)
    regression = Training(plan).run().model
    before = regression.predict_one({3: 1.0})
    assert isinstance(before, float)
    assert regression.learn_one({3: 1.0}, before + 1).predict_one({3: 1.0}) > before
    with pytest.raises(ValueError, match="y: found 'x', expected a number"):
        regression.learn_one({3: 1.0}, "x")


def test_a_model_without_the_state_of_its_training_predicts_only(tmp_path):
    model = trained(tmp_path, "svmlight", FIRST, save_resume=False, lr=0.1)
    with pytest.raises(ValueError, match="train it with --save-resume"):
        model.learn_one({3: 1.0}, 1)
    assert model.current is model
    assert set(model.predict_proba_one({3: 1.0})) == {0, 1}


@pytest.mark.parametrize("format", ["vw", "svmlight"])
@pytest.mark.parametrize("order", [[1, 0], [0, 0]], ids=["other", "repeated"])
def test_a_state_whose_ids_are_in_another_order_is_rejected(tmp_path, format, order):
    """Each fits the rest of the state: only the weights of the model tell."""
    trained(tmp_path, format, FIRST, lr=0.1)
    arrays, facts = storage.read(tmp_path / "m.safetensors", "model")
    ids = arrays["memory.bank.ids"].copy()
    ids[:2] = ids[order]
    storage.write(tmp_path / "m.safetensors", "model", arrays | {"memory.bank.ids": ids}, facts)
    line, model = FILES[format][0][0], Model.load(tmp_path / "m.safetensors")
    with pytest.raises(storage.FileError, match=r"m\.safetensors: .*\((memory|ids): found [^\n]*$"):
        model.learn_one(line)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies_learn_and_predict_by_themselves(tmp_path, copied):
    model = trained(tmp_path, "vw", FIRST, lr=0.1)
    lines = [*map(as_vw, TABLE[:3])]
    before = [*map(model.predict_proba_one, lines)]
    other = copied(model)
    assert [*map(other.predict_proba_one, lines)] == before
    other.learn_one(lines[0])
    after = [*map(other.predict_proba_one, lines)]
    third = copied(other)
    third.learn_one(lines[1])
    assert [*map(model.predict_proba_one, lines)] == before != after
    assert [*map(other.predict_proba_one, lines)] == after != [*map(third.predict_proba_one, lines)]


@pytest.mark.parametrize(
    "format, x, message",
    [
        ("csv", "clear,3", r"expected a dict \{column: value\}, or \|column value"),
        ("csv", {"wind": "strong"}, "found 'strong' in the numeric column 'wind'"),
        ("vw", "x |a b", "found label 'x', expected a number"),
        ("vw", "1 |a b\n0 |a c", "found 2 examples, expected one"),
        ("svmlight", "1 a:3", "found 'a:3', expected INDEX:VALUE"),
        ("svmlight", {"a": 3}, "found feature 'a', expected whole numbers from 0"),
        ("svmlight", {3: "a"}, "found 'a' for feature 3, expected a number"),
        ("svmlight", {3: float("inf")}, "found inf for feature 3"),
        ("svmlight", {3: 10**400}, "found inf for feature 3"),
        ("svmlight", {-3: 1.0}, "found feature -3"),
        ("svmlight", {1 << 70: 1.0}, f"found feature {1 << 70}"),
        ("vw", {"a": 10**400}, "found inf for .a., expected"),
        ("csv", {"gusts": 10**400}, "found inf for .gusts., expected"),
    ],
)
def test_what_cannot_be_used(tmp_path, format, x, message):
    model = trained(tmp_path, format, FIRST, lr=0.1)
    for call in (model.predict_one, model.predict_proba_one, lambda x: model.learn_one(x, 1)):
        with pytest.raises(ValueError, match=message):
            call(x)
    assert model.current is model
