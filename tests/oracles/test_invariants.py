"""What must hold for every rule, whatever its formula: symmetries, zero gradients, rows, shared rates, closed forms."""

import numpy as np
import pytest
from support.numerics import assert_close, assert_identical
from support.table import CONCRETE, gradients, granularities, parameters

from surefoot.engines import Step

SHAPE = (6, 5)
every_rule = pytest.mark.parametrize("c", CONCRETE.values(), ids=str)
sharing = pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.shares], ids=str)


def combinations(rules, *shared):
    pairs = [(c, granularity) for c in rules for granularity in granularities(c, *shared)]
    return pytest.mark.parametrize("c, granularity", pairs, ids=str)


def run(c, x, grads, **settings):
    """(x, state) after the gradients, by the reference engine."""
    step, x = c.step(engine="reference", **settings), np.array(x)
    state = step.init(x)
    for g in grads:
        step.dense(x, g, state)
    return x, state


def start():
    return parameters(SHAPE, "float64"), gradients(SHAPE, "float64", 5)


# Symmetries


@every_rule
def test_permuting_coordinates_permutes_the_result(c):
    x, grads = start()
    order = np.random.default_rng(0).permutation(x.size)

    def permuted(values):
        return values.ravel()[order].reshape(SHAPE)

    plain, state = run(c, x, grads)
    found, found_state = run(c, permuted(x), [permuted(g) for g in grads])
    assert_identical(found, permuted(plain))
    for name, slot in state.slots.items():
        assert_identical(found_state.slots[name], permuted(slot), name)


@every_rule
def test_negated_parameters_and_gradients_negate_the_result(c):
    x, grads = start()
    plain, _ = run(c, x, grads)
    assert_close(run(c, -x, [-g for g in grads])[0], -plain, "float64")


@every_rule
def test_uphill_is_downhill_along_the_negated_gradient(c):
    x, grads = start()
    uphill, _ = run(c, x, grads, maximize=True)
    assert_identical(uphill, run(c, x, [-g for g in grads], maximize=False)[0])
    assert (uphill != run(c, x, grads)[0]).any()


@every_rule
def test_shifted_parameters_take_the_same_steps(c):
    """x enters only as the start of a step, and not at all if a method starts from the origin."""
    x, grads = start()
    x = np.round(x, 3)
    plain, _ = run(c, x, grads, **undecayed(c))
    moved, _ = run(c, x + 1, grads, **undecayed(c))
    if c.name == "ftrl":
        # Its first step stays near where it is.
        assert_close(moved - 1, plain, "float64")
    elif c.rule.from_origin:
        assert_identical(moved, plain)
    else:
        assert_close(moved - 1, plain, "float64")


def undecayed(c):
    return {"decoupled_weight_decay": 0.0} if c.base == "adamw" else {}


HOMOGENEOUS = (
    "adagrad",
    "mean_adagrad",
    "rmsprop",
    "rmsprop[centered]",
    "adam",
    "adam[amsgrad]",
    "adamw",
    "nadam",
    "yogi",
    "lion",
    "adamax",
    "adabelief",
)


@pytest.mark.parametrize("name", [*HOMOGENEOUS, "dual_averaging"])
def test_without_epsilon_the_size_of_gradients_makes_no_difference(name):
    """Scaled by a power of two, so that no rounding differs."""
    c, (x, grads) = CONCRETE[name], start()
    none = without_epsilon(c)
    assert_identical(run(c, x, [g * 2.0**12 for g in grads], **none)[0], run(c, x, grads, **none)[0])


def without_epsilon(c):
    return {key: 0.0 for key in ("eps", "eps_root") if key in c.rule.hyper}


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.name not in ("ftrl", "madgrad")], ids=str)
def test_half_the_rate_is_half_the_step(c):
    """Of the first step; ADOPT's is the second. The denominators of FTRL and MADGRAD have η in them, too."""
    _, grads = start()
    first = grads[: 2 if c.name == "adopt" else 1]
    half, whole = (run(c, np.zeros(SHAPE), first, lr=lr)[0] for lr in (0.25, 0.5))
    assert_identical(2 * half, whole)
    assert (whole != 0).any()


# A zero gradient


@pytest.mark.parametrize("settings", [{}, {"eps": 0.0, "eps_root": 0.0}], ids=["default", "no ε"])
@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.rule.lazy_exact], ids=str)
def test_a_zero_gradient_is_no_step(c, engine, settings):
    settings = {k: v for k, v in settings.items() if k in c.rule.hyper}
    x, grads = start()
    grads = [np.where(np.arange(5) == 0, 0, g) for g in grads]
    if c.rule.from_origin:
        x[:] = 0
    step = c.step(engine=engine, **settings)
    state = step.init(x)
    for g in grads:
        before, memory = x.copy(), {name: slot.copy() for name, slot in state.slots.items()}
        step.dense(x, g, state)
        still = g == 0
        assert_identical(x[still], before[still])
        for name, slot in state.slots.items():
            assert_identical(slot[still], memory[name][still], name)
        assert (x != before).any()
    assert state.skipped == 0


@every_rule
def test_a_rule_is_lazy_exact_if_and_only_if_it_says_so(c):
    """Memory and rate stay, whatever the memory, under zero gradients."""
    x, grads = start()
    step = c.step(engine="reference", **undecayed(c))
    state = step.init(x)
    for g in grads:
        step.dense(x, g, state)
    step.dense(x, np.zeros(SHAPE), state)
    memory, rates = {name: slot.copy() for name, slot in state.slots.items()}, step.rates(x, state)
    step.dense(x, np.zeros(SHAPE), state)
    same = np.array_equal(step.rates(x, state), rates)
    same &= all(np.array_equal(slot, memory[name]) for name, slot in state.slots.items())
    assert same == c.rule.lazy_exact


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.rule.follows_rate], ids=str)
def test_a_method_that_starts_from_the_origin_ignores_other_starts(c):
    for engine in ("reference", "cpu"):
        step, x = c.step(engine=engine), np.array([3.0, -2.0])
        step.dense(x, np.zeros(2), step.init(x))
        assert (x == 0).all()


# Memory


@pytest.mark.parametrize(
    "name, slot",
    [
        ("adagrad", "total"),
        ("madgrad", "total"),
        ("mean_adagrad", "total"),
        ("dual_averaging", "total"),
        ("ftrl", "total"),
        ("visits", "count"),
        ("adam[amsgrad]", "largest"),
        ("adamw[amsgrad]", "largest"),
    ],
)
def test_memory_does_not_decrease(name, slot):
    step, (x, _) = CONCRETE[name].step(engine="reference"), start()
    state = step.init(x)
    for g in gradients(SHAPE, "float64", 30, seed=1):
        before = state.slots[slot].copy()
        step.dense(x, g, state)
        assert (state.slots[slot] >= before).all()
    assert (state.slots[slot] > 0).any()


@pytest.mark.parametrize("name", ["adagrad", "visits", "dual_averaging", "ftrl"])
def test_rates_that_never_rise(name):
    step, (x, _) = CONCRETE[name].step(engine="reference"), start()
    state = step.init(x)
    for g in gradients(SHAPE, "float64", 30, seed=1):
        before = step.rates(x, state)
        step.dense(x, g, state)
        assert (step.rates(x, state) <= before).all()


# Sparse rows


@combinations(CONCRETE.values(), "row")
def test_rows_are_a_dense_step_of_the_touched_rows(c, granularity):
    """The others are unchanged, bit for bit."""
    x, grads = start()
    ids = np.array([4, 1, 2])
    step = c.step(engine="reference", granularity=granularity, lazy="touched")
    state = step.init(x)
    step.dense(x, grads[0], state)
    part, before = x[ids], x.copy()
    part_state = step.init(part)
    part_state.t, part_state.slots = state.t, {name: slot[ids] for name, slot in state.slots.items()}
    memory = {name: slot.copy() for name, slot in state.slots.items()}
    step.rows(x, ids, grads[1][ids], state)
    step.dense(part, grads[1][ids], part_state)
    assert_identical(x[ids], part)
    others = np.setdiff1d(np.arange(6), ids)
    assert_identical(x[others], before[others])
    for name, slot in state.slots.items():
        assert_identical(slot[ids], part_state.slots[name], name)
        assert_identical(slot[others], memory[name][others], name)


@combinations([c for c in CONCRETE.values() if c.rule.lazy_exact and not c.rule.from_origin], "row", "tensor")
def test_sparse_is_dense_for_lazy_exact_rules(c, granularity):
    """A row whose gradient is zero does not move, so updating only the touched rows is exact."""
    rng, (x, _) = np.random.default_rng(2), start()
    step = c.step(engine="reference", granularity=granularity)
    y, state = x.copy(), step.init(x)
    dense_state = step.init(y)
    for _ in range(10):
        ids, values = rng.permutation(6)[:3], rng.normal(size=(3, 5))
        g = np.zeros(SHAPE)
        g[ids] = values
        step.rows(x, ids, values, state)
        step.dense(y, g, dense_state)
    compare = assert_close if granularity == "tensor" else assert_identical
    # The tensor's mean is summed over rows rather than over all coordinates.
    extra = ("float64",) if granularity == "tensor" else ()
    compare(x, y, *extra)
    for name, slot in state.slots.items():
        compare(slot, dense_state.slots[name], *extra)


# Shared rates


@sharing
@pytest.mark.parametrize("granularity, axes", [("row", (1,)), ("tensor", (0, 1))])
def test_a_shared_rate_receives_the_mean_square(c, granularity, axes):
    """Written out with the rule's own function, g² replaced by its mean."""
    x, grads = start()
    step = c.step(engine="reference", granularity=granularity, **undecayed(c))
    shapes = {"scale": np.zeros(SHAPE).mean(axes, keepdims=True).shape, "direction": SHAPE}
    initial = [step.hyper[s.initial] if isinstance(s.initial, str) else s.initial for s in step.rule.slots.values()]
    slots = [np.full(shapes[s.kind], v) for s, v in zip(step.rule.slots.values(), initial, strict=True)]
    expected = x.copy()
    for t, g in enumerate(grads, 1):
        mean = (g**2).mean(axes, keepdims=True)
        rate, direction, *slots = step.rule.bound(dtype=np.float64)(expected, g, mean, *slots, *step.coefficients(t))
        expected = (0 if c.rule.from_origin else expected) - rate * direction
    found, state = run(c, x, grads, granularity=granularity, **undecayed(c))
    assert_close(found, expected, "float64")
    for (name, slot), value in zip(state.slots.items(), slots, strict=True):
        assert slot.shape == shapes[step.rule.slots[name].kind]
        assert_close(slot, value, "float64", name)


@pytest.mark.parametrize("shape, granularity", [((5, 1), "row"), ((4,), "row"), ((1,), "tensor"), ((), "tensor")])
@sharing
def test_a_tensor_of_one_coordinate_shares_its_own_rate(c, shape, granularity):
    x, grads = parameters(shape, "float64"), gradients(shape, "float64", 5)
    shared, own = (run(c, x, grads, granularity=g) for g in (granularity, "coordinate"))
    assert_identical(shared[0], own[0])
    for name, slot in own[1].slots.items():
        assert_identical(shared[1].slots[name], slot, name)


# Closed forms


def test_adagrads_first_step_is_the_rate_along_the_sign():
    x, state = np.zeros(3), None
    step = Step("adagrad", engine="reference", lr=0.3, eps_root=0.0)
    state = step.init(x)
    step.dense(x, np.array([7.0, -0.01, 0.0]), state)
    assert_close(x, [-0.3, 0.3, 0.0], "float64")


def test_adagrad_under_a_constant_gradient():
    """xₜ = −η Σ 1/√k, whatever the gradient."""
    x, _ = run(CONCRETE["adagrad"], np.zeros(2), [np.array([3.0, -0.5])] * 30, lr=0.1, eps_root=0.0)
    sum_of_roots = (1 / np.sqrt(np.arange(1, 31))).sum()
    assert_close(x, [-0.1 * sum_of_roots, 0.1 * sum_of_roots], "float64")


@pytest.mark.parametrize("name", ["mean_adagrad", "rmsprop", "adam", "adam[amsgrad]", "yogi", "adamax", "lion"])
def test_normalized_rules_under_a_constant_gradient(name):
    """Corrected averages of a constant are that constant: every step of Adam is η, and so is mean AdaGrad's."""
    c, g = CONCRETE[name], np.array([3.0, -0.5])
    x, _ = run(c, np.zeros(2), [g] * 20, lr=0.1, **without_epsilon(c))
    steps = (1 / np.sqrt(1 - 0.9 ** np.arange(1, 21))).sum() if name == "rmsprop" else 20
    if name == "yogi":
        # s grows by (1 − β₂) g² until it passes g², as the leaky average only does in the limit.
        s = np.minimum(0.001 * np.arange(1, 21), 1) / (1 - 0.999 ** np.arange(1, 21))
        steps = (1 / np.sqrt(s)).sum()
    assert_close(x, -0.1 * steps * np.sign(g), "float64")


def test_yogi_stays_where_it_is_right():
    """sgn(g² − s) is 0 where g² = s: then s does not move, and neither does it under a zero gradient."""
    step, x = Step("yogi", engine="reference", initial_accumulator_value=9.0), np.zeros(4)
    state = step.init(x)
    step.dense(x, np.array([3.0, -3.0, 0.0, 4.0]), state)
    assert_close(state.slots["square"], [9.0, 9.0, 9.0, 9.0 + 0.001 * 16], "float64")


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_under_a_constant_gradient(nesterov):
    """vₜ = g (1 − βᵗ)/(1 − β): the effective weight of a gradient is 1/(1 − β)."""
    x, state = run(CONCRETE["momentum"], np.zeros(1), [np.ones(1)] * 25, lr=0.1, momentum=0.6, nesterov=nesterov)
    v = (1 - 0.6 ** np.arange(1, 26)) / 0.4
    assert_close(state.slots["velocity"], v[-1:], "float64")
    assert_close(x, [-0.1 * ((1 + 0.6 * v).sum() if nesterov else v.sum())], "float64")


def test_gradient_descent_on_a_quadratic():
    """xₜ = (1 − ηλ)ᵗ x₀; it diverges for ηλ > 2."""
    curvature = np.array([0.1, 1.0, 10.0, 19.0, 25.0])
    step, x = Step("sgd", engine="reference", lr=0.1), np.ones(5)
    state = step.init(x)
    for _ in range(20):
        step.dense(x, curvature * x, state)
    assert_close(x, (1 - 0.1 * curvature) ** 20, "float64")
    assert abs(x[-1]) > 1 > abs(x[-2])


def test_momentum_without_memory_is_gradient_descent():
    x, grads = start()
    assert_identical(
        run(CONCRETE["momentum"], x, grads, lr=0.1, momentum=0.0)[0], run(CONCRETE["sgd"], x, grads, lr=0.1)[0]
    )


def test_adam_without_memory_is_rmsprop_without_memory():
    x, grads = start()
    adam, _ = run(CONCRETE["adam"], x, grads, lr=0.1, beta1=0.0, beta2=0.0, eps=1e-3)
    assert_close(adam, run(CONCRETE["rmsprop"], x, grads, lr=0.1, gamma=0.0, eps=1e-3, eps_root=0.0)[0], "float64")


def test_dual_averaging_without_penalty_on_one_gradient_is_adagrad():
    g = np.array([3.0, -0.5, 0.0])
    found = run(CONCRETE["dual_averaging"], np.zeros(3), [g])[0]
    assert_identical(found, run(CONCRETE["adagrad"], np.zeros(3), [g])[0])


def test_ftrl_without_penalties_is_adagrad():
    """McMahan (2011): without L1 the regularized leader takes AdaGrad's steps, here with β = ε outside the root."""
    _, grads = start()
    found, _ = run(CONCRETE["ftrl"], np.zeros(SHAPE), grads, lr=0.2, beta=0.3)
    expected, _ = run(CONCRETE["adagrad"], np.zeros(SHAPE), grads, lr=0.2, eps=0.3, eps_root=0.0)
    assert_close(found, expected, "float64")


def test_l1_makes_exact_zeros():
    """x = 0 solves ½(x − a)² + l1 |x| for |a| ≤ l1: those coordinates become zero, exactly, and the others a ∓ l1."""
    a = np.array([0.05, -0.3, 2.0, -2.0, 0.0])
    for rule, settings in (("sgd", {"lr": 0.1}), ("adagrad", {"lr": 0.5})):
        step, x = Step(rule, engine="reference", l1=0.4, **settings), np.ones(5)
        state = step.init(x)
        for _ in range(4000):
            step.dense(x, x - a, state)
        assert_close(x, [0, 0, 1.6, -1.6, 0], "minimizer", rule)
        assert (x[[0, 1, 4]] == 0).all()
    step, x = Step("dual_averaging", engine="reference", lr=1.0, l1=0.4), np.zeros(5)
    state = step.init(x)
    for _ in range(50):
        step.dense(x, x - a, state)
    assert (x[[0, 1, 4]] == 0).all()
    assert (x[[2, 3]] != 0).all()
