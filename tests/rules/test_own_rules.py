"""A custom rule runs on every engine: from a notebook, where no file backs it, and from a script."""

import linecache
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical, assert_same_memory
from support.powers import POWERS

import surefoot
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.rules import direction, nonnegative

CELL = """
from surefoot import ops
from surefoot.rules import positive, fraction, direction, scale, rule

@rule(slots={"total": scale(), "velocity": direction()},
      hyper={"lr": positive(0.1), "beta": fraction(0.5), "eps": positive(1e-6)})
def mine(x, g, g2, total, velocity, lr, beta, eps):
    total = total + g2
    velocity = beta * velocity + ops.where(ops.abs(g) > 0.5, g, 0.5 * g)
    return lr / (ops.sqrt(total) + eps), ops.minimum(ops.maximum(velocity, -1), 1), total, velocity
"""


def by_hand(x, grads, lr=0.1, beta=0.5, eps=1e-6):
    total, velocity = np.zeros_like(x), np.zeros_like(x)
    for g in grads:
        total += g**2
        velocity = beta * velocity + np.where(np.abs(g) > 0.5, g, 0.5 * g)
        x = x - lr / (np.sqrt(total) + eps) * np.clip(velocity, -1, 1)
    return x


@pytest.fixture(params=["exec", "notebook"])
def mine(request):
    """Defined as by exec, or as IPython does, which keeps the cell's text in linecache."""
    name = "<string>" if request.param == "exec" else "/tmp/ipykernel_1/2.py"
    if request.param == "notebook":
        linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
    space = {"__name__": "__main__"}
    exec(compile(CELL, name, "exec"), space)
    yield space["mine"]
    linecache.cache.pop(name, None)


@pytest.mark.parametrize(
    "mine, dtype, granularity",
    [("exec", np.float32, "coordinate"), ("notebook", np.float64, "row")],
    indirect=["mine"],
)
def test_from_a_notebook(mine, dtype, granularity, tmp_path, monkeypatch, capfd):
    """The same bits on both engines, silently, and without a trace on disk."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    package = Path(surefoot.__file__).parent
    files = set(package.rglob("*.kernel"))
    rng = np.random.default_rng(0)
    x0, grads = rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=(5, 4, 3)).astype(dtype)
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for engine in ("reference", "cpu"):
            x, step = x0.copy(), Step(mine, engine=engine, granularity=granularity, lazy="touched")
            state = step.init(x)
            for g in grads:
                step.dense(x, g, state)
            step.rows(x, np.array([1, 1, 3]), grads[0][:3].copy(), state)
            results.append((x, state))
            assert state.slots["velocity"].dtype == dtype
    assert_identical(results[1][0], results[0][0])
    assert_same_memory(results[1][1], results[0][1])
    assert not list(cache.rglob("*mine*"))
    assert not [path for path in package.rglob("*.kernel") if path not in files and "mine" in path.name]
    assert capfd.readouterr() == ("", "")


def test_it_computes_the_written_formula(mine):
    rng = np.random.default_rng(0)
    x, grads = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    expected = by_hand(x.copy(), grads)
    step = Step(mine, engine="reference")
    state = step.init(x)
    for g in grads:
        step.dense(x, g, state)
    assert_close(x, expected, "float64")


@pytest.mark.slow
@pytest.mark.parametrize("mine", ["exec"], indirect=True)
def test_a_linear_model_with_a_custom_rule(mine):
    examples = Examples(np.arange(4), np.arange(3), np.ones(3), np.ones(3), np.ones(3))
    results = []
    for engine in ("reference", "cpu"):
        bank = ModelBank("linear", [Step(mine)], loss="logistic", batch_size=2, engine=engine)
        bank.learn(examples)
        results.append(bank.numbers("weight"))
    assert_identical(*results)
    assert (results[0] > 0).all()


def test_literals_stay_in_float32():
    """0.1 is not the same number in float32 and float64: all of the arithmetic is done in float32."""
    space = {}
    code = "def third(x, g, g2, lr):\n    return lr, g * 0.1 + 1 / 3\n"
    exec(code, space)
    third = surefoot.rules.Rule(space["third"], hyper={"lr": surefoot.rules.positive(1.0)})
    g = np.float32([0.3, 7.7, -1e-3])
    with np.errstate(all="raise"):
        expected = -(g * np.float32(0.1) + np.float32(1 / 3))
    for engine in ("reference", "cpu"):
        x, step = np.zeros(3, np.float32), Step(third, engine=engine)
        step.dense(x, g, step.init(x))
        assert_identical(x, expected, engine)


def test_whole_powers():
    """ops.power with a literal, which engines give the dtype of their arithmetic."""
    g, found = np.array([0.3, 7.7, -1e-3]), []
    for engine in ("reference", "cpu"):
        x, step = np.zeros(3), POWERS.step(engine=engine)
        step.dense(x, g, step.init(x))
        found.append(x)
    assert_identical(*found)
    assert_close(found[0], -0.1 / (1.0 + g**6) ** 2 * g**3, "float64")


def test_two_rules_of_the_same_name_are_two_rules():
    """As when a cell is edited and run again."""
    results = []
    for factor in ("2.0", "3.0"):
        space = {}
        exec(f"def again(x, g, g2, lr):\n    return {factor} * lr, g\n", space)
        again = surefoot.rules.Rule(space["again"], hyper={"lr": surefoot.rules.positive(1.0)})
        step, x = Step(again), np.zeros(2)
        step.dense(x, np.ones(2), step.init(x))
        results.append(x[0])
    assert results == [-2, -3]


def test_compiler_errors_name_the_rule_and_change_nothing():
    """NumPy's arrays have methods; numbers have none."""
    space = {}
    exec("def odd(x, g, g2, lr):\n    return lr, g.clip(-1.0, 1.0)\n", space)
    x = np.zeros(2)

    def define_and_step():
        odd = surefoot.rules.Rule(space["odd"], hyper={"lr": surefoot.rules.positive(1.0)})
        step = Step(odd)
        step.dense(x, np.ones(2), step.init(x))

    with pytest.raises(surefoot.RuleError, match=r"^odd: "):
        define_and_step()
    assert (x == 0).all()


def test_from_a_script(tmp_path):
    """With a file behind it the rule is cached, under its name."""
    script = tmp_path / "script.py"
    run = textwrap.dedent("""
        import numpy as np
        from surefoot.engines import Step
        x = np.zeros(3, np.float32)
        step = Step(mine)
        step.dense(x, np.ones(3, np.float32), step.init(x))
        print(x.tolist())
    """)
    script.write_text(CELL + run)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    result = subprocess.run([sys.executable, "-W", "error", script], env=environment, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.startswith("[-0.09999")
    assert list((tmp_path / "cache").rglob("*dense__mine__float32*.kernel"))


@surefoot.rule(
    slots={"last": direction(), "one_before": direction()}, hyper={"lr": nonnegative(0.1)}, name="two_steps_late"
)
def two_steps_late(x, g, g2, last, one_before, lr):
    return lr, one_before, g, last


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_a_slot_may_be_handed_on_to_the_next(engine):
    x, grads = np.zeros(3), np.random.default_rng(0).normal(size=(6, 3))
    step = Step(two_steps_late, engine=engine)
    state = step.init(x)
    for g in grads:
        step.dense(x, g, state)
    assert_close(x, -0.1 * grads[:-2].sum(0), "float64")
    assert_identical(state.slots["last"], grads[-1])
    assert_identical(state.slots["one_before"], grads[-2])
