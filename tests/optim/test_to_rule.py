"""`to_rule` goes on with another rule, in place, at the rates, and under the scheduler, that there were."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from surefoot import ops, optim
from surefoot.engines import NonFiniteError, driver
from surefoot.engines.state import State
from surefoot.rules import Moment, direction, nonnegative, positive, rule, scale


def gradient(k, shape, sparse=False):
    values = torch.from_numpy(np.random.default_rng(k).normal(size=shape) * np.linspace(0.1, 3.0, shape[-1])).float()
    if not sparse:
        return values
    rows = torch.unique(torch.from_numpy(np.random.default_rng(1000 + k).integers(0, shape[0], 4)))
    return torch.sparse_coo_tensor(rows[None], values[rows], shape, check_invariants=True)


def stepped(kind, steps=50, sparse=False, shape=(12, 3), **settings):
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, shape[0] * shape[1]).reshape(shape))
    optimizer = kind([("w", parameter)], engine="reference", **settings)
    go_on(optimizer, parameter, range(steps), sparse)
    return optimizer, parameter


def go_on(optimizer, parameter, steps, sparse=False, schedule=None):
    for k in steps:
        parameter.grad = gradient(k, tuple(parameter.shape), sparse)
        optimizer.step()
        if schedule is not None:
            schedule.step()


def rates(optimizer):
    """The effective rates of the next step, where a row was visited."""
    ((_, memory, step),) = optimizer.memories()
    slots = [memory.tensors[key].numpy() for key in memory.keys]
    x = np.ones(tuple(memory.shape), np.float32)
    found = driver.rates(step, x, State(dict(zip(step.rule.slots, slots, strict=True)), memory.count()))
    return found[np.broadcast_to(slots[-1] if slots else 1.0, x.shape) != 0]


PAIRS = [
    *((optim.Adagrad, rule) for rule in ("rmsprop", "adam", "nadam", "yogi", "mean_adagrad", "adamw")),
    *((optim.Adam, rule) for rule in ("adagrad", "rmsprop", "yogi", "mean_adagrad")),
    *((optim.RMSprop, rule) for rule in ("adagrad", "adam")),
]


@pytest.mark.parametrize("kind, rule", PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_effective_rates_go_on(kind, rule):
    optimizer, _ = stepped(kind, lr=0.1)
    before = rates(optimizer)
    optimizer.to_rule(rule)
    after = rates(optimizer)
    assert optimizer.rule.name == rule
    np.testing.assert_allclose(after, before, rtol=0.15)


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_effective_rates_of_sparse_tables_go_on(granularity):
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1, sparse=True, granularity=granularity)
    before = rates(optimizer)
    optimizer.to_rule("rmsprop")
    np.testing.assert_allclose(rates(optimizer), before, rtol=0.15)
    go_on(optimizer, parameter, range(50, 60), sparse=True)


@pytest.mark.parametrize("lr_decay, eps", [(0.0, 1e-3), (0.5, 1e-10)])
def test_settings_that_change_rates_are_counted(lr_decay, eps):
    optimizer, _ = stepped(optim.Adagrad, lr=0.1, lr_decay=lr_decay, eps=eps)
    before = rates(optimizer)
    optimizer.to_rule("rmsprop")
    np.testing.assert_allclose(rates(optimizer), before, rtol=0.15)


def test_there_and_back_again():
    optimizer, _ = stepped(optim.Adagrad, lr=0.1)
    before, total = rates(optimizer), optimizer.state[optimizer.param_groups[0]["params"][0]]["sum"].clone()
    optimizer.to_rule("rmsprop").to_rule("adagrad")
    np.testing.assert_allclose(rates(optimizer), before, rtol=0.01)
    (state,) = optimizer.state.values()
    torch.testing.assert_close(state["total"], total)


def test_velocities_go_on():
    optimizer, parameter = stepped(optim.Adam, lr=0.1)
    velocity = optimizer.state[parameter]["exp_avg"].clone() / (1 - 0.9**50)
    optimizer.to_rule("momentum", lr=0.01, momentum=0.75)
    torch.testing.assert_close(optimizer.state[parameter]["velocity"], velocity * 4)


def own_rule(**moments):
    """Slots that are named like those of other rules, whose sizes they have not."""

    @rule(
        slots={"total": scale(moment=moments.get("total")), "velocity": direction(moment=moments.get("velocity"))},
        hyper={"lr": nonnegative(0.1, "η"), "momentum": nonnegative(0.5, "β"), "eps": positive(1e-8, "ε")},
    )
    def mine(x, g, g2, total, velocity, lr, momentum, eps):
        total = total + 100.0 * g2
        velocity = momentum * velocity - g
        return lr / (ops.sqrt(total) + eps), -velocity, total, velocity

    return mine


@pytest.mark.parametrize("kind", [optim.Adagrad, optim.Adam])
def test_what_an_own_rule_keeps_does_not_follow_from_names(kind):
    optimizer, parameter = stepped(kind, lr=0.1)
    optimizer.to_rule(own_rule())
    assert optimizer.param_groups[0]["lr_factor"] == 1.0
    assert not optimizer.state[parameter]["total"].any()
    assert not optimizer.state[parameter]["velocity"].any()
    go_on(optimizer, parameter, range(50, 60))
    optimizer.to_rule("adam")
    assert optimizer.param_groups[0]["lr_factor"] == 1.0
    assert not optimizer.state[parameter]["square"].any()
    assert not optimizer.state[parameter]["velocity"].any()


def test_what_an_own_rule_says_that_it_keeps_goes_on():
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1)
    total = optimizer.state[parameter]["sum"].clone()
    optimizer.to_rule(own_rule(total=Moment("squares", lambda t, hyper: 100.0 * t)), momentum=0.0)
    torch.testing.assert_close(optimizer.state[parameter]["total"], 100 * total)
    assert optimizer.param_groups[0]["lr_factor"] == pytest.approx(10)


@pytest.mark.parametrize(
    "rule, slots", [("adamax", ["largest"]), ("madgrad", ["total"]), ("prodigy", ["velocity", "square"])]
)
def test_slots_that_hold_other_numbers_begin_at_zero(rule, slots):
    """Adamax keeps sizes of gradients, MADGRAD weighted squares, and Prodigy those scaled by its distance."""
    optimizer, parameter = stepped(optim.Adam, steps=5, lr=0.1)
    optimizer.to_rule(rule)
    assert not any(optimizer.state[parameter][slot].any() for slot in slots)


@pytest.mark.parametrize("rule", ["adam", "adopt", "nadam", "radam", "yogi"])
def test_rows_with_clocks_of_their_own_go_on(rule):
    """As with a common clock: what a row counts is not what it is before the first step."""
    (one, _), (other, _) = stepped(optim.Adam, lr=0.1), stepped(optim.Adam, lr=0.1)
    for optimizer, clock in ((one, "step"), (other, "row")):
        optimizer.to_rule(rule, clock=clock)
        (parameter,) = optimizer.param_groups[0]["params"]
        go_on(optimizer, parameter, range(50, 52))
    assert one.param_groups[0]["lr_factor"] == pytest.approx(other.param_groups[0]["lr_factor"])
    torch.testing.assert_close(*(each.param_groups[0]["params"][0] for each in (one, other)))


SAME = [
    *((rule, rule, {}) for rule in ("ftrl", "adabelief", "adadelta", "novograd", "sm3", "cocob", "shampoo")),
    *((rule, "adam", {"lazy": "touched", "clock": "row"}) for rule in ("adam", "adamw")),
]


@pytest.mark.parametrize("first, second, settings", SAME, ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_changes_where_the_rule_is_the_same(first, second, settings):
    """Also what no other rule could go on with, and what each row counts."""
    make = functools.partial(optim.RuleOptimizer, rule=first)
    (one, kept), (other, parameter) = (stepped(make, 5, bool(settings), **settings) for _ in range(2))
    other.to_rule(second)
    for optimizer, each in ((one, kept), (other, parameter)):
        go_on(optimizer, each, range(5, 8), bool(settings))
    assert torch.equal(kept, parameter)


@pytest.mark.parametrize("first, second", [("sgd", "shampoo"), ("shampoo", "full_matrix"), ("full_matrix", "adagrad")])
def test_rules_of_whole_arrays_begin_afresh(first, second):
    optimizer, parameter = stepped(functools.partial(optim.RuleOptimizer, rule=first), steps=5, lr=0.1)
    optimizer.to_rule(second)
    assert optimizer.param_groups[0]["lr_factor"] == 1.0
    before = parameter.detach().clone()
    go_on(optimizer, parameter, range(5, 8))
    assert parameter.isfinite().all()
    assert (parameter != before).all()


def test_plain_steps_become_shorter_with_momentum():
    optimizer, _ = stepped(optim.SGD, lr=0.1)
    optimizer.to_rule("momentum", momentum=0.9)
    assert optimizer.param_groups[0]["lr_factor"] == pytest.approx(0.1)
    optimizer, _ = stepped(optim.SGD, lr=0.1, momentum=0.9)
    assert optimizer.to_rule("sgd").param_groups[0]["lr_factor"] == 1.0


# In place


def test_everything_stays_with_the_optimizer():
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1, weight_decay=0.25, maximize=True, nonfinite="skip")
    group, groups, states, called = optimizer.param_groups[0], optimizer.param_groups, optimizer.state, []
    group["mine"] = "a label"
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    assert optimizer.to_rule("rmsprop", gamma=0.5) is optimizer
    assert optimizer.param_groups is groups
    assert optimizer.param_groups[0] is group
    assert optimizer.state is states
    assert (group["mine"], group["weight_decay"], group["maximize"], group["nonfinite"]) == (
        *("a label", 0.25, True, "skip"),
    )
    assert (group["gamma"], group["params"][0]) == (0.5, parameter)
    assert "initial_accumulator_value" not in group
    go_on(optimizer, parameter, range(50, 52))
    assert called == [1, 1]
    assert int(optimizer.state[parameter]["step"]) == 52


def test_its_own_decay_stays_that_of_adamw():
    optimizer, _ = stepped(optim.AdamW, lr=0.1, weight_decay=0.5)
    group = optimizer.to_rule("adagrad").param_groups[0]
    assert (group["decoupled_weight_decay"], group["weight_decay"]) == (0.5, 0.0)


def test_rows_without_a_gradient_have_caught_up():
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1, sparse=True, decoupled_weight_decay=0.5)
    settled = copy.deepcopy(optimizer)
    settled.flush()
    optimizer.to_rule("rmsprop", lazy="touched")
    assert torch.equal(parameter, settled.param_groups[0]["params"][0])


@pytest.mark.parametrize("settings", [{"nonsense": 1}, {"gamma": -1.0}, {"lr": -1.0}])
def test_nothing_is_changed_by_what_cannot_be_done(settings):
    optimizer, _ = stepped(optim.Adagrad, lr=0.1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises((TypeError, ValueError)):
        optimizer.to_rule("rmsprop", **settings)
    assert str(optimizer.state_dict()) == str(before)
    assert type(optimizer) is optim.Adagrad


def test_a_granularity_that_the_rule_does_not_have():
    optimizer, _ = stepped(optim.Adagrad, lr=0.1, granularity="row")
    with pytest.raises(ValueError, match="granularity 'row' would change nothing"):
        optimizer.to_rule("sgd")
    assert optimizer.to_rule("sgd", granularity="coordinate").rule.name == "sgd"


def test_state_dicts_of_both_ways_to_a_rule():
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1)
    optimizer.to_rule("rmsprop")
    other = optim.RuleOptimizer([parameter], "rmsprop", engine="reference")
    other.load_state_dict(optimizer.state_dict())
    np.testing.assert_array_equal(rates(other), rates(optimizer))
    assert other.param_groups[0]["lr_factor"] == optimizer.param_groups[0]["lr_factor"]
    copied = copy.deepcopy(optimizer)
    np.testing.assert_array_equal(rates(copied), rates(optimizer))


def test_before_the_first_step_rates_are_the_rules_own():
    optimizer, _ = stepped(optim.Adagrad, lr=0.1, steps=0)
    group = optimizer.to_rule("rmsprop").param_groups[0]
    assert (group["lr"], group["lr_factor"]) == (0.1, 1.0)


# Schedules


SCHEDULERS = {
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (k + 1)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 100),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=100),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=5, cycle_momentum=False),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1), lr_scheduler.ExponentialLR(o, 0.5)], [5]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_stays_in_control(name):
    found = []
    for changes in (False, True):
        optimizer, parameter = stepped(optim.Adam, lr=0.1, steps=0)
        schedule, seen = SCHEDULERS[name](optimizer), []
        for k in range(30):
            if changes and k == 8:
                optimizer.to_rule("rmsprop")
            go_on(optimizer, parameter, [k], schedule=schedule)
            seen.append(optimizer.param_groups[0]["lr"])
        found.append(seen)
    assert found[0] == found[1]


@pytest.mark.parametrize("lr", ["polynomial:0.1:1", lambda t: 0.1 / t])
def test_a_schedule_in_lr_stays(lr):
    optimizer, parameter = stepped(optim.Adagrad, lr=lr)
    before = rates(optimizer)
    optimizer.to_rule("rmsprop")
    assert optimizer.param_groups[0]["lr"] is lr
    np.testing.assert_allclose(rates(optimizer), before, rtol=0.15)
    go_on(optimizer, parameter, range(50, 52))


def test_a_learning_rate_of_its_own():
    optimizer, _ = stepped(optim.Adagrad, lr=0.1, lr_factor=0.25)
    group = optimizer.to_rule("rmsprop", lr=0.5).param_groups[0]
    assert (group["lr"], group["lr_factor"]) == (0.5, 1.0)


# lr_factor


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1), "polynomial:0.1:1", lambda t: 0.1 / t])
def test_a_factor_multiplies_every_kind_of_learning_rate(lr):
    found = []
    for rate, factor in ((lr, 0.5), (halved(lr), 1.0)):
        optimizer, parameter = stepped(optim.Adagrad, lr=rate, lr_factor=factor, steps=5)
        go_on(optimizer, parameter, range(5, 8))
        found.append(parameter.detach())
    torch.testing.assert_close(*found)


def halved(lr):
    if isinstance(lr, str):
        return "polynomial:0.05:1"
    return (lambda t: lr(t) / 2) if callable(lr) else lr / 2


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_factor_out_of_its_bounds(wrong):
    with pytest.raises(ValueError, match="Invalid lr_factor value"):
        optim.Adagrad([torch.nn.Parameter(torch.ones(1))], lr_factor=wrong)


# The loss


@functools.cache
def trained(kind, sparse, **settings):
    """A linear model, or a weight for each of 60 words, near the end of its training on noisy targets."""
    torch.manual_seed(0)
    model = torch.nn.EmbeddingBag(60, 1, mode="sum", sparse=True) if sparse else torch.nn.Linear(6, 1)
    optimizer = kind(model.parameters(), engine="reference", lr=0.1 if kind is not optim.Adam else 0.01)
    train(model, optimizer, range(250), sparse)
    return model, optimizer


def batch(k, sparse):
    random = torch.Generator().manual_seed(k)
    if sparse:
        x = (torch.rand(64, 4, generator=random) ** 2 * 60).long()
        y = torch.linspace(-1, 1, 60)[x].sum(1, keepdim=True)
    else:
        x = torch.randn(64, 6, generator=random)
        y = x.sum(1, keepdim=True)
    return x, y + 0.3 * torch.randn(64, 1, generator=random)


def loss_of(model, k, sparse):
    x, y = batch(k, sparse)
    return (model(x) - y).square().mean()


def train(model, optimizer, steps, sparse):
    for k in steps:
        optimizer.zero_grad()
        loss_of(model, k, sparse).backward()
        optimizer.step()


def held_out(model, sparse):
    with torch.no_grad():
        return float(np.mean([loss_of(model, 100_000 + k, sparse).item() for k in range(30)]))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", ["rmsprop", "adagrad", "mean_adagrad", "adam"])
@pytest.mark.parametrize(
    "kind, sparse",
    [(optim.Adagrad, False), (optim.RMSprop, False), (optim.Adam, False), (optim.Adagrad, True), (optim.RMSprop, True)],
)
def test_the_loss_does_not_rise(kind, sparse, rule):
    lazy = {"lazy": "touched"} if sparse else {}
    model, optimizer = copy.deepcopy(trained(kind, sparse))
    before = held_out(model, sparse)
    optimizer.to_rule(rule, **lazy)
    for k in (250, 255, 300):
        train(model, optimizer, range(k, {250: 255, 255: 300, 300: 400}[k]), sparse)
        assert held_out(model, sparse) <= 1.1 * before


@pytest.mark.parametrize(
    "old, new, steps", [("adamax", "adam", 150), ("adam", "adabelief", 50), ("yogi", "adabelief", 50)]
)
def test_velocities_begin_where_what_divides_them_does(old, new, steps):
    """A velocity of large gradients over the squares of small ones alone would be a step of any length."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 1)
    optimizer = optim.RuleOptimizer(model.parameters(), old, engine="reference", lr=0.02)
    train(model, optimizer, range(steps), False)
    before = held_out(model, False)
    optimizer.to_rule(new)
    for k in range(steps, steps + 20):
        train(model, optimizer, [k], False)
        assert held_out(model, False) <= 1.1 * before


@pytest.mark.parametrize("old, new", [("momentum", "adabelief"), ("adamax", "adabelief"), ("adabelief", "sgd")])
def test_rates_that_follow_from_other_sizes_are_of_another_kind(old, new):
    optimizer, _ = stepped(functools.partial(optim.RuleOptimizer, rule=old, engine="reference"), lr=0.1)
    assert optimizer.to_rule(new).param_groups[0]["lr_factor"] == 1.0


def test_skipped_coordinates_are_still_reported():
    optimizer, parameter = stepped(optim.Adagrad, lr=0.1)
    optimizer.to_rule("rmsprop")
    parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(NonFiniteError, match="36 of 36 coordinates"):
        optimizer.step()
