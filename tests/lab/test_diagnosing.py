"""What `diagnose` reports of parameters, compared with what is known by construction."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from support.statistic_rules import RULES

import surefoot
from surefoot import optim, rules
from surefoot.lab import motion
from surefoot.rules import REGISTRY


def stepped(values, gradient, kind=optim.Adagrad, dtype=torch.float32, steps=1, **settings):
    """An optimizer that took some steps along one gradient, which is still there."""
    parameter = torch.nn.Parameter(torch.tensor(values, dtype=dtype))
    optimizer = kind([("w", parameter)], **settings)
    for _ in range(steps):
        parameter.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
    return optimizer, parameter


def test_rates_of_adagrad_are_those_of_the_last_step():
    optimizer, _ = stepped([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 4.0, 0.0], lr=0.5)
    found = surefoot.diagnose(optimizer)["w"]
    assert found.rate == pytest.approx({"min": 0.125, "p10": 0.125, "median": 0.25, "p90": 0.5, "max": 0.5})
    assert found.never_visited == 0.25
    assert (found.steps, found.lr, found.rule) == (1, 0.5, "adagrad")


def test_norms():
    optimizer, parameter = stepped([1.0, 1.0], [3.0, 4.0], kind=optim.SGD, lr=0.5)
    found = surefoot.diagnose(optimizer)["w"]
    assert found.gradient_norm == pytest.approx(5.0)
    assert found.update_norm == pytest.approx(2.5)
    assert found.parameter_norm == pytest.approx(float(parameter.detach().norm()))
    assert found.never_visited is None


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_update_is_that_of_the_next_step(name):
    kwargs = {"lr": 0.1}
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimizer = optim.RuleOptimizer([parameter], name, **kwargs)
    for _ in range(3):
        parameter.grad = torch.linspace(-2, 3, 12).reshape(3, 4)
        optimizer.step()
    found = surefoot.diagnose(optimizer).findings[0]
    before = parameter.detach().clone()
    optimizer.step()
    moved = float((parameter.detach() - before).double().norm())
    decay = parameter.detach().norm() if name == "adamw" else 0  # the decay comes on top of the rule's own update
    assert found.update_norm == pytest.approx(moved, rel=1e-4, abs=1e-6 + 0.01 * float(decay))


def sparse_or_dense(layout, shape, k):
    rng = np.random.default_rng(k)
    if layout == "dense":
        return torch.from_numpy(rng.normal(size=shape))
    ids = torch.from_numpy(rng.integers(0, shape[0], 4))
    values = torch.from_numpy(rng.normal(size=(4, *shape[1:])))
    return torch.sparse_coo_tensor(ids[None], values, shape, check_invariants=True)


def square(x):
    return x * x


def falling(t, lr, steps):
    return (lr / (1.0 + steps),)


@rules.rule(
    slots={"steps": rules.scalar(), "held": rules.scale(over="group")},
    statistics={"of_group": rules.total(square, "group"), "of_tensor": rules.mean(square, "tensor")},
    hyper={"lr": rules.nonnegative(0.1)},
    coefficients=falling,
)
def of_its_group(x, g, g2, steps, held, of_group, of_tensor, rate):
    """Its rate is computed from a slot; its direction, from the tensor and the group."""
    return rate, g * (of_group + of_tensor), steps + 1.0, of_group


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize(
    "rule, settings",
    [
        *((rule, {}) for rule, _ in RULES.values()),
        (of_its_group, {}),
        *(("adagrad", {"granularity": over, "weight_decay": 0.5}) for over in ("row", "tensor")),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_update_of_rules_that_know_more_than_a_row(rule, settings, layout, monkeypatch):
    """A statistic is of the whole array, however few rows are at hand, and coefficients know the scalar slots."""
    monkeypatch.setattr(motion, "BLOCK", 4)
    shapes = [(6, 5), (4, 3)]
    parameters = [torch.nn.Parameter(torch.linspace(-1, 2, a * b).reshape(a, b).double()) for a, b in shapes]
    optimizer = optim.RuleOptimizer(parameters, rule, engine="reference", lazy="touched", **settings)
    for k in range(4):
        for parameter in parameters:
            parameter.grad = sparse_or_dense(layout, parameter.shape, k)
        optimizer.step()
    found = surefoot.diagnose(optimizer)
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer.step()
    for finding, parameter, old in zip(found, parameters, before, strict=True):
        assert finding.update_norm == pytest.approx(float((parameter.detach() - old).norm()), rel=1e-9)


def test_the_parameter_before_the_first_step_does_not_tell_of_visits():
    rule, _ = RULES["own dog"]
    optimizer, _ = stepped([1.0, 1.0], [1.0, 0.0], kind=optim.RuleOptimizer, rule=rule)
    assert surefoot.diagnose(optimizer)["w"].never_visited == 0.0


def test_nothing_is_changed():
    optimizer, parameter = stepped([1.0, 2.0], [3.0, 4.0], kind=optim.Adam)
    before = parameter.detach().clone(), json.dumps(str(optimizer.state_dict()))
    surefoot.diagnose(optimizer)
    assert torch.equal(parameter, before[0])
    assert json.dumps(str(optimizer.state_dict())) == before[1]


def test_frozen_if_the_update_rounds_to_nothing():
    optimizer, parameter = stepped([1e8, 1.0, 1e8, 1.0], [1.0, 1.0, 0.0, 0.0], lr=1.0)
    assert surefoot.diagnose(optimizer)["w"].frozen == 0.5
    before = parameter.detach().clone()
    optimizer.step()
    assert (parameter.detach() == before).tolist() == [True, False, True, True]


def test_saturated_if_the_memory_no_longer_grows():
    settings = {"state_dtype": torch.bfloat16, "lr": 0.1}
    optimizer, _ = stepped([1.0, 1.0], [1.0, 0.0], steps=300, **settings)
    found = surefoot.diagnose(optimizer)
    assert found["w"].saturated == 1.0
    assert found.verdict.cause == "storage"
    assert found.verdict.remedy.call == "optimizer.change(state_dtype=torch.float32)"


def test_part_of_a_small_parameter_that_does_not_move_because_of_its_state():
    pair = {name: torch.nn.Parameter(torch.ones(size)) for name, size in (("most", 100), ("few", 10))}
    optimizer = optim.Adagrad(list(pair.items()), lr=0.1)
    for largest in (1e10, 1.0):
        for parameter in pair.values():
            parameter.grad = torch.ones_like(parameter)
        pair["few"].grad[:4] = largest
        optimizer.step()
    verdict = surefoot.diagnose(optimizer).verdict
    assert (verdict.symptom, verdict.cause, verdict.names) == ("stands still", "memory", ["few"])
    assert "a step moves 40 % of the coordinates by nothing" in verdict.what


def test_nonfinite_gradients_are_counted():
    optimizer, _ = stepped([1.0, 1.0, 1.0], [1.0, float("nan"), 1e25], steps=2, nonfinite="skip")
    found = surefoot.diagnose(optimizer)["w"]
    assert found.skipped == pytest.approx(2 / 3)
    assert found.skipped_so_far == 4


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_sparse_gradients_are_checked_row_by_row(granularity):
    table = torch.nn.Embedding(50, 4, sparse=True)
    optimizer = optim.Adagrad(table.parameters(), lr=0.5, granularity=granularity)
    table(torch.tensor([3, 3, 7])).sum().backward()
    optimizer.step()
    found = surefoot.diagnose(optimizer, table)["weight"]
    assert found.gradient_norm == pytest.approx(np.sqrt(4 * (2.0**2 + 1.0**2)))
    assert found.skipped == 0
    assert found.never_visited == (0.0 if granularity == "tensor" else 48 / 50)


def test_without_gradients_the_memory_is_still_reported():
    optimizer, parameter = stepped([1.0], [2.0], lr=1.0)
    parameter.grad = None
    found = surefoot.diagnose(optimizer)["w"]
    assert found.frozen is found.gradient_norm is found.update_norm is None
    assert found.rate is not None
    assert found.rate["median"] == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_every_type_of_parameter(dtype):
    optimizer, _ = stepped([[1.0, 2.0]], [[3.0, 0.0]], dtype=dtype)
    found = surefoot.diagnose(optimizer)["w"]
    assert found.gradient_norm == pytest.approx(3.0)
    assert found.dtype == str(dtype).removeprefix("torch.")


def test_a_scalar_parameter():
    optimizer, _ = stepped(1.0, 2.0)
    assert surefoot.diagnose(optimizer)["w"].shape == ()


# Changes of the optimizer


def test_restart_of_one_parameter():
    pair = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = optim.Adagrad(pair, initial_accumulator_value=0.5)
    for parameter in pair:
        parameter.grad = torch.ones(2)
    optimizer.step()
    optimizer.restart(iter(pair[:1]))
    assert optimizer.state[pair[0]]["sum"].tolist() == [0.5, 0.5]
    assert optimizer.state[pair[1]]["sum"].tolist() == [1.5, 1.5]
    optimizer.step()
    assert optimizer.state[pair[0]]["sum"].tolist() == [1.5, 1.5]
    assert optimizer.state[pair[0]]["step"] == 1


def test_change_checks_before_it_changes():
    optimizer, _ = stepped([1.0], [1.0])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optimizer.change(lr=-1.0)
    with pytest.raises(TypeError, match="nonsense"):
        optimizer.change(nonsense=1)
    assert optimizer.param_groups[0]["lr"] == 0.01


# What it looks like


def printed(thing, width):
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(thing)
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_table_fits_the_terminal(width):
    optimizer, _ = stepped([1e8, 1.0], [1.0, 1.0], lr=1.0)
    text = printed(surefoot.diagnose(optimizer), width)
    assert max(map(len, text.splitlines())) <= width
    assert "50 %" in text
    assert "optimizer.change(" in text.replace("\n", "")


def test_as_a_string_and_as_a_dict():
    optimizer, _ = stepped([1e8, 1.0], [1.0, 1.0], lr=1.0)
    found = surefoot.diagnose(optimizer)
    assert "‖update‖" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["w"]["frozen"] == 0.5
    with pytest.raises(KeyError, match="there are w"):
        found["v"]


def test_the_figure_shows_rates_against_visits():
    table = torch.nn.Embedding(20, 2, sparse=True)
    optimizer = optim.Adagrad(table.parameters(), lr=1.0)
    handle = surefoot.count_visits(optimizer)
    for last in range(1, 11):
        optimizer.zero_grad()
        table(torch.arange(last)).sum().backward()
        optimizer.step()
    handle.remove()
    axes = surefoot.diagnose(optimizer, table).figure().axes[0]
    visits, rates = axes.lines[0].get_data()
    assert axes.get_xlabel() == "steps in which a row had a gradient"
    np.testing.assert_allclose(rates, 1 / np.sqrt(visits), rtol=1e-5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["weight"]


def test_without_counted_visits_the_figure_goes_by_memory():
    optimizer, _ = stepped([1.0, 1.0, 1.0], [1.0, 2.0, 4.0])
    assert "memory of a row" in surefoot.diagnose(optimizer).figure().axes[0].get_xlabel()


def test_nothing_to_draw():
    optimizer, _ = stepped([1.0], [0.0])
    with pytest.raises(ValueError, match="nothing to draw"):
        surefoot.diagnose(optimizer).figure()


# Monitor


class Writer:
    """What a Monitor needs of TensorBoard's SummaryWriter."""

    def __init__(self):
        self.written = {}

    def add_scalar(self, tag, scalar_value, global_step):
        self.written[tag, global_step] = scalar_value


def test_a_monitor_writes_every_n_steps():
    parameter, writer = torch.nn.Parameter(torch.ones(2)), Writer()
    optimizer = optim.Adagrad([("w", parameter)], lr=1.0)
    with surefoot.Monitor(optimizer, every=3, writer=writer) as monitor:
        for _ in range(7):
            parameter.grad = torch.ones(2)
            optimizer.step()
    assert {step for _, step in writer.written} == {3, 6}
    assert writer.written["w/rate/median", 3] == pytest.approx(1 / np.sqrt(3))
    assert writer.written["w/gradient_norm", 6] == pytest.approx(np.sqrt(2))
    assert monitor.latest["w"].steps == 6
    optimizer.step()
    assert monitor.step == 7


def test_a_monitor_calls_a_function():
    seen = []
    optimizer, parameter = stepped([1.0], [1.0])
    monitor = surefoot.Monitor(optimizer, every=1, writer=lambda step, found: seen.append((step, found["w"].steps)))
    parameter.grad = torch.ones(1)
    optimizer.step()
    monitor.remove()
    optimizer.step()
    assert seen == [(1, 2)]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": 1.5}, {"every": True}])
def test_a_monitor_rejects_what_it_cannot_do(wrong):
    optimizer, _ = stepped([1.0], [1.0])
    with pytest.raises(ValueError, match="whole number of at least 1"):
        surefoot.Monitor(optimizer, **wrong)
    with pytest.raises(TypeError, match="add_scalar"):
        surefoot.Monitor(optimizer, writer=3)
