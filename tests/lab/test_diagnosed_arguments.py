"""What diagnose is given: wrappers, models, parameters without coordinates."""

import pytest
import torch
from support.networks import deep, start, waves
from torch import nn

import surefoot
from surefoot import optim

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]


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


def test_groups_that_are_added_later_have_the_settings_of_torch():
    theirs = torch.optim.Adam(deep().parameters(), lr=3e-4, betas=(0.8, 0.95))
    mine = optim.from_torch(theirs)
    mine.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert (mine.param_groups[1]["lr"], mine.param_groups[1]["betas"]) == (3e-4, (0.8, 0.95))
