"""Kinds of faults on runs of other models than those that thresholds were set by, and the remedies for them."""

import copy
import functools

import numpy as np
import pytest
import torch
from support.runs import HEALTHY, Run, held_out
from torch import nn
from torch.optim import lr_scheduler

import surefoot
from surefoot import optim
from surefoot.lab.losses import Losses

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


def generator(k):
    return torch.Generator().manual_seed(k)


PATTERNS = torch.randn(4, 1, 8, 8, generator=generator(5))


def pictures(model, k):
    """Which of four patterns is in a noisy picture."""
    g = generator(1000 + k)
    kinds = torch.randint(0, 4, (32,), generator=g)
    x = PATTERNS[kinds] + torch.randn(32, 1, 8, 8, generator=g)
    return nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)).float(), kinds)


def convolutions(activation=nn.ReLU):
    head = (nn.Conv2d(8, 8, 3, stride=2), activation(), nn.Flatten(), nn.Linear(32, 4))
    return nn.Sequential(nn.Conv2d(1, 8, 3), activation(), *head)


def waves(model, k):
    """A smooth function of five features."""
    x = torch.randn(48, 5, generator=generator(2000 + k))
    y = 1.5 * torch.sin(x).sum(1, keepdim=True)
    return (model(x.to(next(model.parameters()).dtype)).float() - y).square().mean()


def deep(activation=nn.ReLU):
    layers = (nn.Linear(5, 20), activation(), nn.Linear(20, 20), activation(), nn.Linear(20, 1))
    return nn.Sequential(*layers)


PROBLEMS = {"pictures": (convolutions, pictures), "waves": (deep, waves)}


def start(problem, kind, change=None, dtype=torch.float32, activation=nn.ReLU, **settings):
    make, loss = PROBLEMS[problem]
    torch.manual_seed(3)
    model = make(activation)
    if change is not None:
        with torch.no_grad():
            change(model)
    model = model.to(dtype)
    return Run(model, kind(model.parameters(), **settings), loss)


def applied(remedy, run):
    call = {"optimizer": run.optimizer, "model": run.model, "torch": torch, "surefoot": surefoot}
    exec(remedy.call, call)


# Units that are dead, inputs and rows that do not occur

KEEPING = [
    (torch.optim.Adam, {"lr": 3e-3}),
    (torch.optim.NAdam, {"lr": 3e-3}),
    (torch.optim.RMSprop, {"lr": 3e-3}),
    (torch.optim.Adagrad, {"lr": 0.03}),
    (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    (optim.Adagrad, {"lr": 0.03}),
    (optim.Yogi, {"lr": 3e-3}),
]
"""Optimizers whose state tells which coordinates never had a gradient."""


def with_dead_units(model, share=0.75):
    model[0].bias[: int(share * len(model[0].bias))] = -50.0


def with_negative_weights(model):
    model[2].weight.abs_().neg_()
    model[2].bias.fill_(-0.1)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("kind, settings", KEEPING)
def test_dead_units_are_named_as_units(kind, settings, problem, named):
    run = start(problem, kind, with_dead_units, **settings)
    run.train(40)
    verdict = surefoot.diagnose(run.optimizer, run.model if named else None).verdict
    whole = len(run.model[0].bias)
    assert (verdict.symptom, verdict.cause) == ("dead units", "initial values"), str(verdict)
    assert f"{int(0.75 * whole)} of {whole} units (0, 1, 2, …) never had a gradient" in verdict.what
    assert len(verdict.names) == 2  # the weights and the bias, and not the inputs of the next layer
    assert "num_embeddings" not in str(verdict)


def test_initial_values_that_kill_units_are_cured_by_others():
    run = start("waves", torch.optim.Adam, with_dead_units, lr=3e-3)
    run.train(40)
    remedy = surefoot.diagnose(run.optimizer, run.model).verdict.remedy
    assert remedy.call == 'model.get_submodule("0").reset_parameters()'
    applied(remedy, run)
    run.train(40)
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


def test_units_that_are_dead_at_usual_values_need_another_activation():
    run = start("waves", torch.optim.Adam, with_negative_weights, lr=3e-3)
    run.train(40)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", "activation"), str(verdict)
    before = held_out(run)
    applied(verdict.remedy, run)
    assert [type(part) for part in run.model[1::2]] == [nn.LeakyReLU, nn.LeakyReLU]
    run.train(300)
    assert held_out(run) < 0.5 * before
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize(
    "kind, settings", [(torch.optim.Adam, {"lr": 3e-3}), (optim.SGD, {"lr": 0.01, "momentum": 0.9})]
)
def test_units_that_died_later_are_the_rates_fault(kind, settings):
    run = start("waves", kind, **settings)
    run.train(20)
    with torch.no_grad():  # as one step that is far too long does
        with_dead_units(run.model, 0.85)
    run.train(120)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", "rate"), str(verdict)
    assert "of 20 units (" in verdict.what


@pytest.mark.parametrize("kind", [torch.optim.SGD, optim.SGD])
def test_counted_visits_tell_of_units_where_no_state_does(kind):
    run = start("waves", kind, with_dead_units, lr=0.01)
    with surefoot.Monitor(run.optimizer, every=40, model=run.model) as monitor:
        run.train(40)
    assert monitor.latest.verdict.symptom == "dead units", str(monitor.latest.verdict)


def looked_up(model, k):
    """A number for each of 30 words, of more that there could be."""
    ids = torch.randint(0, 30, (48,), generator=generator(k))
    noise = 0.1 * torch.randn(48, 1, generator=generator(k + 5000))
    return (model(ids) - torch.cos(ids.float())[:, None] - noise).square().mean()


class OneHot(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count, self.layer = count, nn.Linear(count, 8)

    def forward(self, ids):
        return self.layer(nn.functional.one_hot(ids, self.count).float())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind, settings", [each for each in KEEPING if each[0] is not torch.optim.SGD])
@pytest.mark.parametrize("first, said", [(OneHot, "30 inputs that occur"), (nn.Embedding, "30 rows that occur")])
def test_inputs_and_rows_that_never_occur(first, said, kind, settings, named):
    def made(count):
        torch.manual_seed(0)
        model = nn.Sequential(first(count) if first is OneHot else first(count, 8), nn.Tanh(), nn.Linear(8, 1))
        run = Run(model, kind(model.parameters(), **settings), looked_up)
        run.train(60)
        return run, surefoot.diagnose(run.optimizer, run.model if named else None).verdict

    (run, verdict), (smaller, after) = made(200), made(30)
    assert (verdict.symptom, verdict.cause) == ("never visited", "data"), str(verdict)
    assert said in verdict.remedy.what
    assert verdict.remedy.call == ""  # what a model is made of cannot be called
    assert after.symptom == "healthy"
    assert held_out(smaller) < 1.2 * held_out(run)


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


def test_groups_with_rates_of_their_own_have_not_decayed():
    model = deep()
    groups = [{"params": model[:3].parameters(), "lr": 1e-9}, {"params": model[4].parameters(), "lr": 1e-8}]
    run = Run(model, torch.optim.Adam(groups, lr=1e-3), waves)
    run.train(30)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate")


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


# Losses


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    "kind, lr",
    [(torch.optim.SGD, 1e-4), (torch.optim.Adam, 3e-6), (torch.optim.RMSprop, 1e-6), (optim.Adagrad, 3e-5)],
)
def test_losses_tell_of_a_run_that_is_inside_the_band_and_learns_nothing(kind, lr, problem):
    run = start(problem, kind, lr=lr)
    losses = run.train(150)
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("stands still", "rate"), str(verdict)
    assert "the losses stand" in verdict.what
    before = held_out(run)
    applied(verdict.remedy, run)
    run.train(150)
    assert held_out(run) < 0.95 * before


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("kind, lr", [(torch.optim.Adam, 3e-3), (optim.Adagrad, 0.03), (torch.optim.SGD, 0.03)])
def test_losses_that_fall_are_in_order(kind, lr, problem):
    run, losses = start(problem, kind, lr=lr), []
    for steps in (1, 19, 100, 300):
        losses += [torch.tensor(loss) for loss in run.train(steps)]
        verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
        assert (verdict.symptom, verdict.cause) == HEALTHY, str(verdict)


@functools.cache
def learned():
    run = start("waves", torch.optim.Adam, lr=1e-2)
    run.train(600)
    return run.model.state_dict()


@pytest.mark.parametrize("kind, lr", [(torch.optim.NAdam, 0.3), (torch.optim.RMSprop, 0.1), (optim.Adagrad, 1.0)])
def test_losses_that_rose_mean_a_rate_that_is_too_large(kind, lr, monkeypatch):
    """From learned weights, which do not become large, and although the first losses are the worst."""
    run = start("waves", kind, lr=lr)
    run.model.load_state_dict(learned())
    run.k = 600
    losses = run.train(45)

    def verdict(*known):
        return surefoot.diagnose(run.optimizer, run.model, *known).verdict

    assert verdict().symptom == "healthy"
    assert (verdict(losses).symptom, verdict(losses).cause) == ("diverges", "rate")
    assert f"the losses rose, from {losses[0]:.3g} to " in verdict(losses).what
    before = held_out(run)
    monkeypatch.setattr("surefoot.lab.losses.Losses.rose", False)
    assert verdict(losses).symptom == "healthy"
    monkeypatch.undo()
    applied(verdict(losses).remedy, run)
    run.model.load_state_dict(learned())
    run.train(45)
    assert held_out(run) < 0.5 * before


def test_a_monitor_follows_a_list_of_losses():
    run, losses = start("waves", torch.optim.Adam, lr=3e-6), []
    with surefoot.Monitor(run.optimizer, every=50, model=run.model, losses=losses) as monitor:
        for _ in range(150):
            losses += run.train(1)
    assert monitor.latest.verdict.symptom == "stands still"


# What is given


class Around:
    """Holds another optimizer, and is none itself."""

    def __init__(self, optimizer):
        self.optimizer = optimizer


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_wrappers_of_wrappers(depth):
    run = start("waves", torch.optim.Adam, lr=1e-8)
    run.train(30)
    wrapped = run.optimizer
    for _ in range(depth):
        wrapped = Around(wrapped)
    verdict = surefoot.diagnose(wrapped, run.model).verdict
    exec(verdict.remedy.call, {"optimizer": wrapped})
    assert run.optimizer.param_groups[0]["lr"] > 1e-5
    with pytest.raises(TypeError, match="got a Around around a Rprop"):
        surefoot.diagnose(Around(torch.optim.Rprop(run.model.parameters())))


def test_an_optimizer_with_a_rule_for_each_group_is_diagnosed_by_rule():
    model = torch.nn.Linear(2, 1)
    whole = optim.Grouped([{"params": [model.weight], "rule": "adagrad"}, {"params": [model.bias], "rule": "adamw"}])
    model(torch.ones(1, 2)).sum().backward()
    whole.step()
    with pytest.raises(TypeError, match=r"one rule; .* optimizer.parts\['adagrad'\], optimizer.parts\['adamw'\]"):
        surefoot.diagnose(whole)
    assert surefoot.diagnose(whole.parts["adagrad"]).verdict.symptom == "healthy"


@pytest.mark.parametrize("call", [surefoot.diagnose, lambda o, m: surefoot.Monitor(o, model=m)])
def test_a_model_that_is_none_is_named(call):
    optimizer = optim.Adagrad(deep().parameters())
    with pytest.raises(TypeError, match=r"model must be the torch.nn.Module .* got 5 \(int\)"):
        call(optimizer, 5)


BLOWN_UP = [
    (nn.ReLU, torch.optim.Adam, 1.0),
    (nn.ReLU, torch.optim.Adagrad, 1.0),
    (nn.ReLU, torch.optim.RMSprop, 0.1),
    (nn.Tanh, torch.optim.Adam, 0.5),
    (nn.Tanh, torch.optim.RMSprop, 0.5),
    (nn.Tanh, optim.Yogi, 1.0),
]


@pytest.mark.parametrize("last, symptom", [(0.5, "diverges"), (0.2, "diverges"), (0.05, "healthy")])
@pytest.mark.parametrize("activation, kind, lr", BLOWN_UP)
def test_losses_that_fell_to_a_tenth_excuse_large_weights(activation, kind, lr, last, symptom):
    """The losses are made: those of a run at such a rate depend on the processor's last digits."""
    run = start("waves", kind, activation=activation, lr=lr)
    run.train(150)
    losses = np.geomspace(1, last, 150)
    assert Losses.of(losses).fell
    verdicts = [surefoot.diagnose(run.optimizer, run.model, given).verdict for given in (None, losses)]
    assert (verdicts[0].symptom, verdicts[0].cause) == ("diverges", "rate")
    assert verdicts[1].symptom == symptom


@pytest.mark.parametrize("seed", [10, 11])
@pytest.mark.parametrize("lr", [0.002, 0.005, 0.01])
def test_a_run_at_its_optimum_is_in_order_although_losses_stand(lr, seed):
    """Where the noise is most of the loss, right parameters are small compared with their steps."""
    g = generator(seed)
    x = torch.randn(4000, 10, generator=g)
    y = 0.2 * x[:, :1] + torch.randn(4000, 1, generator=g)
    torch.manual_seed(seed)
    model, losses = nn.Linear(10, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(600):
        some = torch.randint(0, len(x), (32,), generator=g)
        optimizer.zero_grad()
        losses.append((model(x[some]) - y[some]).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert surefoot.diagnose(optimizer, model, losses).verdict.symptom == "healthy"


@pytest.mark.parametrize("as_given", [np.array, torch.tensor, tuple])
def test_losses_may_be_in_an_array(as_given):
    run = start("waves", torch.optim.Adam, lr=3e-6)
    losses = run.train(150)
    verdicts = [surefoot.diagnose(run.optimizer, run.model, own).verdict for own in (losses, as_given(losses))]
    assert str(verdicts[0]) == str(verdicts[1])
    assert "the losses stand" in verdicts[1].what


@pytest.mark.parametrize("library", [torch.optim, optim])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_parameters_without_coordinates_are_left_out(shape, library):
    model, empty = nn.Linear(5, 1), nn.Parameter(torch.empty(shape))
    optimizer = library.Adagrad([*model.parameters(), empty], lr=0.1)
    with surefoot.Monitor(optimizer, every=10) as monitor:
        for k in range(20):
            optimizer.zero_grad()
            (waves(model, k) + empty.sum()).backward()
            optimizer.step()
    assert [finding.name for finding in monitor.latest] == [f"parameter {k} of group 0" for k in range(2)]


@pytest.mark.parametrize("losses", [3.0, ["a"], [None]])
def test_losses_that_are_none_are_named(losses):
    with pytest.raises(TypeError, match="losses must be the loss of each step"):
        surefoot.diagnose(optim.Adagrad(deep().parameters()), losses=losses)


def test_groups_that_are_added_later_have_the_settings_of_torch():
    theirs = torch.optim.Adam(deep().parameters(), lr=3e-4, betas=(0.8, 0.95))
    mine = optim.from_torch(theirs)
    mine.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert (mine.param_groups[1]["lr"], mine.param_groups[1]["betas"]) == (3e-4, (0.8, 0.95))
