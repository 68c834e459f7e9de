"""Hyperparameters and options: bad ones are rejected by name, with the value found and what was expected."""

import dataclasses
import math

import numpy as np
import pytest
from support.table import CONCRETE

from surefoot import rules
from surefoot.engines import Step
from surefoot.rules import REGISTRY, STATISTIC_RULES, RuleError

RULES = REGISTRY | STATISTIC_RULES
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
HYPERS = [(rule, name) for rule in RULES.values() for name in rule.hyper]
every_hyperparameter = pytest.mark.parametrize("rule, name", HYPERS, ids=[f"{r.name}-{n}" for r, n in HYPERS])


@every_hyperparameter
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, -math.inf])
def test_numbers_out_of_bounds(rule, name, value):
    with pytest.raises(RuleError, match=rf"^{rule.name}: {name} must (lie in|be) .*got {value}"):
        Step(rule, engine="reference", **{name: value})


@every_hyperparameter
@pytest.mark.parametrize("value", ["0.1", b"1", None, [0.1], np.ones(2)], ids=repr)
def test_objects_that_are_not_numbers(rule, name, value):
    with pytest.raises(RuleError, match=rf"^{rule.name}: {name} must be a number, got "):
        rule.settings(**{name: value})


@every_hyperparameter
def test_the_ends_of_the_interval(rule, name):
    """Closed at 0 where it says [0, and open at 1 where it says 1)."""
    hyper = rule.hyper[name]
    if hyper.is_flag:
        for value in (True, False):
            assert rule.settings(**{name: value})[name] is value
        with pytest.raises(RuleError, match="True or False, got 2"):
            rule.settings(**{name: 2})
        return
    low, high = hyper.bounds
    assert hyper.admits(low) == (hyper.interval()[0] == "[")
    assert hyper.admits(high) == (hyper.interval()[-1] == "]")
    assert hyper.admits((low + min(high, low + 2)) / 2)


@every_rule
def test_unknown_hyperparameters(rule):
    with pytest.raises(RuleError, match=rf"^{rule.name}: there is no hyperparameter 'lrr'; did you mean 'lr'\?"):
        Step(rule, engine="reference", lrr=0.1)
    with pytest.raises(RuleError, match=rf"^{rule.name}: there is no hyperparameter 'xyzzy'; it takes lr"):
        rule.settings(xyzzy=1)


@every_rule
def test_conventions(rule):
    with pytest.raises(RuleError, match=rf"^{rule.name}: there is no convention 'tensorflow'; there are: "):
        Step(rule, engine="reference", convention="tensorflow")
    for convention, values in rule.conventions.items():
        settings = rule.settings(convention)
        assert settings | rule.options_of(convention) == rule.defaults | dict(rule.options) | dict(values)
        assert rule.settings(convention, lr=0.123)["lr"] == 0.123


def test_unknown_rules():
    with pytest.raises(RuleError, match=r"there is no rule 'adagard'; did you mean 'adagrad'\?"):
        Step("adagard")
    with pytest.raises(RuleError, match="there is no rule 'xyzzy'; there are sgd, momentum"):
        rules.get("xyzzy")


def test_a_plain_function_raises_an_error_that_says_how_to_make_a_rule():
    def mine(x, g, g2, lr):
        return lr, g

    with pytest.raises(RuleError, match=r"mine is a function, not yet a rule; decorate it with surefoot\.rule"):
        rules.get(mine)  # pyright: ignore[reportArgumentType]


@every_rule
def test_every_rule_describes_itself(rule):
    assert rule.summary
    assert rule.summary.endswith((".", "memory"))
    assert "x ←" in rule.formula or rule.name == "yogi"
    assert rule.source
    assert all(hyper.meaning for hyper in rule.hyper.values())


@pytest.mark.parametrize("place", ["eps", "eps_root"])
def test_both_places_of_epsilon(place):
    """Every rule that has an ε has it inside and outside the root; FTRL calls it β, visit counts c.

    There is one place for it where there is a maximum in place of a sum, or a cube root.
    """
    without = {"sgd", "momentum", "visits", "ftrl", "lion"}
    without |= {"adamax", "adopt", "madgrad", "cocob"} if place == "eps_root" else set()
    assert {rule.name for rule in REGISTRY.values() if place not in rule.hyper} == without


def test_the_textbooks_defaults():
    """Zhang, Lipton, Li & Smola: ε and the decays as printed."""
    published = {
        "adagrad": {"eps_root": 1e-6, "eps": 0, "initial_accumulator_value": 0},
        "rmsprop": {"gamma": 0.9, "eps_root": 1e-6, "eps": 0},
        "adadelta": {"rho": 0.9, "eps_root": 1e-5, "eps": 0},
        "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "eps_root": 0},
        "yogi": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-3, "eps_root": 0, "initial_accumulator_value": 0},
    }
    for name, values in published.items():
        assert {key: REGISTRY[name].defaults[key] for key in values} == values


def test_conventions_differ_where_the_libraries_do():
    """As documented: PyTorch adds ε outside AdaGrad's root, Keras and optax inside, from an accumulator of 0.1."""
    adagrad = REGISTRY["adagrad"].settings
    assert [adagrad("pytorch")[key] for key in ("eps", "eps_root", "initial_accumulator_value")] == [1e-10, 0, 0]
    assert [adagrad("keras")[key] for key in ("eps", "eps_root", "initial_accumulator_value")] == [0, 1e-7, 0.1]
    assert [adagrad("optax")[key] for key in ("eps", "eps_root", "initial_accumulator_value")] == [0, 1e-7, 0.1]
    assert [adagrad("fbgemm")[key] for key in ("eps", "eps_root", "initial_accumulator_value")] == [1e-8, 0, 0]


# Options around a rule

NUMBERS = ("weight_decay", "decoupled_weight_decay", "l1", "l2", "clip_value", "clip_norm")


@pytest.mark.parametrize("option", NUMBERS)
@pytest.mark.parametrize("value", [-0.1, math.nan, "0.1"], ids=repr)
def test_numbers_of_modifiers(option, value):
    with pytest.raises(ValueError, match=rf"embedding: {option} must be .*got {value!r}"):
        Step("adagrad", engine="reference", name="embedding", **{option: value})


@pytest.mark.parametrize("option", NUMBERS[:4])
def test_infinite_penalties(option):
    with pytest.raises(ValueError, match=f"{option} must be a finite number of at least 0, got inf"):
        Step("adagrad", engine="reference", **{option: math.inf})


@pytest.mark.parametrize("option", ["clip_value", "clip_norm"])
def test_clipping_to_nothing(option):
    with pytest.raises(ValueError, match=f"{option} must be above 0, got 0"):
        Step("adagrad", engine="reference", **{option: 0})


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("engine", "gpu", r"engine must be one of cpu, reference, got 'gpu'"),
        ("granularity", "column", r"granularity must be one of coordinate, row, tensor, got 'column'"),
        ("lazy", "never", r"lazy must be one of exact, touched, got 'never'"),
        ("nonfinite", "ignore", r"nonfinite must be one of raise, skip, propagate, got 'ignore'"),
        ("state_dtype", "float8", r"state_dtype must be one of float64, float32, float16, bfloat16, got 'float8'"),
        ("threads", 0, r"threads must be .*at least 1, got 0"),
        ("threads", 1.5, r"threads must be .*got 1\.5"),
        ("stochastic_rounding", "seed", r"stochastic_rounding must be .*got 'seed'"),
    ],
)
def test_choices(option, value, message):
    with pytest.raises(ValueError, match=f"^weights: {message}"):
        Step("adagrad", name="weights", **{option: value})


# Options that cannot be honoured


@pytest.mark.parametrize("granularity", ["row", "tensor"])
@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if not c.shares], ids=str)
def test_granularity_without_an_effect(c, granularity):
    with pytest.raises(ValueError, match=r"would change nothing.* leave it at 'coordinate'"):
        c.step(engine="reference", granularity=granularity)


@pytest.mark.parametrize("option", ["l2", "decoupled_weight_decay"])
def test_penalties_that_a_step_from_the_origin_would_undo(option):
    with pytest.raises(ValueError, match=r"recomputes the parameters from the origin.* use the rule's own l1"):
        Step("dual_averaging", engine="reference", **{option: 0.1})


def test_a_rules_own_penalties():
    assert Step("ftrl", engine="reference", l1=0.3, l2=0.2).hyper["l1"] == 0.3
    assert Step("ftrl", engine="reference", l1=0.3).options["l1"] == 0
    assert Step("adagrad", engine="reference", l1=0.3).options["l1"] == 0.3
    with pytest.raises(RuleError, match="ftrl: l1 must lie in"):
        Step("ftrl", engine="reference", l1=-0.3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_stochastic_rounding_needs_bfloat16(dtype):
    step = Step("sgd", engine="reference", name="embedding", stochastic_rounding=1)
    with pytest.raises(ValueError, match=rf"embedding: .*bfloat16.*{dtype}|embedding: .*{dtype}.*bfloat16"):
        step.init(np.ones(3, dtype))


REASONS = {
    "weight_decay adds to every gradient": ("adagrad", {"weight_decay": 0.1}),
    "adam has no closed form for steps with zero gradient": ("adam", {}),
    "the rate of rmsprop changes while a row has no gradient": ("rmsprop", {"l1": 0.1}),
    "the tensor's common rate changes while a row has no gradient": ("adagrad", {"l1": 0.1, "granularity": "tensor"}),
    "the average needs rows that do not move": ("adagrad", {"l1": 0.1, "average": True}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_rows_that_cannot_catch_up(reason):
    rule, options = REASONS[reason]
    step, x = Step(rule, engine="reference", **options), np.ones((3, 2))
    state = step.init(x)
    with pytest.raises(ValueError, match=rf"lazy updates are not exact for .*: .*{reason}.*; use lazy='touched'"):
        step.rows(x, np.array([1]), np.ones((1, 2)), state)
    assert (x == 1).all()
    assert state.t == 0
    touched = Step(rule, engine="reference", lazy="touched", **options)
    touched.rows(x, np.array([1]), np.ones((1, 2)), state)
    assert (x[[0, 2]] == 1).all()
    assert (x[1] != 1).all()


def test_a_rule_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        REGISTRY["adagrad"].lazy_exact = False


def test_adamw_decays_as_each_library_does():
    """torch.optim.AdamW's default is 0.01, optax.adamw's 1e-4; what is given counts first."""
    for convention, expected in ((None, 0.01), ("pytorch", 0.01), ("optax", 1e-4)):
        assert Step("adamw", convention=convention).options["decoupled_weight_decay"] == expected
        assert Step("adamw", convention=convention, decoupled_weight_decay=0.5).options["decoupled_weight_decay"] == 0.5
