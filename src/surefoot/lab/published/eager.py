"""The source texts' own training loop, written from its description: eager PyTorch, a mini-batch at a time.

Only its time is used, as what every other time is compared with. Mini-batches are slices of a shuffled copy; the texts'
data loader, which collects examples one by one, would take several times as long.
"""

import statistics
from typing import Any

import numpy as np

from surefoot.lab.published.rows import clock


def seconds_per_epoch(rule: str, hyper: dict, X: np.ndarray, y: np.ndarray, batch_size: int, concise: bool = False):
    """The median of a few epochs; None where torch is not installed.

    Args:
        rule: the name of one of the family.
        hyper: its hyperparameters.
        X, y: examples and targets, float32.
        batch_size: examples in a mini-batch.
        concise: with the framework's own optimizer; without, as the texts write the rule.
    """
    try:
        import torch
    except ImportError:
        return None
    examples, targets = torch.from_numpy(X), torch.from_numpy(y).reshape(-1, 1)
    w = torch.normal(0, 0.01, (X.shape[1], 1)).requires_grad_()
    b = torch.zeros(1, requires_grad=True)
    update = framework(rule, hyper, [w, b]) if concise else SCRATCH[rule](hyper, [w, b])
    epoch(examples[: 2 * batch_size], targets, w, b, update, batch_size)
    repeats = 1 if batch_size == 1 else 3
    return statistics.median(epoch(examples, targets, w, b, update, batch_size) for _ in range(repeats))


def epoch(X, y, w, b, update, batch_size: int) -> float:
    """The seconds of one epoch: forward, backward and update, a mini-batch at a time."""
    import torch

    begin = clock()
    places = torch.randperm(len(X))
    for first in range(0, len(X), batch_size):
        batch = places[first : first + batch_size]
        loss = ((X[batch] @ w + b - y[batch]) ** 2 / 2).mean()
        loss.backward()
        update()
    return clock() - begin


OPTIMIZERS = {
    "sgd": "SGD",
    "momentum": "SGD",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "adam": "Adam",
}


def framework(rule: str, hyper: dict, parameters: list[Any]):
    """The step of the framework's own optimizer."""
    import torch

    named = {"alpha" if key == "gamma" else key: value for key, value in hyper.items()}
    optimizer = getattr(torch.optim, OPTIMIZERS[rule])(parameters, **named)

    def update():
        optimizer.step()
        optimizer.zero_grad()

    return update


def scratch(slots: int, rule):
    """An update as the texts write it: eager operations on each parameter and its states, in place."""

    def make(hyper, parameters):
        import torch

        memory, t = [[torch.zeros_like(p) for _ in range(slots)] for p in parameters], [0]

        def update():
            t[0] += 1
            with torch.no_grad():
                for p, states in zip(parameters, memory, strict=True):
                    rule(p, p.grad, t[0], *states, **hyper)
                    p.grad.zero_()

        return update

    return make


def scratch_sgd(p, g, t, lr):
    p[:] -= lr * g


def scratch_momentum(p, g, t, v, lr, momentum):
    v[:] = momentum * v + g
    p[:] -= lr * v


def scratch_adagrad(p, g, t, s, lr):
    s[:] += g * g
    p[:] -= lr * g / (s + 1e-6).sqrt()


def scratch_rmsprop(p, g, t, s, lr, gamma):
    s[:] = gamma * s + (1 - gamma) * g * g
    p[:] -= lr * g / (s + 1e-6).sqrt()


def scratch_adadelta(p, g, t, s, delta, rho):
    s[:] = rho * s + (1 - rho) * g * g
    u = (delta + 1e-5).sqrt() / (s + 1e-5).sqrt() * g
    p[:] -= u
    delta[:] = rho * delta + (1 - rho) * u * u


def scratch_adam(p, g, t, v, s, lr):
    v[:] = 0.9 * v + 0.1 * g
    s[:] = 0.999 * s + 0.001 * g * g
    p[:] -= lr * (v / (1 - 0.9**t)) / ((s / (1 - 0.999**t)).sqrt() + 1e-6)


def scratch_yogi(p, g, t, v, s, lr):
    v[:] = 0.9 * v + 0.1 * g
    s[:] = s + 0.001 * (g * g - s).sign() * g * g
    p[:] -= lr * (v / (1 - 0.9**t)) / ((s / (1 - 0.999**t)).sqrt() + 1e-3)


SCRATCH = {
    "sgd": scratch(0, scratch_sgd),
    "momentum": scratch(1, scratch_momentum),
    "adagrad": scratch(1, scratch_adagrad),
    "rmsprop": scratch(1, scratch_rmsprop),
    "adadelta": scratch(2, scratch_adadelta),
    "adam": scratch(2, scratch_adam),
    "yogi": scratch(2, scratch_yogi),
}
