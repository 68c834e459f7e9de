"""Schedule-free rules as torch optimizers: eval() is the average of the iterates, train() where gradients are taken."""

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from surefoot import optim  # noqa: E402

RULES = ["schedule_free_sgd", pytest.param("schedule_free_adamw", marks=pytest.mark.slow)]


def trained(rule, steps=20, beta=0.9, lr=0.1):
    """(the parameter, its optimizer, the averages by hand where the rule is SGD's)."""
    w = torch.nn.Parameter(torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64))
    optimizer = optim.RuleOptimizer([("w", w)], rule, lr=lr, momentum=beta, engine="reference")
    z = x = w.detach().numpy().copy()
    for t in range(1, steps + 1):
        w.grad = w.detach() - 0.5
        z = z - lr * w.grad.numpy()
        x = (1 - 1 / t) * x + z / t
        optimizer.step()
    return w, optimizer, x


def test_eval_is_the_average():
    w, optimizer, x = trained("schedule_free_sgd")
    y = w.detach().clone()
    optimizer.eval()
    np.testing.assert_allclose(w.detach(), x, rtol=1e-12)
    assert abs(w - y).max() > 1e-3
    optimizer.eval()
    np.testing.assert_allclose(w.detach(), x, rtol=1e-12)
    optimizer.train()
    optimizer.train()
    torch.testing.assert_close(w.detach(), y, rtol=1e-12, atol=0)


def test_no_step_is_taken_from_the_average():
    w, optimizer, _ = trained("schedule_free_sgd")
    optimizer.eval()
    before = w.detach().clone()
    with pytest.raises(RuntimeError, match=r"RuleOptimizer: the parameters are where they are to be evaluated.*train"):
        optimizer.step()
    assert (w == before).all()


def test_no_parameter_is_stepped_from_the_average_alone():
    w, optimizer, _ = trained("schedule_free_sgd")
    optimizer.eval()
    before = w.detach().clone()
    with pytest.raises(RuntimeError, match=r"the parameters are where they are to be evaluated"):
        optimizer.step_one(0, 0)
    assert (w == before).all()


def test_a_setting_that_changes_the_average_does_not_move_where_gradients_are_taken():
    w, optimizer, _ = trained("schedule_free_sgd")
    y = w.detach().clone()
    optimizer.eval()
    optimizer.change(momentum=0.5)
    torch.testing.assert_close(w.detach(), y - optimizer.state[w]["difference"])  # (1 - 1/0.5) times the difference
    optimizer.train()
    torch.testing.assert_close(w.detach(), y)


def test_another_rule_goes_on_from_the_average():
    w, optimizer, x = trained("schedule_free_sgd")
    optimizer.eval()
    optimizer.to_rule("sgd", lr=0.1)
    np.testing.assert_allclose(w.detach(), x)
    w.grad = torch.ones_like(w)
    optimizer.step()
    np.testing.assert_allclose(w.detach(), x - 0.1)


@pytest.mark.parametrize("rule", RULES)
def test_a_state_dict_says_where_parameters_are(rule):
    w, optimizer, _ = trained(rule)
    y = w.detach().clone()
    optimizer.eval()
    file = io.BytesIO()
    torch.save({"w": w.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    v = torch.nn.Parameter(loaded["w"])
    other = optim.RuleOptimizer([("w", v)], rule, lr=0.1, engine="reference")
    other.load_state_dict(loaded["optimizer"])
    other.train()
    torch.testing.assert_close(v.detach(), y, rtol=1e-12, atol=0)
    optimizer.train()
    for one, its in ((w, optimizer), (v, other)):
        one.grad = one.detach() * 2
        its.step()
    torch.testing.assert_close(v.detach(), w.detach(), rtol=1e-12, atol=0)


def test_the_part_of_a_grouped_optimizer():
    w, v = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    groups = [{"params": [w], "rule": "schedule_free_sgd", "lr": 0.1}, {"params": [v], "rule": "sgd", "lr": 0.1}]
    optimizer = optim.Grouped([group | {"engine": "reference"} for group in groups])
    for _ in range(3):
        w.grad, v.grad = w.detach().clone(), v.detach().clone()
        optimizer.step()
    y, u = w.detach().clone(), v.detach().clone()
    optimizer.eval()
    assert (w != y).all()
    assert (v == u).all()
    optimizer.train()
    torch.testing.assert_close(w.detach(), y, rtol=1e-12, atol=0)


def test_other_rules_stay_where_they_are():
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = optim.RuleOptimizer([w], "sgd", lr=0.1, engine="reference")
    w.grad = torch.ones(2)
    optimizer.step()
    before = w.detach().clone()
    optimizer.eval()
    optimizer.step()
    assert (w == before - 0.1).all()


def test_a_model_in_evaluation_mode_is_at_the_averages():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    optimizer = optim.RuleOptimizer(model.parameters(), "schedule_free_sgd", lr=0.1, engine="reference")
    optim.flush_before_use(model, optimizer)
    X = torch.randn(8, 2)

    def train():
        model.train()
        model[0].eval()  # a part that is frozen says nothing of the whole
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()

    for _ in range(3):
        train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = model.eval()(X)
    assert any((old != new).any() for old, new in zip(before, model.parameters(), strict=True))
    optimizer.train()
    optimizer.eval()
    torch.testing.assert_close(model(X), found)
    model.train()(X)
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old)
    model.eval()(X)
    train()
