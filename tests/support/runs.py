"""Made runs, each with one fault or none, for tests of verdicts and remedies."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import surefoot
from surefoot import optim

BATCH = 64


@dataclass
class Run:
    """A model in training.

    Attributes:
        model: the model.
        optimizer: its optimizer.
        loss: of batch k, with gradients to be had.
        k: the number of batches seen.
    """

    model: torch.nn.Module
    optimizer: Any
    loss: Callable[[torch.nn.Module, int], torch.Tensor]
    k: int = 0

    def train(self, steps: int, schedule=None) -> list[float]:
        losses = []
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.model, self.k)
            loss.backward()
            self.optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.item())
            self.k += 1
        return losses


def generator(k):
    return torch.Generator().manual_seed(k)


def regression(model, k, scale=1.0):
    """A noisy linear target of six features."""
    g = generator(k)
    x = torch.randn(BATCH, 6, generator=g)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(BATCH, 1, generator=g)
    dtype = next(model.parameters()).dtype
    return scale * (model(x.to(dtype)) - y.to(dtype)).square().mean()


def made(kind, dtype=torch.float32, loss=regression, model=None, **settings):
    """A small network or a given model, and its optimizer."""
    torch.manual_seed(0)
    if model is None:
        model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    elif callable(model) and not isinstance(model, torch.nn.Module):
        model = model()
    model = model.to(dtype)
    theirs = kind.__module__.startswith("torch.")
    return Run(model, kind(model.parameters() if theirs else model.named_parameters(), **settings), loss)


def line():
    return torch.nn.Linear(6, 1)


class Words(torch.nn.Module):
    """The sum of the vectors of some words, of which a number is made."""

    def __init__(self, rows=500, **settings):
        super().__init__()
        self.table = torch.nn.EmbeddingBag(rows, 8, mode="sum", sparse=True, **settings)
        self.head = torch.nn.Linear(8, 1)

    def forward(self, ids):
        return self.head(self.table(ids)).squeeze(1)


def words(model, k, most=500):
    """Whether the words that occur, the first ones more often, weigh more than nothing."""
    g, weights = generator(k), torch.randn(500, generator=generator(12345))
    ids = (torch.rand(BATCH, 5, generator=g) ** 3 * most).long()
    return torch.nn.functional.binary_cross_entropy_with_logits(model(ids), (weights[ids].sum(1) > 0).float())


def trained(steps=100, **kwargs):
    run = made(**kwargs)
    run.train(steps)
    return run


def huge_first_gradient(kind, model=None, loss=regression, **settings):
    run = made(kind, model=model, **settings, loss=lambda m, k: loss(m, k) * (1e8 if k == 0 else 1.0))
    run.train(200)
    return run


def one_of_200(kind, lr=0.01, slow=1e-7):
    """200 parameters, of which one has a much smaller learning rate."""
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(3)) for _ in range(200)])
    named = list(model.named_parameters())
    groups = [{"params": named[:100] + named[101:]}, {"params": [named[100]], "lr": slow}]
    goal = torch.ones(3)
    run = Run(model, kind(groups, lr=lr), lambda m, k: sum((w - goal).square().sum() for w in m.weights))
    run.train(50)
    return run


def started_at_zero(kind, **settings):
    model = line()
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return trained(kind=kind, model=model, **settings)


def not_a_number(lr, bad=float("nan")):
    def loss(model, k):
        return regression(model, k) * (bad if k % 2 else 1.0)

    run = made(optim.Adagrad, lr=lr, nonfinite="skip", loss=loss)
    run.train(20)
    return run


def faint_bias(kind, **settings):
    """A single coordinate whose gradient happens to be much smaller than those before."""
    run = trained(kind=kind, **settings)
    with torch.no_grad():
        run.model[2].bias.add_(1.0)
        run.model[2].bias.grad.fill_(1e-3)
    return run


def scheduled(kind, schedule, steps=100, **settings):
    run = made(kind, **settings)
    run.train(steps, schedule(run.optimizer))
    return run


def converged(kind, **settings):
    """Full batches and a target that is reached."""

    def loss(model, k):
        x = torch.randn(32, 6, generator=generator(0))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return trained(kind=kind, loss=loss, model=line, steps=600, **settings)


exponential = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)


def warming_up(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min((k + 1) / 1000, 1.0))


def to_zero(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 103)


bf16 = torch.bfloat16
HEALTHY = ("healthy", None)

RUNS: dict[str, tuple[Callable[[], Run], tuple[str, str | None]]] = {
    # In order, at several rates, by several rules
    "adagrad": (lambda: trained(kind=optim.Adagrad, lr=0.1), HEALTHY),
    "adagrad-small": (lambda: trained(kind=optim.Adagrad, lr=0.01), HEALTHY),
    "adagrad-faint-bias": (lambda: faint_bias(optim.Adagrad, lr=0.01), HEALTHY),
    "adagrad-large": (lambda: trained(kind=optim.Adagrad, lr=1.0, model=line), HEALTHY),
    "adagrad-long": (lambda: trained(kind=optim.Adagrad, lr=0.1, model=line, steps=2000), HEALTHY),
    "adam": (lambda: trained(kind=optim.Adam, lr=1e-3), HEALTHY),
    "adam-large": (lambda: trained(kind=optim.Adam, lr=1e-2), HEALTHY),
    "adamw": (lambda: trained(kind=optim.AdamW, lr=1e-3, weight_decay=0.1), HEALTHY),
    "nadam": (lambda: trained(kind=optim.NAdam, lr=2e-3), HEALTHY),
    "yogi": (lambda: trained(kind=optim.Yogi, lr=1e-2), HEALTHY),
    "rmsprop": (lambda: trained(kind=optim.RMSprop, lr=1e-3), HEALTHY),
    "adadelta": (lambda: trained(kind=optim.Adadelta), HEALTHY),
    "ftrl": (lambda: trained(kind=optim.FTRL, lr=0.1, model=line), HEALTHY),
    "sgd": (lambda: trained(kind=optim.SGD, lr=0.1), HEALTHY),
    "sgd-decay": (lambda: trained(kind=optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4), HEALTHY),
    "ridge": (lambda: trained(kind=optim.Adagrad, lr=0.5, model=line, l2=0.1), HEALTHY),
    "float64": (lambda: trained(kind=optim.Adagrad, lr=0.1, dtype=torch.float64), HEALTHY),
    "bf16-stochastic": (
        lambda: trained(kind=optim.Adam, lr=1e-3, dtype=bf16, stochastic_rounding=0),
        HEALTHY,
    ),
    "first-step": (lambda: trained(kind=optim.Adagrad, lr=0.1, steps=1), HEALTHY),
    "zeros": (lambda: started_at_zero(optim.Adagrad, lr=0.1), HEALTHY),
    "zeros-first-step": (lambda: started_at_zero(optim.Adam, lr=0.01, steps=1), HEALTHY),
    "zeros-sgd": (lambda: started_at_zero(optim.SGD, lr=0.05), HEALTHY),
    "words": (lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words), HEALTHY),
    "words-rows": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words, granularity="row"),
        HEALTHY,
    ),
    "words-waiting": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=Words, loss=words, decoupled_weight_decay=1e-3),
        HEALTHY,
    ),
    "words-ftrl": (lambda: trained(kind=optim.FTRL, lr=0.1, model=Words, loss=words), HEALTHY),
    "warming-up": (lambda: scheduled(optim.Adam, warming_up, steps=12, lr=1e-3), HEALTHY),
    "ending": (lambda: scheduled(optim.Adagrad, to_zero, lr=0.1), HEALTHY),
    "converged-sgd": (lambda: converged(optim.SGD, lr=0.1), HEALTHY),
    "converged-adagrad": (lambda: converged(optim.Adagrad, lr=1.0), HEALTHY),
    "converged-adam": (lambda: converged(optim.Adam, lr=0.05), HEALTHY),
    "converged-bf16-state": (lambda: converged(optim.Adagrad, lr=1.0, state_dtype=bf16), HEALTHY),
    # The rate
    "slow-adagrad": (lambda: trained(kind=optim.Adagrad, lr=1e-5, steps=200), ("stands still", "rate")),
    "slow-adam": (lambda: trained(kind=optim.Adam, lr=1e-7), ("stands still", "rate")),
    "slow-sgd": (lambda: trained(kind=optim.SGD, lr=1e-5), ("stands still", "rate")),
    "slow-words": (
        lambda: trained(kind=optim.Adagrad, lr=1e-5, model=Words, loss=words),
        ("stands still", "rate"),
    ),
    "slow-bf16": (lambda: trained(kind=optim.Adagrad, lr=1e-6, dtype=bf16), ("stands still", "rate")),
    "slow-one-of-200": (lambda: one_of_200(optim.Adagrad), ("stands still", "rate")),
    "slow-scheduled": (lambda: scheduled(optim.Adagrad, warming_up, lr=1e-6), ("stands still", "rate")),
    "fast-sgd": (lambda: trained(kind=optim.SGD, lr=2.0, model=line, steps=15), ("diverges", "rate")),
    "fast-adam": (lambda: trained(kind=optim.Adam, lr=10.0), ("diverges", "rate")),
    "fast-adagrad": (lambda: trained(kind=optim.Adagrad, lr=1000.0), ("diverges", "rate")),
    "fast-steep": (
        lambda: trained(kind=optim.SGD, lr=0.02, model=line, loss=functools.partial(regression, scale=100.0), steps=15),
        ("diverges", "rate"),
    ),
    "exploded-decay": (
        lambda: trained(kind=optim.SGD, lr=1e4, model=line, weight_decay=1e-3, nonfinite="propagate"),
        ("not finite", "rate"),
    ),
    "exploded-fp16": (lambda: trained(kind=torch.optim.SGD, lr=1e4, dtype=torch.float16), ("not finite", "rate")),
    "exploded": (
        lambda: trained(kind=optim.SGD, lr=1e4, model=line, nonfinite="propagate"),
        ("not finite", "rate"),
    ),
    # Decay, of weights and of the rate
    "overshoots": (
        lambda: trained(kind=optim.SGD, lr=0.1, model=line, weight_decay=30.0, steps=200, nonfinite="propagate"),
        ("not finite", "decay"),
    ),
    "eaten-fast": (lambda: trained(kind=optim.AdamW, lr=1.0, model=line, weight_decay=0.1), ("shrinks", "rate")),
    "eaten-adamw": (lambda: trained(kind=optim.AdamW, lr=1e-2, weight_decay=10.0), ("shrinks", "decay")),
    "eaten-adagrad": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, decoupled_weight_decay=1.0),
        ("shrinks", "decay"),
    ),
    "eaten-sgd": (lambda: trained(kind=optim.SGD, lr=0.1, weight_decay=2.0), ("shrinks", "decay")),
    "eaten-words": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, decoupled_weight_decay=1.0, model=Words, loss=words),
        ("shrinks", "decay"),
    ),
    "decayed-scheduler": (lambda: scheduled(optim.Adagrad, exponential, lr=0.1), ("stands still", "decay")),
    "decayed-by-rule": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, lr_decay=1e4),
        ("stands still", "decay"),
    ),
    "decayed-written": (lambda: trained(kind=optim.Adagrad, lr="exponential:0.1:0.2"), ("stands still", "decay")),
    # Memory
    "huge-adagrad": (lambda: huge_first_gradient(optim.Adagrad, lr=0.1), ("stands still", "memory")),
    "huge-adam": (lambda: huge_first_gradient(optim.Adam, lr=0.01), ("stands still", "memory")),
    "huge-words": (
        lambda: huge_first_gradient(optim.Adagrad, Words, words, lr=0.1),
        ("stands still", "memory"),
    ),
    # Storage
    "fp16-overflow": (
        lambda: trained(
            kind=optim.Adam,
            lr=1e-3,
            dtype=torch.float16,
            nonfinite="skip",
            loss=functools.partial(regression, scale=3e4),
            steps=20,
        ),
        ("not finite", "storage"),
    ),
    "bf16": (lambda: trained(kind=optim.Adam, lr=1e-4, dtype=bf16), ("frozen", "storage")),
    "bf16-adagrad": (lambda: trained(kind=optim.Adagrad, lr=0.005, dtype=bf16, steps=300), ("frozen", "storage")),
    "fp16": (lambda: trained(kind=optim.Adam, lr=2e-5, dtype=torch.float16), ("frozen", "storage")),
    "bf16-state": (
        lambda: trained(kind=optim.Adagrad, lr=0.03, state_dtype=bf16, steps=600),
        ("saturated", "storage"),
    ),
    # Data
    "never-visited": (
        lambda: trained(kind=optim.Adagrad, lr=0.1, model=lambda: Words(5000), loss=words),
        ("never visited", "data"),
    ),
    "nan": (lambda: not_a_number(0.1), ("not finite", "gradient")),
    "nan-fast": (lambda: not_a_number(1.0), ("not finite", "gradient")),
    "exploded-skipped": (
        lambda: trained(kind=optim.SGD, lr=1e4, model=line, nonfinite="skip"),
        ("not finite", "rate"),
    ),
}


@functools.cache
def run_of(name):
    return RUNS[name][0]()


@functools.cache
def diagnosis_of(name):
    return surefoot.diagnose(run_of(name).optimizer)


def held_out(run):
    """The mean loss of batches that were not trained on."""
    with torch.no_grad():
        return float(np.mean([run.loss(run.model, 100_000 + k).item() for k in range(40)]))
