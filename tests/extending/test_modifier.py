"""Custom modifiers, defined in this file, work around every rule in every interface.

What a change of this kind touches: for a custom modifier only the file that defines it; for a built-in one
`src/surefoot/modifiers/NAME.py`, its line in `modifiers/__init__.py`, and the changelog. One with a statistic of a row
costs no more.

Gradient centralization subtracts the mean of each row (Yong et al. 2020); a prudent step leaves out coordinates whose
direction disagrees with the gradient.
"""

import numpy as np
import pytest
from support.numerics import assert_identical
from support.table import CONCRETE, DTYPES, gradients, parameters, touches

from surefoot import modifiers, ops
from surefoot.engines import Step
from surefoot.modifiers import Modifier, ModifierError, modifier
from surefoot.records.hyper import flag, nonnegative
from surefoot.rules import mean


def itself(g):
    return g


@modifier(
    stage="gradient",
    settings={"centralize": flag(False, "subtract the mean of each row")},
    statistics={"of_row": mean(itself, "row")},
    formula="g ← g − mean of its row",
)
def centralization(g, of_row):
    """The gradient without its row's mean."""
    return g - of_row


def agrees(direction, g):
    return ops.where(direction * g > 0.0, 1.0, 0.0)


@modifier(
    stage="direction",
    settings={"prudent": flag(False, "no coordinate moves against its gradient")},
    statistics={"share": mean(agrees, "tensor")},
    formula="d ← d [d g > 0] / mean [d g > 0]",
)
def prudence(direction, g, share):
    """The direction where it agrees with the gradient, as long as before on average."""
    return ops.where(direction * g > 0.0, direction, 0.0) / ops.maximum(share, 1e-3)


@modifier(stage="after", settings={"box": nonnegative(0.0, "bound for each coordinate; 0: none")})
def bounded(x, box):
    """The parameter, within a box."""
    return ops.minimum(ops.maximum(x, -box), box)


OWN = (centralization, prudence, bounded)
OTHERS = ("sgd", "momentum", "adagrad", "ftrl")


@pytest.fixture(autouse=True)
def registered():
    for each in OWN:
        modifiers.register(each)
    yield
    for each in OWN:
        del modifiers.REGISTRY[each.name]


def stepped(rule, engine, x, grads, **settings):
    step, x = Step(rule, engine=engine, **settings), x.copy()
    state = step.init(x)
    for g in grads:
        step.dense(x, g, state)
    return x


@pytest.mark.parametrize("settings", [{"centralize": True}, {"prudent": True}, {"box": 0.5}], ids=str)
@pytest.mark.parametrize("name", ["adam", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
def test_around_rules_in_both_engines(name, settings):
    x, grads = parameters((6, 5), "float32"), gradients((6, 5), "float32", 5)
    rule = CONCRETE[name].rule
    found, expected = (stepped(rule, engine, x, grads, **settings) for engine in ("cpu", "reference"))
    assert_identical(found, expected)
    assert not np.array_equal(found, stepped(rule, "cpu", x, grads))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", DTYPES)
def test_storage_types(dtype):
    x, grads = parameters((6, 5), dtype), gradients((6, 5), dtype, 3)
    settings = {"centralize": True, "prudent": True, "box": 0.5, "clip_norm": 1.0}
    found, expected = (stepped("adagrad", engine, x, grads, **settings) for engine in ("cpu", "reference"))
    assert_identical(found, expected)


def test_sparse_gradients():
    parts = touches((9, 5), "float32", 4)
    results = []
    for engine in ("cpu", "reference"):
        step, x = Step("adagrad", engine=engine, centralize=True, lazy="touched"), parameters((9, 5), "float32")
        state = step.init(x)
        for ids, values in parts:
            step.rows(x, ids, values, state)
        results.append(x)
    assert_identical(*results)


def test_rows_do_not_wait_for_a_modifier_without_a_closed_form():
    step = Step("sgd", box=0.5, name="embedding")
    x = np.ones((3, 2))
    with pytest.raises(
        ValueError, match=r"embedding: lazy updates are not exact .* bounded has no closed form .* lazy='touched'"
    ):
        step.rows(x, np.array([1]), np.ones((1, 2)), step.init(x))


def test_by_hand():
    x, grads = parameters((6, 5), "float64"), gradients((6, 5), "float64", 4)
    expected, velocity = x.copy(), np.zeros_like(x)
    for g in grads:
        g = g - g.mean(1, keepdims=True)
        velocity = 0.9 * velocity + g
        agree = velocity * g > 0
        expected = np.clip(expected - 0.1 * velocity * agree / max(agree.mean(), 1e-3), -0.5, 0.5)
    settings = {"centralize": True, "prudent": True, "box": 0.5, "lr": 0.1, "momentum": 0.9}
    np.testing.assert_allclose(stepped("momentum", "cpu", x, grads, **settings), expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ["cpu", "reference", "torch"])
def test_as_options_of_torch_optimizers(engine):
    torch = pytest.importorskip("torch")
    from surefoot.optim import Adam, RuleOptimizer

    x, grads = parameters((6, 5), "float32"), gradients((6, 5), "float32", 4)
    ours = []
    for make in (
        lambda p: RuleOptimizer(p, "adam", convention="pytorch", lr=0.1, prudent=True),
        lambda p: Adam(p, lr=0.1, prudent=True),
    ):
        p = torch.nn.Parameter(torch.from_numpy(x.copy()))
        optimizer = make([{"params": [p], "centralize": True, "engine": engine}])
        for g in grads:
            p.grad = torch.from_numpy(g.copy())
            optimizer.step()
        assert optimizer.state_dict()["param_groups"][0]["centralize"] is True
        ours.append(p.detach().numpy())
    expected = stepped("adam", "reference", x, grads, convention="pytorch", lr=0.1, prudent=True, centralize=True)
    for found in ours:
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7)


def test_in_jax():
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    from surefoot.optax import transformation

    x, grads = parameters((6, 5), "float32"), gradients((6, 5), "float32", 4)
    optimizer = transformation("adam", lr=0.1, prudent=True, centralize=True)
    params, state = x, optimizer.init(x)
    for g in grads:
        updates, state = jax.jit(optimizer.update)(g, state, params)
        params = optax.apply_updates(params, updates)
    expected = stepped("adam", "reference", x, grads, lr=0.1, prudent=True, centralize=True)
    np.testing.assert_allclose(params, expected, rtol=2e-5, atol=1e-6)


def test_values_out_of_bounds():
    with pytest.raises(ValueError, match="parameters: box must be a finite number of at least 0, got -1"):
        Step("sgd", box=-1)


def test_names_that_are_taken():
    with pytest.raises(ModifierError, match="again: the name 'box' is one of bounded's; rename it"):
        modifiers.register(Modifier(bounded.function, "after", {"box": nonnegative(0.0)}, name="again"))


@pytest.mark.parametrize(
    "stage, settings, fault",
    [
        ("gradient", {"box": nonnegative(0.0)}, "must take g first, got (x, box)"),
        ("after", {"limit": nonnegative(0.0)}, "takes 'box', which is neither a setting nor a statistic"),
        ("after", {}, "has no settings, so nothing could turn it on"),
        ("behind", {"box": nonnegative(0.0)}, "stage must be one of gradient, before, direction, after"),
    ],
)
def test_faults_of_a_record(stage, settings, fault):
    with pytest.raises(ModifierError, match="mine: ") as caught:
        Modifier(bounded.function, stage, settings, name="mine")
    assert fault in str(caught.value)
