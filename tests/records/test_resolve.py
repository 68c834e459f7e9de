"""Rules and schedules from text."""

import numpy as np
import pytest

from surefoot import losses, schedules
from surefoot.losses import LossError
from surefoot.rules import REGISTRY, RuleError, described, resolve

OWN = """
from surefoot.rules import adagrad, nonnegative, rule

@rule(hyper={"lr": nonnegative(0.1)})
def halving(x, g, g2, lr):
    return lr * 0.5, g
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    return file


class TestRules:
    def test_names_and_rules(self):
        assert resolve("adam") is REGISTRY["adam"]
        assert resolve(REGISTRY["adam"]) is REGISTRY["adam"]

    def test_a_file(self, own):
        assert resolve(f"{own}:halving").name == "halving"
        assert resolve(f"{own}:adagrad") is REGISTRY["adagrad"]
        # The one rule of its own; what it imports does not count.
        assert resolve(str(own)).name == "halving"

    def test_an_edited_file_is_read_again(self, own):
        assert resolve(str(own))(0.0, 1.0, 1.0, 1.0) == (0.5, 1.0)
        own.write_text(OWN.replace("0.5", "0.25"), encoding="utf-8")
        assert resolve(str(own))(0.0, 1.0, 1.0, 1.0) == (0.25, 1.0)

    @pytest.mark.parametrize(
        "text, message",
        [
            ("adagra", "there is no rule 'adagra'; did you mean 'adagrad'"),
            ("{file}:halvin", "there is no rule 'halvin'; did you mean 'halving'"),
            ("{folder}/missing.py:x", "there is no such file"),
            ("{folder}/empty.py", "it defines no rule; name one"),
            ("{folder}/two.py", "it defines one, two; name one"),
            ("{folder}/broken.py:x", "running it failed with SyntaxError"),
            ("{folder}/raising.py:x", "running it failed with KeyError: 'x'"),
            ("{folder}/ending.py:x", "running it failed with SystemExit: 3"),
            ("{folder}/wrong.py:bad", r"wrong\.py: bad: the hyperparameter 'lr' is missing"),
        ],
    )
    def test_rejected_in_one_sentence(self, own, text, message):
        folder = own.parent
        (folder / "empty.py").write_text("", encoding="utf-8")
        two = OWN.replace("halving", "one") + OWN.replace("halving", "two")
        (folder / "two.py").write_text(two, encoding="utf-8")
        (folder / "broken.py").write_text("def", encoding="utf-8")
        (folder / "raising.py").write_text("{}['x']", encoding="utf-8")
        (folder / "ending.py").write_text("import sys\nsys.exit(3)", encoding="utf-8")
        (folder / "wrong.py").write_text(
            "from surefoot.rules import rule\n@rule()\ndef bad(x, g, g2):\n    return 1.0, g\n", encoding="utf-8"
        )
        with pytest.raises(RuleError, match=message) as caught:
            resolve(text.format(file=own, folder=folder))
        assert "\n" not in str(caught.value)


class TestSchedules:
    @pytest.mark.parametrize(
        "text, formula",
        [
            ("constant", lambda t: 0.2 + 0 * t),
            ("exponential:0.1", lambda t: 0.2 * np.exp(-0.1 * t)),
            ("polynomial", lambda t: 0.2 * (t + 1) ** -0.5),
            ("polynomial:0.5", lambda t: 0.2 * (0.5 * t + 1) ** -0.5),
            ("polynomial:0.5:1", lambda t: 0.2 / (0.5 * t + 1)),
            ("piecewise:10:0.1:20:0.05", lambda t: np.where(t < 10, 0.2, np.where(t < 20, 0.1, 0.05))),
            ("horizon:1:2:100", lambda t: 0.05 + 0 * t),
            ("warmup:10", lambda t: 0.2 * np.minimum(t / 10, 1)),
            ("warmup:10:polynomial:0.5:1", lambda t: 0.2 / (0.5 * t + 1) * np.minimum(t / 10, 1)),
        ],
    )
    def test_formulas(self, text, formula):
        """The rate is given apart, or is the first number after the name of the schedule that has one."""
        t = np.arange(1, 30)
        np.testing.assert_allclose(schedules.parse(text, 0.2)(t), formula(t))
        name, _, rest = text.rpartition("polynomial") if "polynomial" in text else text.partition(":")
        if text.startswith("warmup") and "polynomial" not in text:
            whole = f"{text}:0.2"
        elif text.startswith("horizon"):
            whole = text
        elif "polynomial" in text:
            whole = f"{name}polynomial:0.2{rest}"
        else:
            whole = ":".join(filter(None, [name, "0.2", rest]))
        schedule = schedules.resolve(whole)
        np.testing.assert_allclose(schedule(t), formula(t))

    @pytest.mark.parametrize(
        "text",
        [
            "constant:0.25",
            "exponential:0.1:0.001",
            "polynomial:0.1:1:0.5",
            "piecewise:1:10:0.1:20:0.01",
            "warmup:100:constant:0.1",
            "warmup:100:polynomial:0.123456789:1:0.5",
        ],
    )
    def test_a_written_schedule_is_read_as_it_was(self, text):
        assert schedules.written(schedules.parse(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "cosine",
            "exponential",
            "exponential:fast",
            "exponential:1:2",
            "constant:1",
            "polynomial:-1",
            "polynomial:1:2:3",
            "piecewise:10",
            "horizon:1:2",
            "horizon:1:2:2.5",
            "warmup",
            "warmup:2.5",
            "warmup:5:constant:1",
        ],
    )
    def test_rejected(self, text):
        with pytest.raises(ValueError, match=r"schedule|decay must be") as caught:
            schedules.parse(text, 0.1)
        assert "\n" not in str(caught.value)

    def test_a_learning_rate_is_a_number_or_a_schedule(self):
        assert schedules.resolve("0.5") == schedules.resolve(0.5) == 0.5
        with pytest.raises(ValueError, match="'fast' is neither a number nor a schedule: constant:RATE, "):
            schedules.resolve("fast")


LOSS = """
from surefoot.losses import loss, squared

def value(p, y):
    return 0.25 * (p - y) ** 2

@loss(value=value, target="number")
def half(prediction, y):
    return 0.5 * (prediction - y)

def undecorated(prediction, y):
    return prediction - y

from surefoot.rules import adagrad
"""


class TestLosses:
    def test_the_same_rules_as_for_rules(self, tmp_path):
        file = tmp_path / "own_loss.py"
        file.write_text(LOSS, encoding="utf-8")
        assert losses.resolve(str(file)) is losses.resolve(f"{file}:half")
        assert losses.resolve(f"{file}:squared") is losses.squared
        assert losses.resolve("huber") is losses.huber
        with pytest.raises(LossError, match="undecorated is a function, not yet a loss; decorate it"):
            losses.resolve(f"{file}:undecorated")
        with pytest.raises(LossError, match=r"adagrad is not a loss, found <rule adagrad: .*; there are half"):
            losses.resolve(f"{file}:adagrad")
        with pytest.raises(LossError, match="there is no loss 'halv'; did you mean 'half'"):
            losses.resolve(f"{file}:halv")

    def test_a_record_of_your_own_is_pickled_by_its_file(self, tmp_path):
        import pickle

        file = tmp_path / "own_loss.py"
        file.write_text(LOSS, encoding="utf-8")
        half = losses.resolve(str(file))
        assert pickle.loads(pickle.dumps(half)) is half


def test_descriptions_change_with_the_file(own):
    assert described("adam") == "adam"
    before = described(resolve(str(own)))
    assert before.startswith("own.py:halving (fingerprint ")
    own.write_text(OWN + "# more", encoding="utf-8")
    assert described(resolve(str(own))) != before
