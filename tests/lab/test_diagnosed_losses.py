"""Diagnoses that are given the losses of a run."""

import functools
import math

import numpy as np
import pytest
import torch
from support.networks import PROBLEMS, applied, deep, generator, start
from support.runs import HEALTHY, Run, held_out, line, made, regression
from torch import nn

import surefoot
from surefoot import optim
from surefoot.lab.losses import Losses
from surefoot.lab.standstill import Bounds

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


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


def test_a_run_whose_losses_have_fallen_far_is_not_too_slow():
    x = nn.Parameter(torch.tensor(5.0))
    optimizer, losses = torch.optim.SGD([x], lr=0.1), []
    for _ in range(50):
        optimizer.zero_grad()
        losses.append((x - 3).square())
        losses[-1].backward()
        optimizer.step()
    assert surefoot.diagnose(optimizer, losses=losses).verdict.symptom == "healthy"
    # As many losses of a run whose rate is too small, at the same state:
    slow = surefoot.diagnose(optimizer, losses=np.linspace(4.0, 3.9, 50)).verdict
    assert (slow.symptom, slow.cause) == ("stands still", "rate"), str(slow)


def climbing(kind, lr, sign=-1.0, steps=60, **settings):
    """A line along gradients of this sign, all of one batch, and its losses."""
    run = made(kind, lr=lr, model=line, loss=lambda model, k: sign * regression(model, 0), **settings)
    return run, [sign * loss for loss in run.train(steps)]


@pytest.mark.parametrize(
    "kind, lr, settings",
    [
        (torch.optim.SGD, 0.01, {}),
        (torch.optim.SGD, 1e-3, {}),
        (optim.SGD, 1e-3, {"momentum": 0.9}),
        (optim.Adagrad, 1.0, {}),
    ],
)
def test_gradients_of_the_wrong_sign_are_not_a_rate_that_is_too_large(kind, lr, settings):
    run, losses = climbing(kind, lr, **settings)
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("diverges", "gradient"), str(verdict)
    assert "the gradients have the wrong sign" in verdict.what
    assert verdict.remedy.call == ""


@pytest.mark.parametrize("kind", [torch.optim.SGD, optim.SGD])
def test_losses_that_are_maximized_rise_because_of_that(kind):
    run, losses = climbing(kind, 0.01, sign=1.0, maximize=True)
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("diverges", "gradient"), str(verdict)
    assert "maximize=True steps uphill" in verdict.what
    applied(verdict.remedy, run)
    assert run.train(60)[-1] < losses[0]


def test_what_is_maximized_until_it_is_not_finite_is_so_because_of_that():
    run, losses = climbing(torch.optim.SGD, 0.3, sign=1.0, steps=200, maximize=True)
    assert not np.isfinite(losses[-1])
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("not finite", "gradient"), str(verdict)
    assert verdict.remedy.call.endswith('["maximize"] = False')
    without = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (without.symptom, without.cause) == ("not finite", "rate")


def test_losses_that_rise_a_little_do_not_ask_for_a_larger_rate():
    run, losses = climbing(torch.optim.SGD, 1e-5, steps=100)
    assert losses[0] < losses[-1] < 1.05 * losses[0]
    rises = [loss + 0.004 * math.sin(k / 3) for k, loss in enumerate(losses)]  # not in all tenths
    verdict = surefoot.diagnose(run.optimizer, run.model, rises).verdict
    assert verdict.symptom == "healthy", str(verdict)
    assert "The losses rise, from" in verdict.what
    assert "check the sign" in verdict.what


@pytest.mark.parametrize("steps", [1, 60])
@pytest.mark.parametrize("kind, settings", [(optim.SGD, {"weight_decay": 2.0}), (torch.optim.SGD, {})])
def test_what_is_maximized_is_judged_as_minus_it(kind, settings, steps):
    settings = {"lr": 0.1, "momentum": 0.9} | settings
    (one, losses), (other, values) = (
        climbing(kind, steps=steps, sign=sign, maximize=sign < 0, **settings) for sign in (1.0, -1.0)
    )
    of_one, of_other = (surefoot.diagnose(run.optimizer, run.model) for run in (one, other))
    assert losses == values
    assert str(of_one) == str(of_other)
    assert of_one.to_dict() == of_other.to_dict()
    assert (of_one.verdict.symptom == "shrinks") == ("weight_decay" in settings)


@pytest.mark.parametrize("lr, growth", [(0.7, 1.3), (0.85, 2.6)])
def test_a_rate_that_is_a_little_too_large_is_not_a_wrong_sign(lr, growth):
    run, losses = climbing(torch.optim.SGD, lr, 1.0)
    assert Losses.of(losses).growth == pytest.approx(growth, rel=0.05)
    verdict = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (verdict.symptom, verdict.cause) == ("diverges", "rate"), str(verdict)
    assert "if the losses do not fall then, check the sign" in verdict.remedy.what
    assert "check" not in surefoot.diagnose(run.optimizer, run.model).verdict.remedy.what


@pytest.mark.parametrize("kind, settings", [(torch.optim.SGD, {"lr": 0.1}), (optim.FTRL, {"lr": 1.0})])
def test_a_larger_rate_has_no_value_where_the_run_may_have_converged(kind, settings):
    x = nn.Parameter(torch.tensor(5.0))
    run, losses = Run(x, kind([x], **settings), lambda x, k: (x - 3).square() + 1), []
    while abs(x.item() - 3) > 3e-5:
        losses += run.train(1)
    verdicts = [surefoot.diagnose(run.optimizer, losses=known).verdict for known in (None, losses, [2.0] * 60)]
    assert {(verdict.symptom, verdict.cause) for verdict in verdicts} == {("stands still", "rate")}
    assert [bool(verdict.remedy.call) for verdict in verdicts] == [False, False, True]
    assert "unless the run has converged, which losses= tells" in verdicts[0].remedy.what


def test_losses_that_stand_are_reported_although_steps_are_in_order():
    run = start("pictures", torch.optim.Adam, lr=1e-3)
    labels = generator(7)
    run.loss = lambda model, k: nn.functional.cross_entropy(
        model(torch.randn(32, 1, 8, 8, generator=labels)), torch.randint(0, 4, (32,), generator=labels)
    )
    losses = run.train(200)
    told = surefoot.diagnose(run.optimizer, run.model, losses).verdict
    assert (told.symptom, told.cause) == HEALTHY
    assert "The losses stand, from 1.39 to 1.39; if they can be lower, check the labels" in told.what, told.what
    assert "losses" not in surefoot.diagnose(run.optimizer, run.model).verdict.what


@pytest.mark.parametrize("as_given", [np.array, torch.tensor, tuple])
def test_losses_may_be_in_an_array(as_given):
    run = start("waves", torch.optim.Adam, lr=3e-6)
    losses = run.train(150)
    verdicts = [surefoot.diagnose(run.optimizer, run.model, own).verdict for own in (losses, as_given(losses))]
    assert str(verdicts[0]) == str(verdicts[1])
    assert "the losses stand" in verdicts[1].what


@pytest.mark.parametrize("losses", [3.0, ["a"], [None]])
def test_losses_that_are_none_are_named(losses):
    with pytest.raises(TypeError, match="losses must be the loss of each step"):
        surefoot.diagnose(optim.Adagrad(deep().parameters()), losses=losses)


def test_losses_that_rose_do_not_tell_of_an_optimizer_without_state_and_gradients():
    theirs = torch.optim.SGD(deep().parameters(), lr=0.1)
    assert surefoot.diagnose(theirs, losses=[1.0] * 10 + [9.0] * 60).verdict.symptom == "unknown"


def test_steps_that_have_added_up_are_not_too_short():
    assert Bounds().hold(9e-6, 1_000)
    assert not Bounds().hold(9e-6, 2_000)
