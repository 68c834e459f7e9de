"""`lr="auto"` of Adagrad: rates follow their formula, survive a checkpoint, and are multiplied by schedulers."""

import copy
import math

import numpy as np
import pytest
from support.optimizers import assert_tensors_identical, coo, optim, parameters, torch

from surefoot.optim.automatic import is_due

ENGINE = {"engine": "reference"}
STEPS = 30


def rates(optimizer):
    return [group["lr_factor"] for group in optimizer.param_groups]


def gradient(shape, t):
    return np.random.default_rng(t).normal(0.5, 1.0, shape)


def by_hand(x, sampled, steps, rows=None):
    """AdaGrad in float64, and its rates; the first gradient's rows are `sampled`."""
    x, start, total = x.copy(), x.copy(), np.zeros_like(x)
    bound = 1 / math.sqrt(math.prod(x.shape[1:]))
    eta, found = min(0.01, bound), []
    for t in range(1, steps + 1):
        if is_due(t - 1) and t > 1:
            s, moved = total[sampled], x[sampled] - start[sampled]
            eta = min(bound, max(eta, math.sqrt((s * moved**2).sum() / s.sum())))
        g = gradient(x.shape, t)
        if rows is not None:
            g = np.where(np.isin(np.arange(len(x)), rows(t))[:, None], g, 0.0)
        total += g * g
        x -= eta * g / (np.sqrt(total) + 1e-10)
        found.append(eta)
    return x, found


@pytest.mark.parametrize("shape", [(5,), (6, 4), (3, 2, 2)])
def test_rates_and_steps_follow_the_formula(shape):
    (w,) = parameters(shape, dtype=torch.float64)
    expected, etas = by_hand(w.detach().numpy(), np.arange(shape[0]), STEPS)
    optimizer = optim.Adagrad([w], lr="auto", **ENGINE)
    for t in range(1, STEPS + 1):
        w.grad = torch.from_numpy(gradient(shape, t))
        optimizer.step()
        assert rates(optimizer) == pytest.approx([etas[t - 1]], rel=1e-12)
    assert etas[-1] > 0.02
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-12)


def test_rows_of_the_first_sparse_gradient_stand_for_all():
    (w,) = parameters((9, 4), dtype=torch.float64)

    def rows(t):
        return [1, 4] if t == 1 else [t % 9, (t + 3) % 9]

    expected, etas = by_hand(w.detach().numpy(), np.array([1, 4]), STEPS, rows)
    optimizer = optim.Adagrad([w], lr="auto", **ENGINE)
    for t in range(1, STEPS + 1):
        w.grad = coo([rows(t)], torch.from_numpy(gradient((9, 4), t)[rows(t)]), w.shape)
        optimizer.step()
    assert rates(optimizer) == pytest.approx(etas[-1:], rel=1e-12)
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-12)


def trained(optimizer, parameters, steps):
    for t in steps:
        for k, parameter in enumerate(parameters):
            if (t + k) % 3:  # gradients are missing now and then
                parameter.grad = torch.from_numpy(gradient(parameter.shape, 10 * t + k)).to(parameter.dtype)
            else:
                parameter.grad = None
        optimizer.step()


def test_training_resumes_from_a_state_dict_bit_by_bit():
    whole = parameters((6, 4), (4,))
    one = optim.Adagrad(whole, lr="auto", **ENGINE)
    trained(one, whole, range(12))
    half = [torch.nn.Parameter(p.detach().clone()) for p in whole]
    other = optim.Adagrad(half, lr="auto", **ENGINE)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for optimizer, own in ((one, whole), (other, half)):
        trained(optimizer, own, range(12, 40))
    assert rates(one) == rates(other)
    for a, b in zip(whole, half, strict=True):
        assert_tensors_identical(a, b)


def test_schedulers_multiply_the_rate_that_was_found():
    (w,) = parameters((6, 4), dtype=torch.float64)
    optimizer = optim.Adagrad([w], lr="auto", **ENGINE)
    optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5)
    before = w.detach().clone()
    w.grad = torch.ones_like(w)
    optimizer.step()
    np.testing.assert_allclose((before - w.detach()).numpy(), 0.5 * 0.01, rtol=1e-6)


def test_each_parameter_has_a_group_that_keeps_its_settings_and_name():
    a, b, c = parameters((6, 4), (4,), (2,))
    groups = [{"params": [("a", a), ("b", b)], "weight_decay": 0.1}, {"params": [("c", c)], "lr": 0.3}]
    optimizer = optim.Adagrad(groups, lr="auto", **ENGINE)
    found = [(g["param_names"], g["lr"], g.get("lr_factor"), g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(["a"], 1.0, 0.01, 0.1), (["b"], 1.0, 0.01, 0.1), (["c"], 0.3, None, 0)]
    (d,) = parameters((4, 4))
    optimizer.add_param_group({"params": [("d", d)]})
    assert (optimizer.param_groups[-1]["lr"], optimizer.param_groups[-1]["lr_factor"]) == (1.0, 0.01)


def test_a_part_of_a_grouped_optimizer_finds_its_rates():
    a, b, c = parameters((6, 4), (4,), (4,))
    groups = [{"params": [a, b], "rule": "adagrad", "lr": "auto", **ENGINE}, {"params": [c], "rule": torch.optim.AdamW}]
    grouped, alone = optim.Grouped(groups), parameters((6, 4), (4,))
    optimizer = optim.Adagrad(alone, lr="auto", **ENGINE)
    trained(grouped, [a, b], range(20))
    trained(optimizer, alone, range(20))
    assert [len(group["params"]) for group in grouped.param_groups] == [1, 1, 1]
    assert rates(optimizer) == [group["lr_factor"] for group in grouped.param_groups[:2]]
    assert max(rates(optimizer)) > 0.011


def test_rows_that_are_reset_are_not_far_from_the_start():
    (w,) = parameters((6, 4), dtype=torch.float64)
    optimizer = optim.Adagrad([w], lr="auto", **ENGINE)
    trained(optimizer, [w], range(1, 3))
    optimizer.reset(w, 100.0, rows=[0, 1, 2])
    trained(optimizer, [w], range(4, 6))
    assert rates(optimizer)[0] < 0.1
    optimizer.restart()
    trained(optimizer, [w], range(4, 5))
    assert rates(optimizer) == [0.01]


def test_another_rule_goes_on_at_the_rates_that_were_found():
    own = parameters((6, 4), (4,))
    optimizer = optim.Adagrad(own, lr="auto", **ENGINE)
    trained(optimizer, own, range(20))
    before, steps = rates(optimizer), [int(optimizer.state[p]["step"]) for p in own]
    assert optimizer.to_rule("rmsprop") is optimizer
    assert rates(optimizer) == pytest.approx([eta / n**0.5 for eta, n in zip(before, steps, strict=True)], rel=0.1)
    after = rates(optimizer)
    trained(optimizer, own, range(20, 40))
    assert rates(optimizer) == after
    assert not any(key in tensors for tensors in optimizer.state.values() for key in ("start", "sampled"))
    assert not any("auto_lr" in group for group in optimizer.param_groups)


@pytest.mark.parametrize(
    "make, names",
    [
        (lambda p: optim.Adam(p, lr="auto"), "adam: .*Adagrad"),
        (lambda p: optim.RuleOptimizer(p, "adagrad", lr="auto"), "Adagrad when it is made"),
        (lambda p: optim.Adagrad(p).change(lr="auto"), "Adagrad when it is made"),
        (lambda p: optim.Adagrad(p, lr="auto", lr_factor=2.0), "no lr_factor=2.0"),
        (lambda p: optim.Adagrad(p, lr="auto", differentiable=True), "no differentiable=True"),
        (lambda p: optim.Adagrad(p, lr="auto", capturable=True), "no capturable=True"),
        (lambda p: optim.Adagrad([{"params": p, "capturable": True}], lr="auto"), "no capturable=True"),
        (lambda p: optim.Adagrad([p[0].to(torch.complex64)], lr="auto"), "parameter 0: .*complex"),
        (lambda p: optim.Grouped([{"params": p, "rule": "rmsprop", "lr": "auto"}]), "rmsprop: .*Adagrad"),
        (lambda p: optim.Adagrad(p, lr="auto").change(lr_factor=2.0), "no lr_factor=2.0"),
        (lambda p: optim.Adagrad(p, lr="auto").load_state_dict(optim.Adagrad(p, lr=0.2).state_dict()), "rate 0.2,"),
        (lambda p: optim.Adagrad([], lr="auto"), "empty parameter list"),
        (
            lambda p: optim.Grouped([{"params": p, "rule": torch.optim.Adagrad, "lr": "auto"}]),
            "torch.optim.Adagrad: lr",
        ),
    ],
)
def test_what_has_no_automatic_rate_raises_an_error(make, names):
    with pytest.raises(ValueError, match=names):
        make([torch.nn.Parameter(torch.ones(2))])
