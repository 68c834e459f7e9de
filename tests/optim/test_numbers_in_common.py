"""Rules with one rate for a group: parameters without a gradient take no part in it, but have it, too."""

import copy
import pickle

import numpy as np
import pytest
from support.optimizers import optim, torch

SHAPES = [(4, 3), (5,), (), (2, 2, 2)]
STEPS = 24
WITHOUT = {
    "none": lambda t, k: False,
    "first steps": lambda t, k: k == 1 and t < 8,
    "some steps": lambda t, k: k == 0 and 6 < t < 18,
    "one in each step": lambda t, k: k == t % len(SHAPES),
}


def problem(pattern):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in SHAPES]
    gradients = [
        [None if WITHOUT[pattern](t, k) else rng.normal(size=shape) + 1 for k, shape in enumerate(SHAPES)]
        for t in range(STEPS)
    ]
    return start, gradients


def dog(start, gradients, first=1e-6, eps=1e-8):
    """Ivgi, Hinder & Carmon (2023): one distance and one sum of squares for all."""
    x, largest, total = [x.copy() for x in start], 0.0, 0.0
    for given in gradients:
        taken = [k for k, g in enumerate(given) if g is not None]
        size = np.sqrt(sum((start[k] ** 2).sum() for k in taken))
        moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(x, start, strict=True)))
        largest = max(largest, moved, first * (1 + size))
        total += sum((given[k] ** 2).sum() for k in taken)
        for k in taken:
            x[k] = x[k] - largest / np.sqrt(total + eps) * given[k]
    return x


def prodigy(start, gradients, beta1=0.9, beta2=0.999, d0=1e-6, eps=1e-8):
    """Mishchenko & Defazio (2023), algorithm 4: one bound d and one numerator for all."""
    x, d, numerator = [x.copy() for x in start], d0, 0.0
    velocity, square, total = ([np.zeros_like(x) for x in start] for _ in range(3))
    for given in gradients:
        taken = [k for k, g in enumerate(given) if g is not None]
        before, norm, numerator = d, 0.0, numerator * beta2**0.5
        for k in taken:
            numerator += d * d / d0 * (given[k] * (start[k] - x[k])).sum()
            velocity[k] = beta1 * velocity[k] + (1 - beta1) * d * given[k]
            square[k] = beta2 * square[k] + (1 - beta2) * d * d * given[k] ** 2
            total[k] = beta2**0.5 * total[k] + d * d / d0 * given[k]
            norm += np.abs(total[k]).sum()
        d = max(d, numerator / norm)
        for k in taken:
            x[k] = x[k] - before * velocity[k] / (np.sqrt(square[k]) + d * eps)
    return x


def dadapt_adagrad(start, gradients, a0=1e-6, d0=1e-6):
    """Defazio & Mishchenko (2023): one bound d for all."""
    x, d, spent = [x.copy() for x in start], d0, 0.0
    seen, dual = [np.full_like(x, a0) for x in start], [np.zeros_like(x) for x in start]
    for given in gradients:
        taken = [k for k, g in enumerate(given) if g is not None]
        for k in taken:
            seen[k] = seen[k] + given[k] ** 2
            dual[k] = dual[k] + d * given[k]
            spent += (d * d * given[k] ** 2 / np.sqrt(seen[k])).sum()
            x[k] = start[k] - dual[k] / np.sqrt(seen[k])
        length = sum((s**2 / np.sqrt(a)).sum() for s, a in zip(dual, seen, strict=True))
        d = max(d, (length - spent) / sum(np.abs(s).sum() for s in dual))
    return x


BY_HAND = {"dog": dog, "prodigy": prodigy, "dadapt_adagrad": dadapt_adagrad}


def reloaded(optimizer, rule):
    groups = [{"params": group["params"]} for group in optimizer.param_groups]
    other = optim.RuleOptimizer(groups, rule, engine="reference")
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other


def pickled(optimizer, rule):
    return pickle.loads(pickle.dumps(optimizer))


WAYS = {"as it is": lambda optimizer, rule: optimizer, "a state dict": reloaded, "pickle": pickled}


@pytest.mark.parametrize("rule", BY_HAND)
@pytest.mark.parametrize("pattern", WITHOUT)
@pytest.mark.parametrize("way", WAYS)
def test_all_parameters_have_the_rate_of_the_group(rule, pattern, way):
    start, gradients = problem(pattern)
    made = [torch.nn.Parameter(torch.tensor(x)) for x in start]
    optimizer = optim.RuleOptimizer(made, rule, engine="reference")
    for t, given in enumerate(gradients):
        if t in (3, 12):
            optimizer = WAYS[way](optimizer, rule)
        own = optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(own, given, strict=True):
            parameter.grad = None if gradient is None else torch.tensor(gradient)
        optimizer.step()
    for parameter, x in zip(optimizer.param_groups[0]["params"], BY_HAND[rule](start, gradients), strict=True):
        np.testing.assert_allclose(parameter.detach(), x, rtol=1e-9)


def steps(optimizer, parameters, count):
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()


def bounds(optimizer, parameters):
    return [float(optimizer.state[parameter]["bound"]) for parameter in parameters]


def test_groups_have_rates_of_their_own():
    first, second, late = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    groups = [{"params": [first, late]}, {"params": [second]}]
    optimizer = optim.RuleOptimizer(groups, "prodigy", engine="reference")
    steps(optimizer, [first], 5)
    steps(optimizer, [second, late], 1)
    one, other, same = bounds(optimizer, [first, second, late])
    assert one == same
    assert one > other


@pytest.mark.parametrize("begin", ["restart", "reset"])
def test_a_parameter_that_begins_again_keeps_what_it_has_in_common(begin):
    first, second = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = optim.RuleOptimizer([first, second], "prodigy", engine="reference")
    steps(optimizer, [first, second], 5)
    before, _ = bounds(optimizer, [first, second])
    assert before > 1e-6
    optimizer.restart([second]) if begin == "restart" else optimizer.reset(second, 0.0)
    assert bounds(optimizer, [first, second]) == [before, before]
    assert (optimizer.state[second]["velocity"] == 0).all()
    optimizer.restart()
    np.testing.assert_allclose(bounds(optimizer, [first, second]), 1e-6)
