"""Rules and schedules from text."""

import numpy as np
import pytest

from surefoot.lab.resolve import resolve_rule, resolve_schedule
from surefoot.rules import REGISTRY, RuleError

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
        assert resolve_rule("adam") is REGISTRY["adam"]
        assert resolve_rule(REGISTRY["adam"]) is REGISTRY["adam"]

    def test_a_file(self, own):
        assert resolve_rule(f"{own}:halving").name == "halving"
        assert resolve_rule(f"{own}:adagrad") is REGISTRY["adagrad"]
        # The one rule of its own; what it imports does not count.
        assert resolve_rule(str(own)).name == "halving"

    def test_an_edited_file_is_read_again(self, own):
        assert resolve_rule(str(own))(0.0, 1.0, 1.0, 1.0) == (0.5, 1.0)
        own.write_text(OWN.replace("0.5", "0.25"), encoding="utf-8")
        assert resolve_rule(str(own))(0.0, 1.0, 1.0, 1.0) == (0.25, 1.0)

    @pytest.mark.parametrize(
        "text, message",
        [
            ("adagra", "there is no rule 'adagra'; did you mean 'adagrad'"),
            ("{file}:halvin", "there is no rule 'halvin'; did you mean 'halving'"),
            ("{folder}/missing.py:x", "there is no such file"),
            ("{folder}/empty.py", "it defines no rule; say which one"),
            ("{folder}/two.py", "it defines one, two; say which one"),
            ("{folder}/broken.py:x", "running it failed with SyntaxError"),
            ("{folder}/raising.py:x", "running it failed with KeyError: 'x'"),
            ("{folder}/wrong.py:bad", "bad: the hyperparameter 'lr' is missing"),
        ],
    )
    def test_rejected_in_one_sentence(self, own, text, message):
        folder = own.parent
        (folder / "empty.py").write_text("", encoding="utf-8")
        two = OWN.replace("halving", "one") + OWN.replace("halving", "two")
        (folder / "two.py").write_text(two, encoding="utf-8")
        (folder / "broken.py").write_text("def", encoding="utf-8")
        (folder / "raising.py").write_text("{}['x']", encoding="utf-8")
        (folder / "wrong.py").write_text(
            "from surefoot.rules import rule\n@rule()\ndef bad(x, g, g2):\n    return 1.0, g\n", encoding="utf-8"
        )
        with pytest.raises(RuleError, match=message) as caught:
            resolve_rule(text.format(file=own, folder=folder))
        assert "\n" not in str(caught.value)


class TestSchedules:
    @pytest.mark.parametrize(
        "text, formula",
        [
            ("constant", lambda t: 0.2 + 0 * t),
            ("exponential:0.1", lambda t: 0.2 * np.exp(-0.1 * t)),
            ("polynomial:0.5", lambda t: 0.2 * (0.5 * t + 1) ** -0.5),
            ("polynomial:0.5:1", lambda t: 0.2 / (0.5 * t + 1)),
            ("warmup:10", lambda t: 0.2 * np.minimum(t / 10, 1)),
        ],
    )
    def test_formulas(self, text, formula):
        t = np.arange(1, 30)
        np.testing.assert_allclose(resolve_schedule(text, 0.2)(t), formula(t))

    @pytest.mark.parametrize(
        "text", ["cosine", "exponential", "exponential:fast", "exponential:1:2", "constant:1", "polynomial:-1"]
    )
    def test_rejected(self, text):
        with pytest.raises(ValueError, match=r"schedule|decay must be"):
            resolve_schedule(text, 0.1)
