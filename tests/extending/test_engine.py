"""A custom engine, defined in this file, works in every interface as the built-in ones do.

What a change of this kind touches: `src/surefoot/engines/NAME.py`; its backend in `src/surefoot/optim/backends/`, if it
steps torch's parameters other than as arrays; its line in `engines/registry.py`; and the changelog.

The engine computes with Python's floats, one coordinate after the other: the bits of the reference in float64, but for
sums, which are in another order.
"""

import ast
import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from support.numerics import assert_close
from support.statistic_rules import RULES as WITH_STATISTICS
from support.table import CONCRETE, granularities, laziness

import surefoot
from surefoot.cli import run
from surefoot.engines import Step, registry
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.numerics import decode, encode
from surefoot.engines.program import evaluate
from surefoot.engines.reference_bank import count_in
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

PACKAGE = Path(surefoot.__file__).parent

# The engine


class Floats:
    """What a program needs: a list with a float for each coordinate of an array."""

    def __init__(self, step, t, raw, shape, size):
        self.step, self.t, self.raw, self.size = step, t, raw, size
        self.width = math.prod(shape[1:])

    def bind(self, function):
        def of_lists(*taken):
            lists = [value if isinstance(value, list) else [value] * len(self.raw) for value in taken]
            found = [attempt(function, numbers) for numbers in zip(*lists, strict=True)]
            outputs = max((len(one) for one in found if isinstance(one, tuple)), default=0)
            if not outputs:
                return found
            rows = [one if isinstance(one, tuple) else (math.nan,) * outputs for one in found]
            return tuple(map(list, zip(*rows, strict=True)))

        return of_lists

    def cast(self, value):
        return value if isinstance(value, list) else float(value)

    def numbers(self, modifier, statistics):
        return self.step.numbers_of(modifier, self.t, {name: found[0] for name, found in statistics.items()})

    def mean_square(self, squares):
        return self.shared(squares, self.step.granularity, "mean")

    def reduce(self, statistic, values):
        return self.shared(values, statistic.over, statistic.reduction)

    def shared(self, values, over, reduction):
        """For every coordinate, the number of its row, its column or the tensor."""
        places = [{"row": i // self.width, "column": i % self.width}.get(over, 0) for i in range(len(values))]
        kept = {place: [] for place in places}
        for place, value, g in zip(places, values, self.raw, strict=True):
            kept[place] += [value] if math.isfinite(value) and math.isfinite(g) else []
        count = {"row": self.width, "column": self.size // self.width}.get(over, self.size)
        least = {"maximum": lambda some: max(some, default=0.0), "mean": lambda some: math.fsum(some) / count}
        found = {place: least.get(reduction, math.fsum)(some) for place, some in kept.items()}
        return [found[place] for place in places]


def attempt(function, numbers):
    try:
        return function(*numbers)
    except (ArithmeticError, ValueError):  # where NumPy has inf or NaN
        return math.nan


def advance(step, x, g, slots, t, coefficients, size=None):
    """Steps x and its slots in place; returns how many coordinates were skipped."""
    if not x.size:
        return 0

    def flat(array):
        return np.broadcast_to(decode(array), x.shape).ravel().tolist()

    def stored(numbers, like):
        whole = np.broadcast_to(np.array(numbers, decode(like).dtype), x.size).reshape(x.shape)
        return encode(whole[tuple(map(slice, like.shape))], like)

    memory = dict(zip(step.rule.slots, map(flat, slots), strict=True))
    floats = Floats(step, t, flat(g), x.shape, size or x.size)
    found = evaluate(step.program, floats, flat(x), flat(g), memory, coefficients)
    new, after = stored(found.values["x"], x), list(map(stored, found.slots.values(), slots))
    fine = [np.isfinite(decode(array)) for array in (new, *after)]
    squares = np.isfinite(found.values["square"]).reshape(x.shape)
    ok = functools.reduce(np.logical_and, fine, squares) | (step.nonfinite == "propagate")
    x[...] = np.where(ok, new, x)
    for slot, kept, of_slot, shares in zip(slots, after, fine[1:], step.shares, strict=True):
        slot[...] = np.where(of_slot if shares else ok, kept, slot)
    return int(x.size - np.count_nonzero(ok))


class Arrays:
    """Steps of arrays; see `engines.driver.Engine`."""

    def dense(self, step, x, g, state, t, coefficients):
        return advance(step, x, g, [state.slots[name] for name in step.rule.slots], t, coefficients)

    def grouped(self, ids, values, rows):
        sums = {}
        for row, value in zip(ids.tolist(), decode(values), strict=True):
            if not 0 <= row < rows:
                raise IndexError(f"the gradient names row {row}; expected 0 … {rows - 1}")
            sums[row] = sums[row] + value if row in sums else value
        named = np.array(sorted(sums), np.int64)
        return named, np.array([sums[row] for row in named], values.dtype).reshape(-1, *values.shape[1:])

    def distinct(self, gradient):
        return gradient[0]

    def rows(self, step, x, gradient, state, t, coefficients):
        named, sums = gradient
        for row in named.tolist():
            self.catch_up(step, x, state, row, t - 1)
        whole = [state.slots[name] for name in step.rule.slots]
        part, *parts = x[named], *(s if c else s[named] for s, c in zip(whole, step.in_common, strict=True))
        skipped = advance(step, part, sums, parts, t, coefficients, x.size)
        x[named] = part
        for slot, after, common in zip(whole, parts, step.in_common, strict=True):
            slot[... if common else named] = after
        if state.pending is not None:
            state.pending.last[named] = t
        return skipped

    def flush(self, step, x, state):
        for row in range(len(x)):
            self.catch_up(step, x, state, row, state.t)

    def catch_up(self, step, x, state, row, until):
        """The steps without a gradient, one after the other."""
        if state.pending is None:
            return
        here = slice(row, row + 1)
        slots = [state.slots[name] for name in step.rule.slots]
        slots = [s.copy() if common else s[here] for s, common in zip(slots, step.in_common, strict=True)]
        for t in range(int(state.pending.last[row]) + 1, until + 1):
            advance(step, x[here], np.zeros_like(x[here]), slots, t, step.coefficients(t), x.size)
        state.pending.last[row] = until


class Banks:
    """Linear models that learn from one example after the other; see `engines.bank.Engine`."""

    def learn(self, bank, examples, rows, edges, totals, predictions):
        skipped, begin = 0, examples.indptr[0]
        for i, target in enumerate(examples.targets.tolist()):
            own = rows[examples.indptr[i] - begin : examples.indptr[i + 1] - begin].tolist()
            values = self.scaled(bank, own, examples.values[examples.indptr[i] : examples.indptr[i + 1]].tolist())
            weights, bias = bank.table.numbers("weight"), bank.table.numbers("bias")
            for k in range(bank.lanes):
                terms = [float(weights[row, 0, k]) * value for row, value in zip(own, values, strict=True)]
                predictions[i, k] = sum(terms, float(bias[0, 0, k]))
            for k in range(bank.lanes):
                wanted = target if bank.outputs == 1 else float(k // bank.rates == target)
                slope = bank.loss.slope(float(predictions[i, k]), wanted, *bank.loss.own(bank.parameter))
                slope *= float(examples.weights[i])
                skipped += self.step(bank, "bias", 0, k, slope, bank.t + 1 + i)
                for row, value in zip(own, values, strict=True):
                    skipped += self.step(bank, "weight", row, k, slope * value, bank.t + 1 + i)
        return skipped

    def scaled(self, bank, rows, values):
        table, found = bank.table, []
        table.seen[0] += table.seen[1]
        for row, value in zip(rows, values, strict=True):
            x, limit = count_in(bank, row, value)
            scaled = (x - table.centers()[row]) * table.scales()[row] if bank.normalize else x
            found.append(min(max(scaled, -limit), limit))
        return found

    def step(self, bank, part, row, k, g, t):
        step, here = bank.steps[part][k % bank.rates], np.s_[row : row + 1, :, k : k + 1]
        x, *slots = (bank.table.numbers(part, name)[here] for name in (None, *step.rule.slots))
        return advance(step, x, np.full_like(x, g), slots, t, step.coefficients(t))

    def settle(self, bank):
        """Nothing waits: rules here are steps of features that occur."""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    parts = registry.Parts(Arrays(), Banks(), "surefoot.optim.backends.arrays:ArrayBackend")
    monkeypatch.setitem(registry.REGISTRY, "toy", parts)


# Its users


RULES = {c.name: (c.rule, granularities(c, "row", "tensor")) for c in CONCRETE.values()}
RULES |= {name: (rule, ("coordinate",)) for name, (rule, _) in WITH_STATISTICS.items()}
AROUND = {"weight_decay": 0.01, "clip_norm": 2.0, "maximize": True, "nonfinite": "skip", "lazy": "touched"}


def pair(rule, shape, **settings):
    """The same parameters, with the step and the state of each engine."""
    start = np.random.default_rng(0).normal(size=shape)
    for engine in ("toy", "reference"):
        step, x = Step(rule, engine=engine, **settings), start.copy()
        yield step, x, step.init(x)


def assert_same(ours, theirs):
    (_, x, state), (_, expected, other) = ours, theirs
    assert_close(x, expected, "float64")
    for name, slot in other.slots.items():
        assert_close(state.slots[name], slot, "float64", name)
    assert state.skipped == other.skipped


@pytest.mark.parametrize("name, granularity", [(name, each) for name, (_, of) in RULES.items() for each in of])
def test_steps_of_arrays(name, granularity):
    ours, theirs = pair(RULES[name][0], (5, 3), granularity=granularity, **AROUND)
    rng = np.random.default_rng(1)
    for turn in range(3):
        g, ids, values = rng.normal(size=(5, 3)), rng.integers(5, size=7), rng.normal(size=(7, 3))
        g[0, turn] = np.nan
        for step, x, state in (ours, theirs):
            step.dense(x, g, state)
            step.rows(x, ids, values, state)
    assert_same(ours, theirs)


@pytest.mark.parametrize("settings", [{"l1": 0.01}, {"decoupled_weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["adagrad", "momentum"])
def test_rows_that_wait(name, settings):
    settings = settings if name == "adagrad" else {}
    ours, theirs = pair(name, (6, 2), lr=0.1, lazy=laziness(CONCRETE[name], **settings), **settings)
    rng = np.random.default_rng(2)
    for _ in range(5):
        ids, values = rng.integers(6, size=2), rng.normal(size=(2, 2))
        for step, x, state in (ours, theirs):
            step.rows(x, ids, values, state)
    for step, x, state in (ours, theirs):
        step.flush(x, state)
    assert_close(ours[1], theirs[1], "lazy")


def test_optimizers():
    torch = pytest.importorskip("torch")
    found = []
    for engine in ("toy", "reference"):
        w = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        table = torch.nn.Embedding(4, 2, sparse=True, dtype=torch.float64)
        torch.nn.init.ones_(table.weight)
        optimizer = surefoot.optim.Adagrad([w, table.weight], lr=0.5, l1=0.01, engine=engine)
        for ids in ([0, 2, 2], [1, 2], [0]):
            optimizer.zero_grad()
            ((w**2).sum() + (table(torch.tensor(ids)) ** 2).sum()).backward()
            optimizer.step()
        optimizer.flush()
        found.append([w.detach().numpy(), table.weight.detach().numpy(), optimizer.state[w]["sum"].numpy()])
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, "lazy")
    with pytest.raises(ValueError, match="cpu, gpu, reference, torch, toy or None"):
        surefoot.optim.Adagrad([w], engine="gpo")
    optimizer = surefoot.optim.Adagrad([torch.nn.Parameter(torch.zeros(2, device="meta"))], engine="toy")
    optimizer.param_groups[0]["params"][0].grad = torch.zeros(2, device="meta")
    with pytest.raises(ValueError, match="the toy engine cannot step parameters on meta: it is for parameters on CPUs"):
        optimizer.step()


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) * [1.0, 10.0, 0.1]
    return X, (X @ [1.0, -0.2, 5.0] > 0).astype(float)


def examples():
    X, y = table()
    return Examples(np.arange(41) * 3, np.tile(np.arange(3), 40), X.ravel(), y, np.ones(40))


def test_models():
    found = []
    for engine in ("toy", "reference"):
        steps = [Step("adagrad", lr=lr) for lr in (0.1, 0.5)]
        bank = ModelBank("linear", steps, features=3, dtype="float64", engine=engine)
        found.append((bank.learn(examples()), bank.numbers("weight"), bank.numbers("bias")))
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, "float64")


def test_the_learner():
    """That of the estimators and of `train`."""
    found = []
    for engine in ("toy", "reference"):
        learner = Learner(Settings(lr=0.5, dtype="float64", engine=engine))
        learner.learn(examples())
        found.append(learner.weights())
    for mine, theirs in zip(*found, strict=True):
        assert_close(mine, theirs, "float64")


def test_compare(capsys, tmp_path):
    rows = "".join(f"{int(t)}," + ",".join(map(str, x)) + "\n" for x, t in zip(*table(), strict=True))
    (tmp_path / "table.csv").write_text("y,a,b,c\n" + rows)
    race = ["compare", tmp_path / "table.csv", "--rules", "adagrad", "--lr", 0.5, "--epochs", 2, "--json", "-q"]
    found = []
    for engine in ("toy", "reference"):
        assert run([*map(str, race), "--engine", engine]) == 0
        (entry,) = json.loads(capsys.readouterr().out)["rules"]
        found.append([score["test_loss"] for one in entry["runs"] for score in one["scores"]])
    assert_close(*found, "torch float32")


HAVE_DEVICES = ("nn/bags", "nn/embedding", "nn/pooling", "optim/decay", "optim/mapped", "optim/memory")
DEVICES = {(f"{file}.py", "cpu") for file in HAVE_DEVICES}
PACKAGES = {("cli/__init__.py", "torch")}


@pytest.mark.parametrize("room", ["cli", "lab", "learn", "nn", "optim"])
def test_no_interface_names_an_engine(room):
    """But where the same word is a device, or a package. The backends of `optim` belong to the engines."""
    for file in sorted({*(PACKAGE / room).rglob("*.py")} - {*(PACKAGE / "optim" / "backends").iterdir()}):
        found = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        named = {(file.relative_to(PACKAGE).as_posix(), name) for name in found & registry.REGISTRY.keys()}
        assert named <= DEVICES | PACKAGES
