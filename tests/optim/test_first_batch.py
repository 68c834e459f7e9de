"""A start from a first batch: the state has its gradients, the parameters stay, and training goes on from there."""

import pytest
from support.optimizers import optim, torch

from surefoot.rules import REGISTRY
from surefoot.schedules import piecewise_constant

MOVING = [name for name, rule in REGISTRY.items() if not rule.from_origin]


def started(name, lr):
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    return w, optim.RuleOptimizer([w], name, lr=lr)


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", MOVING)
def test_it_is_a_first_step_at_rate_zero(name):
    w, optimizer = started(name, 0.1)
    other, scheduled = started(name, piecewise_constant([2], [0.0, 0.1]))
    w.grad = torch.tensor([2.0, 3.0])
    optim.start_from_gradients(optimizer)
    assert w.tolist() == [1.0, -2.0]
    assert optimizer.param_groups[0]["lr"] == 0.1
    other.grad = torch.tensor([2.0, 3.0])
    scheduled.step()
    for _ in range(3):
        w.grad, other.grad = w.detach() * 2, other.detach() * 2
        optimizer.step()
        scheduled.step()
    torch.testing.assert_close(w, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name, rule in REGISTRY.items() if rule.from_origin])
def test_rules_that_step_from_an_origin_are_rejected(name):
    w, optimizer = started(name, 0.1)
    w.grad = torch.ones(2)
    with pytest.raises(ValueError, match=f"{name}: the rule computes parameters from an origin"):
        optim.start_from_gradients(optimizer)
    assert w.tolist() == [1.0, -2.0]


def test_rates_are_kept_where_the_step_fails():
    w, optimizer = started("yogi", 0.1)
    w.grad = torch.tensor([float("nan"), 1.0])
    with pytest.raises(ArithmeticError):
        optim.start_from_gradients(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1
