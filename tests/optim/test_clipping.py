"""Clipping by the optimizer gives what torch's functions give on gradients made dense, before a step of the same."""

import math
import re

import pytest
from support.optimizers import assert_tensors_close, clones, coo, optim, parameters, torch

from surefoot.engines import NonFiniteError

SHAPES = ((6, 2), (3,), (2, 2))
LIMITS = [{"max_grad_norm": 0.5}, {"max_grad_value": 0.3}, {"max_grad_norm": 0.5, "max_grad_value": 0.3}]
CLASSES = ("SGD", "Adagrad", "RMSprop", "Adam", "Yogi", "FTRL")
ENGINE = {"engine": "reference"}


def gradients(t):
    """Of a table, with a row twice and not merged, and of two dense parameters."""
    table, *dense = [g.detach() for g in parameters(*SHAPES, seed=t)]
    return [coo([[t, 5, t]], table[:3], SHAPES[0]), *dense]


def clip_as_torch(params, max_grad_norm=None, max_grad_value=None):
    """torch's functions, first on values, then on the norm, which is returned."""
    if max_grad_value is not None:
        torch.nn.utils.clip_grad_value_(params, max_grad_value)
    return None if max_grad_norm is None else torch.nn.utils.clip_grad_norm_(params, max_grad_norm)


def made(name, params, **settings):
    if name == "Grouped":
        groups = [{"params": params[:2], "rule": "adagrad"} | ENGINE, {"params": params[2:], "rule": torch.optim.AdamW}]
        return optim.Grouped(groups, **settings)
    return getattr(optim, name)(params, lazy="touched", **settings, **ENGINE)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("name", [*CLASSES, "Grouped"])
def test_steps_are_those_of_gradients_that_torch_has_clipped(name, limits):
    params = parameters(*SHAPES)
    twins = clones(params)
    clipped, plain = made(name, params, **limits), made(name, twins)
    for t in range(3):
        for p, q, g in zip(params, twins, gradients(t), strict=True):
            p.grad, q.grad = g, g.clone().to_dense()
        norm = clip_as_torch(twins, **limits)
        touched = twins[0].grad
        twins[0].grad = coo([[t, 5]], touched[[t, 5]], SHAPES[0])
        clipped.step()
        plain.step()
        if norm is not None:
            assert_tensors_close(clipped.grad_norm, norm, "torch float32")
    for k, (found, expected) in enumerate(zip(params, twins, strict=True)):
        assert_tensors_close(found, expected, "torch float32", f"parameter {k}")


def test_values_of_each_group_and_the_norm_of_some():
    a, b, c = parameters((2,), (2,), (2,))
    optimizer = optim.SGD(
        [{"params": [a], "max_grad_value": 1.0}, {"params": [b], "max_grad_norm": 5.0}, {"params": [c]}], lr=1.0
    )
    for p in (a, b, c):
        p.grad = torch.tensor([6.0, 8.0])
    optimizer.step()
    assert a.grad.tolist() == [1.0, 1.0]
    assert_tensors_close(b.grad, torch.tensor([3.0, 4.0]), "torch float32")
    assert c.grad.tolist() == [6.0, 8.0]
    assert float(optimizer.grad_norm) == 10.0


def test_the_limits_are_settings_of_groups():
    p = parameters((2,))
    optimizer = optim.Adagrad(p, max_grad_norm=1.0)
    state = optimizer.state_dict()
    other = optim.Adagrad(parameters((2,)))
    other.load_state_dict(state)
    assert other.param_groups[0]["max_grad_norm"] == 1.0
    other.load_state_dict(torch.optim.Adagrad(p).state_dict())
    assert other.param_groups[0]["max_grad_norm"] == 1.0
    optimizer.change(max_grad_norm=None, max_grad_value=0.1)
    optimizer.to_rule("rmsprop")
    assert [optimizer.param_groups[0][key] for key in ("max_grad_norm", "max_grad_value")] == [None, 0.1]
    adopted = optim.from_torch(torch.optim.SGD(p, lr=0.1), max_grad_norm=2.0)
    assert adopted.param_groups[0]["max_grad_norm"] == 2.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_stops_the_step_with_a_sentence(bad):
    table, dense = parameters((4, 2), (3,))
    optimizer = optim.SGD([("table", table), ("dense", dense)], lr=0.1, max_grad_norm=1.0)
    table.grad, dense.grad = coo([[1]], torch.full((1, 2), bad), (4, 2)), torch.ones(3)
    before = clones([table, dense])
    with pytest.raises(NonFiniteError, match="cannot be clipped to max_grad_norm=1: table had a gradient that is not"):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip((table, dense), before, strict=True))
    table.grad, dense.grad = None, torch.full((3,), 1e30)
    with pytest.raises(NonFiniteError, match="max_grad_norm=1: squares overflow; no parameter was stepped"):
        optimizer.step()


def test_a_norm_that_is_not_finite_does_to_others_what_it_does_in_torch():
    (p,) = parameters((3,))
    q = clones([p])[0]
    ours, theirs = optim.SGD([p], lr=0.1, max_grad_norm=1.0, nonfinite="propagate"), torch.optim.SGD([q], lr=0.1)
    p.grad, q.grad = torch.tensor([1.0, math.inf, 2.0]), torch.tensor([1.0, math.inf, 2.0])
    torch.nn.utils.clip_grad_norm_([q], 1.0)
    ours.step()
    theirs.step()
    torch.testing.assert_close(p, q, equal_nan=True)


def test_gradients_are_unscaled_before_they_are_clipped():
    results = []
    for scale in (1.0, 1024.0):
        (p,) = parameters((3,))
        optimizer = optim.SGD([p], lr=0.1, max_grad_norm=0.1, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(p.square().sum()).backward()
        scaler.step(optimizer)
        results.append(p.detach())
    assert_tensors_close(results[1], results[0], "torch float32")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_grad_norm": -1.0}, "Invalid max_grad_norm value: -1.0; expected a number above 0, or None"),
        ({"max_grad_norm": math.nan}, "Invalid max_grad_norm value: nan"),
        ({"max_grad_value": True}, "Invalid max_grad_value value: True"),
        ({"max_grad_norm": 1.0, "differentiable": True}, "max_grad_norm: autograd does not see the clipping"),
    ],
    ids=str,
)
def test_limits_that_cannot_be_honoured(settings, message):
    with pytest.raises(ValueError, match=message):
        optim.Adagrad(parameters((2,)), **settings)
    optimizer = optim.Adagrad(parameters((2,)))
    with pytest.raises(ValueError, match=message):
        optimizer.change(**settings)


def test_one_norm_for_all_groups():
    a, b = parameters((2,), (2,))
    with pytest.raises(ValueError, match="groups have max_grad_norm 1 and 2, but it limits the norm of"):
        optim.SGD([{"params": [a], "max_grad_norm": 1.0}, {"params": [b], "max_grad_norm": 2.0}])


def test_steps_in_the_backward_pass_have_no_norm():
    model = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="max_grad_norm=1 needs all gradients at once"):
        optim.step_in_backward(model, optim.SGD, lr=0.1, max_grad_norm=1.0)
    handle = optim.step_in_backward(model, optim.SGD, lr=1.0, max_grad_value=0.5)
    before = model.bias.detach().clone()
    (100 * model(torch.ones(2))).sum().backward()
    handle.remove()
    assert_tensors_close(before - model.bias, torch.tensor([0.5]), "torch float32")


def test_a_norm_that_is_set_later_is_no_norm_of_steps_in_the_backward_pass():
    model = torch.nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    with optim.step_in_backward(model, optimizer):
        optimizer.change(max_grad_norm=0.1)
        with pytest.raises(ValueError, match=r"max_grad_norm=0\.1 needs all gradients at once"):
            model(torch.ones(1, 2)).sum().backward()


@pytest.mark.parametrize("kind", ["one rule", "Grouped"])
def test_gradients_are_checked_before_they_are_clipped(kind):
    """What no step can take is rejected with all gradients as they were."""
    dense, table = parameters((3,), (4, 2))
    named, settings = [("dense", dense), ("table", table)], {"weight_decay": 0.1, "max_grad_norm": 0.5}
    if kind == "Grouped":
        optimizer = optim.Grouped([{"params": named, "rule": "adagrad"} | settings])
    else:
        optimizer = optim.Adagrad(named, **settings)
    dense.grad, table.grad = torch.ones(3), coo([[1, 1]], torch.ones(2, 2), (4, 2))
    with pytest.raises(ValueError, match="table: lazy updates are not exact"):
        optimizer.step()
    assert dense.grad.tolist() == [1.0, 1.0, 1.0]
    assert table.grad._nnz() == 2


@pytest.mark.parametrize("limits", [{}, *LIMITS], ids=str)
@pytest.mark.parametrize("kind", ["SGD", "Grouped"])
def test_a_loss_that_is_not_finite_is_one_sentence(kind, limits):
    named = [(f"p{k}", p) for k, p in enumerate(parameters(*[(2,)] * 8))]
    if kind == "Grouped":
        groups = [{"params": named[:4], "rule": "adagrad"} | ENGINE, {"params": named[4:], "rule": "sgd"} | ENGINE]
        optimizer = optim.Grouped(groups, **limits)
    else:
        optimizer = optim.SGD(named, **limits, **ENGINE)
    for _, p in named:
        p.grad = torch.full((2,), math.nan)
    with pytest.raises(NonFiniteError) as error:
        optimizer.step()
    text = str(error.value)
    assert text.count("not finite") <= 2
    assert re.search("p0[^;]*, p1[^;]*, p2[^;]* and 5 more", text)
    assert text.endswith("no parameter was stepped" if "max_grad_norm" in limits else "the loss was not finite")
