"""Rules and settings that are broken on purpose: every one of them makes a row of its rule fail.

Sound ones pass: tests/lab/test_published.py.
"""

import os
from collections import Counter
from dataclasses import replace

import pytest
from support.covering import marked
from support.mutants import COMBINED, LATE, MUTANTS, MUTANTS_OF_ENGINES, line
from support.optimizer_mutants import MUTANTS_OF_OPTIMIZERS

from surefoot import modifiers, ops
from surefoot.lab.published import ROWS, airfoil, eager, formulas, loops, optimizers, rule_traces
from surefoot.lab.reproduction import reproduce
from surefoot.rules import REGISTRY, STATISTIC_RULES, everything

RULES = everything()
DRAWS = 50
"""Of the loop: equality is checked for the first one alone."""


QUICK = ("adagrad", "full_matrix")
"""Rules whose traces are broken in all ways in fast tests, too."""

CONCISE = [run.id for run in airfoil.RUNS if run.concise]


@pytest.fixture
def broken(monkeypatch):
    """Puts broken rules into the registry, under the names of the sound ones."""

    def put(*mutants):
        for mutant in mutants:
            monkeypatch.setitem(mutant.table, mutant.rule, mutant.built())

    return put


def needs_data():
    """Skips without the data: a test does not download."""
    if "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA does not name a folder with airfoil_self_noise.dat")


def traced(rule):
    (result,) = reproduce(only=f"trace-rule-{rule}")
    return result


def fails(run) -> bool:
    return not airfoil.measure(run, seeds=DRAWS, compared=1).passed


class TestRules:
    def test_every_rule_is_broken_in_at_least_three_ways(self):
        count = Counter(mutant.rule for mutant in MUTANTS)
        assert set(count) == set(RULES)
        assert min(count.values()) >= 3
        assert len({mutant.id for mutant in MUTANTS}) == len(MUTANTS)

    @pytest.mark.sampled(60)
    @pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
    def test_the_trace_of_a_broken_rule_fails(self, broken, mutant):
        broken(mutant)
        result = traced(mutant.rule)
        assert result.verdict == "fail"
        assert mutant.rule in result.claim

    @pytest.mark.parametrize(
        "mutant",
        [
            pytest.param(one, id=one.id, marks=() if one.rule in QUICK or " on " in one.what else pytest.mark.slow)
            for one in LATE
        ],
    )
    def test_the_trace_of_a_rule_that_goes_wrong_late_fails(self, broken, mutant):
        broken(mutant)
        result = traced(mutant.rule)
        assert result.verdict == "fail", result.measured
        assert not result.reason

    @pytest.mark.parametrize(
        "rule", [pytest.param(rule, marks=() if rule in QUICK else pytest.mark.slow) for rule in RULES]
    )
    @pytest.mark.parametrize(
        "mutant", MUTANTS_OF_ENGINES, ids=lambda one: f"{one.module.__name__.rpartition('.')[2]}: {one.what}"
    )
    def test_the_trace_of_a_rule_on_a_broken_engine_fails(self, monkeypatch, mutant, rule):
        if RULES[rule].whole != mutant.of_matrices:
            pytest.skip(f"{rule} is not stepped by {mutant.module.__name__}")
        if rule in STATISTIC_RULES and mutant.function == "rows":
            pytest.skip(f"{rule} is not followed in rows: it needs numbers of whole arrays")
        if (rule, mutant.what) == ("lion", "half of sparse gradients"):
            pytest.skip("lion steps along signs")
        monkeypatch.setattr(mutant.module, mutant.function, mutant.change(getattr(mutant.module, mutant.function)))
        assert traced(rule).verdict == "fail"

    @pytest.mark.parametrize(
        "broken",
        [
            lambda direction, g, agreeing, all: direction,
            lambda direction, g, agreeing, all: ops.where(g * direction > 0.0, direction, 0.0),
            lambda direction, g, agreeing, all: ops.where(g * direction > 0.0, direction, 0.0) * (all / (agreeing + 2)),
            lambda direction, g, agreeing, all: ops.where(g * direction < 0.0, direction, 0.0),
        ],
        ids=["moves all", "moves no farther", "counts one more", "moves the others"],
    )
    def test_the_trace_of_broken_cautious_steps_fails(self, monkeypatch, broken):
        monkeypatch.setitem(modifiers.REGISTRY, "cautious", replace(modifiers.REGISTRY["cautious"], function=broken))
        (result,) = reproduce(only="trace-cautious")
        assert (result.verdict, result.reason) == ("fail", "")

    @pytest.mark.parametrize("rule", ["adam", "adamw"])
    @pytest.mark.parametrize(
        "options, old, new",
        [
            ({"clock"}, "lr / seen1 /", "lr /"),
            ({"clock"}, "square / seen2", "square"),
            ({"clock", "amsgrad"}, "largest / seen2", "largest"),
            ({"clock"}, "seen1 + fresh1", "seen1 + fresh2"),
        ],
        ids=["v is not corrected", "s is not corrected", "the largest is not corrected", "β₂ in place of β₁"],
    )
    def test_the_trace_of_a_broken_clock_fails(self, monkeypatch, rule, options, old, new):
        self.clock_fails(monkeypatch, rule, options, old, new)

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize(
        "rule, old, new",
        [
            ("nadam", "faded = beta2 * seen2 + fresh2, fade * faded", "faded = beta2 * seen2 + fresh2, faded"),
            ("nadam", "product = now * product", "product = beta1 * product"),
            ("radam", "visits + 1.0", "visits + 2.0"),
            ("radam", "lr / seen1 * rectified", "lr * rectified"),
            ("adamax", "lr / seen1 /", "lr /"),
            ("adabelief", "surprise / seen2", "surprise"),
            ("adopt", "visits > 0.0", "visits >= 0.0"),
            ("yogi", "square / seen2", "square"),
        ],
    )
    def test_the_trace_of_another_broken_clock_fails(self, monkeypatch, rule, old, new):
        self.clock_fails(monkeypatch, rule, {"clock"}, old, new)

    def clock_fails(self, monkeypatch, rule, options, old, new):
        variants = dict(RULES[rule].variants)
        (on,) = (on for on in variants if set(on) == options)
        variants[on] = line(old, new)(variants[on])
        monkeypatch.setitem(REGISTRY, rule, replace(RULES[rule], variants=variants))
        (result,) = reproduce(only="trace-clock")
        assert (result.verdict, result.reason) == ("fail", "")
        assert rule in result.claim

    def test_several_rules_broken_at_once_fail_by_name(self, broken):
        broken(*COMBINED)
        rows = [f"trace-rule-{mutant.rule}" for mutant in COMBINED]
        results = reproduce(only=[*rows, "trace-rule-sgd"])
        assert {result.id for result in results if result.verdict == "fail"} == set(rows)
        assert len(rows) >= 4
        assert len(results) == len(rows) + 1

    def test_every_rule_has_a_trace_with_every_setting(self):
        for name, rule in RULES.items():
            assert f"trace-rule-{name}" in ROWS
            for option, default in {**{key: h.default for key, h in rule.hyper.items()}, **rule.options}.items():
                values = [setting.get(option, default) for setting in rule_traces.SETTINGS[name]]
                assert any(value != default for value in values), f"{name}: {option} is {default} in every trace"

    def test_every_rule_that_catches_up_or_has_numbers_of_a_group_is_traced_so(self):
        assert {name for name, rule in REGISTRY.items() if rule.zero_grad_steps} == set(rule_traces.CATCH_UP)
        of_groups = {
            name for name, rule in STATISTIC_RULES.items() if any(slot.over == "group" for slot in rule.slots.values())
        }
        assert of_groups == set(rule_traces.OF_GROUPS)

    def test_a_rule_without_a_formula_fails(self, monkeypatch):
        monkeypatch.delitem(formulas.FORMULAS, "yogi")
        (result,) = reproduce(only="trace-rule-yogi")
        assert result.verdict == "fail"
        assert "no formula" in result.reason


class TestOptimizers:
    """The classes of surefoot.optim over sound rules."""

    def test_every_class_is_broken_in_at_least_three_ways(self):
        count = Counter(mutant.name for mutant in MUTANTS_OF_OPTIMIZERS)
        assert set(count) == {one.name for one in optimizers.OPTIMIZERS}
        assert min(count.values()) >= 3
        assert len({mutant.id for mutant in MUTANTS_OF_OPTIMIZERS}) == len(MUTANTS_OF_OPTIMIZERS)

    def test_every_optimizer_has_a_row(self):
        optim = pytest.importorskip("surefoot.optim")
        kinds = {name: getattr(optim, name) for name in optim.__all__ if name[0].isupper()}
        # The rest of torch.optim is there unchanged.
        kinds = {name for name, kind in kinds.items() if isinstance(kind, type) and "surefoot" in kind.__module__}
        assert kinds - {"Beyond", "Grouped", "RuleOptimizer"} == {one.name for one in optimizers.OPTIMIZERS}
        assert set(eager.OPTIMIZERS.values()) <= kinds

    @pytest.mark.sampled(8)
    @pytest.mark.parametrize("mutant", MUTANTS_OF_OPTIMIZERS, ids=lambda mutant: mutant.id)
    def test_the_row_of_a_broken_optimizer_fails(self, monkeypatch, mutant):
        optim = pytest.importorskip("surefoot.optim")
        row = f"optim-{mutant.name.lower()}"
        monkeypatch.setattr(optim, mutant.name, mutant.built())
        (result,) = [result for result in reproduce(only=row) if result.id == row]
        assert result.verdict == "fail"
        assert not result.reason
        assert mutant.name in result.claim

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("one", optimizers.OPTIMIZERS, ids=lambda one: one.name)
    def test_the_row_of_an_optimizer_that_goes_wrong_late_fails(self, monkeypatch, one):
        optim = pytest.importorskip("surefoot.optim")
        sound = getattr(optim, one.name)

        class Late(sound):
            taken = 0

            def step(self, closure=None):
                self.taken += 1
                if self.taken == 500:
                    for group in self.param_groups:
                        group["lr"] *= 1.001
                return super().step(closure)

        monkeypatch.setattr(optim, one.name, Late)
        result = optimizers.measure(one)
        assert not result.passed

    @pytest.mark.slow
    @pytest.mark.parametrize("id", CONCISE)
    def test_a_concise_run_of_another_optimizer_fails(self, monkeypatch, id):
        """The optimizer's rate is half of what it is given; the engine's own run is not touched."""
        needs_data()
        optim = pytest.importorskip("surefoot.optim")
        run = airfoil.BY_ID[id]
        name = eager.OPTIMIZERS[run.rule]
        sound = getattr(optim, name)

        class Half(sound):
            def __init__(self, params, lr=1.0, **settings):
                super().__init__(params, lr=lr / 2, **settings)

        monkeypatch.setattr(optim, name, Half)
        assert fails(run)


def scratch_runs(rule):
    return [run for run in airfoil.RUNS if run.rule == rule and not run.concise and run.batch_size > 1]


BROKEN_RUNS = [(mutant, scratch_runs(mutant.rule)[-1]) for mutant in MUTANTS if scratch_runs(mutant.rule)]
BROKEN_RUNS = [(mutant, run) for mutant, run in BROKEN_RUNS if mutant.at_defaults]
SAMPLE = ("adagrad: s of the step before", "adadelta: Δ is fed with g²", "yogi: is Adam")


@pytest.mark.parametrize(
    "mutant, run",
    [
        pytest.param(mutant, run, id=mutant.id, marks=() if mutant.id in SAMPLE else pytest.mark.slow)
        for mutant, run in BROKEN_RUNS
    ],
)
def test_an_airfoil_run_of_a_broken_rule_fails(broken, mutant, run):
    needs_data()
    broken(mutant)
    assert fails(replace(run, engine="reference"))


def others(run):
    """The run at half, twice and four times the rate, and with another rule at the same rate."""
    key, rate = ("rho", run.hyper["rho"]) if run.rule == "adadelta" else ("lr", run.hyper["lr"])
    for times in (0.5, 2, 4):
        # Of ρ, what the averages forget is as many times larger.
        value = 1 - times * (1 - rate) if key == "rho" else times * rate
        yield f"{run.id} at {times:g} times the rate", replace(run, hyper=run.hyper | {key: value})
    swapped = SWAPPED[run.rule]
    yield f"{run.id} with {swapped}", replace(run, rule=swapped, hyper={"lr": run.hyper.get("lr", 1.0)})
    for key in run.hyper.keys() - {"lr", "rho"}:
        yield f"{run.id} with {key} a tenth less", replace(run, hyper=run.hyper | {key: 0.9 * run.hyper[key]})
    halved = run.batch_size // 2 or 2
    yield f"{run.id} in batches of {halved}", replace(run, batch_size=halved)
    yield f"{run.id} for another epoch", replace(run, epochs=run.epochs + 1)
    others = {text: loss + 0.001 for text, loss in run.published.items()}
    yield f"{run.id} with losses of another text", replace(run, published=others)


SWAPPED = {
    "sgd": "momentum",
    "momentum": "sgd",
    "adagrad": "sgd",
    "rmsprop": "adagrad",
    "adadelta": "adagrad",
    "adam": "rmsprop",
    "yogi": "adam",
}
OTHERS = dict(pair for run in airfoil.RUNS for pair in others(run))


def test_library_and_loop_have_the_same_runs_from_two_tables():
    assert [run.id for run in airfoil.RUNS] == list(loops.RUNS)
    for run in airfoil.RUNS:
        assert f"{run.id} in batches of {run.batch_size // 2 or 2}" in OTHERS


@pytest.mark.parametrize(
    "id",
    marked(OTHERS, [id for id in OTHERS if id.startswith("airfoil-sgd-100") and "with momentum" not in id]),
)
def test_an_airfoil_run_in_another_setting_fails(id):
    needs_data()
    run = OTHERS[id]
    assert airfoil.BY_ID[run.id].rule in ROWS[run.id].claim
    assert fails(run)


class TestVerdict:
    """What an airfoil row asks for besides equal weights."""

    def test_a_loss_out_of_range_fails(self):
        needs_data()
        run = airfoil.BY_ID["airfoil-sgd-100"]
        assert airfoil.measure(run, seeds=1000, compared=1).passed
        assert not airfoil.measure(replace(run, published={"notebook": 0.2415}), seeds=1000, compared=1).passed
        assert not airfoil.measure(replace(run, published={"notebook": 0.28}), seeds=1000, compared=1).passed

    def test_a_range_too_wide_fails(self, monkeypatch):
        needs_data()
        monkeypatch.setattr(airfoil, "WIDEST", 0.005)
        assert not airfoil.measure(airfoil.BY_ID["airfoil-sgd-100"], seeds=1000, compared=1).passed
