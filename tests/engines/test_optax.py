"""surefoot.optax: every rule as a gradient transformation, with what JAX and optax do to such."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arrays import SHAPES as EVERY
from support.arrays import float64
from support.covering import unpacked
from support.numerics import assert_close, assert_identical
from support.statistic_rules import RULES, centralization
from support.table import CONCRETE, gradients, granularities, parameters

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

import jax.numpy as jnp  # noqa: E402

from surefoot import modifiers, ops, schedules  # noqa: E402
from surefoot.engines import Step  # noqa: E402
from surefoot.optax import State, transformation  # noqa: E402
from surefoot.rules import RuleError, direction, nonnegative, positive, rule, scalar, scale  # noqa: E402

STEPS = 6
SHAPES = {name: EVERY[name] for name in ("one number", "one", "no columns", "table")}
"""Not all: each takes time to compile, and `test_eager.py` has them."""
PENALTIES = {"decoupled_weight_decay": 0.1, "l1": 0.01, "l2": 0.1}
AROUND = {
    "plain": {},
    "penalties": PENALTIES | {"lr": schedules.warmup(schedules.polynomial(0.5, 0.1), 3)},
    "gradients": {"weight_decay": 0.05, "clip_value": 2.0, "clip_norm": 3.0, "maximize": True},
}
TABLE = {
    name: list(itertools.product([name], granularities(c, "row", "tensor"), AROUND)) for name, c in CONCRETE.items()
}
FAST = [cases[k % len(cases)] for k, cases in enumerate(TABLE.values())]
"""One case for each rule, of all kinds in turn: each is compiled."""


def around(c, name: str) -> dict:
    """Settings around a rule; from-origin rules have penalties of their own."""
    return {key: value for key, value in AROUND[name].items() if not (c.rule.from_origin and key in PENALTIES)}


def trees(dtype: str, count: int) -> list[dict]:
    """That number of trees of gradients."""
    each = {name: gradients(shape, dtype, count) for name, shape in SHAPES.items()}
    return [{name: grads[t] for name, grads in each.items()} for t in range(count)]


def start(dtype: str) -> dict:
    return {name: parameters(shape, dtype) for name, shape in SHAPES.items()}


def run(optimizer, params, grads, compiled=jax.jit):
    """(parameters, state) after these gradients."""
    state, update = optimizer.init(params), compiled(optimizer.update)
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def by_reference(rule, params, grads, **settings):
    """{name: (parameters, state)}: each array stepped alone by the reference engine."""
    step, found = Step(rule, engine="reference", **settings), {}
    for name, x in params.items():
        x = np.array(x)
        state = step.init(x)
        for g in grads:
            step.dense(x, np.asarray(g[name]), state)
        found[name] = x, state
    return found


def assert_agrees(found, expected, tolerance: str):
    params, state = found
    for name, (x, theirs) in expected.items():
        assert params[name].dtype == x.dtype
        assert_close(params[name], x, tolerance, name)
        for key, slot in theirs.slots.items():
            assert state.slots[key][name].shape == slot.shape
            assert_close(state.slots[key][name], slot, tolerance, f"{name}, {key}")
    assert int(state.skipped) == sum(theirs.skipped for _, theirs in expected.values())


@pytest.mark.parametrize("name, granularity, what", unpacked(itertools.chain(*TABLE.values()), FAST))
def test_every_rule_does_what_the_reference_does(name, granularity, what):
    c, grads = CONCRETE[name], trees("float64", STEPS)
    own = c.options | around(c, what) | {"granularity": granularity}
    with float64():
        found = run(transformation(c.base, **own), start("float64"), grads)
        assert_agrees(found, by_reference(c.base, start("float64"), grads, **own), "optax")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", CONCRETE)
def test_float32(name):
    c, grads = CONCRETE[name], [{"w": g} for g in gradients((7, 5), "float32", STEPS)]
    params = {"w": parameters((7, 5), "float32")}
    found = run(transformation(c.base, **c.options), params, grads)
    assert_agrees(found, by_reference(c.base, params, grads, **c.options), "torch float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["adagrad", "adamw", "ftrl"])
def test_half_precision(name, dtype):
    """One step: the state is float32, updates have the parameters' dtype, parameters are rounded once or twice."""
    params = {"w": jnp.linspace(-2.0, 2.0, 64).astype(dtype)}
    grads = {"w": jnp.cos(9 * jnp.arange(64.0)).astype(dtype)}
    optimizer = transformation(name, lr=0.1)
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    assert updates["w"].dtype == dtype
    assert {slot["w"].dtype for slot in state.slots.values()} == {jnp.dtype("float32")}
    found = optax.apply_updates(params, updates)["w"]
    wide, step = np.array(params["w"], np.float32), Step(name, engine="reference", lr=0.1)
    step.dense(wide, np.array(grads["w"], np.float32), step.init(wide))
    assert_close(found.astype("float32"), jnp.asarray(wide).astype(dtype).astype("float32"), f"torch.{dtype}")


def test_l1_gives_exact_zeros():
    """Also by a step from the origin, and by a proximal one: −x added to x is 0."""
    params = {"w": jnp.array([0.3, -0.7, 1e-3, 5.0])}
    grads = [{"w": jnp.array([1e-3, 2e-3, -1e-3, 0.1])}] * 50
    for name, penalty in (("dual_averaging", 0.01), ("adagrad", 0.05)):
        found, _ = run(transformation(name, lr=0.5, l1=penalty), params, grads)
        assert (found["w"] == 0).tolist() == [True, True, True, False], name


# A user-defined rule


@rule(
    slots={"total": scale(), "velocity": direction()},
    hyper={"lr": positive(0.1), "beta": positive(0.5)},
    coefficients=lambda t, lr, beta: (lr / (1 + 0.1 * ops.sqrt(t)), beta),
)
def mine(x, g, g2, total, velocity, lr, beta):
    """AdaGrad with momentum, whose rate falls with √t."""
    total = total + g2
    velocity = beta * velocity + ops.where(ops.abs(g) > 0.5, g, 0.5 * g)
    return lr / (ops.sqrt(total) + 0.001), velocity, total, velocity


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_a_rule_of_ones_own_compiled(granularity):
    grads, own = trees("float64", STEPS), {"granularity": granularity, "beta": 0.7}
    with float64():
        found = run(transformation(mine, **own), start("float64"), grads)
        assert_agrees(found, by_reference(mine, start("float64"), grads, **own), "optax")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", RULES)
def test_rules_with_statistics(name):
    """Those of the library, AdaGrad-Norm and DoG."""
    rule, grads = RULES[name][0], [{"w": g} for g in gradients((7, 5), "float64", STEPS)]
    with float64():
        found = run(transformation(rule), {"w": parameters((7, 5), "float64")}, grads)
        assert_agrees(found, by_reference(rule, {"w": parameters((7, 5), "float64")}, grads), "optax")


@modifiers.modifier(stage="after", settings={"shift": nonnegative(0.0, "added to each parameter")})
def shifting(x, shift):
    return x + shift


def test_modifiers_of_ones_own(monkeypatch):
    """Gradient centralization, cautious steps, and one that moves parameters itself."""
    for each in (centralization, shifting):
        monkeypatch.setitem(modifiers.REGISTRY, each.name, each)
    own, grads = {"centralize": True, "cautious": True, "shift": 0.25}, trees("float64", STEPS)
    with float64():
        found = run(transformation("adam", **own), start("float64"), grads)
        assert_agrees(found, by_reference("adam", start("float64"), grads, **own), "optax")


@pytest.mark.slow
def test_compiling_changes_only_roundings():
    grads = trees("float32", STEPS)
    found, state = run(transformation(mine), start("float32"), grads)
    eager, _ = run(transformation(mine), start("float32"), grads, compiled=lambda update: update)
    for name in SHAPES:
        assert_close(found[name], eager[name], "torch float32", name)
    assert int(state.count) == STEPS


def test_scanned():
    """The state keeps its dtypes and shapes, as what a loop carries has to."""
    optimizer, x = transformation(mine), jnp.asarray(parameters((7, 5), "float32"))
    grads = jnp.stack(list(map(jnp.asarray, gradients((7, 5), "float32", STEPS))))

    def body(carry, g):
        updates, state = optimizer.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    (found, state), _ = jax.lax.scan(body, (x, optimizer.init(x)), grads)
    expected, _ = run(optimizer, x, list(grads))
    assert_close(found, expected, "torch float32")
    assert int(state.count) == STEPS


@pytest.mark.sampled(1)
@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_mapped_over_models(granularity):
    """Several models at once come to what each comes to alone, also where some have taken more steps."""
    optimizer = transformation(mine, granularity=granularity)
    xs = jnp.stack([jnp.asarray(parameters((4, 3), "float32", seed=k)) for k in range(3)])
    gs = jnp.stack([jnp.asarray(gradients((4, 3), "float32", 1, seed=k)[0]) for k in range(3)])
    states = jax.vmap(optimizer.init)(xs)._replace(count=jnp.array([0, 5, 9], jnp.int32))
    found, after = jax.vmap(optimizer.update)(gs, states, xs)
    for k in range(3):
        alone = jax.tree.map(lambda leaf, k=k: leaf[k], states)
        expected, _ = optimizer.update(gs[k], alone, xs[k])
        assert_close(found[k], expected, "torch float32")
    assert after.count.tolist() == [1, 6, 10]


def test_rates_by_gradient():
    """A learning rate can be learned: the derivative of the loss after a step by the rate."""
    x, g = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])

    def after(lr):
        optimizer = transformation("adagrad", lr=lr)
        updates, _ = optimizer.update(g, optimizer.init(x), x)
        return jnp.sum(optax.apply_updates(x, updates) ** 2)

    slope, h = jax.grad(after)(jnp.asarray(0.1)), 1e-2
    assert_close(slope, (after(jnp.asarray(0.1 + h)) - after(jnp.asarray(0.1 - h))) / (2 * h), "trained")


# With optax


def test_in_a_chain():
    """After optax's clipping by the norm of all gradients, and halved: not what the same settings give each array."""
    params, grads = {"a": jnp.array([1.0]), "b": jnp.array([2.0])}, {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), transformation("sgd", lr=1.0), optax.scale(0.5))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert_close([updates["a"][0], updates["b"][0]], [-0.3, -0.4], "torch float32")


def test_for_some_parameters_and_not_for_others():
    params = {"table": jnp.ones((4, 2)), "bias": jnp.ones(2)}
    labels = {"table": "rows", "bias": "sgd"}
    optimizer = optax.multi_transform(
        {"rows": transformation("adagrad", lr=0.5, granularity="row"), "sgd": optax.sgd(0.5)}, labels
    )
    grads = jax.tree.map(jnp.ones_like, params)
    updates, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    assert_close(updates["table"], np.full((4, 2), -0.5), "torch float32")
    assert_close(updates["bias"], [-0.5, -0.5], "torch float32")
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), (4, 1)}


def test_gradients_of_several_steps():
    optimizer = optax.MultiSteps(transformation("adagrad", lr=0.5), every_k_schedule=2)
    params = {"w": jnp.array([1.0, 2.0], jnp.bfloat16)}
    grads = [{"w": jnp.array([1.0, 4.0], jnp.bfloat16)}, {"w": jnp.array([3.0, 0.0], jnp.bfloat16)}]
    found, state = run(optimizer, params, grads)
    assert_close(found["w"].astype("float32"), [0.5, 1.5], "torch.bfloat16")
    assert int(state.inner_opt_state.count) == 1


def test_an_injected_rate():
    """The rate lies in the state, where it can be changed between compiled steps."""
    optimizer = optax.inject_hyperparams(lambda lr: transformation("adam", lr=lr))(lr=0.5)
    params, grads = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, -1.0])}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    updates, state = update(grads, state, params)
    assert_close(updates["w"], [-0.5, 0.5], "trained")
    state.hyperparams["lr"] = jnp.asarray(0.25)
    updates, _ = update(grads, state, params)
    assert_close(updates["w"], [-0.25, 0.25], "trained")


# Learning rates

RATES = {
    "constant": (0.25, [0.25] * 4),
    "written": ("piecewise:1:2:0.5:3:0.25", [1.0, 0.5, 0.25, 0.25]),
    "Surefoot's": (schedules.chain((schedules.constant(1.0), 2), schedules.exponential(0.5, 1.0)), None),
    "a function": (lambda t: 1.0 / t, [1.0, 1 / 2, 1 / 3, 1 / 4]),
    "optax's": (optax.linear_schedule(1.0, 0.0, 4), [1.0, 0.75, 0.5, 0.25]),
    "optax's, joined": (
        optax.join_schedules([optax.constant_schedule(1.0), optax.constant_schedule(0.5)], [2]),
        [1.0, 1.0, 0.5, 0.5],
    ),
}


@pytest.mark.parametrize("lr, expected", RATES.values(), ids=RATES)
def test_rates(lr, expected):
    """optax's schedules get the count of steps before; all others t = 1, 2, …, as everywhere in Surefoot."""
    expected = [lr(t) for t in range(1, 5)] if expected is None else expected
    optimizer = transformation("sgd", lr=lr)
    x, update, found = jnp.zeros(1), jax.jit(optimizer.update), []
    state = optimizer.init(x)
    for _ in range(4):
        step, state = update(jnp.ones(1), state, x)
        found.append(-float(step[0]))
    assert_close(found, expected, "torch float32")


# State


def test_a_state_is_saved_and_continued():
    """As a tree of arrays, bit for bit."""
    optimizer, grads = transformation("adam", granularity="row"), trees("float32", 2 * STEPS)
    params, state = run(optimizer, start("float32"), grads[:STEPS])
    assert isinstance(state, State)
    assert set(state.slots) == {"velocity", "square"}
    arrays, structure = jax.tree.flatten((params, state))
    saved = pickle.dumps([np.asarray(array) for array in arrays])
    params, state = jax.tree.unflatten(structure, pickle.loads(saved))
    for g in grads[STEPS:]:
        updates, state = optimizer.update(g, state, params)
        params = optax.apply_updates(params, updates)
    whole, expected = run(optimizer, start("float32"), grads, compiled=lambda update: update)
    for name in SHAPES:
        assert_close(params[name], whole[name], "torch float32", name)
    assert jax.tree.structure(state) == jax.tree.structure(expected)


def test_the_state_is_a_tree_like_the_parameters():
    params = {"layers": [jnp.ones((2, 3)), (jnp.ones(4), None)]}
    state = transformation("adagrad", granularity="row", initial_accumulator_value=0.5).init(params)
    assert jax.tree.map(jnp.shape, state.slots["total"]) == {"layers": [(2, 1), ((4,), None)]}
    assert (state.slots["total"]["layers"][0] == 0.5).all()


def test_without_parameters_to_step():
    updates, state = transformation("adam").update({}, transformation("adam").init({}), {})
    assert updates == {}
    assert int(state.count) == 1


def test_state_in_half_precision():
    state = transformation("adam", state_dtype="bfloat16").init(jnp.ones(3))
    assert {slot.dtype for slot in state.slots.values()} == {jnp.dtype("bfloat16")}


# What is not finite


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_what_is_not_finite_is_skipped_and_counted(granularity):
    grads = [np.array([[1.0, g, -2.0], [3.0, 1.0, 0.5]]) for g in (1.0, np.nan, 1e200, -np.inf, 2.0)]
    grads, own = [{"w": g} for g in grads], {"granularity": granularity, "nonfinite": "skip"}
    with float64():
        found = run(transformation("adam", **own), {"w": np.ones((2, 3))}, grads)
        assert_agrees(found, by_reference("adam", {"w": np.ones((2, 3))}, grads, **own), "optax")
    assert int(found[1].skipped) > 0


def test_a_parameter_that_would_overflow_is_skipped():
    params = {"w": jnp.array([6e4, 1.0], jnp.float16)}
    found, state = run(transformation("sgd", lr=1.0), params, [{"w": jnp.array([-6e4, -1.0], jnp.float16)}])
    assert found["w"].tolist() == [6e4, 2.0]
    assert int(state.skipped) == 1


def test_what_is_not_finite_spreads_where_that_is_wanted():
    params = {"w": jnp.ones(2)}
    found, state = run(transformation("sgd", lr=1.0, nonfinite="propagate"), params, [{"w": jnp.array([jnp.nan, 1.0])}])
    assert np.isnan(found["w"]).tolist() == [True, False]
    assert int(state.skipped) == 0


# Errors

SETTINGS = {
    "raise": ({"nonfinite": "raise"}, ValueError, "nonfinite='raise' is not possible, as compiled code cannot raise"),
    "threads": ({"threads": 2}, ValueError, "threads cannot be set here: JAX has threads of its own"),
    "average": ({"average": True}, ValueError, "average cannot be set here: keep an average"),
    "lazy": ({"lazy": "touched"}, ValueError, "lazy cannot be set here: gradients in JAX are dense"),
    "engine": ({"engine": "cpu"}, ValueError, "engine cannot be set here"),
    "rounding": ({"stochastic_rounding": 1}, ValueError, "parameters are rounded by optax.apply_updates"),
    "rate": ({"lr": jnp.ones(2)}, ValueError, r"lr must be a number, got an array of shape \(2,\)"),
    "misspelt": ({"epz": 1.0}, RuleError, "there is no hyperparameter 'epz'; did you mean 'eps'"),
    "bounds": ({"lr": -1.0}, RuleError, "lr must lie in"),
    "granularity": ({"granularity": "column"}, ValueError, "granularity must be one of coordinate, row, tensor"),
}


@pytest.mark.parametrize("settings, error, message", SETTINGS.values(), ids=SETTINGS)
def test_rejected_settings(settings, error, message):
    with pytest.raises(error, match=message):
        transformation("adagrad", **settings)


@rule(slots={"most": scalar(over="group")}, hyper={"lr": positive(0.1)})
def over_all(x, g, g2, most, lr):
    return lr, g, most


def test_numbers_over_several_arrays_are_rejected():
    with pytest.raises(ValueError, match="over_all has numbers over a group of arrays; expected over 'tensor'"):
        transformation(over_all)


NEEDY = {
    "from the origin": ("ftrl", {}),
    "decoupled": ("adamw", {}),
    "coupled": ("sgd", {"weight_decay": 0.1}),
    "penalties": ("adagrad", {"l1": 0.1}),
}


@pytest.mark.parametrize("name, settings", NEEDY.values(), ids=NEEDY)
def test_parameters_that_are_needed_and_missing(name, settings):
    optimizer = transformation(name, **settings)
    with pytest.raises(ValueError, match=f"{name} with these settings reads the parameters, but update got params=N"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "nadam", "yogi"])
def test_parameters_that_are_not_needed(name):
    optimizer, x, g = transformation(name), jnp.array([1.0, 2.0]), jnp.array([0.5, -3.0])
    found, _ = optimizer.update(g, optimizer.init(x))
    expected, _ = optimizer.update(g, optimizer.init(x), x)
    assert_identical(found, expected)


def test_gradients_and_parameters_that_do_not_fit():
    optimizer = transformation("sgd")
    params = {"layer": {"w": jnp.ones((2, 3))}}
    state = optimizer.init(params)
    with pytest.raises(
        ValueError, match=r"^transformation\['layer'\]\['w'\] has a gradient of shape \(3,\); expected \("
    ):
        optimizer.update({"layer": {"w": jnp.ones(3)}}, state, params)
    with pytest.raises(ValueError, match=r"^net\['n'\] is int32; expected float64, float32"):
        transformation("sgd", name="net").init({"n": jnp.arange(3)})
    with pytest.raises(ValueError, match=r"is complex64; .*optax.contrib.split_real_and_imaginary"):
        optimizer.init({"z": jnp.ones(2, jnp.complex64)})
    assert hasattr(optax.contrib, "split_real_and_imaginary")
    with pytest.raises(ValueError, match="state_dtype='float64' needs jax_enable_x64"):
        transformation("adagrad", state_dtype="float64").init(jnp.ones(2))


@rule(
    hyper={"lr": positive(0.1)},
    coefficients=lambda t, lr: (lr if t < 5 else lr / 2,),
)
def branching(x, g, g2, lr):
    return lr, g


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(lambda: transformation(branching), id="coefficients that branch on t"),
        pytest.param(lambda: transformation("sgd", lr=lambda t: 0.1 if t < 5 else 0.05), id="a schedule that branches"),
        pytest.param(lambda: transformation("sgd", lr=lambda t: float(np.sqrt(t))), id="a schedule of NumPy"),
    ],
)
def test_what_cannot_be_compiled_says_so(optimizer):
    optimizer, x = optimizer(), jnp.ones(2)
    with pytest.raises(RuleError, match=r"or its schedule, cannot be traced by JAX; expected arithmetic and functions"):
        jax.jit(optimizer.update)(x, optimizer.init(x), x)


# A property


@settings(max_examples=8)
@given(
    name=st.sampled_from(sorted(CONCRETE)),
    shapes=st.lists(st.sampled_from(sorted(EVERY.values())), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_tree_is_its_arrays(name, shapes, seed):
    """Arrays are stepped each by itself, however they are nested."""
    c = CONCRETE[name]
    params = [parameters(shape, "float64", seed=seed + k) for k, shape in enumerate(shapes)]
    grads = [gradients(shape, "float64", 2, seed=seed + k) for k, shape in enumerate(shapes)]
    with float64():
        nested = [{str(k): (x,)} for k, x in enumerate(params)]
        moves = [[{str(k): (g[t],)} for k, g in enumerate(grads)] for t in range(2)]
        optimizer = transformation(c.base, **c.options)
        found, state = run(optimizer, nested, moves)
        flat = [{str(k): g[t] for k, g in enumerate(grads)} for t in range(2)]
        expected = by_reference(c.base, {str(k): x for k, x in enumerate(params)}, flat, **c.options)
        for k, part in enumerate(found):
            assert_close(part[str(k)][0], expected[str(k)][0], "optax")
    assert int(state.count) == 2
