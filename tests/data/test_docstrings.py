"""The default data set: the same in every process, split without leaks, and learnable."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from surefoot.data import DataError, load
from surefoot.data.docstrings import read

DIGEST = """
import hashlib
from surefoot.data import load
data = load("docstrings")
parts = data.X.data, data.X.indices, data.X.indptr, data.y, data.train, data.test, " ".join(data.feature_names).encode()
print(hashlib.sha256(b"".join(map(bytes, parts))).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_agree_under_different_hash_seeds():
    # The second also runs with -OO, which strips docstrings from modules but must not from data.
    commands = [(["-c"], "1"), (["-OO", "-c"], "2")]
    runs = [
        subprocess.Popen(
            [sys.executable, *flags, DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for flags, seed in commands
    ]
    digests = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert len(digests[0].strip()) == 64
    assert digests[0] == digests[1]


def test_shape_of_the_real_set():
    data = load("docstrings")
    assert data is load("docstrings")
    assert data.classes == ("function", "class")
    assert data.n_examples > 3000
    assert data.n_features > 2000
    assert 0.05 < data.y.mean() < 0.5
    assert data.X.dtype == data.y.dtype == np.float32
    assert data.X.indices.dtype == np.int32
    np.testing.assert_allclose(data.X.multiply(data.X).sum(axis=1), 1, rtol=1e-6)
    assert np.bincount(data.X.indices).min() >= 2
    assert list(data.feature_names) == sorted(data.feature_names)


def test_hardly_any_example_occurs_twice():
    data = load("docstrings")
    rows = np.split(data.X.indices, data.X.indptr[1:-1])
    examples = Counter((row.tobytes(), label) for row, label in zip(rows, data.y, strict=True))
    # Texts that differ only in words found nowhere else look alike once those words are dropped.
    assert sum(count - 1 for count in examples.values()) < 0.02 * data.n_examples


def test_words_tell_classes_from_functions():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    data = load("docstrings")
    (X, y), (X_test, y_test) = data.part(data.train), data.part(data.test)
    base = log_loss(y_test, np.full(len(y_test), y.mean()))
    learned = log_loss(y_test, LogisticRegression(C=10, max_iter=300).fit(X, y).predict_proba(X_test))
    assert learned < 0.75 * base


SOURCE = '''
"""Module words are not an example."""
class Bag:
    """A bag of apples."""
    if True:
        def weigh(self): "Weigh the bag."
    else:
        async def paint(self):
            """Paint the APPLES of a bag; café."""
            def inner():
                """of the bag"""
try:
    def spill():
        """Spill the bag."""
except OSError:
    def again():
        """  the   bag, spill!"""
finally:
    def fill():
        """Fill the bag, of fill of apples."""
def undocumented(): pass
'''


@pytest.fixture
def root(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "bags.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    (tmp_path / "odd.py").write_text('def odd():\n    "Bag the apples of \\d."\n')
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\ndef latin():\n    'Paint \xe9 bag'\n")
    for skipped in ("tests", "site-packages", "__pycache__", "idlelib"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "hidden.py").write_text('class Hidden:\n    "bag of apples of tests"')
    return tmp_path


def test_what_an_example_is(root):
    data = read(root)
    examples = [
        (tuple(data.feature_names[i] for i in row), int(label))
        for row, label in zip(np.split(data.X.indices, data.X.indptr[1:-1]), data.y, strict=True)
    ]
    assert examples == [
        (("bag", "paint"), 0),
        (("apples", "bag", "of", "the"), 0),
        (("apples", "bag", "of"), 1),
        (("bag", "the"), 0),
        (("apples", "bag", "of", "paint", "the"), 0),
        (("bag", "of", "the"), 0),
        (("bag", "the"), 0),
        (("apples", "bag", "of", "the"), 0),
    ]
    assert data.X.data[:2].tolist() == [np.float32(1 / np.sqrt(2))] * 2


def test_order_does_not_depend_on_the_file_system(root, monkeypatch):
    before = read(root)
    walk = os.walk

    def backwards(top):
        for folder, subfolders, files in walk(top):
            subfolders.sort(reverse=True)
            yield folder, subfolders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    after = read(root)
    assert before.feature_names == after.feature_names
    np.testing.assert_array_equal(before.X.toarray(), after.X.toarray())
    np.testing.assert_array_equal(before.y, after.y)


def test_a_python_without_sources(tmp_path):
    with pytest.raises(DataError, match=r"docstrings: found no documented Python sources under .*give a data file"):
        read(tmp_path)
