"""Rules and modifiers with statistics: the same bits in both engines, and the steps that the papers write."""

import dataclasses

import numpy as np
import pytest
from support.numerics import assert_identical, assert_same_memory
from support.statistic_rules import AVERAGED, OF_GROUPS, RULES, centralization

from surefoot import modifiers
from surefoot.engines import Step

ALL = RULES | OF_GROUPS | AVERAGED
SLOW = [name for name in (*OF_GROUPS, *AVERAGED) if name != "dog"]
"""Rules whose kernels fast tests compile for their traces alone."""
every_rule = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ALL]
)
SHAPES = [(1, 1), (7, 3), (3, 40), (1, 5000), (2100, 3), (6, 4, 5), (9,), ()]


@pytest.fixture
def registered():
    """The modifier of `support.statistic_rules`, for one test."""
    modifiers.register(centralization)
    yield
    del modifiers.REGISTRY[centralization.name]


def gradients(shape, dtype, count=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for _ in range(count)]


def ran(rule, shape, dtype="float64", engine="cpu", layout="C", **settings):
    """(parameters, state) after some steps."""
    step = Step(rule, engine=engine, **settings)
    x = np.asarray(np.random.default_rng(9).normal(size=shape).astype(dtype), order=layout)
    state = step.init(x)
    for g in gradients(shape, dtype):
        step.dense(x, np.asarray(g, order=layout), state)
    return x, state


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", ALL)
def test_the_papers_steps(name):
    rule, by_hand = ALL[name]
    x, _ = ran(rule, (7, 3), engine="reference" if name in SLOW else "cpu")
    expected = by_hand(np.random.default_rng(9).normal(size=(7, 3)), gradients((7, 3), "float64"))
    np.testing.assert_allclose(x, expected, rtol=1e-12)


@pytest.mark.sampled(5)
@every_rule
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_the_references_bits(name, dtype):
    for shape in SHAPES:
        found, expected = (ran(ALL[name][0], shape, dtype, engine) for engine in ("cpu", "reference"))
        assert_identical(found[0], expected[0], f"{shape}")
        assert_same_memory(found[1], expected[1], f"{shape}")


@pytest.mark.sampled(2)
@every_rule
def test_memory_with_gaps(name):
    for shape in ((7, 3), (2100, 3)):
        found, expected = (ran(ALL[name][0], shape, layout=layout) for layout in "FC")
        assert_identical(found[0], expected[0])


@pytest.mark.slow
@every_rule
def test_any_number_of_threads(name):
    found = [ran(ALL[name][0], (300, 2000), "float32", threads=threads)[0] for threads in (1, 2, 3)]
    assert_identical(found[0], found[1])
    assert_identical(found[0], found[2])


@pytest.mark.sampled(2)
@every_rule
def test_sparse_gradients(name):
    """Rows without a gradient count as 0 in sums and means; they stay as they are."""
    if ALL[name][0].dense:
        pytest.skip(f"{name} takes dense gradients alone")
    results = []
    for engine in ("cpu", "reference"):
        step = Step(ALL[name][0], engine=engine, lazy="touched")
        x = np.random.default_rng(9).normal(size=(40, 3)).astype("float32")
        state, rng = step.init(x), np.random.default_rng(0)
        for _ in range(4):
            ids = rng.integers(0, 20, 30)
            step.rows(x, ids, rng.normal(size=(30, 3)).astype("float32"), state)
        step.rows(x, np.arange(0), np.zeros((0, 3), "float32"), state)
        results.append((x, state))
    assert_identical(results[0][0], results[1][0])
    assert_same_memory(results[0][1], results[1][1])
    assert_identical(results[0][0][20:], np.random.default_rng(9).normal(size=(40, 3)).astype("float32")[20:])


@pytest.mark.parametrize("engine", [pytest.param("cpu", marks=pytest.mark.slow), "reference"])
@pytest.mark.parametrize("name", ["dadapt_adagrad", "dog"])
def test_sparse_steps_of_parameter_free_rules_are_dense_ones(name, engine):
    """But for the norm of DoG's start, of which a sparse gradient has the part of its rows."""
    settings = {"lazy": "touched", "first": 1e-2} if name == "dog" else {"d0": 1e-2}
    step, rng = Step(name, engine=engine, **settings), np.random.default_rng(0)
    x, y = np.zeros((12, 3)), np.zeros((12, 3))
    state, other = step.init(x), step.init(y)
    for _ in range(40):
        ids = rng.permutation(12)[:4]
        values = x[ids] - 1 + rng.normal(size=(4, 3)) / 10
        whole = np.zeros((12, 3))
        whole[ids] = values
        step.rows(x, ids, values, state)
        step.dense(y, whole, other)
    np.testing.assert_allclose(x, y, rtol=1e-9)
    assert abs(x).max() > 0.1


def test_prodigy_takes_no_sparse_gradients():
    step, x = Step("prodigy", engine="reference", lazy="touched"), np.zeros((4, 2))
    with pytest.raises(ValueError, match="prodigy needs the gradients of all rows at once; expected a dense gradient"):
        step.rows(x, np.array([1]), np.ones((1, 2)), step.init(x))


@pytest.mark.parametrize("lazy", ["exact", "touched"])
@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_sparse_steps_of_sm3_are_dense_ones(engine, lazy):
    """No accumulator ever falls, so rows without a gradient have nothing to add to those of the columns."""
    step, rng = Step("sm3", engine=engine, lazy=lazy), np.random.default_rng(0)
    x, y = np.zeros((12, 3)), np.zeros((12, 3))
    state, other = step.init(x), step.init(y)
    for _ in range(20):
        ids, values = rng.permutation(12)[:4], rng.normal(size=(4, 3)) * 10.0 ** rng.uniform(-2, 1)
        whole = np.zeros((12, 3))
        whole[ids] = values
        step.rows(x, ids, values, state)
        step.dense(y, whole, other)
    assert_identical(x, y)
    assert_same_memory(state, other)


@pytest.mark.sampled(2)
@every_rule
def test_coordinates_that_are_not_finite_are_left_out_of_statistics(name):
    results = []
    for engine in ("cpu", "reference"):
        step = Step(ALL[name][0], engine=engine, nonfinite="skip")
        x = np.random.default_rng(9).normal(size=(6, 5)).astype("float32")
        state = step.init(x)
        for g in gradients((6, 5), "float32"):
            g[2, 3], g[4, 0] = np.nan, 1e30
            step.dense(x, g, state)
        results.append((x, state))
    assert_identical(results[0][0], results[1][0])
    assert_same_memory(results[0][1], results[1][1])
    assert np.isfinite(results[0][0]).all()
    assert results[0][1].skipped == 8


@pytest.mark.sampled(1)
@pytest.mark.parametrize("setting", ["centralize", "cautious"])
def test_modifiers_with_statistics(registered, setting):
    for shape in ((7, 3), (2100, 3), (4,)):
        for layout in "CF":
            runs = [ran("adam", shape, "float32", e, layout, lr=0.1, **{setting: True}) for e in ("cpu", "reference")]
            assert_identical(runs[0][0], runs[1][0])
            assert_same_memory(runs[0][1], runs[1][1])
    plain, modified = (ran("adam", (7, 3), "float32", lr=0.1, **changes)[0] for changes in ({}, {setting: True}))
    assert not np.array_equal(plain, modified)


def test_centralization_by_hand(registered):
    x, _ = ran("sgd", (7, 3), lr=0.1, centralize=True)
    expected = np.random.default_rng(9).normal(size=(7, 3))
    for g in gradients((7, 3), "float64"):
        expected = expected - 0.1 * (g - g.mean(1, keepdims=True))
    np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_cautious_steps_by_hand():
    """Liang et al. (2024), algorithm 1."""
    x, _ = ran("momentum", (7, 3), lr=0.1, momentum=0.9, cautious=True)
    expected, velocity = np.random.default_rng(9).normal(size=(7, 3)), np.zeros((7, 3))
    for g in gradients((7, 3), "float64"):
        velocity = 0.9 * velocity + g
        mask = velocity * g > 0
        assert 0 < mask.sum() < 21 or (velocity == g).all()
        expected = expected - 0.1 * velocity * mask * 21 / (mask.sum() + 1)
    np.testing.assert_allclose(x, expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_cautious_steps_of_sparse_gradients_are_dense_ones_of_their_rows(engine):
    """Rows without a gradient are not counted, so that steps do not grow with the table."""
    values = gradients((3, 4), "float64")
    table, part = np.zeros((100, 4)), np.zeros((3, 4))
    step = Step("adam", engine=engine, lazy="touched", cautious=True)
    state, other = step.init(table), step.init(part)
    for g in values:
        step.rows(table, np.array([7, 3, 50]), g, state)
        step.dense(part, g, other)
    assert_identical(table[[7, 3, 50]], part)


def test_cautious_steps_that_are_small():
    """Where the product of direction and gradient underflows."""
    x = np.zeros(4, np.float32)
    step = Step("sgd", engine="reference", lr=1.0, cautious=True)
    step.dense(x, np.array([1e-30, -1e-30, 0, 1], np.float32), step.init(x))
    np.testing.assert_allclose(x, np.float32([-1e-30, 1e-30, 0, -1]), rtol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", [pytest.param("sgd", marks=pytest.mark.slow), "adagrad"])
@pytest.mark.parametrize("granularity", ["row", "tensor"])
def test_statistics_of_modifiers_with_shared_rates(registered, name, granularity):
    if name == "sgd":
        granularity = "coordinate"
    settings = {"centralize": True, "clip_norm": 1.0, "weight_decay": 0.1, "granularity": granularity}
    runs = [ran(name, (7, 3), "float32", engine, **settings) for engine in ("cpu", "reference")]
    assert_identical(runs[0][0], runs[1][0])
    assert_same_memory(runs[0][1], runs[1][1])


def test_statistics_of_a_group():
    """LAMB with the norms of all parameters of a group: as if they were one array."""
    torch = pytest.importorskip("torch")
    from surefoot.optim import RuleOptimizer

    rule = of_group(RULES["lamb"][0])
    whole, grads = np.random.default_rng(9).normal(size=30), gradients((30,), "float64")
    for engine in ("cpu", "reference"):
        parts = [torch.nn.Parameter(torch.from_numpy(part.copy())) for part in (whole[:12].reshape(3, 4), whole[12:])]
        other = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
        optimizer = RuleOptimizer([{"params": parts}, {"params": [other]}], rule, engine=engine)
        for g in grads:
            parts[0].grad, parts[1].grad = torch.from_numpy(g[:12].reshape(3, 4)), torch.from_numpy(g[12:])
            other.grad = torch.full((5,), float(g[0]), dtype=torch.float64)
            optimizer.step()
        found = np.concatenate([part.detach().numpy().ravel() for part in parts])
        np.testing.assert_allclose(found, RULES["lamb"][1](whole, grads), rtol=1e-12)
        alone = RULES["lamb"][1](np.ones(5), [np.full(5, g[0]) for g in grads])
        np.testing.assert_allclose(other.detach().numpy(), alone, rtol=1e-12)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one == "dog" else pytest.mark.slow) for one in OF_GROUPS]
)
def test_one_distance_of_a_group(name):
    """Several parameters step as one array of all their numbers; L-DoG's do not."""
    torch = pytest.importorskip("torch")
    from surefoot.optim import RuleOptimizer

    rule, by_hand = OF_GROUPS[name]
    whole, grads = np.random.default_rng(9).normal(size=30), gradients((30,), "float64")

    def stepped(engine, **settings):
        parts = [torch.nn.Parameter(torch.from_numpy(part.copy())) for part in (whole[:12].reshape(3, 4), whole[12:])]
        optimizer = RuleOptimizer(parts, rule, engine=engine, **settings)
        for g in grads:
            parts[0].grad, parts[1].grad = torch.from_numpy(g[:12].reshape(3, 4)), torch.from_numpy(g[12:])
            optimizer.step()
        return np.concatenate([part.detach().numpy().ravel() for part in parts])

    for engine in ("cpu", "reference"):
        np.testing.assert_allclose(stepped(engine), by_hand(whole, grads), rtol=1e-12)
    if name == "dog":
        apart = [by_hand(whole[part], [g[part] for g in grads]) for part in (slice(12), slice(12, 30))]
        np.testing.assert_allclose(stepped("reference", layerwise=True), np.concatenate(apart), rtol=1e-12)


def test_sparse_gradients_in_a_group():
    torch = pytest.importorskip("torch")
    from surefoot.optim import RuleOptimizer

    rule = of_group(RULES["adagrad_norm"][0])
    table, rest = torch.nn.Parameter(torch.ones(6, 2).double()), torch.nn.Parameter(torch.ones(3).double())
    optimizer = RuleOptimizer([table, rest], rule, lr=0.1, lazy="touched")
    ids, values = torch.tensor([[4, 1, 4]]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).double()
    table.grad = torch.sparse_coo_tensor(ids, values, (6, 2), check_invariants=True)
    rest.grad = torch.tensor([1.0, -1.0, 2.0]).double()
    optimizer.step()
    norm = np.sqrt(6.0**2 + 8.0**2 + 3.0**2 + 4.0**2 + 1 + 1 + 4)
    np.testing.assert_allclose(rest.detach(), 1 - 0.1 * rest.grad / (norm + 1e-8), rtol=1e-12)
    np.testing.assert_allclose(table.detach()[4], 1 - 0.1 * np.array([6.0, 8.0]) / (norm + 1e-8), rtol=1e-12)
    assert (table[[0, 2, 3, 5]] == 1).all()


def test_engines_that_do_not_have_statistics_of_a_group():
    torch = pytest.importorskip("torch")
    from surefoot.optim import RuleOptimizer

    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = RuleOptimizer([("weight", parameter)], of_group(RULES["adagrad_norm"][0]), engine="torch")
    with pytest.raises(ValueError, match=r"weight: the torch engine does not compute statistics over a group"):
        optimizer.step()
    assert (parameter == 1).all()


def of_group(rule):
    statistics = {name: dataclasses.replace(each, over="group") for name, each in rule.statistics.items()}
    return dataclasses.replace(rule, statistics=statistics)
