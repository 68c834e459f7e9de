"""Diagnoses of runs whose types, decay, schedules, groups or first values are to blame, and the remedies."""

import copy

import pytest
import torch
from support.networks import PROBLEMS, applied, deep, start, waves
from support.runs import HEALTHY, Run, held_out
from torch import nn
from torch.optim import lr_scheduler

import surefoot
from surefoot import optim

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


# Types


FLOAT16 = [
    (torch.optim.Adam, {"lr": 1e-3}),
    (torch.optim.AdamW, {"lr": 1e-3}),
    (torch.optim.NAdam, {"lr": 1e-3}),
    (torch.optim.RMSprop, {"lr": 1e-3}),
    (torch.optim.Adagrad, {"lr": 0.01}),
]


@pytest.mark.parametrize("kind, settings", FLOAT16)
def test_where_float16_holds_no_epsilon_it_is_not_the_rate(kind, settings):
    def faint(model, k):  # gradients whose squares are lost
        return waves(model, k) * 1e-3

    def of(dtype, **more):
        run = start("waves", kind, dtype=dtype, **settings, **more)
        run.loss = faint
        run.train(60)
        return run

    run = of(torch.float16)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("not finite", "storage"), str(verdict)
    assert "is 0 in float16" in verdict.what
    eps = float(verdict.remedy.what.partition("eps=")[2].split()[0])
    assert all(parameter.isfinite().all() for parameter in of(torch.float16, eps=eps).model.parameters())
    # The call, for parameters that are made again:
    run.model.load_state_dict(start("waves", kind, **settings).model.state_dict())
    applied(verdict.remedy, run)
    run.train(60)
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize(
    "kind, settings, cause",
    [
        (torch.optim.Adam, {"lr": 1e-3, "eps": 1e-8}, "storage"),
        (torch.optim.Adam, {"lr": 10.0, "eps": 1e-8}, "storage"),
        (torch.optim.Adam, {"lr": 1e-3, "eps": 1e-3}, "storage"),
        (torch.optim.Adam, {"lr": 10.0, "eps": 1e-3}, "rate"),
        (torch.optim.SGD, {"lr": 1e-3}, "rate"),
    ],
)
def test_float16_is_to_blame_unless_it_holds_epsilon_and_the_rate_is_far_too_large(kind, settings, cause):
    layer = nn.Linear(9, 9, bias=False).half()
    optimizer = kind(layer.parameters(), **settings)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    layer.weight.data.fill_(torch.nan)
    verdict = surefoot.diagnose(optimizer, layer).verdict
    assert (verdict.symptom, verdict.cause) == ("not finite", cause), str(verdict)
    assert ("is 0 in float16" in verdict.what) == (settings.get("eps") == 1e-8)


def test_squares_that_overflow_are_not_a_memory_of_larger_gradients():
    run = start("waves", torch.optim.Adagrad, dtype=torch.float16, lr=0.01)
    run.loss = lambda model, k: waves(model, k) * (3e3 if k == 0 else 1.0)
    run.train(40)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert verdict.cause == "storage", str(verdict)


def test_frozen_float16_is_cured_with_the_state_that_there_is():
    run = start("waves", torch.optim.Adam, dtype=torch.float16, lr=2e-5, eps=1e-3)
    run.train(60)
    before, verdict = held_out(run), surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("frozen", "storage"), str(verdict)
    applied(verdict.remedy, run)
    run.train(200)
    assert run.optimizer.state[run.model[0].weight]["exp_avg"].dtype == torch.float32
    assert held_out(run) < before


@pytest.mark.parametrize("lr, highest, frozen", [(5e-5, 0.1, False), (5e-5, 1e-3, True), (1.5e-3, 0.012, True)])
def test_small_steps_of_bfloat16_are_excused_by_a_schedule_that_began_with_larger_ones(lr, highest, frozen):
    """By a rate that is ten times below its highest, at which steps moved the parameter."""
    weight = nn.Parameter(torch.ones(20, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.SGD([weight], lr=lr)
    optimizer.param_groups[0]["initial_lr"] = highest
    verdict = surefoot.diagnose(optimizer).verdict
    assert (verdict.symptom, verdict.cause) == (("frozen", "storage") if frozen else HEALTHY), str(verdict)


# Weight decay


@pytest.mark.parametrize("steps", [100, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (300, 1000))])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    "kind, settings",
    [
        (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 30.0}),
        (torch.optim.Adam, {"lr": 3e-3, "weight_decay": 10.0}),
        (torch.optim.SGD, {"lr": 0.03, "weight_decay": 3.0}),
        (optim.Adagrad, {"lr": 0.03, "l1": 1.0}),
    ],
)
def test_a_network_that_decay_kills_is_never_healthy(kind, settings, problem, steps):
    run = start(problem, kind, **settings)
    run.train(steps)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("shrinks", "decay"), str(verdict)
    again = start(problem, kind, **settings)
    applied(verdict.remedy, again)
    again.train(150)
    assert surefoot.diagnose(again.optimizer, again.model).verdict.symptom == "healthy", verdict.remedy
    assert held_out(again) < 0.9 * held_out(run)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 0.1])
def test_usual_weight_decay_is_in_order(weight_decay, problem):
    run = start(problem, torch.optim.AdamW, lr=1e-3, weight_decay=weight_decay)
    for steps in (1, 20, 300):
        run.train(steps)
        verdict = surefoot.diagnose(run.optimizer, run.model).verdict
        assert (verdict.symptom, verdict.cause) == HEALTHY, str(verdict)


@pytest.mark.parametrize("named", [True, False])
def test_decay_may_take_biases_on_which_the_loss_does_not_depend(named):
    parts = list(deep())
    model = nn.Sequential(parts[0], nn.BatchNorm1d(20), *parts[1:3], nn.BatchNorm1d(20), *parts[3:])
    run = Run(model, torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-3), waves)
    run.train(200)
    assert model[0].bias.norm() < 0.3  # of 1.2 at first; how fast depends on rounding
    assert model[0].bias.grad.norm() < 1e-5 * model[0].weight.grad.norm()
    verdict = surefoot.diagnose(run.optimizer, model if named else None).verdict
    assert (verdict.symptom, verdict.cause) == HEALTHY, str(verdict)


# Schedules

FALLING = {
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.85),
    "steps": lambda optimizer: lr_scheduler.StepLR(optimizer, 10, 0.1),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, list(range(2, 30, 3)), 0.1),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda k: (1 + k) ** -6.0),
}


@pytest.mark.parametrize("schedule", FALLING)
@pytest.mark.parametrize("kind", [torch.optim.Adam, optim.Adam])
def test_what_takes_back_a_decay_of_the_rate_outlives_the_scheduler(kind, schedule):
    run = start("waves", kind, lr=1e-3)
    scheduler = FALLING[schedule](run.optimizer)
    run.train(120, scheduler)
    before, verdict = copy.deepcopy(run.model.state_dict()), surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "decay"), str(verdict)
    applied(verdict.remedy, run)
    for _ in range(3):
        run.train(1, scheduler)
        pace = [found.pace for found in surefoot.diagnose(run.optimizer, run.model)]
        assert min(pace) > 1e-5
    moved = sum((run.model.state_dict()[key] - value).norm() ** 2 for key, value in before.items()) ** 0.5
    assert moved > 1e-3 * sum(value.norm() ** 2 for value in before.values()) ** 0.5


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, optim.Adam])
def test_a_rate_that_plateaus_lowered_has_decayed(kind):
    run = start("waves", kind, lr=1e-3)
    scheduler = lr_scheduler.ReduceLROnPlateau(run.optimizer, patience=1, threshold=0.5, eps=0.0)
    for _ in range(60):
        scheduler.step(run.train(1)[0])
    before, verdict = held_out(run), surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "decay"), str(verdict)
    applied(verdict.remedy, run)
    run.train(100)
    assert held_out(run) < before
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


def test_a_new_start_is_not_made_with_a_rate_that_plateaus_lowered():
    run, losses = start("waves", torch.optim.Adam, lr=10.0), []
    scheduler = lr_scheduler.ReduceLROnPlateau(run.optimizer, patience=0, factor=0.1, eps=0.0)
    for _ in range(40):
        losses += run.train(1)
        scheduler.step(losses[-1])
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("diverges", "rate"), str(verdict)
    assert "initial parameters again" in verdict.remedy.what
    again = start("waves", torch.optim.Adam, lr=10.0)
    applied(verdict.remedy, again)
    again.train(150)
    assert held_out(again) < 0.5 * held_out(start("waves", torch.optim.Adam))


def test_groups_with_rates_of_their_own_have_not_decayed():
    model = deep()
    groups = [{"params": model[:3].parameters(), "lr": 1e-9}, {"params": model[4].parameters(), "lr": 1e-8}]
    run = Run(model, torch.optim.Adam(groups, lr=1e-3), waves)
    run.train(30)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate")


# Weights that steps have made large

GROWN = [
    # By how many times 1/√inputs weights are larger, a first step is, and the share by which the next step moves them
    ("20 times", 20, 1.0, 0.01, 1, True),
    ("too small a first step", 20, 0.9, 0.01, 1, False),
    ("a first step that is short for them", 200, 1.9, 0.01, 1, False),
    ("a first step that is not", 200, 2.1, 0.01, 1, True),
    ("not large", 11, 1.0, 0.01, 1, False),
    ("the right values of a line", 20, 1.0, 0.004, 1, False),
    ("a network has none so large", 20, 1.0, 0.004, 2, True),
    ("fast, at any rate", 20, 0.01, 0.16, 1, True),
    ("large, whatever made them so", 1e8, 0.01, 0.14, 1, False),
    ("rather large, and fast", 6, 1.0, 0.16, 1, True),
    ("and not fast", 6, 1.0, 0.14, 1, False),
    ("and a short first step", 6, 0.9, 0.16, 1, False),
    ("not even that", 4, 1.0, 0.16, 1, False),
]


@pytest.mark.parametrize("size, first, pace, layers, large", [case[1:] for case in GROWN], ids=[c[0] for c in GROWN])
def test_weights_that_steps_made_large(size, first, pace, layers, large):
    """Steps along gradients across the weights, along which the loss is flat."""
    model, lr = nn.Sequential(*(nn.Linear(100, 100, bias=False) for _ in range(layers))), first / 10
    for weight in model.parameters():
        weight.data = size / 10 * (torch.ones_like(weight) - 2 * torch.eye(2).repeat(50, 50))
        weight.grad = torch.full_like(weight, pace * size / 10 / lr)
    verdict = surefoot.diagnose(torch.optim.SGD(model.parameters(), lr=lr)).verdict
    assert (verdict.symptom, verdict.cause) == (("diverges", "rate") if large else HEALTHY), str(verdict)


# From zero


@pytest.mark.parametrize("kind", [torch.optim.SGD, optim.SGD, torch.optim.Adagrad])
@pytest.mark.parametrize("shape", [(7,), (1, 7), ()])
@pytest.mark.parametrize("lr", [0.5, 0.1, 1e-3])
def test_steps_away_from_zero_do_not_diverge(kind, shape, lr):
    weight = nn.Parameter(torch.zeros(shape))
    optimizer = kind([weight], lr=lr)
    goal = torch.linspace(-1, 2, weight.numel()).reshape(shape)
    run = Run(nn.ParameterList([weight]), optimizer, lambda model, k: (model[0] - goal).square().sum())
    for _ in range(8):
        run.train(1)
        verdict = surefoot.diagnose(optimizer).verdict
        assert verdict.symptom in ("healthy", "stands still"), str(verdict)


@pytest.mark.parametrize("kind", [torch.optim.SGD, optim.SGD])
@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_what_diverges_from_zero_is_found(kind, shape):
    weight = nn.Parameter(torch.zeros(shape))
    optimizer = kind([weight], lr=1.5)
    run = Run(nn.ParameterList([weight]), optimizer, lambda model, k: (model[0] - 1).square().sum())
    run.train(12)
    verdict = surefoot.diagnose(optimizer).verdict
    assert (verdict.symptom, verdict.cause) == ("diverges", "rate")
    applied(verdict.remedy, run)
    run.train(300)
    assert surefoot.diagnose(optimizer).verdict.symptom == "healthy"


# Groups


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize(
    "kind, lr", [(torch.optim.SGD, 0.03), (torch.optim.Adam, 1e-3), (optim.Adagrad, 0.03), (torch.optim.RMSprop, 1e-3)]
)
@pytest.mark.parametrize("factor", [1e-7, 1e6])
def test_the_group_with_the_bad_rate_is_to_blame(kind, lr, bad, factor):
    torch.manual_seed(3)
    model = deep()
    halves = [model[:3], model[4]]
    groups = [{"params": half.parameters(), "lr": lr * (factor if k == bad else 1)} for k, half in enumerate(halves)]
    more = {"nonfinite": "propagate"} if kind is optim.Adagrad else {}
    run = Run(model, kind(groups, lr=lr, **more), waves)
    run.train(40)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    places = ("0.", "2.") if bad == 0 else ("4.",)
    assert verdict.cause == "rate", str(verdict)
    assert all(name.startswith(places) for name in verdict.names), str(verdict)
    applied(verdict.remedy, run)
    assert run.optimizer.param_groups[1 - bad]["lr"] == lr
    assert run.optimizer.param_groups[bad]["lr"] != lr * factor


def test_each_group_has_the_value_that_it_needs():
    torch.manual_seed(3)
    model = deep()
    groups = [{"params": half.parameters(), "lr": lr} for half, lr in ((model[:3], 1e-7), (model[4], 1e-9))]
    run = Run(model, torch.optim.Adam(groups), waves)
    run.train(40)
    applied(surefoot.diagnose(run.optimizer, run.model).verdict.remedy, run)
    run.train(1)
    for found in surefoot.diagnose(run.optimizer, run.model):
        assert 1e-4 < found.pace < 1e-1, found.name
