"""What the records of a run can tell, and what they cannot: noise, starts at zero, clipping, layers that stay dead."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from support.excuses import Excuse, named
from support.runs import HEALTHY, Run, held_out
from torch import nn

import surefoot
from surefoot import optim
from surefoot.lab.losses import Losses

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


def generator(k):
    return torch.Generator().manual_seed(k)


def noisy(signal, features=10):
    """A line of which the noise hides most."""

    def loss(model, k):
        g = generator(k)
        x = torch.randn(32, features, generator=g)
        return (model(x) - signal * x[:, :1] - torch.randn(32, 1, generator=g)).square().mean()

    return loss


def waves(model, k):
    """A smooth function of ten features."""
    x = torch.randn(48, 10, generator=generator(2000 + k))
    return (model(x) - 1.5 * torch.sin(x[:, :5]).sum(1, keepdim=True)).square().mean()


def words(model, k):
    """Whether the words that occur weigh more than nothing."""
    g, weights = generator(k), torch.randn(60, generator=generator(5))
    ids = torch.randint(0, 60, (64, 5), generator=g)
    return nn.functional.binary_cross_entropy_with_logits(model(ids).reshape(-1), (weights[ids].sum(1) > 0).float())


def successors(model, k):
    ids = torch.randint(0, 50, (64,), generator=generator(k))
    return nn.functional.cross_entropy(model(ids), (ids + 1) % 50)


def line(features=10):
    return nn.Linear(features, 1)


def wide():
    return line(40)


class Residual(nn.Module):
    """Adds a branch whose last layer is zero at first."""

    def __init__(self):
        super().__init__()
        self.branch, self.head = nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Linear(16, 10)), nn.Linear(10, 1)
        zeros(self.branch[2])

    def forward(self, x):
        return self.head(x + self.branch(x))


def large():
    model = line()
    nn.init.constant_(model.weight, 2.0)
    return model


def deep(activation=nn.ReLU, layers=2, width=20):
    inner = [part for _ in range(layers - 1) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(nn.Linear(10, width), activation(), *inner, nn.Linear(width, 1))


def zeros(model):
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


class Adapted(nn.Module):
    """A layer with a matrix of low rank added to it, which is zero at first."""

    def __init__(self):
        super().__init__()
        self.base, self.head = nn.Linear(10, 12).requires_grad_(False), nn.Linear(12, 1)
        self.down, self.up = nn.Parameter(torch.randn(4, 10) / 3), nn.Parameter(torch.zeros(12, 4))

    def forward(self, x):
        return self.head(torch.tanh(self.base(x) + x @ self.down.T @ self.up.T))


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(60, 6), nn.Linear(6, 1)
        nn.init.zeros_(self.table.weight)

    def forward(self, ids):
        return self.head(self.table(ids))


class Tied(nn.Module):
    """A table whose rows are the weights of the output, too."""

    def __init__(self):
        super().__init__()
        self.table, self.hidden, self.out = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50)
        self.out.weight = self.table.weight

    def forward(self, ids):
        return self.out(torch.tanh(self.hidden(self.table(ids))))


class Recurrent(nn.Module):
    """Reads its features as a sequence."""

    def __init__(self, kind, length):
        super().__init__()
        self.cells, self.head, self.length = kind(10 // length, 16, batch_first=True), nn.Linear(16, 1), length

    def forward(self, x):
        return self.head(self.cells(x.reshape(len(x), self.length, -1))[0][:, -1])


class Partly(nn.Module):
    """Has a layer that its output does not depend on."""

    def __init__(self, times=None):
        super().__init__()
        self.used, self.spare, self.times = deep(), nn.Linear(10, 1), times

    def forward(self, x):
        return self.used(x) if self.times is None else self.used(x) + self.times * self.spare(x)


class Scaled(nn.Module):
    """Has one parameter of very large values."""

    def __init__(self):
        super().__init__()
        self.layers, self.offset = deep(), nn.Parameter(torch.full((10,), 1e6))

    def forward(self, x):
        return self.layers(x + 1e-6 * self.offset)


def dead(activation=nn.ReLU):
    model = deep(activation)
    with torch.no_grad():
        model[0].bias -= 100
    return model


class Clipped(Run):
    """Clips its gradients before each step."""

    def __init__(self, *args, by, to):
        super().__init__(*args)

        def clip(*_):
            by(self.model.parameters(), to)

        self.optimizer.register_step_pre_hook(clip)


class Scene(NamedTuple):
    """A run and the verdict on it.

    Attributes:
        make: the run, trained as far as it is diagnosed, and its losses.
        expected: symptom and cause.
        losses: whether diagnose is given them.
        further: for how many steps the run goes on after the remedy.
        gain: the share of the held-out loss that is left then, at most; None if there is nothing to apply.
        names: the parameters that are named, where it matters.
    """

    make: Callable[[], tuple[Run, list[float]]]
    expected: tuple[str, str | None]
    losses: bool = False
    further: int = 0
    gain: float | None = None
    names: tuple[str, ...] = ()


def run(model, kind, loss, steps, around=Run, before=None, schedule=None, **settings):
    """A run, trained."""

    def make():
        torch.manual_seed(3)
        made = model()
        trained = around(made, kind([p for p in made.parameters() if p.requires_grad], **settings), loss)
        scheduler = schedule(trained.optimizer) if schedule else None
        return trained, (before(trained) if before else []) + trained.train(steps, scheduler)

    return make


def huge_gradients(trained):
    loss = trained.loss
    trained.loss = lambda model, k: 1e7 * loss(model, k)
    trained.train(3)
    trained.loss = loss
    return []


SGD, Adam = torch.optim.SGD, torch.optim.Adam
DIVERGES, STILL = ("diverges", "rate"), ("stands still", "rate")
momentum = {"lr": 0.01, "momentum": 0.9}
cosine = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=400)
by_norm, by_value = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_
to_norm = functools.partial(Clipped, by=by_norm, to=1e-6)
to_value = functools.partial(Clipped, by=by_value, to=1e-7)

SCENES: dict[str, Scene] = {
    # Where noise is most of the loss, it stands, and parameters are small compared with their steps.
    "noise-sgd": Scene(run(line, SGD, noisy(0.2), 400, lr=0.05), HEALTHY, True),
    "noise-momentum": Scene(run(line, SGD, noisy(0.2), 400, **momentum), HEALTHY, True),
    "noise-adam": Scene(run(line, Adam, noisy(0.0), 400, lr=0.03), HEALTHY, True),
    "noise-rmsprop": Scene(run(line, torch.optim.RMSprop, noisy(0.2), 400, lr=0.01), HEALTHY, True),
    "noise-yogi": Scene(run(line, optim.Yogi, noisy(0.0), 400, lr=0.03), HEALTHY, True),
    "noise-of-zeros": Scene(run(lambda: zeros(line()), SGD, noisy(0.0), 400, lr=0.05), HEALTHY, True),
    "noise-slowly": Scene(run(deep, SGD, noisy(0.0), 400, lr=3e-3), HEALTHY, True),
    "noise-cosine": Scene(run(deep, SGD, noisy(0.0), 398, schedule=cosine, lr=1e-3, momentum=0.9), HEALTHY, True),
    # What is far above its minimum is not.
    "bounces-sgd": Scene(run(wide, SGD, noisy(0.2, 40), 400, lr=0.2), DIVERGES, True, 300, 0.85),
    "bounces-adam": Scene(run(wide, Adam, noisy(0.2, 40), 400, lr=0.3), DIVERGES, True, 300, 0.6),
    "bounces-yogi": Scene(run(wide, optim.Yogi, noisy(0.2, 40), 400, lr=0.3), DIVERGES, True, 300, 0.6),
    "bounces-deep": Scene(run(functools.partial(deep, nn.Tanh), Adam, waves, 300, lr=3.0), DIVERGES, True, 300, 0.5),
    # Parameters that start at zero
    "zeros-line": Scene(run(lambda: zeros(line()), SGD, waves, 60, lr=0.03), HEALTHY, True),
    "zeros-table": Scene(run(Bag, Adam, words, 60, lr=0.02), HEALTHY, True),
    "zeros-table-first": Scene(run(Bag, SGD, words, 1, lr=0.3, momentum=0.9), HEALTHY),
    "zeros-table-slow": Scene(run(Bag, Adam, words, 150, lr=1e-4), STILL, True, 400, 0.9),
    "zeros-low-rank-first": Scene(run(Adapted, SGD, waves, 1, lr=0.03, momentum=0.9), HEALTHY),
    "zeros-low-rank": Scene(run(Adapted, Adam, waves, 60, lr=3e-3), HEALTHY, True),
    "zeros-residual-first": Scene(run(Residual, SGD, waves, 1, lr=0.03), HEALTHY),
    "zeros-all-adam": Scene(
        run(lambda: zeros(deep()), Adam, waves, 60, lr=3e-3), ("dead units", "initial values"), True, 300, 0.5
    ),
    "zeros-all-sgd": Scene(
        run(lambda: zeros(deep()), SGD, waves, 300, lr=0.1), ("dead units", "initial values"), True, 300, 0.5
    ),
    "zeros-all-fast": Scene(
        run(lambda: zeros(deep()), SGD, waves, 60, lr=0.3), ("dead units", "initial values"), False, 0, None
    ),
    "tied-first": Scene(run(Tied, SGD, successors, 1, lr=0.3), HEALTHY),
    "large-first": Scene(run(large, SGD, noisy(1.0), 1, lr=0.4, momentum=0.5, weight_decay=1e-2), HEALTHY),
    # Layers that have no gradients
    "dead-adam": Scene(
        run(dead, Adam, waves, 300, lr=1e-3), ("dead units", "initial values"), True, 300, 0.5, ("0.weight", "0.bias")
    ),
    "dead-sgd": Scene(run(dead, SGD, waves, 300, lr=0.03), ("dead units", "initial values"), True, 300, 0.5),
    "sigmoids-sgd": Scene(
        run(lambda: deep(nn.Sigmoid, 12, 10), SGD, waves, 200, lr=0.1), ("stands still", "activation"), False, 400, 0.5
    ),
    "sigmoids-adam": Scene(
        run(lambda: deep(nn.Sigmoid, 12, 10), Adam, waves, 200, lr=3e-3), ("stands still", "activation"), True, 200, 0.5
    ),
    "sigmoids-few": Scene(run(lambda: deep(nn.Sigmoid, 4), Adam, waves, 200, lr=0.01), HEALTHY, True),
    "lstm-of-length-1": Scene(
        run(lambda: Recurrent(nn.LSTM, 1), Adam, waves, 60, lr=1e-2), ("never visited", "data"), True, 60, 1.0
    ),
    "gru-of-length-1": Scene(
        run(lambda: Recurrent(nn.GRU, 1), Adam, waves, 60, lr=1e-2), ("never visited", "data"), True, 60, 1.0
    ),
    "lstm": Scene(run(lambda: Recurrent(nn.LSTM, 5), Adam, waves, 60, lr=1e-2), HEALTHY, True),
    "unused": Scene(run(Partly, Adam, waves, 60, lr=3e-3), ("never visited", "data"), False, 60, 1.0),
    "unused-by-zero": Scene(
        run(lambda: Partly(0.0), Adam, waves, 60, lr=3e-3), ("never visited", "data"), False, 60, 1.0
    ),
    "unused-unknown": Scene(run(Partly, SGD, waves, 60, lr=0.03), HEALTHY),
    # Gradients that are small, and not because the run has converged
    "clipped-norm": Scene(run(deep, SGD, waves, 60, around=to_norm, lr=0.1), STILL, True, 200, 0.9),
    "clipped-value": Scene(run(deep, SGD, waves, 60, around=to_value, lr=0.1), STILL, False, 300, 0.9),
    "clipped-adam": Scene(run(deep, Adam, waves, 200, around=to_norm, lr=3e-3), HEALTHY, True),
    "small-loss": Scene(run(deep, SGD, lambda model, k: 1e-9 * waves(model, k), 60, lr=0.1), STILL, True, 200, 0.9),
    # A state that never forgets, and one parameter that does not move
    "amsgrad": Scene(
        run(deep, Adam, waves, 150, before=huge_gradients, lr=1e-3, amsgrad=True),
        ("stands still", "memory"),
        False,
        400,
        0.5,
    ),
    "amsgrad-own": Scene(
        run(deep, optim.Adam, waves, 150, before=huge_gradients, lr=1e-3, amsgrad=True),
        ("stands still", "memory"),
        False,
        400,
        0.5,
    ),
    "one-of-a-group": Scene(run(Scaled, Adam, waves, 40, lr=1e-3), STILL, False, 40, 1.0),
    "one-of-a-group-own": Scene(run(Scaled, optim.Adam, waves, 40, lr=1e-3), STILL, False, 40, 1.0),
}


@functools.cache
def made(name):
    return SCENES[name].make()


def verdict_of(name, of=None):
    trained, losses = of or made(name)
    return surefoot.diagnose(trained.optimizer, trained.model, losses if SCENES[name].losses else None).verdict


def is_expected(verdict, scene):
    return (verdict.symptom, verdict.cause) == scene.expected and scene.names in ((), tuple(verdict.names))


@pytest.mark.parametrize("name", SCENES)
def test_the_verdict(name):
    verdict, scene = verdict_of(name), SCENES[name]
    assert is_expected(verdict, scene), str(verdict)
    assert "inf" not in str(verdict).split()
    assert "nan" not in str(verdict).split()


# Remedies


def applied(remedy, trained):
    exec(remedy.call, {"optimizer": trained.optimizer, "model": trained.model, "torch": torch, "surefoot": surefoot})


CURED = [
    pytest.param(name, marks=pytest.mark.slow if scene.further > 200 else ())
    for name, scene in SCENES.items()
    if scene.gain is not None
]


@pytest.mark.parametrize("name", CURED)
def test_the_remedy_cures(name):
    """Applied to the run that it was printed for, it lowers its loss, or leaves it where nothing else was wrong."""
    scene, verdict = SCENES[name], verdict_of(name)
    trained, _ = scene.make()
    before = held_out(trained)
    if "initial parameters again" in verdict.remedy.what:
        trained.model.load_state_dict(initial(name))
        trained.optimizer.state.clear()
    applied(verdict.remedy, trained)
    trained.train(scene.further)
    assert held_out(trained) <= scene.gain * before, verdict.remedy
    after = surefoot.diagnose(trained.optimizer, trained.model).verdict
    assert after.symptom == "healthy", f"{verdict.remedy}: {after}"


def initial(name):
    """The parameters that a run began with."""
    torch.manual_seed(3)
    return {"bounces-deep": functools.partial(deep, nn.Tanh)}.get(name, wide)().state_dict()


def test_a_parameter_keeps_its_name_in_a_group_of_its_own():
    torch.manual_seed(3)
    model = Scaled()
    trained = Run(model, optim.Adam(model.named_parameters(), lr=1e-3, betas=(0.8, 0.99)), waves)
    trained.train(40)
    applied(surefoot.diagnose(trained.optimizer).verdict.remedy, trained)
    trained.train(20)
    first, second = trained.optimizer.param_groups
    assert second["param_names"] == ["offset"]
    assert "offset" not in first["param_names"]
    assert (second["betas"], second["lr"] > 1, first["lr"]) == ((0.8, 0.99), True, 1e-3)


def test_the_activation_of_the_output_stays():
    torch.manual_seed(3)
    model = nn.Sequential(*deep(nn.Sigmoid, 12, 10), nn.Sigmoid())
    trained = Run(model, Adam(model.parameters(), lr=3e-3), waves)
    trained.train(60)
    applied(surefoot.diagnose(trained.optimizer, model).verdict.remedy, trained)
    kinds = [type(part) for part in model[1::2]]
    assert kinds == [nn.SELU] * 12 + [nn.Sigmoid]


# What is left out or altered is noticed

LAB = "surefoot.lab."
MUTANTS = [
    ("causes.COSTLY", 0.01, "noise-sgd"),
    ("causes.COSTLY", 0.01, "noise-rmsprop"),
    ("causes.COSTLY", 1e3, "bounces-sgd"),
    ("causes.COSTLY", 1e3, "bounces-yogi"),
    ("losses.Losses.stays", property(lambda self: self.stands), "bounces-adam"),
    ("losses.Losses.would_show", lambda self, fall: False, "noise-slowly"),
    ("losses.Losses.would_show", lambda self, fall: True, "zeros-table-slow"),
    ("causes.Judge.fall", lambda self, highest=False: 1e-9, "noise-cosine"),
    ("standstill.Bounds.length", lambda self, motion: motion.length, "zeros-table-slow"),
    ("findings.BEGINS", -1.0, "zeros-table-first"),
    ("findings.BEGINS", -1.0, "zeros-low-rank-first"),
    ("findings.BEGINS", -1.0, "large-first"),
    ("findings.TABLES", (), "tied-first"),
    ("activations.dead_units", lambda cases, remedies: None, "zeros-all-adam"),
    ("activations.is_dead", lambda cases: False, "dead-sgd"),
    ("activations.size_of_dead", lambda case, layer: 1.0, "zeros-all-adam"),
    ("gaps.BEGAN", 10.0, "zeros-residual-first"),
    ("gaps.dead_now", lambda cases: [], "zeros-all-sgd"),
    ("gaps.dead_now", lambda cases: [], "dead-sgd"),
    ("gaps.sees_nothing", lambda case, cases: False, "dead-adam"),
    ("gaps.unused", lambda cases: [], "gru-of-length-1"),
    ("gaps.unused", lambda cases: [], "unused-by-zero"),
    ("diagnosing.never_stepped", lambda adopted, model: [], "unused"),
    ("activations.VANISHED", 0.0, "sigmoids-sgd"),
    ("activations.VANISHED", 10.0, "sigmoids-few"),
    ("activations.SATURATING", (), "sigmoids-adam"),
    ("clipping.ROUND", 0.0, "clipped-norm"),
    ("clipping.ALIKE", 1.0, "clipped-value"),
    ("losses.Losses.scale", 1.0, "small-loss"),
    ("standstill.OUTLIER", 0.0, "one-of-a-group"),
]


@pytest.mark.parametrize("place, altered, name", MUTANTS, ids=[f"{place}-{name}" for place, _, name in MUTANTS])
def test_a_mutant_is_noticed(place, altered, name, monkeypatch):
    assert is_expected(verdict_of(name), SCENES[name])
    for alias in ("scales.TABLES", place) if place == "findings.TABLES" else (place,):
        monkeypatch.setattr(LAB + alias, altered)
    assert not is_expected(verdict := verdict_of(name), SCENES[name]), str(verdict)


EXCUSES = [
    Excuse("causes.Judge.stands_still", " and not self.losses.would_show(self.fall(highest=True))", "", "noise-slowly"),
    Excuse("causes.Judge.stands_still", "self.fall(highest=True)", "self.fall()", "noise-cosine"),
    Excuse("causes.Judge.stands_still", " or activations.is_dead(self.cases)", "", "dead-sgd"),
    Excuse("causes.Judge.is_cut_off", " and not began_so", "", "zeros-all-fast"),
    Excuse("causes.Judge.blew_up", " if weights.case.is_warm", "", "large-first"),
    Excuse("causes.is_fast", " or not case.is_warm", "", "large-first"),
    Excuse("standstill.Rest.of", "case.is_warm and rate.has_decayed(", "True or rate.has_decayed(", "noise-cosine"),
    Excuse(
        "scales.Weights.is_steep", "max(made, FIRST_OF_STEEP * self.size)", "FIRST_OF_STEEP * self.size", "tied-first"
    ),
    Excuse("gaps.is_missed", " or not case.is_warm", "", "zeros-table-first"),
    Excuse("gaps.dead_now", "began(case)", "False", "zeros-residual-first"),
    Excuse("gaps.dead_now", "case.view.remembers or ", "", "unused-by-zero"),
    Excuse("gaps.dead_layers", "whole if used else", "whole if whole else", "unused-by-zero"),
    Excuse("gaps.dead_layers", "not sees_nothing(case, cases)", "True", "zeros-all-adam"),
    Excuse("gaps.without_inputs", "not case.marks.rows.all() and ", "", "unused-by-zero"),
    Excuse("gaps.without_rows", "not case.marks.rows.all() and ", "", "unused-by-zero"),
]


@pytest.mark.parametrize("excuse", EXCUSES, ids=named)
def test_an_excuse_is_needed(excuse, monkeypatch):
    before = verdict_of(excuse.run)
    excuse.leave_out(monkeypatch)
    assert verdict_of(excuse.run) != before


def test_what_blew_up_at_first_does_not_hide_a_cost():
    """The noise that counts is that of the last losses."""
    losses = Losses.of([1.0, *(300.0, 10.0) * 10, *(1.0, 1.2) * 90])
    assert losses.size < 1.3


def test_losses_that_were_halved_have_fallen_however_noisily_they_began(monkeypatch):
    losses = Losses.of([4.0, *(9.0, 1.0) * 5, *(0.3, 0.5) * 50])
    assert not losses.fell
    assert not losses.stays
    monkeypatch.setattr(f"{LAB}losses.HALF", 2.0)
    assert losses.stays


def test_amsgrad_is_not_cured_by_forgetting():
    """What averages forget, the largest average so far keeps."""
    trained, _ = SCENES["amsgrad"].make()
    before = held_out(trained)
    trained.optimizer.param_groups[0]["betas"] = (0.9, 0.96)
    trained.train(SCENES["amsgrad"].further)
    assert held_out(trained) > SCENES["amsgrad"].gain * before
