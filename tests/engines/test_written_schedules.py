"""Schedules that are written as text, or named by their file, are the ones that are given as functions of t."""

import pickle

import numpy as np
import pytest

from surefoot import schedules
from surefoot.engines import Step
from surefoot.records.files import RecordError
from surefoot.rules import RuleError

OWN = """\
from surefoot import schedules
from surefoot.rules import adagrad, nonnegative

SLOW = 3

def harmonic(t):
    return 0.5 / t

late = schedules.warmup(harmonic, 3)

def negative(t):
    return -t

def words(t):
    return "fast"

def failing(t):
    return 1 / 0

def of_two(t, epoch):
    return 0.1
"""
WRITTEN = {
    "constant:0.3": schedules.constant(0.3),
    "polynomial:0.5:1": schedules.polynomial(0.5, 1.0),
    "piecewise:0.5:3:0.05": schedules.piecewise_constant([3], [0.5, 0.05]),
    "exponential:0.5:0.1": schedules.exponential(0.5, 0.1),
    "horizon:1:2:100": schedules.known_horizon(1.0, 2.0, 100),
    "warmup:3:0.2": schedules.warmup(0.2, 3),
    "warmup:3:polynomial:0.5": schedules.warmup(schedules.polynomial(0.5), 3),
    "chain:warmup:2:0.5/3/exponential:0.5:0.1": schedules.chain(
        (schedules.warmup(0.5, 2), 3), schedules.exponential(0.5, 0.1)
    ),
    "own.py:harmonic": lambda t: 0.5 / t,
    "own.py:late": schedules.warmup(lambda t: 0.5 / t, 3),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stepped(step: Step) -> np.ndarray:
    x = np.linspace(-1, 1, 12).astype(np.float32)
    state = step.init(x)
    for g in np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32):
        step.dense(x, g, state)
    return x


@pytest.mark.parametrize("text", WRITTEN)
def test_a_step_takes_the_same_rates(text):
    expected = stepped(Step("adagrad", engine="reference", lr=WRITTEN[text]))
    np.testing.assert_array_equal(stepped(Step("adagrad", engine="reference", lr=text)), expected)
    changed = Step("adagrad", engine="reference", lr=1.0)
    changed.change_lr(text)
    np.testing.assert_array_equal(stepped(changed), expected)


@pytest.mark.parametrize("text", ["polynomial:0.5:1", "own.py:harmonic"])
def test_a_step_can_be_pickled_and_used_in_another_folder(text, tmp_path, monkeypatch):
    step = Step("adagrad", engine="reference", lr=text)
    packed, expected = pickle.dumps(step.hyper["lr"]), stepped(step)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(stepped(Step("adagrad", engine="reference", lr=pickle.loads(packed))), expected)


def test_what_a_schedule_in_a_file_is_called():
    assert schedules.name_of(schedules.resolve("own.py:harmonic")) == "own.py:harmonic"


@pytest.mark.parametrize(
    "text, message",
    [
        ("polynomal:0.1", r"the learning rate 'polynomal:0.1' is neither a number nor a schedule: .*file.py:name$"),
        ("polynomial:fast", r"the schedule 'polynomial:fast' is not written as polynomial:RATE"),
        ("horizon:1", r"the schedule 'horizon:1' is not written as horizon:RADIUS:LIPSCHITZ:STEPS$"),
        ("polynomial:-1", r"lr must be a finite number of at least 0, got -1.0$"),
        ("missing.py:x", r"missing.py: there is no such file$"),
        ("own.py:harmonics", r"own.py: there is no schedule 'harmonics'; did you mean 'harmonic'\?; expected path"),
        ("own.py", r"own.py: no schedule is named; there are harmonic, late, negative, words, failing, of_two; exp"),
        ("own.py:SLOW", r"own.py: SLOW is the int 3; expected a schedule, a function of the step t$"),
        ("own.py:adagrad", r"own.py: adagrad is the Rule <rule adagrad: .*>; expected a schedule"),
        ("own.py:negative", r"own.py: negative\(1\) is -1; expected the learning rate of step 1, a finite number"),
        ("own.py:words", r"own.py: words\(1\) is 'fast'; expected the learning rate"),
        ("own.py:failing", r"own.py: failing\(1\) failed with ZeroDivisionError: division by zero; expected"),
        ("own.py:of_two", r"own.py: of_two\(1\) failed with TypeError: .*; expected the learning rate of step 1$"),
    ],
)
def test_mistakes_are_explained_in_one_sentence(text, message):
    for make in (lambda: Step("adagrad", lr=text), lambda: Step("adagrad").change_lr(text)):
        with pytest.raises(ValueError, match=message) as raised:
            make()
        assert "\n" not in str(raised.value)


def test_numbers_are_given_as_numbers():
    for make in (lambda: Step("adagrad", lr="0.1"), lambda: Step("adagrad").change_lr("0.1")):
        with pytest.raises(RuleError, match=r"adagrad: lr must be a number, got '0.1'$"):
            make()


def test_a_file_that_ends_python(folder):
    (folder / "ending.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(RecordError, match=r"ending.py: running it failed with SystemExit: 3$"):
        schedules.resolve("ending.py:x")
