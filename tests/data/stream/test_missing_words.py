"""Words that stand for no value: by default, as users list them, and as models remember them."""

import numpy as np
import pytest

from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Table, joined, read
from surefoot.data.stream.table import MISSING
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training

ROWS = [(1.5, "NA", 0), ("?", "b", 1), (2.5, "-", 0), ("NA", "a", 1)] * 20


def csv(path, rows=ROWS) -> str:
    path.write_text("a,c,y\n" + "".join(f"{a},{c},{y}\n" for a, c, y in rows))
    return str(path)


@pytest.mark.parametrize("word", MISSING)
def test_numbers_stay_numbers_where_a_word_stands_for_none(word, tmp_path):
    found = read(csv(tmp_path / "t.csv", [(k, "x", k % 2) for k in range(9)] + [(word, word, 1)]), Table(target="y"))
    block = joined(list(found))
    assert found.reader.schema.columns("numeric") == ["a"]
    assert {"a=missing", "c=missing"} <= {found.names[k] for k in block.indices[-2:].tolist()}


def test_users_list_them(tmp_path):
    """In place of the default ones: NA is Namibia, and a dash a category."""
    stream = read(csv(tmp_path / "t.csv"), Table(target="y", missing=["?"], categorical=["a"]))
    block = joined(list(stream))
    names = {stream.names[k] for k in block.indices.tolist()}
    assert names == {"a=1.5", "a=2.5", "a=missing", "a=NA", "c=NA", "c=a", "c=b", "c=-"}


@pytest.mark.parametrize("missing", [None, ("?",), ("?", "NA"), ()])
def test_models_read_as_they_were_trained(missing, tmp_path):
    """Files, and one row after the other."""
    reading = ReadOptions(target="y", missing=missing)
    file = csv(tmp_path / "t.csv")
    model = Training(Plan((file,), reading=reading, method=Method(lr=0.1))).run().model
    model.save(tmp_path / "m")
    found = Model.load(tmp_path / "m")
    assert found.reading == model.reading
    assert found.reading.missing == missing
    block = joined(list(found.reading.open(file, trained=True)))
    scores = found.scores(block)[:, 0]
    numeric = "a" in found.reading.numeric
    rows = [
        {"a": float(a) if numeric and isinstance(a, float) else None if numeric else str(a), "c": c}
        for a, c, _ in ROWS[:4]
    ]
    one_by_one = [found._one_by_one.scores(row).item() for row in rows]
    np.testing.assert_allclose(one_by_one, scores[:4], rtol=1e-6)
