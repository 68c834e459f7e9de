"""Runs whose verdict depends on what their records can tell: noise, starts at zero, clipping, layers that stay dead."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

import surefoot
from support.runs import HEALTHY, Run
from surefoot import optim


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


def tiny():
    model = deep()
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight *= 1e-3
    return model


def biased():
    model = deep()
    with torch.no_grad():
        model[0].bias += 50
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
    "zeros-all-decay": Scene(
        run(lambda: zeros(deep()), SGD, waves, 60, lr=0.1, weight_decay=1e-3), ("dead units", "initial values")
    ),
    "tiny-at-first": Scene(run(tiny, SGD, waves, 12, lr=0.03, weight_decay=1e-3), STILL, True),
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
    # At larger rates, what cures it may diverge, depending on the last digits of a processor.
    "sigmoids-sgd": Scene(
        run(lambda: deep(nn.Sigmoid, 12, 10), SGD, waves, 200, lr=0.02), ("stands still", "activation"), False, 400, 0.5
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
    "large-biases-at-first": Scene(run(biased, Adam, waves, 150, lr=3e-3), HEALTHY, True),
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
