"""Files to models: what labels decide, unusable rows, crashes at any moment, divergence, several passes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.covering import marked

from surefoot.data import DataError, cache
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import DataWarning
from surefoot.learn import storage
from surefoot.learn.learner import DivergedError
from surefoot.learn.model import Model
from surefoot.learn.plan import CHECKPOINT, Outcome, Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training
from surefoot.learn.validation import evaluate

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and pipes as on Unix")
ROWS, SHARDS = 150, 6


def shard(number: int, labels=(-1, 1), rows: int = ROWS) -> str:
    """Lines whose label depends on three of twenty features."""
    rng = np.random.default_rng([7, number])
    features = np.argsort(rng.random((rows, 20)), axis=1)[:, :3] + 1
    chosen = (features.sum(axis=1) > 31).astype(int)
    chosen = np.where(rng.random(rows) < 0.1, 1 - chosen, chosen)
    return "".join(
        f"{labels[c]} " + " ".join(f"{j}:{1 + j % 3}" for j in sorted(row)) + "\n"
        for c, row in zip(chosen, features, strict=True)
    )


@pytest.fixture
def shards(tmp_path):
    """Paths of files, each a chunk of the training."""
    paths = [tmp_path / f"{number}.svm" for number in range(SHARDS)]
    for number, path in enumerate(paths):
        path.write_text(shard(number))
    return [str(path) for path in paths]


def trained(files, **options) -> Outcome:
    return Training(Plan(files=tuple(map(str, files)), **options)).run()


def written(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [str(path)]


def same(one: Model, other: Model) -> bool:
    """Whether two models have the same bits."""
    arrays = [(model.weights, model.biases, *vars(model.stats).values()) for model in (one, other)]
    return all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)])
def test_a_file_sorted_by_label_gives_a_note_with_the_loss_of_the_model(tmp_path, labels, rows):
    rng, found = np.random.default_rng(0), {}
    X = rng.normal(size=(rows, 5))
    y = np.argmax(X[:, : len(labels)] + rng.normal(size=(rows, len(labels))), axis=1)
    for name, order in (("shuffled", range(rows)), ("sorted", np.argsort(y, kind="stable"))):
        lines = [f"{labels[y[i]]} " + " ".join(f"{j + 1}:{x:.3f}" for j, x in enumerate(X[i])) + "\n" for i in order]
        found[name] = notes = []
        plan = Plan(tuple(written(tmp_path / f"{name}.svm", "".join(lines))), classes=tuple(map(float, labels)))
        model = Training(plan, note=notes.append).run().model
    (note,), begin = found["sorted"], written(tmp_path / "begin.svm", "".join(lines[:200]))
    loss = evaluate(model, ReadOptions(format="svmlight"), tuple(begin)).loss
    assert found["shuffled"] == []
    assert f"that of the model on the first {min(rows, 200)} examples is {loss:.4g}." in note


def test_a_regression_does_not_depend_on_how_its_file_is_cut(tmp_path):
    # The first 4,096 targets decide how they are centred and scaled; here they rise, and a file is read in pieces.
    rng = np.random.default_rng(0)
    lines = [f"{k + rng.normal():.3f} 1:{rng.normal():.3f} 2:{rng.normal():.3f}\n" for k in range(5000)]
    whole = trained(written(tmp_path / "whole.svm", "".join(lines)), method=Method(lr=0.1)).model
    halves = [
        written(tmp_path / f"{first}.svm", "".join(lines[first : first + 500]))[0] for first in range(0, 5000, 500)
    ]
    assert same(trained(halves, method=Method(lr=0.1)).model, whole)


def test_values_of_zero_are_as_good_as_absent(tmp_path):
    lines = ["1 1:0.5 2:0 3:1\n", "0 1:0 2:2 3:0.0\n", "1 1:1 2:3\n", "0 2:1 3:0\n"]
    sparse = [
        " ".join(entry for entry in line.split() if entry.split(":")[-1] not in ("0", "0.0") or ":" not in entry)
        for line in lines
    ]
    given, left_out = (
        trained(written(tmp_path / f"{k}.svm", "\n".join(text)), method=Method(lr=0.1)).model
        for k, text in enumerate(([line.strip() for line in lines], sparse))
    )
    assert same(given, left_out)


# Labels


@pytest.mark.parametrize("labels", [(-1, 1), (0, 1), (1, 2), (-3, 7)], ids=str)
def test_two_labels_are_classes_and_are_predicted_as_written(labels, tmp_path):
    files = written(tmp_path / "two.svm", shard(0, labels) + shard(1, labels))
    model = trained(files).model
    assert (model.targets.loss.name, model.targets.classes) == ("logistic", labels)
    predicted = np.concatenate([model.predict(block) for block in ReadOptions().open(files)])
    assert set(predicted.tolist()) == set(labels)


@pytest.mark.parametrize("other", [-1, 0])
def test_the_second_label_may_occur_late(other, tmp_path):
    ones = written(tmp_path / "ones.svm", "1 1:1\n" * 5)
    both = written(tmp_path / "both.svm", f"{other} 2:1\n1 1:1\n")
    assert trained(ones + both).model.targets.classes == (other, 1)


def test_fractions_are_regression_targets(tmp_path):
    model = trained(written(tmp_path / "y.svm", "1.5 1:1\n2 2:1\n-0.25 3:1\n")).model
    assert (model.targets.loss.name, model.targets.classes) == ("squared", None)


def test_given_classes_are_learned_together(tmp_path):
    files = written(tmp_path / "three.svm", "".join(f"{k} {k}:1\n" for k in (1, 2, 3) * 20))
    outcome = trained(files, classes=(3, 1, 2), test=tuple(files))
    assert outcome.model.targets.loss.name == "softmax"
    assert outcome.test.accuracy == 1.0


@pytest.mark.parametrize(
    "text, options, words",
    [
        ("1 1:1\n2 1:1\n3 1:1\n", {}, "more than two labels: 1, 2, 3; .* --classes 1,2,3, or .* squared"),
        ("5 1:1\n7 1:1\n8 1:1\n", {}, "more than two labels: 5, 7, 8; .* --classes 5,7,8, or .* squared"),
        ("1 1:1\n-1 1:1\n7 1:1\n", {"classes": (-1, 1)}, r"y\.svm:3:1: found label 7, expected -1 or 1"),
        ("# a\n\n1 1:1\n-2 1:1\n", {"loss": "poisson"}, r"y\.svm:4:1: found label -2, expected 0 or more"),
        ("1 1:1\n-1 1:x\n", {}, r"y\.svm:2:6: found feature 1 with value 'x'"),
    ],
    ids=str,
)
def test_unusable_input_is_reported(text, options, words, tmp_path):
    with pytest.raises(DataError, match=words):
        trained(written(tmp_path / "y.svm", text), **options)


def test_a_row_without_a_label_is_a_fault(tmp_path):
    with pytest.raises(DataError, match=r"y\.vw:3:1: found no label"):
        trained(written(tmp_path / "y.vw", "1 |f a\n-1 |f b\n|f a\n"))


def test_initial_predictions_are_added(tmp_path):
    """Targets that are exactly their bases leave nothing to learn; without the bases there is much."""
    rows = [(round(64 * np.sin(k)) / 64, f"f{k % 3}") for k in range(60)]
    based = written(tmp_path / "based.vw", "".join(f"{y} 1 {y} |f {name}\n" for y, name in rows))
    plain = written(tmp_path / "plain.vw", "".join(f"{y} |f {name}\n" for y, name in rows))
    method = Method(lr=0.1, normalize=False, engine="reference")  # that kernels add bases, test_bank looks at
    found = trained(based, loss="squared", method=method, test=tuple(based))
    assert found.facts.progressive_loss < 1e-12
    assert found.test.loss < 1e-12
    without = trained(plain, loss="squared", method=method)
    assert without.facts.progressive_loss > 0.1


def test_rows_without_a_target_are_skipped_and_counted(tmp_path):
    clean, bad = shard(0), shard(0) + "7 1:1\n-1 1:x\nnan 2:1\n"
    options = {"classes": (-1, 1)}
    outcome = trained(written(tmp_path / "bad.svm", bad), on_error="skip", **options)
    assert outcome.facts.skipped == {
        "unknown class": 1,
        "value is not a number": 1,
        "label is not finite": 1,
    }
    assert same(outcome.model, trained(written(tmp_path / "clean.svm", clean), **options).model)
    with pytest.warns(DataWarning) as warned:
        trained(written(tmp_path / "bad.svm", bad), on_error="warn", **options)
    places = sorted(str(warning.message).partition(": ")[0].rpartition("bad.svm:")[2] for warning in warned)
    assert places == ["151:1", "152:6", "153:1"]
    with pytest.raises(DataError, match="more than the 2 allowed"):
        trained(written(tmp_path / "bad.svm", bad), on_error="skip", max_errors=2, **options)


def test_training_without_usable_rows_says_why(tmp_path):
    files = written(tmp_path / "bad.svm", "5 1:1\n6 1:1\n")
    with pytest.raises(DataError, match=r"bad\.svm: found no example to learn from; lines skipped: unknown class"):
        trained(files, on_error="skip", classes=(-1, 1), passes=2)


def test_rows_of_the_test_part_are_treated_in_the_same_way(tmp_path):
    good, bad = written(tmp_path / "good.svm", shard(0)), written(tmp_path / "bad.svm", shard(1) + "7 1:1\n8 1:1\n")
    options = {"classes": (-1, 1), "test": tuple(bad)}
    found = trained(good, on_error="skip", **options).test
    assert (found.examples, found.skipped) == (150, {"unknown class": 2})
    assert found.loss == trained(good, classes=(-1, 1), test=tuple(written(tmp_path / "b.svm", shard(1)))).test.loss
    with pytest.warns(DataWarning, match="found label") as warned:
        trained(good, on_error="warn", **options)
    assert [str(w.message).rpartition("bad.svm:")[2][:3] for w in warned] == ["151", "152"]
    with pytest.raises(DataError, match=r"bad\.svm:152:1: .* more than the 1 allowed"):
        trained(good, on_error="skip", max_errors=1, **options)
    with pytest.raises(DataError, match=r"bad\.svm:151:1: found label 7"):
        trained(good, **options)


def test_a_linear_model_ignores_fields(tmp_path):
    with_fields = written(tmp_path / "a.ffm", "1 0:3:1 1:3:0.5 2:4:1\n-1 0:5:2\n" * 10)
    without = written(tmp_path / "a.svm", "1 3:1.5 4:1\n-1 5:2\n" * 10)
    assert same(trained(with_fields).model, trained(without).model)


# Crashes

WAYS = {
    "auto": {},
    "two passes": {"passes": 2},
    "penalty": {"method": Method(lr=0.1, l1=1e-3)},
    "average": {"method": Method(lr=0.1, average=True, normalize=False)},
    "batches": {"method": Method(batch_size=7, lr=0.1, optimizer="ftrl"), "passes": 2},
    "squared": {"loss": "squared"},
    "left out": {"on_error": "skip", "classes": (-1, 1)},
}


class Crash(Exception):
    """Ends a training as if its process had ended."""


def crashing(after: int):
    """A callback that ends the training after this number of chunks."""
    count = 0

    def progress(_) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise Crash

    return progress


@pytest.mark.parametrize("way", marked(WAYS, WAYS.keys() - {"batches"}))
def test_a_training_that_crashed_resumes_with_the_same_bits(way, shards, tmp_path):
    if way == "left out":
        Path(shards[2]).write_text("5 1:1\n" + shard(2) + "-1 x\n")
    plan = {"files": tuple(shards), "checkpoint": str(tmp_path / "kept"), "every": 1, **WAYS[way]}
    for after in (1, 2, 3):
        with pytest.raises(Crash):
            Training(Plan(**plan, resume=True), crashing(after)).run()
    assert (tmp_path / "kept" / CHECKPOINT).exists()
    resumed = Training(Plan(**plan, resume=True)).run()
    through = trained(shards, **WAYS[way])
    assert same(resumed.model, through.model)
    for name in ("examples", "progressive_loss", "history", "skipped", "rates"):
        assert getattr(resumed.facts, name) == getattr(through.facts, name), name


def test_names_of_features_are_restored(tmp_path):
    text = "".join(f"{1 if k % 3 else -1} |f w{k % 7} x{k}\n" for k in range(40))
    files = [written(tmp_path / f"{k}.vw", text.replace("x", f"x{k}"))[0] for k in range(3)]
    plan = {"files": tuple(files), "checkpoint": str(tmp_path), "every": 1, "reading": ReadOptions(bits=12)}
    with pytest.raises(Crash):
        Training(Plan(**plan), crashing(2)).run()
    resumed, through = Training(Plan(**plan, resume=True)).run(), trained(files, reading=ReadOptions(bits=12))
    found, expected = ({k: outcome.model.names[k] for k in outcome.model.names} for outcome in (resumed, through))
    assert found == expected
    assert len(found) == 7 + 3 * 40


@POSIX
@pytest.mark.parametrize("signal_number, before", [(signal.SIGKILL, 1), (signal.SIGKILL, 3), (signal.SIGINT, 4)])
def test_a_killed_process_is_resumed(signal_number, before, shards, tmp_path):
    """A pipe in the place of a shard holds the process until it is killed, just after its n-th checkpoint."""
    whole, model = tmp_path / "whole.safetensors", tmp_path / "model.safetensors"
    trained(shards).model.save(whole)
    os.rename(shards[before], tmp_path / "aside")
    os.mkfifo(shards[before])
    command = [sys.executable, "-m", "surefoot", "train", *shards, "--model", str(model), "--json", "--format=svmlight"]
    command += ["--checkpoint", str(tmp_path / "kept"), "--every=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pipe = os.open(shards[before], os.O_WRONLY)  # returns when the process has come so far
    for line in process.stderr:
        if line.split()[0].replace(",", "") == str(ROWS):
            break
    process.send_signal(signal_number)
    _, said = process.communicate(timeout=60)
    os.close(pipe)
    assert not model.exists()
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in said
    os.remove(shards[before])
    os.rename(tmp_path / "aside", shards[before])
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "Resuming after" in done.stderr
    assert same(Model.load(model), Model.load(whole))
    assert not (tmp_path / "kept" / CHECKPOINT).exists()


def test_a_checkpoint_of_another_training_is_rejected(shards, tmp_path):
    plan = {"files": tuple(shards), "checkpoint": str(tmp_path), "every": 1}
    with pytest.raises(Crash):
        Training(Plan(**plan), crashing(2)).run()
    kept = (tmp_path / CHECKPOINT).read_bytes()
    for change, words in [
        ({"method": Method(l2=0.5)}, "made with l2 0.0, found 0.5"),
        ({"files": tuple(shards[:3])}, "made with files"),
        ({"resume": False}, "continue with --resume, or remove"),
    ]:
        with pytest.raises(ValueError, match=words):
            Training(Plan(**({"resume": True} | plan | change))).run()
    Path(shards[1]).write_text(shard(1)[:-2] + "55\n")
    with pytest.raises(DataError, match=r"1\.svm: had .* bytes when the checkpoint was made"):
        Training(Plan(**plan, resume=True)).run()
    Path(shards[1]).write_text(shard(1).replace("-1 ", "+1 ", 1))
    with pytest.raises(DataError, match="do not hold the examples that"):
        Training(Plan(**plan, resume=True)).run()
    Path(shards[1]).write_text(shard(1))
    for other in (shard(0).replace(":1 ", ":3 ", 1), shard(0).replace(" 1:", " 2:", 1)):
        Path(shards[0]).write_text(other)
        with pytest.raises(DataError, match="do not hold the examples that"):
            Training(Plan(**plan, resume=True)).run()
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


@POSIX
def test_a_full_disk_is_reported_and_keeps_the_previous_checkpoint(shards, tmp_path):
    import resource

    plan = {"files": tuple(shards), "checkpoint": str(tmp_path), "every": 1}
    with pytest.raises(Crash):
        Training(Plan(**plan), crashing(2)).run()
    kept = (tmp_path / CHECKPOINT).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(storage.FileError, match="cannot be written: File too large; the previous file is intact"):
            Training(Plan(**plan, resume=True)).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert [path.name for path in tmp_path.glob("*.part")] == []
    assert same(Training(Plan(**plan, resume=True)).run().model, trained(shards).model)


def test_an_unwritable_folder_is_reported_before_anything_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(storage.FileError, match="cannot be written"):
        Training(Plan(files=("no such file",), checkpoint=str(tmp_path / "file" / "folder")))


# Divergence


def test_after_divergence_the_last_good_model_is_kept(tmp_path):
    """Steps that are stable for rows of a single feature are not for rows of five."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(8):
        rows = rng.normal(size=(500, 5))
        shown = slice(1 if number < 4 else 5)
        text = "".join(
            f"{row[shown].sum():.4f} " + " ".join(f"{j}:{x:.4f}" for j, x in enumerate(row[shown], 1)) + "\n"
            for row in rows
        )
        files += written(tmp_path / f"{number}.svm", text)
    # Targets as they are: the first 4,096 of a longer training would scale them otherwise.
    plan = {"loss": "squared", "method": Method(optimizer="sgd", lr=0.6, scale_targets=False)}
    outcome = trained(files, **plan)
    assert "smaller learning rate" in outcome.diverged
    assert outcome.facts.examples == 1500
    assert same(outcome.model, trained(files[:3], **plan).model)
    with pytest.raises(DivergedError, match="no model was written"):
        trained(files[4:], **plan)
    assert trained(files, loss="squared").diverged is None


# Block caches


def test_a_cache_gives_the_same_model(shards, tmp_path):
    stream = ReadOptions().open(shards)
    *_, rows = cache.write(stream, tmp_path / "blocks", ReadOptions().resolved(stream).record())
    assert rows == ROWS * SHARDS
    assert same(trained([tmp_path / "blocks"]).model, trained(shards).model)
