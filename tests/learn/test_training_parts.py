"""The parts of a training on files: cursor and check sums, checkpoints, divergence, mini-batches, room, plans."""

import dataclasses
import itertools
import json
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot import system
from surefoot.data import DataError
from surefoot.data.stream import Block, DataWarning, joined
from surefoot.data.stream.blocks import part_of
from surefoot.data.stream.faults import Policy
from surefoot.data.stream.sources import Identity, names
from surefoot.data.stream.usable import WARNED, usable
from surefoot.engines.examples import Examples
from surefoot.learn.checkpoint import Checkpoint, Checkpointer
from surefoot.learn.cursor import CheckSums, Cursor
from surefoot.learn.divergence import FIRST, Divergence, Window
from surefoot.learn.examples import AT_ONCE, examples_of, in_batches, until
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method, Settings
from surefoot.learn.targets import Targets
from surefoot.learn.training import Training
from surefoot.records.restored import restored

TARGETS = Targets("logistic", (-1, 1))


def block(rows: int = 50, seed: int = 0) -> Block:
    """Rows of no, one or two features."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 3, rows)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([np.sort(rng.choice(9, length, replace=False)) for length in lengths] + [np.empty(0, int)])
    values = rng.normal(size=len(indices)).astype(np.float32)
    return Block(indptr, indices, values, rng.choice([-1.0, 1.0], rows), np.ones(rows, np.float32))


def divided(whole: Block, seed: int) -> list[Block]:
    """The block in pieces, some of which are empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(whole) + 1, 6)).tolist()
    return [part_of(whole, first, last) for first, last in itertools.pairwise([0, *cuts, len(whole)])]


def sums_of(rows: Block) -> CheckSums:
    return CheckSums().add(examples_of(rows, TARGETS))


def same(one: Block, other: Block) -> bool:
    names = ("indptr", "indices", "values", "labels", "weights")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


# Cursor


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(0, 99))
def test_a_cursor_yields_the_remaining_examples(done, seed):
    whole = block()
    begun = part_of(whole, 0, done)
    cursor = Cursor().advanced(done, sums_of(begun))
    rest = list(cursor.remaining(divided(whole, seed), TARGETS, "kept"))
    assert same(joined([part_of(begun, done, done), *rest]), part_of(whole, done, 50))


def swapped(rows: Block, one: int, other: int) -> Block:
    """The rows with these numbers exchanged."""
    order = np.arange(len(rows))
    order[[one, other]] = other, one
    return joined([part_of(rows, row, row + 1) for row in order.tolist()])


def changed(rows: Block, array: str, number: float) -> Block:
    """The block with another number at the tenth place of an array."""
    numbers = getattr(rows, array).copy()
    numbers[9] = number
    return replace(rows, **{array: numbers})


FULL = replace(
    block(60, seed=1),
    weights=np.linspace(1, 2, 60, dtype=np.float32),
    bases=np.linspace(0, 1, 60, dtype=np.float32),
    groups=np.arange(60) // 3,
    fields=np.arange(len(block(60, seed=1).indices)) % 5,
)
BOUNDARY = np.flatnonzero(np.diff(FULL.indptr))[2] + 1
OTHERS = {
    "rows exchanged": swapped(FULL, 3, 40),
    "neighbours exchanged": swapped(FULL, 10, 11),
    "a row boundary": replace(FULL, indptr=FULL.indptr - (np.arange(61) == BOUNDARY)),
    "values exchanged in a row": replace(FULL, values=FULL.values[::-1].copy()),
    "two signs": replace(FULL, values=np.where(np.arange(len(FULL.values)) < 2, -FULL.values, FULL.values)),
    "a label": changed(FULL, "labels", -FULL.labels[9]),
    "an index": changed(FULL, "indices", 77),
    "a value": changed(FULL, "values", np.nextafter(FULL.values[9], np.float32(9))),
    "a weight": changed(FULL, "weights", 9.0),
    "a base": changed(FULL, "bases", 9.0),
    "a group": changed(FULL, "groups", 9),
    "a field": changed(FULL, "fields", 9),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_cursor_notices_other_examples(other):
    cursor = Cursor().advanced(50, sums_of(part_of(FULL, 0, 50)))
    assert joined([*cursor.remaining(divided(FULL, 3), TARGETS, "kept")]).labels.tolist() == FULL.labels[50:].tolist()
    with pytest.raises(DataError, match=r"^kept: the files do not hold the examples"):
        list(cursor.remaining(divided(OTHERS[other], 3), TARGETS, "kept"))


def test_features_of_the_same_sum_are_told_apart():
    """In rows whose values are all 1, such as those of categories."""
    rng, ones = np.random.default_rng(0), np.ones(20)
    for _ in range(200):
        ids = np.sort(rng.choice(200, 20, replace=False))
        others = ids.copy()
        others[rng.choice(20, 2, replace=False)] += [2, -2]
        same = sorted(ids) == sorted(others)
        assert same == (
            CheckSums().add(Examples.one(ids, ones, 1.0, 1.0)) == CheckSums().add(Examples.one(others, ones, 1.0, 1.0))
        )


@pytest.mark.parametrize("other", OTHERS)
def test_a_later_pass_has_the_examples_of_the_first(other):
    """Up to the number of these; files may grow."""
    first = Cursor().advanced(60, sums_of(FULL)).next_pass(lost=1.0, weight=60.0)
    first.advanced(60, sums_of(FULL)).check_pass("kept")
    first.advanced(61, sums_of(joined([FULL, part_of(FULL, 0, 1)]))).check_pass("kept")
    with pytest.raises(DataError, match=r"^kept: the files do not hold the examples"):
        first.advanced(60, sums_of(OTHERS[other])).check_pass("kept")


def test_a_cursor_notices_that_examples_are_missing():
    whole = block()
    cursor = Cursor().advanced(50, sums_of(whole))
    with pytest.raises(DataError, match="do not hold the examples"):
        list(cursor.remaining([part_of(whole, 0, 49)], TARGETS, "kept"))


def test_a_pass_starts_with_zero_examples_done():
    cursor = Cursor().advanced(50, sums_of(block())).next_pass(lost=30.0, weight=50.0)
    assert cursor == Cursor(1, 0, CheckSums(), 30.0, 50.0, sums_of(block()))
    assert cursor.advanced(50, sums_of(block())).next_pass(lost=60.0, weight=100.0).first == sums_of(block())


# Checkpoints


FILES = [Identity("a", "/a", (1, 2), 3, 4), Identity("standard input")]


def checkpoint(**changes) -> Checkpoint:
    cursor = Cursor(1, 7, CheckSums(7, 2), 0.5, 7.0, CheckSums(9, 3))
    facts = {"plan": {"loss": "auto"}, "files": (*FILES,), "learner": {"examples": 7}, "targets": TARGETS.inferred()}
    facts |= {"window": Window(), "first_loss": 0.5, "skipped": {"no label": 2}, "seconds": 1.5}
    return Checkpoint(arrays={"x": np.arange(3.0)}, cursor=cursor, **facts | changes)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    before = checkpoint()
    before.write(tmp_path / "kept")
    after = Checkpoint.read(tmp_path / "kept")
    np.testing.assert_array_equal(after.arrays["x"], before.arrays["x"])
    facts = [vars(one) | {"arrays": None} for one in (before, after)]
    assert facts[0] == facts[1]
    targets = Targets()
    targets.restore(after.targets)
    assert targets.inferred() == TARGETS.inferred()


def test_a_checkpoint_of_other_settings_or_files_is_rejected(tmp_path):
    made = checkpoint()
    made.check(tmp_path, {"loss": "auto"}, FILES)
    with pytest.raises(DataError, match=r"was made with loss 'auto', found 'hinge'; give the same to continue"):
        made.check(tmp_path, {"loss": "hinge"}, FILES)
    with pytest.raises(DataError, match=r"was made with files a, standard input, found a; give the same to continue"):
        made.check(tmp_path, {"loss": "auto"}, FILES[:1])
    with pytest.raises(DataError, match=r"a: had 3 bytes when the checkpoint was made, found 4"):
        made.check(tmp_path, {"loss": "auto"}, [replace(FILES[0], size=4), FILES[1]])


A = FILES[0]
SAME = {
    "another spelling": (A, replace(A, name="./a"), True),
    "written again": (A, replace(A, place=(1, 9), modified=9), True),
    "moved": (A, replace(A, path="/b"), True),
    "copied with its time": (A, replace(A, path="/b", place=(1, 9)), True),
    "another file of this size": (A, replace(A, path="/b", place=(1, 9), modified=9), False),
    "another file of this time": (A, replace(A, path="/b", place=(1, 9), size=9), False),
    "a pipe in its place": (A, Identity("a", "/a"), True),
    "another pipe": (Identity("a", "/dev/fd/63"), Identity("b", "/dev/fd/62"), True),
    "a file that was standard input": (Identity("standard input"), A, True),
    "another URL": (Identity("u", "http://a/b"), Identity("u", "http://a/c"), False),
    "the same URL": (Identity("u", "http://a/b"), Identity("v", "http://a/b"), True),
    "a URL in the place of a pipe": (Identity("standard input"), Identity("u", "http://a/b"), False),
}


@pytest.mark.parametrize("case", SAME)
def test_files_are_the_same_by_what_they_are(case):
    one, other, same = SAME[case]
    assert one.is_same(other) == other.is_same(one) == same
    assert restored(Identity, json.loads(json.dumps(asdict(one))), "file") == one


def test_a_file_is_the_same_by_any_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_text("1 1:1\n")
    (tmp_path / "b").write_text("1 1:2\n")
    os.utime(tmp_path / "b", (1, 1))
    found = Identity.of("a")
    others = ["./a", "folder/../a", str(tmp_path / "a"), *names("[a]")]
    if hasattr(os, "symlink") and os.name == "posix":
        (tmp_path / "link").symlink_to("a")
        (tmp_path / "elsewhere").symlink_to(tmp_path)
        os.link("a", "another")
        others += ["link", "elsewhere/a", "another"]
    for other in others:
        assert found.is_same(Identity.of(other)), other
        assert Identity.of(other).name == other
    assert not found.is_same(Identity.of("b"))
    os.rename("a", "c")
    assert found.is_same(Identity.of("c"))
    shutil.copy2("c", "d")
    assert found.is_same(Identity.of("d"))


def test_checkpoints_are_due_at_intervals(tmp_path):
    keeper = Checkpointer(tmp_path / "folder" / "kept", every=100)
    assert [examples for examples in (1, 99, 100, 500) if keeper.due(examples)] == [100, 500]
    keeper.save(checkpoint(), 500)
    assert keeper.path.exists()
    assert [examples for examples in (500, 599, 600) if keeper.due(examples)] == [600]
    assert not Checkpointer(tmp_path / "kept", every=1e6).due(10**9)
    assert Checkpointer(tmp_path / "kept", every=1e-9).due(1)


# Divergence


def learned(divergence: Divergence, scale: float, rows: int = 2 * FIRST) -> Learner:
    """A learner of numbers, whose predictions are off by this much from some example on."""
    learner = Learner(Settings(loss="squared", lr=0.01, optimizer="sgd"))
    rng = np.random.default_rng(0)
    for first in range(0, rows, 128):
        targets = rng.normal(size=128)
        examples = Examples(np.arange(129), np.zeros(128, int), np.ones(128, np.float32), targets, np.ones(128))
        predictions = learner.learn(examples)
        divergence.look(learner, examples, predictions * (scale if first >= FIRST else 1.0))
    return learner


def test_divergence_is_detected_and_the_last_good_state_kept():
    divergence = Divergence(watch=True)
    with pytest.raises(DivergedError, match="the loss grew without bound: over the last 1,024 of 2,048 examples"):
        learned(divergence, 1e6)
    assert divergence.last_good(Settings(loss="squared", lr=0.01, optimizer="sgd"), "it diverged").examples == FIRST


def test_a_loss_that_does_not_grow_is_not_divergence():
    divergence = Divergence(watch=True)
    assert learned(divergence, 1.0).examples == divergence.window.begin == 2 * FIRST


def test_without_a_comparison_there_is_no_good_state():
    divergence = Divergence(watch=False)
    learned(divergence, 1e6)
    with pytest.raises(DivergedError, match="it diverged; no model was written"):
        divergence.last_good(Settings(), "it diverged")


# Examples


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 3, 7, 100]), st.integers(0, 99))
def test_blocks_are_divided_into_whole_mini_batches(size, seed):
    whole = block()
    found = list(in_batches(filter(len, divided(whole, seed)), size))
    assert same(joined(found), whole)
    assert all(len(rows) % size == 0 for rows in found[:-1])


@given(st.integers(0, 60), st.integers(0, 9))
def test_the_first_rows_are_found_however_blocks_are_cut(rows, seed):
    blocks = divided(block(), seed)
    rest = iter(blocks)
    opening = until(rows, rest)
    assert [*opening, *rest] == blocks
    assert sum(map(len, opening)) >= min(rows, 50)
    assert sum(map(len, opening[:-1])) < max(rows, 1)


def test_batches_of_rows_are_bounded():
    whole = joined([block(rows=1000, seed=seed) for seed in range(20)])
    assert max(len(rows) for rows in in_batches([whole], 3)) == AT_ONCE // 3 * 3
    assert [len(rows) for rows in in_batches([whole], 9000)] == [9000, 9000, 2000]


def test_examples_know_their_largest_feature():
    for seed in range(20):
        rows = part_of(block(seed=seed), 10, 14)
        examples = examples_of(rows, TARGETS)
        assert examples.features == int(rows.indices.max(initial=-1)) + 1


class Numbered:
    """A source of blocks whose rows have numbers."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def where(self, row: int) -> str:
        return f"row {row}"


def test_rows_without_a_target_are_handled_as_the_policy_says():
    labels = np.array([1.0, 5.0, -1.0, 6.0, 7.0, 8.0, 9.0, 10.0, 1.0])
    rows = dataclasses.replace(block(9), labels=labels)
    skipping = Numbered(Policy("skip"))
    assert usable(skipping, TARGETS, rows).labels.tolist() == [1.0, -1.0, 1.0]
    assert skipping.policy.counts == {"unknown class": 6}
    with pytest.raises(DataError, match=r"row 1: found label 5, expected -1 or 1"):
        usable(Numbered(Policy("stop")), TARGETS, rows)
    with pytest.raises(DataError, match=r"row 4: .* 3 lines could not be used .* more than the 2 allowed"):
        usable(Numbered(Policy("skip", max_errors=2)), TARGETS, rows)
    with pytest.warns(DataWarning) as warned:
        usable(Numbered(Policy("warn")), TARGETS, rows)
    assert len(warned) == WARNED


# Room


def test_a_table_that_is_larger_than_memory_is_not_begun(monkeypatch, tmp_path):
    path = tmp_path / "wide.svm"
    path.write_text("".join(f"{k % 2} {10 * k}:1 {10 * k + 1}:1\n" for k in range(100)))
    assert Training(Plan((str(path),))).run().model.features == 992
    monkeypatch.setattr(system, "memory", lambda: 2e4)
    with pytest.raises(DataError, match=r"wide.svm: found \d+ features, .* GB of memory; hash features .* --bits"):
        Training(Plan((str(path),))).run()


def test_the_memory_of_the_machine_is_known_or_assumed_large(monkeypatch, tmp_path):
    assert 1e7 < system.memory() <= system.UNKNOWN
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(system, "LIMITS", (str(limit),))
    limit.write_text("123456\n")
    assert system.memory() == 123456.0
    limit.write_text("max\n")
    assert system.memory() > 1e7


# Plans


@pytest.mark.parametrize(
    "options, words",
    [
        ({"passes": 0}, "passes: found 0"),
        ({"every": 0}, "every: found 0"),
        ({"resume": True}, "resume: needs the folder"),
        ({"files": ("-",), "passes": 2}, "standard input can be read only once"),
        ({"files": ("-",), "test": ("-",)}, "test: standard input can be read only once, and is read for training"),
    ],
    ids=str,
)
def test_inconsistent_plans_are_rejected(options, words):
    with pytest.raises(ValueError, match=words):
        Plan(**{"files": ("a",)} | options)


def test_a_plan_records_everything_that_determines_the_bits():
    plan = Plan(("a", "b"), classes=(-1.0, 1.0), method=Method(lr=0.1, hyper={"eps": 1e-8}), checkpoint="kept")
    record = plan.record()
    assert json.loads(json.dumps(record)) == record
    assert {"loss", "classes", "passes", "lr", "l1", "optimizer", "hyper", "reading.format"} <= record.keys()
    assert record["hyper"] == {"eps": 1e-8}
    assert plan.place.name == CHECKPOINT
    for change in ({"passes": 2}, {"method": Method(lr=0.2)}, {"loss": "hinge"}):
        assert dataclasses.replace(plan, **change).record() != record
    for change in ({"every": 5}, {"resume": True}, {"evaluate": True}, {"test": ("c",)}):
        assert dataclasses.replace(plan, **change).record() == record
