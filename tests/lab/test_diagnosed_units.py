"""Diagnoses of units, inputs and rows that have no gradients."""

import functools

import pytest
import torch
from support.networks import PROBLEMS, applied, generator, start, waves
from support.runs import Run, held_out
from torch import nn

import surefoot
from surefoot import optim

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


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


@pytest.mark.parametrize("bias, it", [(True, "them"), (False, "it")])
def test_layers_on_which_the_loss_does_not_depend_are_named(bias, it):
    run = start("waves", torch.optim.Adam, lr=3e-3)
    model = nn.ModuleDict({"used": run.model, "spare": nn.Linear(3, 1, bias=bias)})
    run = Run(model, torch.optim.Adam(model.parameters(), lr=3e-3), lambda model, k: waves(model["used"], k))
    run.train(20)
    remedy = surefoot.diagnose(run.optimizer, run.model).verdict.remedy
    assert remedy.what.startswith(f"check that the loss depends on {it}; if {it.replace('them', 'they')} ")
    applied(remedy, run)
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize("scale, cause", [(1.0, "initial values"), (1e5, "rate")])
def test_units_that_a_blow_up_has_killed_are_the_rates_fault(scale, cause):
    """With torch's SGD, whose state does not tell that they ever had gradients."""
    run = start("waves", torch.optim.SGD, lr=0.03)
    run.train(5)
    with torch.no_grad():  # as one step that is far too long does
        run.model[2].weight.mul_(scale)
        run.model[2].bias.fill_(-1e3 * scale)
    run.train(20)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", cause), str(verdict)
    assert ("The weights have grown to" in verdict.what) == (cause == "rate")


def saturated_by_biases(model):
    model[0].bias.fill_(10.0)


def saturated_behind(model):
    model[2].bias.fill_(50.0)


def saturated_by_half(model):
    model[0].bias[: len(model[0].bias) // 2 + 1] = 12.0


STEPPED = [(torch.optim.SGD, {"lr": 0.03}), (torch.optim.Adam, {"lr": 3e-3}), (optim.Adagrad, {"lr": 0.01})]


@pytest.mark.parametrize("change, layer", [(saturated_by_biases, 0), (saturated_behind, 2), (saturated_by_half, 0)])
@pytest.mark.parametrize("kind, settings", STEPPED)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_saturated_units_are_those_of_their_initial_values(activation, kind, settings, change, layer):
    run = start("waves", kind, change, activation=activation, **settings)
    run.train(60)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", "initial values"), str(verdict)
    assert verdict.names == [f"{layer}.weight", f"{layer}.bias"]
    assert f"saturated: {activation.__name__} has hardly a slope there" in verdict.what
    assert verdict.remedy.call == f'model.get_submodule("{layer}").reset_parameters()'
    applied(verdict.remedy, run)
    run.train(60)
    assert surefoot.diagnose(run.optimizer, run.model).verdict.symptom == "healthy"


@pytest.mark.parametrize("kind, settings", STEPPED)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_inputs_that_saturate_the_first_units_are_to_blame(activation, kind, settings):
    run = start("waves", kind, activation=activation, **settings)
    run.loss = functools.partial(waves, scale=1000.0)
    run.train(60)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", "data"), str(verdict)
    assert verdict.names == ["0.weight", "0.bias"]
    assert "unit size" in verdict.remedy.what


@pytest.mark.parametrize(
    "problem, kind, lr",
    [("waves", torch.optim.Adam, 0.2), ("waves", optim.Adagrad, 1.0), ("pictures", torch.optim.RMSprop, 0.03)],
)
def test_steps_that_saturated_units_are_to_blame(problem, kind, lr):
    run = start(problem, kind, activation=nn.Sigmoid, lr=lr)
    run.train(12)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("dead units", "rate"), str(verdict)
    again = start(problem, kind, activation=nn.Sigmoid, lr=lr)
    applied(verdict.remedy, again)
    again.train(200)
    assert held_out(again) < 0.8 * held_out(run)
    assert surefoot.diagnose(again.optimizer, again.model).verdict.symptom == "healthy"


VANISHING = [
    ((1e-6, 1e-4, 1e-2, 1.0), True),
    ((2e-4, 2e-3, 2e-2, 1.0), False),  # not small enough
    ((9e-5, 9e-3, 1.0), False),  # too few layers
    ((1e-5, 1e-3, 1e-2, 4e-3, 0.1, 1.0), False),  # from a layer to the next, they grow
]


@pytest.mark.parametrize("norms, vanish", VANISHING)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_gradients_that_vanish_from_layer_to_layer(activation, norms, vanish):
    torch.manual_seed(0)
    model = nn.Sequential(*(part for _ in norms for part in (nn.Linear(4, 4), activation())))
    for layer, norm in zip(model[::2], norms, strict=True):
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, norm / parameter.numel() ** 0.5)
    verdict = surefoot.diagnose(torch.optim.SGD(model.parameters(), lr=0.1), model).verdict
    assert (verdict.cause == "activation") == (vanish and activation is nn.Tanh), str(verdict)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("kind, settings", STEPPED)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_activations_that_let_gradients_through_are_in_order(activation, kind, settings, problem):
    run = start(problem, kind, activation=activation, **settings)
    for steps in (15, 150):
        run.train(steps)
        verdict = surefoot.diagnose(run.optimizer, run.model).verdict
        assert verdict.symptom == "healthy", str(verdict)


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


@pytest.mark.parametrize("kind, settings", [(torch.optim.Adam, {"lr": 3e-3}), (optim.Adagrad, {"lr": 0.03})])
def test_outputs_that_the_loss_does_not_depend_on_are_no_fault_of_the_activation(kind, settings):
    def first_output(model, k):
        g = generator(k)
        x = torch.randn(64, 6, generator=g)
        return (model(x)[:, 0] - x.sum(1)).square().mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 10))
    run = Run(model, kind(model.parameters(), **settings), first_output)
    run.train(60)
    verdict = surefoot.diagnose(run.optimizer, run.model).verdict
    assert (verdict.symptom, verdict.cause) == ("never visited", "data"), str(verdict)
    assert "2.weight: 9 of 10 units" in verdict.what
    assert "the loss depends on all outputs" in verdict.remedy.what
