"""A custom rule, defined in this file, works in every interface as the built-in ones do.

What a change of this kind touches: for a custom rule only the file that defines it; for a built-in one
`src/surefoot/rules/NAME.py`, its line in `rules/__init__.py`, and the changelog.

The rule is AdaGrad written again, so that every interface must give the bits that it gives with AdaGrad.
"""

import json

import numpy as np
import pytest
from support.numerics import assert_identical

import surefoot
from surefoot import rules
from surefoot.cli import run
from surefoot.engines.bank import ModelBank
from surefoot.engines.step import Step
from surefoot.learn.model import Model

RULE = """
from surefoot import ops
from surefoot.rules import nonnegative, rule, scale

@rule(
    slots={"total": scale()},
    hyper={"lr": nonnegative(0.1), "eps": nonnegative(0.0), "eps_root": nonnegative(1e-6)},
    lazy_exact=True,
)
def again(x, g, g2, total, lr, eps, eps_root):
    "AdaGrad, once more."
    total = total + g2
    return lr / (ops.sqrt(total + eps_root) + eps), g, total
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The rule as text names it, from the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(RULE, encoding="utf-8")
    return "own.py:again"


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    return X, (X @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=80) > 0).astype(int)


@pytest.fixture
def lines(table, own, tmp_path):
    """The table as an svmlight file."""
    X, y = table
    rows = [f"{2 * t - 1} " + " ".join(f"{j}:{v:.6f}" for j, v in enumerate(x, 1)) for x, t in zip(X, y, strict=True)]
    (tmp_path / "rows.svm").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return "rows.svm"


def printed(capsys, *arguments, status: int = 0) -> str:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == status
    out, err = capsys.readouterr()
    return err if status else out


def test_estimators(own, table):
    expected = surefoot.LinearClassifier(lr=0.5, random_state=0).fit(*table)
    for optimizer in (own, rules.resolve(own)):
        found = surefoot.LinearClassifier(optimizer=optimizer, lr=0.5, random_state=0).fit(*table)
        assert_identical(found.coef_, expected.coef_)


def test_train_and_inspect(own, lines, capsys):
    printed(capsys, "train", lines, "--model", "theirs", "--lr", 0.5, "-q")
    printed(capsys, "train", lines, "--model", "ours", "--optimizer", own, "--lr", 0.5, "-q")
    assert_identical(Model.load("ours").weights, Model.load("theirs").weights)
    assert "optimizer own.py:again (fingerprint " in printed(capsys, "inspect", "ours")


def test_a_model_is_used_without_the_file(own, lines, tmp_path, capsys):
    """Models name the rule, and never run it."""
    printed(capsys, "train", lines, "--model", "ours", "--optimizer", own, "--lr", 0.5, "-q")
    (tmp_path / "own.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    assert len(printed(capsys, "predict", "ours", lines, "--probabilities").split()) == 80
    assert "own.py:again" in printed(capsys, "inspect", "ours")


def test_compare(own, table):
    data = surefoot.data.Dataset("table", table[0].astype(np.float32), table[1].astype(np.float32), "classification")
    ours, theirs = surefoot.compare(data, [own, "adagrad"], lr=0.5, epochs=2, seeds=1).entries
    assert (ours.rule.name, theirs.rule.name) == ("again", "adagrad")
    assert ours.final("test_loss") == theirs.final("test_loss")


def test_trace(own, capsys):
    paths = json.loads(printed(capsys, "trace", own, "adagrad", "--lr", "0.4", "--json"))["paths"]
    assert paths[0]["positions"] == paths[1]["positions"]
    with_schedule = json.loads(printed(capsys, "trace", own, "--lr", "polynomial:0.4:0.1", "--json"))["paths"]
    assert with_schedule[0]["schedule"] == "polynomial:0.4:0.1:0.5"


def test_rates_by_the_name_that_chose_the_rule(own, lines, capsys):
    paths = [
        json.loads(printed(capsys, "trace", own, "adagrad", "--lr", f"{name}=0.3,adagrad=2", *schedule, "--json"))[
            "paths"
        ]
        for schedule in ([], ["--schedule", "polynomial:1"])
        for name in (own, "again")
    ]
    assert paths[0] == paths[1]
    assert paths[2] == paths[3]
    assert [path["lr"] for path in paths[0]] == [0.3, 2.0]
    race = ["compare", lines, "--rules", f"{own},adagrad", "--epochs", 1, "--seeds", 1, "--json", "-q", "--lr"]
    ours, theirs = (json.loads(printed(capsys, *race, f"{name}=0.3,adagrad=0.1"))["rules"] for name in (own, "again"))
    assert [rule["lr"] for rule in ours] == [rule["lr"] for rule in theirs] == [0.3, 0.1]
    twice = printed(capsys, *race, f"{own}=0.3,again=0.1", status=2)
    assert twice == "error: again is given twice, once by its file; expected once\n"


def test_rules(own, capsys):
    assert "AdaGrad, once more." in printed(capsys, "rules", own)


SEVERAL = """
from surefoot import ops
from surefoot.rules import direction, nonnegative, origin, rule, scalar, scale, total

def square(g):
    return g * g

@rule(slots={"sum": scalar()}, statistics={"squares": total(square, "tensor")}, hyper={"lr": nonnegative(0.1)})
def with_statistics(x, g, g2, sum, squares, lr):
    sum = sum + squares
    return lr / (ops.sqrt(sum) + 1e-8), g, sum

@rule(slots={"count": scale(over="column"), "velocity": direction()}, hyper={"lr": nonnegative(0.1)})
def with_columns(x, g, g2, count, velocity, lr):
    return lr / (1.0 + count), g, count + 1.0, g

@rule(slots={"start": origin()}, hyper={"lr": nonnegative(0.1)})
def with_origin(x, g, g2, start, lr):
    return lr, g + 0.1 * (x - start), start
"""

REFUSED = {
    "with_statistics": "the statistic 'squares' and the slot 'sum' over the tensor",
    "with_columns": "the slot 'count' over the column",
    "with_origin": "the slot 'start' that starts from the parameter",
}


@pytest.fixture
def several(lines, tmp_path):
    """Rules that learners do not take, in a file of the present folder."""
    (tmp_path / "several.py").write_text(SEVERAL, encoding="utf-8")
    return "several.py"


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_learners_do_not_take(name, several, table, lines, capsys):
    text = f"{several}:{name}"
    expected = (
        f"{name}: a learner takes rules without statistics, whose slots belong to coordinates and start from a number; "
        f"this one has {REFUSED[name]}; use engines.Step or surefoot.optim"
    )
    for optimizer in (text, rules.resolve(text)):
        with pytest.raises(rules.RuleError) as raised:
            surefoot.LinearClassifier(optimizer=optimizer).fit(*table)
        assert str(raised.value) == expected
    with pytest.raises(rules.RuleError) as raised:
        ModelBank("linear", [Step(rules.resolve(text))])
    assert str(raised.value) == expected
    train = ["train", lines, "--model", "m", "--optimizer", text]
    for command in (train, [*train, "--lr", 0.1], ["compare", lines, "--rules", f"{text},adagrad"]):
        assert printed(capsys, *command, status=2) == f"error: {expected}\n"


def test_what_each_slot_is_kept_for(several, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    text = printed(capsys, "rules", f"{several}:with_statistics")
    assert "4 bytes per tensor in float32: sum (from 0.0)" in text
    assert "squares (sum of square over each tensor)" in text
    text = printed(capsys, "rules", f"{several}:with_columns")
    expected = "4 bytes per column in float32: count (from 0.0); 4 bytes per coordinate in float32: velocity (from 0.0)"
    assert expected in text
    assert "4 bytes per coordinate in float32: start (from the parameter)" in printed(
        capsys, "rules", f"{several}:with_origin"
    )
    record = json.loads(printed(capsys, "rules", f"{several}:with_statistics", "--json"))
    assert record["memory_bytes_per_coordinate"] == 0
    assert record["slots"] == {"sum": {"kind": "scale", "initial": 0.0, "over": "tensor"}}
    assert record["statistics"] == {"squares": {"reduction": "sum", "of": "square", "over": "tensor"}}


def test_optimizers(own):
    torch = pytest.importorskip("torch")
    found = []
    for rule in (own, rules.resolve(own), "adagrad"):
        w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        optimizer = surefoot.optim.RuleOptimizer([w], rule, lr=0.5, eps=0.0, eps_root=1e-6)
        for _ in range(3):
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()
        found.append(w.detach().numpy())
    assert_identical(found[0], found[2])
    assert_identical(found[1], found[2])


def test_gradient_transformations(own):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    found = []
    for rule in (own, rules.resolve(own), "adagrad"):
        optimizer, x = surefoot.optax.transformation(rule, lr=0.5), np.float32([1.0, -2.0, 3.0])
        state = optimizer.init(x)
        for _ in range(3):
            updates, state = optimizer.update(2 * x, state, x)
            x = optax.apply_updates(x, updates)
        found.append(x)
    assert_identical(found[0], found[2])
    assert_identical(found[1], found[2])


def test_registered_by_name(own, table, lines, capsys, monkeypatch):
    monkeypatch.setitem(rules.REGISTRY, "again", rules.resolve(own))
    assert surefoot.LinearClassifier(optimizer="again", lr=0.5).fit(*table).score(*table) > 0.9
    assert "again" in printed(capsys, "rules")
    printed(capsys, "train", lines, "--model", "m", "--optimizer", "again", "--lr", 0.5, "-q")
    assert "optimizer again" in printed(capsys, "inspect", "m")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "rows.svm", "--model", "m", "--optimizer", "own.py:agian"],
        ["compare", "airfoil", "--rules", "own.py:agian"],
        ["trace", "own.py:agian"],
        ["rules", "own.py:agian"],
    ],
    ids=lambda command: command[0],
)
def test_a_wrong_name_is_one_sentence_in_every_interface(command, lines, capsys):
    expected = "error: own.py: there is no rule 'agian'; did you mean 'again'?\n"
    assert printed(capsys, *command, status=2) == expected
