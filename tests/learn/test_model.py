"""Model files: what was saved is loaded; truncated, damaged, edited and other files are rejected."""

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from support.numerics import assert_close, assert_identical

from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block
from surefoot.engines.examples import Examples
from surefoot.learn import storage
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.inspection import described, largest, summary
from surefoot.learn.learner import Learner
from surefoot.learn.model import Model
from surefoot.learn.settings import Settings
from surefoot.learn.targets import Targets


def model(features: int = 30, outputs: int = 1, share: float = 1.0, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(features, outputs)).astype(np.float32) * (rng.random((features, 1)) < share)
    occurred = np.flatnonzero(rng.random(features) < 0.8)
    stats = FeatureStats(
        occurred,
        rng.integers(1, 9, len(occurred), np.int32),
        rng.random((len(occurred), outputs)).astype(np.float32),
        rng.random(len(occurred)) < 0.3,
    )
    classes = (-1, 1) if outputs == 1 else tuple(range(outputs))
    names = {int(feature): f"naïve {feature}" for feature in occurred[::2]}
    targets = Targets("auto", classes)
    return linear(weights, rng.normal(size=outputs), targets, stats=stats, names=names, reading=ReadOptions("vw"))


def linear(weights: np.ndarray, biases: np.ndarray, targets: Targets, **known) -> Model:
    """A linear model of weights, (features, outputs), and biases, (outputs,)."""
    return Model({"bias": biases.reshape(1, 1, -1), "weight": weights[:, None]}, targets, **known)


@given(st.integers(0, 40), st.sampled_from([1, 3]), st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_saved_model_is_loaded_unchanged(tmp_path_factory, features, outputs, share, seed):
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    before = model(features, outputs, share, seed)
    before.save(path)
    after = Model.load(path)
    np.testing.assert_array_equal(after.weights, before.weights)
    np.testing.assert_array_equal(after.biases, before.biases)
    for name, array in vars(before.stats).items():
        np.testing.assert_array_equal(getattr(after.stats, name), array)
    assert dict(after.names) == before.names
    assert (after.targets.loss, after.targets.classes) == (before.targets.loss, before.targets.classes)
    assert after.reading == before.reading
    again = path.with_name("again.safetensors")
    after.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_sparse_weights_make_small_files(tmp_path):
    for share in (1.0, 0.01):
        linear(model(10_000, share=share).weights, np.zeros(1), Targets("squared")).save(tmp_path / f"{share}")
    full, few = ((tmp_path / f"{share}").stat().st_size for share in (1.0, 0.01))
    assert full > 40_000 > 20 * 100 > few


def test_the_file_is_a_safetensors_file_with_the_usual_permissions(tmp_path):
    model().save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert {"biases", "weights"} <= set(file.keys())
        assert json.loads(file.metadata()["facts"])["loss"] == "logistic"
    (tmp_path / "plain").touch()
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_rejected(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    model().save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(storage.FileError, match=r"m\.safetensors: (not|checksum|is|was)"):
        Model.load(path)


def test_other_files_are_rejected_with_the_reason(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(storage.FileError, match="not a Surefoot model"):
        Model.load(path)
    save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(storage.FileError, match="another safetensors file, expected a model"):
        Model.load(path)
    storage.write(path, "checkpoint", {}, {})
    with pytest.raises(storage.FileError, match="is a checkpoint, expected a model"):
        Model.load(path)
    with pytest.raises(storage.FileError, match="is a folder"):
        Model.load(tmp_path)
    with pytest.raises(storage.FileError, match="there is no such file"):
        Model.load(tmp_path / "none")
    model().save(path)
    facts = path.read_bytes().replace(b"logistic", b"logistix")
    path.write_bytes(facts)
    with pytest.raises(storage.FileError, match="checksum"):
        Model.load(path)


def test_overflowing_counts_are_predicted_as_e_to_700_without_a_warning():
    learned = linear(np.full((1, 1), 1000.0, np.float32), np.zeros(1), Targets("poisson"))
    block = Block(np.array([0, 1, 2]), np.zeros(2, int), np.array([2.0, 1e-3], np.float32), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(learned.predict(block), np.exp([700.0, 1.0]))


@given(st.integers(0, 12), st.sampled_from([1, 3]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_scores_are_sums_of_weights(rows, outputs, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, rows)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices, values = rng.integers(0, 40, indptr[-1]), rng.normal(size=indptr[-1]).astype(np.float32)
    learned = model(outputs=outputs)
    block = Block(indptr, indices, values, np.zeros(rows, np.float32), np.ones(rows, np.float32))
    padded = np.vstack([learned.weights, np.zeros((10, outputs))])
    expected = [
        sum((padded[j] * float(v) for j, v in zip(indices[a:b], values[a:b], strict=True)), np.zeros(outputs))
        for a, b in itertools.pairwise(indptr)
    ]
    np.testing.assert_allclose(
        learned.scores(block), np.reshape(expected, (rows, outputs)) + learned.biases, atol=1e-12
    )
    if rows:
        np.testing.assert_allclose(learned.probabilities(block).sum(axis=1), 1.0)


def test_inspection_names_the_largest_weights_first():
    learned = model(outputs=3)
    found = largest(learned, 200)
    sizes = [abs(weight.weight) for weight in found]
    assert sizes == sorted(sizes, reverse=True)
    assert len(found) == np.count_nonzero(learned.weights)
    for weight in found:
        assert weight.weight == learned.weights[weight.feature, int(weight.label)]
        assert weight.name == learned.names.get(weight.feature, str(weight.feature))
    found = summary(learned)
    assert found.occurrence.seen + found.occurrence.never_seen == 30
    assert found.occurrence.frozen == learned.stats.frozen.sum()
    assert ("loss", "softmax, classes 0, 1, 2") in described(found)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_model_predicts_what_its_learner_does_in_float64(tmp_path, normalize):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=20)
    rows = (np.arange(0, 61, 3), np.tile(np.arange(3), 20), X.ravel(), y, np.ones(20))
    method = {"loss": "squared", "lr": 0.1, "normalize": normalize, "dtype": "float64", "engine": "reference"}
    learner = Learner(Settings(**method), 3)
    learner.learn(Examples(*rows))
    Model.of(learner, Targets("squared")).save(tmp_path / "m")
    found = Model.load(tmp_path / "m")
    weights, biases = learner.weights()
    assert_identical(found.weights, weights)
    assert_identical(found.biases, biases)
    first = Examples(*rows).part(0, 1)
    assert_close(found.scores(Block(*rows))[0], (X @ weights + biases)[0], "float64")
    if not normalize:  # else learning an example changes the scales that it is predicted with
        assert_close(found.scores(Block(*rows))[0], learner.learn(first)[0], "float64")
