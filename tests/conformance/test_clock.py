"""clock="row": bias corrections count the steps in which a row had a gradient."""

import numpy as np
import pytest
from support.numerics import assert_identical, assert_same_memory

from surefoot.engines import Step

SHORT = {"beta1": 0.5, "beta2": 0.9}
SETTINGS = [{}, SHORT, {"amsgrad": True}]
OTHERS = {
    "nadam": [{"momentum_decay": 1.0}],
    "adamax": [],
    "adabelief": [],
    "yogi": [{"initial_accumulator_value": 0.1}],
    "radam": [{"beta2": 0.6}, SHORT | {"threshold": 5.0, "uncorrected_eps": True, "eps": 0.1}],
    "adopt": [SHORT | {"clips": False}],
}
"""Rules with further settings of each."""


def stepped(name, engine, dtype="float64", rows=6, **settings):
    """(the table, its state, the gradients that each row had)."""
    rng = np.random.default_rng(0)
    x = np.zeros((rows, 3), dtype)
    step, given = Step(name, engine=engine, lazy="touched", lr=0.1, clock="row", **settings), {}
    state = step.init(x)
    for t in range(30):
        ids = rng.choice(rows if t > 20 else rows - 2, 2, replace=False)  # two rows are first seen late
        values = rng.normal(size=(2, 3)).astype(dtype)
        step.rows(x, ids, values, state)
        for row, g in zip(ids, values, strict=True):
            given.setdefault(int(row), []).append(g)
    return x, state, given


@pytest.mark.parametrize(
    "name, settings",
    [(name, settings) for name in ("adam", "adamw") for settings in SETTINGS]
    + [(name, settings) for name in OTHERS for settings in ({}, SHORT, *OTHERS[name])],
)
def test_every_row_steps_as_if_it_were_alone(name, settings):
    if name == "adamw":
        settings = settings | {"decoupled_weight_decay": 0.1}
    x, _, given = stepped(name, "reference", **settings)
    assert len(given) == len(x)
    for row, gradients in given.items():
        alone = Step(name, engine="reference", lr=0.1, **settings)
        y = np.zeros((1, 3))
        state = alone.init(y)
        for g in gradients:
            alone.dense(y, g[None], state)
        np.testing.assert_allclose(x[row], y[0], rtol=1e-12)


def test_dense_steps_are_those_of_the_other_clock():
    rng, runs = np.random.default_rng(0), [np.zeros((4, 3)), np.zeros((4, 3))]
    steps = [Step("adam", engine="reference", clock=clock) for clock in ("step", "row")]
    states = [step.init(x) for step, x in zip(steps, runs, strict=True)]
    for _ in range(50):
        g = rng.normal(size=(4, 3))
        for step, x, state in zip(steps, runs, states, strict=True):
            step.dense(x, g, state)
    np.testing.assert_allclose(*runs, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, settings",
    [("adam", {}), ("adam", {"amsgrad": True}), *((name, settings) for name in OTHERS for settings in ({}, SHORT))],
)
def test_both_engines_have_the_same_bits(name, settings):
    (x, state, _), (y, other, _) = (stepped(name, engine, "float32", **settings) for engine in ("cpu", "reference"))
    assert_identical(x, y)
    assert_same_memory(state, other)


def test_a_rule_without_corrections_has_no_clock():
    with pytest.raises(ValueError, match=r"clock='row' is for rules that count .*, adam, adamw, .*, not for adagrad"):
        Step("adagrad", clock="row")
    with pytest.raises(ValueError, match="clock must be one of step, row, got 'column'"):
        Step("adam", clock="column")


def test_the_optimizer_has_it():
    torch = pytest.importorskip("torch")
    from surefoot import optim

    found = []
    for clock in ("step", "row"):
        table = torch.nn.Parameter(torch.zeros(4, 2))
        optimizer = optim.Adam([table], lr=0.1, lazy="touched", clock=clock, engine="reference")
        for row in (0, 0, 0, 0, 0, 3):
            values = torch.ones(1, 2)
            table.grad = torch.sparse_coo_tensor([[row]], values, (4, 2), check_invariants=True)
            optimizer.step()
        found.append(table.detach())
    torch.testing.assert_close(found[1][3], torch.full((2,), -0.1))
    assert abs(found[0][3] + 0.1).min() > 0.01
