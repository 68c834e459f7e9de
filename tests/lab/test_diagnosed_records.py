"""What the records of a run can tell, and what they cannot: the verdicts on scenes, and the remedies."""

import functools

import pytest
import torch
from support.networks import applied
from support.runs import Run, held_out
from support.scenes import SCENES, Adam, Scaled, deep, is_expected, verdict_of, waves, wide
from torch import nn

import surefoot
from surefoot import optim
from surefoot.lab.losses import Losses

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


@pytest.mark.parametrize("name", SCENES)
def test_the_verdict(name):
    verdict, scene = verdict_of(name), SCENES[name]
    assert is_expected(verdict, scene), str(verdict)
    assert "inf" not in str(verdict).split()
    assert "nan" not in str(verdict).split()


# Remedies


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
