"""surefoot.optax in lockstep with optax's own optimizers, in float64, to 1e-12: parameters, updates and schedules."""

import functools
import inspect

import numpy as np
import pytest
from support.arrays import float64, tree
from support.covering import marked
from support.numerics import assert_close
from support.table import gradients, parameters

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

from surefoot import rules  # noqa: E402
from surefoot.engines import Step  # noqa: E402
from surefoot.optax import State, transformation  # noqa: E402

STEPS = 120


def schedule():
    return optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, STEPS)


MADGRAD = getattr(optax.contrib, "madgrad", None)
"""Which optax has since version 0.2.7."""
LOCKSTEP = {
    "sgd": ("sgd", {}, optax.sgd, {}),
    "sgd, a schedule": ("sgd", {"lr": schedule}, optax.sgd, {"learning_rate": schedule}),
    "momentum": ("momentum", {"momentum": 0.8}, optax.sgd, {"momentum": 0.8}),
    "nesterov": ("momentum", {"nesterov": True}, optax.sgd, {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("adagrad", {}, optax.adagrad, {}),
    "adagrad, all settings": (
        "adagrad",
        {"initial_accumulator_value": 0.5, "eps_root": 1e-3},
        optax.adagrad,
        {"initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "rmsprop": ("rmsprop", {}, optax.rmsprop, {}),
    "rmsprop, centered": ("rmsprop", {"centered": True}, optax.rmsprop, {"centered": True}),
    "rmsprop, momentum": ("rmsprop", {"momentum": 0.9, "gamma": 0.8}, optax.rmsprop, {"momentum": 0.9, "decay": 0.8}),
    "adadelta": ("adadelta", {}, optax.adadelta, {}),
    "adadelta, all settings": ("adadelta", {"rho": 0.8, "eps_root": 1e-4}, optax.adadelta, {"rho": 0.8, "eps": 1e-4}),
    "adam": ("adam", {}, optax.adam, {}),
    "adam, all settings": (
        "adam",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
        optax.adam,
        {"b1": 0.8, "b2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "adam, a schedule": ("adam", {"lr": schedule}, optax.adam, {"learning_rate": schedule}),
    "adamw": ("adamw", {}, optax.adamw, {}),
    "adamw, all settings": (
        "adamw",
        {"beta1": 0.8, "beta2": 0.95, "decoupled_weight_decay": 0.3},
        optax.adamw,
        {"b1": 0.8, "b2": 0.95, "weight_decay": 0.3},
    ),
    "adamw, a schedule": ("adamw", {"lr": schedule}, optax.adamw, {"learning_rate": schedule}),
    "nadam": ("nadam", {}, optax.nadam, {}),
    "nadam, all settings": ("nadam", {"beta1": 0.8, "beta2": 0.95}, optax.nadam, {"b1": 0.8, "b2": 0.95}),
    "yogi": ("yogi", {}, optax.yogi, {}),
    "adamax": ("adamax", {}, optax.adamax, {}),
    "adamax, all settings": (
        "adamax",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-2},
        optax.adamax,
        {"b1": 0.8, "b2": 0.95, "eps": 1e-2},
    ),
    "radam": ("radam", {}, optax.radam, {}),
    "radam, all settings": (
        "radam",
        {"beta1": 0.8, "beta2": 0.95, "threshold": 8.0, "eps": 1e-4, "eps_root": 1e-5},
        optax.radam,
        {"b1": 0.8, "b2": 0.95, "threshold": 8.0, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "adabelief": ("adabelief", {}, optax.adabelief, {}),
    "adabelief, all settings": (
        "adabelief",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
        optax.adabelief,
        {"b1": 0.8, "b2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "adopt": ("adopt", {}, optax.contrib.adopt, {}),
    "adopt, all settings": (
        "adopt",
        {"beta1": 0.8, "beta2": 0.95, "clips": False, "eps": 1e-2},
        optax.contrib.adopt,
        {"b1": 0.8, "b2": 0.95, "use_clipping": False, "eps": 1e-2},
    ),
    # optax adds its ε to the learning rate, too.
    "madgrad": ("madgrad", {"lr": 0.05 + 1e-6}, MADGRAD, {}),
    "madgrad, all settings": (
        "madgrad",
        {"lr": 0.05 + 1e-2, "momentum": 0.7, "eps": 1e-2},
        MADGRAD,
        {"momentum": 0.7, "eps": 1e-2},
    ),
    "cocob": ("cocob", {"lr": 1.0}, optax.contrib.cocob, {"learning_rate": 1.0}),
    "cocob, all settings": (
        "cocob",
        {"lr": 1.0, "alpha": 10.0, "eps": 1e-2},
        optax.contrib.cocob,
        {"learning_rate": 1.0, "alpha": 10.0, "eps": 1e-2},
    ),
    "lion": ("lion", {}, optax.lion, {}),
    "lion, all settings": (
        "lion",
        {"beta1": 0.8, "beta2": 0.95, "decoupled_weight_decay": 0.3},
        optax.lion,
        {"b1": 0.8, "b2": 0.95, "weight_decay": 0.3},
    ),
}
LOCKSTEP = {case: one for case, one in LOCKSTEP.items() if one[2] is not None}

TOLERANCE = {"madgrad": "torch float32", "adafactor": "torch float32"}
"""optax's λ, and what is kept of averages, are numbers of float32."""


@functools.cache
def some_gradients():
    trees = [gradients(shape, "float64", STEPS, seed=k) for k, shape in enumerate(tree(tuple).values())]
    return [dict(zip(tree(tuple), grads, strict=True)) for grads in zip(*trees, strict=True)]


def start():
    return tree(lambda shape: jax.numpy.asarray(parameters(shape, "float64")))


def from_optaxs_state(name: str, state: State) -> State:
    """optax's Yogi starts its velocity from the value that its squares start from."""
    if name != "yogi":
        return state
    velocity = jax.tree.map(lambda slot: jax.numpy.full_like(slot, 1e-6), state.slots["velocity"])
    return state._replace(slots=state.slots | {"velocity": velocity})


def pair(case: str):
    """(ours, theirs), with optax's conventions."""
    name, settings, alias, options = LOCKSTEP[case]
    settings = {"lr": 0.05} | {key: value() if callable(value) else value for key, value in settings.items()}
    options = {"learning_rate": 0.05} | {key: value() if callable(value) else value for key, value in options.items()}
    convention = "optax" if "optax" in rules.get(name).conventions else None
    return transformation(name, convention=convention, **settings), alias(**options)


FAST = [case for case in LOCKSTEP if ", " not in case] + ["sgd, a schedule"]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", marked(LOCKSTEP, FAST))
def test_lockstep(case):
    with float64():
        ours, theirs = pair(case)
        params, expected = start(), start()
        state, other = from_optaxs_state(LOCKSTEP[case][0], ours.init(params)), theirs.init(expected)
        update, update_theirs = jax.jit(ours.update), jax.jit(theirs.update)
        for t, grads in enumerate(some_gradients(), 1):
            updates, state = update(grads, state, params)
            wanted, other = update_theirs(grads, other, expected)
            params, expected = optax.apply_updates(params, updates), optax.apply_updates(expected, wanted)
            for name in params:
                tolerance = TOLERANCE.get(LOCKSTEP[case][0], "optax")
                assert_close(params[name], expected[name], tolerance, f"step {t}, {name}")
        assert int(state.count) == STEPS


OF_WHOLE_TENSORS = {
    "lamb": ("lamb", {}, optax.lamb, {}),
    "lamb, all settings": (
        "lamb",
        {"beta1": 0.8, "beta2": 0.95, "decay": 0.3, "eps": 1e-4, "eps_root": 1e-5},
        optax.lamb,
        {"b1": 0.8, "b2": 0.95, "weight_decay": 0.3, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "novograd": ("novograd", {}, optax.novograd, {}),
    "novograd, all settings": (
        "novograd",
        {"beta1": 0.8, "beta2": 0.95, "decay": 0.3, "eps": 1e-4, "eps_root": 1e-5},
        optax.novograd,
        {"b1": 0.8, "b2": 0.95, "weight_decay": 0.3, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "sm3": ("sm3", {}, optax.sm3, {}),
    "dog": ("dog", {}, optax.contrib.dog, {}),
    "dog, all settings": (
        "dog",
        {"first": 1e-2, "eps": 1e-3},
        optax.contrib.dog,
        {"init_step": ("heuristic", 1e-2), "eps": 1e-3},
    ),
    "prodigy": ("prodigy", {}, optax.contrib.prodigy, {"weight_decay": 0.0}),
    "prodigy, all settings": (
        "prodigy",
        {"beta1": 0.8, "beta2": 0.95, "d0": 1e-2, "coef": 0.5, "eps": 1e-4},
        optax.contrib.prodigy,
        {"betas": (0.8, 0.95), "estim_lr0": 1e-2, "estim_lr_coef": 0.5, "eps": 1e-4, "weight_decay": 0.0},
    ),
    "schedule_free_sgd": ("schedule_free_sgd", {}, optax.contrib.schedule_free_sgd, {}),
    "schedule_free_sgd, all settings": (
        "schedule_free_sgd",
        {"momentum": 0.6},
        optax.contrib.schedule_free_sgd,
        {"b1": 0.6},
    ),
    "schedule_free_adamw": ("schedule_free_adamw", {}, optax.contrib.schedule_free_adamw, {}),
    "schedule_free_adamw, all settings": (
        "schedule_free_adamw",
        {"momentum": 0.6, "beta2": 0.95, "decay": 0.3, "eps": 1e-4},
        optax.contrib.schedule_free_adamw,
        {"b1": 0.6, "b2": 0.95, "weight_decay": 0.3, "eps": 1e-4},
    ),
    # Below 1/√t, optax's learning rate is the relative step itself.
    "adafactor": ("adafactor", {}, optax.adafactor, {"min_dim_size_to_factor": 2}),
    "adafactor, all settings": (
        "adafactor",
        {"forgetting": 0.6, "threshold": 0.5, "eps_root": 1e-3},
        optax.adafactor,
        {"min_dim_size_to_factor": 2, "decay_rate": 0.6, "clipping_threshold": 0.5, "eps": 1e-3},
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", OF_WHOLE_TENSORS)
def test_rules_with_statistics(case):
    """By the reference, on a matrix: what these need of a tensor, engines have in common with all rules."""
    name, settings, alias, options = OF_WHOLE_TENSORS[case]
    if unknown := options.keys() - inspect.signature(alias).parameters.keys():
        pytest.skip(f"this version of optax has no {', '.join(unknown)}")
    with float64():
        x = parameters((7, 5), "float64")
        params, theirs = jax.numpy.array(x), alias(learning_rate=0.05, **options)
        convention = "optax" if "optax" in rules.get(name).conventions else None
        ours = Step(name, engine="reference", convention=convention, lr=0.05, **settings)
        state, other = ours.init(x), theirs.init(params)
        for g in gradients((7, 5), "float64", 40):
            ours.dense(x, g, state)
            update, other = theirs.update(jax.numpy.asarray(g), other, params)
            params = optax.apply_updates(params, update)
            assert_close(x, params, TOLERANCE.get(name, "optax"), case)


def test_every_alias_of_a_rule_is_in_the_table():
    """The rules that optax has too."""
    theirs = {rule for rule in rules.everything() if hasattr(optax, rule) or hasattr(optax.contrib, rule)}
    assert {name for name, *_ in (LOCKSTEP | OF_WHOLE_TENSORS).values()} == theirs | {"momentum"}


@pytest.mark.parametrize("case", ["sgd", "momentum", "adam", "nadam"])
def test_updates_of_plain_rules_have_no_digits_cancelled(case):
    """Far from the origin, new − old would have lost half of the digits of an update."""
    with float64():
        ours, theirs = pair(case)
        params, grads = {"w": np.full(4, 1e8)}, {"w": np.array([1e-3, -2e-5, 0.3, 4.0])}
        found, _ = ours.update(grads, ours.init(params), params)
        expected, _ = theirs.update(grads, theirs.init(params), params)
        np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-12, atol=0)
